//! The trace that a request belongs to.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::Extensions;
use axum::http::request::Parts;
use shared::domain::TraceHeader;

/// The trace of the request's invocation, if Lambda gave it one. The request's own header is
/// useless: behind an HTTP API it names neither the parent span nor the sampling decision.
pub(crate) struct Trace(pub(crate) Option<TraceHeader>);

impl Trace {
    fn of(extensions: &Extensions) -> Self {
        let context = extensions.get::<lambda_http::Context>();
        Self(context.and_then(|context| context.xray_trace_id.as_deref()?.parse().ok()))
    }

    /// The request's trace.
    pub(crate) fn of_request(request: &Request) -> Option<TraceHeader> {
        Self::of(request.extensions()).0
    }
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The trace id in the client's `traceparent` header (W3C Trace Context). The platform's trace is
/// not part of the client's trace; it only links to it.
pub(crate) fn linked_trace_id(request: &Request) -> Option<&str> {
    let header = request.headers().get("traceparent")?.to_str().ok()?;
    let (version, rest) = header.split_once('-')?;
    let (trace_id, _) = rest.split_once('-')?;
    let is_hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    (is_hex(version, 2) && is_hex(trace_id, 32)).then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[track_caller]
    fn check_link(traceparent: &str, expected: Option<&str>) {
        let request = Request::builder()
            .header("traceparent", traceparent)
            .body(Body::empty())
            .unwrap();
        assert_eq!(linked_trace_id(&request), expected, "{traceparent}");
    }

    #[test]
    fn a_traceparent_gives_its_trace_id() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        check_link(&format!("00-{id}-00f067aa0ba902b7-01"), Some(id));
        for other in [
            "",
            "00",
            &format!("00-{id}"),
            "00-x-y-01",
            &format!("zz-{id}-00f067aa0ba902b7-01"),
        ] {
            check_link(other, None);
        }
    }
}
