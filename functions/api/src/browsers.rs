//! Requests of web pages (the CORS protocol of the Fetch standard), and compressed responses.

use std::str::FromStr;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
    LOCATION, RETRY_AFTER,
};
use axum::http::{self, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use shared::domain::Invalid;
use tower::{Layer, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The smallest response body that is compressed, in bytes.
const LEAST_TO_COMPRESS: u16 = 1_024;

/// The largest one. Lambda returns a compressed body in Base64, which is a third longer, and some
/// texts hardly get shorter.
const MOST_TO_COMPRESS: u64 = 4_500_000;

/// How long a browser remembers what it may send.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The web pages that may use the API from a browser, by their origins, such as
/// `https://console.example.com`. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl FromStr for Origins {
    type Err = Invalid;

    /// Reads origins with commas between them.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let origins = text.split(',').map(origin);
        origins.collect::<Result<_, _>>().map(Self)
    }
}

/// A scheme and a host, perhaps with a port. A path, `*` and `null` are refused: an API key is
/// worth as much as its page is trusted.
fn origin(text: &str) -> Result<HeaderValue, Invalid> {
    let refused = || {
        let reason =
            format!("has {text:?}, which is no origin such as https://console.example.com");
        Invalid::new("the list of origins", reason)
    };
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    match host {
        Some(host) if !host.is_empty() && host.bytes().all(allowed) => {
            HeaderValue::from_str(text).map_err(|_| refused())
        }
        Some(_) | None => Err(refused()),
    }
}

/// Lets pages of these origins send requests with an API key and read the responses. `None` if
/// there are none, so that a browser lets no page do so.
pub(crate) fn cors(Origins(origins): Origins) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let header = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            header("idempotency-key"),
            header("prefer"),
            header("traceparent"),
            header("x-request-id"),
        ])
        .expose_headers([
            ETAG,
            LOCATION,
            RETRY_AFTER,
            header("deprecation"),
            header("preference-applied"),
            header("sunset"),
            header("ratelimit"),
            header("ratelimit-policy"),
            header("x-request-id"),
        ])
        .max_age(REMEMBERED);
    Some(layer)
}

/// Applies the layer to a request. An `OPTIONS` that does not ask for a permission goes on to its
/// route: the layer alone would answer it.
pub(crate) async fn cross_origin(
    State(cors): State<CorsLayer>,
    request: Request,
    next: Next,
) -> Response {
    let asks = request
        .headers()
        .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !asks {
        return next.run(request).await;
    }
    let Ok(response) = cors.layer(next).oneshot(request).await;
    response.into_response()
}

/// Compresses a longer response with gzip, if the client accepts that.
pub(crate) fn compression() -> CompressionLayer<impl Predicate> {
    let size = SizeAbove::new(LEAST_TO_COMPRESS).and(SizeUpTo(MOST_TO_COMPRESS));
    CompressionLayer::new().compress_when(size)
}

/// Bodies of at most so many bytes.
#[derive(Clone, Copy)]
struct SizeUpTo(u64);

impl Predicate for SizeUpTo {
    fn should_compress<B: HttpBody>(&self, response: &http::Response<B>) -> bool {
        let bytes = response.body().size_hint().upper();
        bytes.is_some_and(|bytes| bytes <= self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        let two = "https://console.example.com,http://localhost:3000";
        assert_eq!(two.parse::<Origins>().unwrap().0.len(), 2);
        for refused in [
            "*",
            "null",
            "",
            "console.example.com",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://*.example.com",
            "https://a.example, https://b.example",
            "ftp://a.example",
        ] {
            assert!(refused.parse::<Origins>().is_err(), "{refused}");
        }
    }

    #[test]
    fn what_may_get_too_long_for_lambda_is_not_compressed() {
        let response = |bytes| http::Response::new(axum::body::Body::from(vec![b'x'; bytes]));
        let limit = SizeUpTo(10);
        assert!(limit.should_compress(&response(10)));
        assert!(!limit.should_compress(&response(11)));
    }
}
