//! OpenAI's Responses API, version 1.
//!
//! Types and names of errors are those of the API reference at <https://platform.openai.com/docs/api-reference/responses>
//! and of the vendor's own client. Unknown fields, output items, events and reasons are let pass, because the vendor adds
//! them without a new version. The vendor is told to store nothing; it gives out its reasoning encrypted instead, and gets
//! it back.

mod answer;
mod question;
mod stream;
mod strict;
#[cfg(test)]
mod tests;

use self::question::Question;
use self::stream::Stream;
use super::dialect::Dialect;
use super::failure::Complaint;
use super::http::Client;
use crate::domain::ModelRequest;
use crate::ports::ModelErrorKind;

pub(super) use self::strict::is_strict;

/// Asks the vendor's models.
pub(super) type OpenAiClient = Client<OpenAi>;

/// The vendor's API.
pub(super) struct OpenAi;

impl Dialect for OpenAi {
    const PATH: &'static str = "/v1/responses";
    const REQUEST_ID: &'static str = "x-request-id";

    type Question<'a> = Question<'a>;
    type Reading = Stream;

    fn question(request: &ModelRequest) -> Self::Question<'_> {
        request.into()
    }

    fn headers(_request: &ModelRequest) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    fn kind_by_name(complaint: &Complaint) -> Option<ModelErrorKind> {
        kind_by_name(complaint)
    }
}

/// What the vendor's names for errors mean. Gateways to its API often give no name, only the message.
fn kind_by_name(complaint: &Complaint) -> Option<ModelErrorKind> {
    const TOO_LONG: [&str; 3] = [
        "Your input exceeds the context window",
        "This model's maximum context length is",
        "Input tokens exceed the configured limit",
    ];
    match complaint.code.as_str() {
        _ if complaint.is_used_up() => Some(ModelErrorKind::QuotaExhausted),
        "context_length_exceeded" => Some(ModelErrorKind::ContextTooLong),
        _ if TOO_LONG.iter().any(|start| complaint.message.starts_with(start)) => Some(ModelErrorKind::ContextTooLong),
        _ => None,
    }
}

/// What an error means that came with status 200; `None` if the vendor's filter declined to answer.
fn kind_despite_success(complaint: &Complaint) -> Option<ModelErrorKind> {
    match complaint.code.as_str() {
        "rate_limit_exceeded" | "slow_down" => Some(ModelErrorKind::RateLimited),
        "invalid_prompt" | "data_residency_mismatch" => Some(ModelErrorKind::Rejected),
        "bio_policy" | "misalignment_policy_violation" | "image_content_policy_violation" => None,
        // Such as `invalid_image_url` or `image_too_large`: the request has an image that can't be used.
        code if code.contains("image") => Some(ModelErrorKind::Rejected),
        _ if complaint.r#type == "invalid_request_error" => {
            Some(kind_by_name(complaint).unwrap_or(ModelErrorKind::Rejected))
        }
        _ => Some(kind_by_name(complaint).unwrap_or(ModelErrorKind::Unavailable)),
    }
}
