//! The documents of problems.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{BrokenRule, Problem};
use crate::openapi::values;

/// Turns the response of a [`Problem`] into its document, and leaves every other response as it is.
/// A server error (5xx) links to the `runbook`, if there is one.
pub(crate) fn render(mut response: Response, request_id: &str, runbook: Option<&str>) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let document = Document {
        r#type: "about:blank",
        title: problem.status.canonical_reason().unwrap_or("Unknown"),
        status: problem.status.as_u16(),
        code: problem.code,
        detail: &problem.detail,
        retryable: matches!(
            problem.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ),
        request_id,
        runbook: runbook
            .filter(|_| problem.status.is_server_error())
            .map(|runbook| format!("{runbook}#by-error-text")),
        errors: &problem.errors,
    };
    let mut rendered = (problem.status, Json(document)).into_response();
    // Keep the headers that inner layers set, such as Allow, but not those of the empty body.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().remove(header::CONTENT_TYPE);
    rendered
        .headers_mut()
        .extend(std::mem::take(response.headers_mut()));
    rendered.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(challenge) = problem.challenge() {
        rendered
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        rendered
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    rendered
}

/// The document of RFC 9457. It has additional members: `code`, `retryable` and those after it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    #[schema(value_type = values::ProblemCode)]
    code: &'static str,
    /// What is wrong, and what would help.
    detail: &'a str,
    /// Whether the same request may succeed later.
    retryable: bool,
    request_id: &'a str,
    /// The operator's runbook. Only for server errors, if the deployment knows its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    runbook: Option<String>,
    /// The rules that the request breaks.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(max_items = 100)]
    errors: &'a [BrokenRule],
}

/// The text, cut to 200 characters.
pub(super) fn cut(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let beginning: String = text.chars().take(MAX_CHARS).collect();
    if beginning.len() == text.len() {
        beginning
    } else {
        beginning + "…"
    }
}
