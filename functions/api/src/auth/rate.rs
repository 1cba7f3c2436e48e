//! How a response says what is left of the limits on requests: the header fields of
//! "`RateLimit` header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-10), and the refusal.

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use shared::app::RateLeft;

use crate::problem::Problem;
use crate::time::whole_seconds;

/// The refusal of a request that is above one of these limits.
pub(super) fn refusal(limits: &[RateLeft]) -> Option<Problem> {
    let exceeded = limits.iter().find(|limit| limit.left.is_none())?;
    Some(Problem::rate_limited(
        exceeded.owner,
        exceeded.rate.requests(),
        whole_seconds(exceeded.resets_after),
    ))
}

/// The response with what is left of each limit.
pub(super) fn describe(mut response: Response, limits: &[RateLeft]) -> Response {
    for limit in limits {
        let (owner, most) = (limit.owner, limit.rate.requests());
        let left = limit.left.unwrap_or(0);
        let wait = whole_seconds(limit.resets_after);
        for (name, value) in [
            ("ratelimit-policy", format!("\"{owner}\";q={most};w=60")),
            ("ratelimit", format!("\"{owner}\";r={left};t={wait}")),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().append(name, value);
            }
        }
        if limit.left.is_none() {
            response.headers_mut().insert(RETRY_AFTER, wait.into());
        }
    }
    response
}
