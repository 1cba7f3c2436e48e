//! OpenAI's Responses API, version 1.
//!
//! Types and names of errors are those of the API reference at
//! <https://platform.openai.com/docs/api-reference/responses> and of the provider's own client.
//! Unknown fields, output items, events and reasons are let pass, because the provider adds them
//! without a new version. Requests ask the provider to store nothing. Its reasoning arrives
//! encrypted instead, and is sent back.

mod answer;
mod item;
mod request_body;
mod stream;
mod strict;
#[cfg(test)]
mod tests;

use self::request_body::RequestBody;
use self::stream::Stream;
use super::dialect::Dialect;
use super::failure::ErrorBody;
use super::http::Client;
use crate::domain::ModelRequest;
use crate::ports::ModelErrorKind;

pub(super) use self::strict::response_schema;

/// Calls the provider's models.
pub(super) type OpenAiClient = Client<OpenAi>;

/// The provider's API.
pub(super) struct OpenAi;

impl Dialect for OpenAi {
    const PATH: &'static str = "/v1/responses";
    const REQUEST_ID: &'static str = "x-request-id";

    type RequestBody<'a> = RequestBody<'a>;
    type ResponseParser = Stream;

    fn body(request: &ModelRequest) -> Self::RequestBody<'_> {
        request.into()
    }

    fn headers(_request: &ModelRequest) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// What an error means that came with status 200; `None` if the provider's filter declined to
/// answer.
fn kind_despite_success(error_body: &ErrorBody) -> Option<ModelErrorKind> {
    Some(error_body.kind_despite_success()).filter(|kind| *kind != ModelErrorKind::Refused)
}
