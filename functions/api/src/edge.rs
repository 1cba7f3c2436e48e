//! The frame around every request: its id, its span, its access log line, its metrics, and the
//! headers of every response. A panic, and a response that Lambda would not return, become a
//! problem document.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use shared::domain::{TraceHeader, whole_millis};
use shared::metric;
use tokio::time::Instant;
use tracing::{Instrument, field};
use uuid::Uuid;

use crate::delivery::{MAX_BODY_BYTES, bytes_of_body};
use crate::problem::{Problem, render};
use crate::trace::{Trace, linked_trace_id};

const REQUEST_ID: &str = "x-request-id";

/// The security headers of every response: no cache stores it, no client guesses another type, and
/// later requests use TLS (OWASP, "REST Security Cheat Sheet").
const SAFETY: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    ),
];

/// The absolute URL of the runbook, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runbook(pub(crate) Option<Arc<str>>);

/// The route that accepts a task without a wait.
const SUBMIT: &str = "/v1/tasks";
/// All routes that accept tasks.
const SUBMISSIONS: [&str; 4] = [
    SUBMIT,
    "/v1/tasks/batch",
    "/v1/agents/execute",
    "/v1/agents/{id}/execute",
];

/// Frames a request: answers under its id, logs one line, and turns a panic into the usual problem
/// document.
pub(crate) async fn frame(
    State(runbook): State<Runbook>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let request_id = Uuid::now_v7().to_string();
    let (method, route) = (request.method().clone(), route(&request));
    let lambda = request.extensions().get::<lambda_http::Context>();
    let parent = Trace::of_request(&request);
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        xray_parent = parent.as_ref().map(TraceHeader::as_str),
        xray_trace_id = parent.as_ref().map(TraceHeader::trace_id),
        linked_trace_id = linked_trace_id(&request),
        request_id,
        client_request_id = client_request_id(&request),
        function_request_id = lambda.map(|context| &context.request_id),
        tenant_id = field::Empty,
        caller_key_id = field::Empty,
        caller_subject = field::Empty,
        key_id = field::Empty,
        subject_tenant_id = field::Empty,
        agent_id = field::Empty,
        task_id = field::Empty,
        status_code = field::Empty,
        otel.status_code = field::Empty,
    );
    let answered = span.clone();
    async {
        let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            // Logged by the panic hook, which knows where it happened.
            Err(_panic) => Problem::internal().into_response(),
        };
        let response = deliverable(response).await;
        let problem = response.extensions().get::<Problem>();
        let (code, rule) = (problem.map(Problem::code), problem.and_then(Problem::rule));
        let mut response = render(response, &request_id, runbook.0.as_deref());
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response.headers_mut().extend(SAFETY);
        let took = started.elapsed();
        count(&method, &route, response.status(), took);
        let duration_ms = whole_millis(took);
        answered.record("status_code", response.status().as_u16());
        if response.status().is_server_error() {
            answered.record("otel.status_code", "error");
        }
        tracing::info!(%method, route, status = response.status().as_u16(), code, rule, duration_ms, "request handled");
        response
    }
    .instrument(span)
    .await
}

/// The response, or a problem document if Lambda would not return the response. Otherwise, the
/// client would get a `502` without a reason.
async fn deliverable(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        tracing::error!("response could not be read");
        return Problem::internal().into_response();
    };
    let bytes = bytes_of_body(&body);
    if bytes > MAX_BODY_BYTES {
        tracing::error!(bytes, "response is larger than Lambda returns");
        return Problem::response_too_large().into_response();
    }
    Response::from_parts(parts, Body::from(body))
}

/// Counts the request in the metrics.
fn count(method: &Method, route: &str, status: StatusCode, took: Duration) {
    metric::REQUESTS.add([], 1);
    metric::REQUEST_LATENCY.note([], took);
    metric::CLIENT_ERRORS.add([], u64::from(status.is_client_error()));
    metric::SERVER_ERRORS.add([], u64::from(status.is_server_error()));
    if method == Method::POST && route == SUBMIT {
        metric::SUBMIT_LATENCY.note([], took);
    }
    if method == Method::POST && SUBMISSIONS.contains(&route) {
        metric::SUBMIT_FAILURES.add([], u64::from(status.is_server_error()));
    }
}

/// The client's own id for the request, if it is fit for a log. It need not be unique: any client
/// can send any id.
fn client_request_id(request: &Request) -> Option<&str> {
    let fit =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    request.headers().get(REQUEST_ID)?.to_str().ok().filter(fit)
}

/// The route's pattern. Unlike the path, it has few values, and none of a client's data.
fn route(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    async fn answer_to(said: &'static str, times: usize) -> (StatusCode, Vec<u8>) {
        let router = Router::new()
            .route("/", get(move || async move { said.repeat(times) }))
            .layer(from_fn_with_state(Runbook::default(), frame));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        (
            response.status(),
            to_bytes(response.into_body(), usize::MAX)
                .await
                .unwrap()
                .to_vec(),
        )
    }

    #[tokio::test]
    async fn a_response_that_lambda_would_not_return_is_a_problem_instead() {
        for (said, most) in [
            ("x", MAX_BODY_BYTES),
            ("\"", MAX_BODY_BYTES / 2),
            ("\u{1}", MAX_BODY_BYTES / 6),
        ] {
            let (status, body) = answer_to(said, most).await;
            assert_eq!((status, body.len()), (StatusCode::OK, most), "{said:?}");
            let (status, body) = answer_to(said, most + 1).await;
            let problem: Value = serde_json::from_slice(&body).unwrap();
            let expected = (
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!("response_too_large"),
                &json!(false),
            );
            assert_eq!(
                (status, &problem["code"], &problem["retryable"]),
                expected,
                "{said:?}"
            );
        }
    }
}
