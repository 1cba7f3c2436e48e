//! Anthropic's Messages API, version 2026-10-21, or 2023-06-01 for models that are to take sampling
//! parameters.
//!
//! Types and names of errors are those of the API reference at
//! <https://docs.claude.com/en/api/messages> and of the provider's own client. Unknown fields,
//! events, content blocks and stop reasons are let pass, because the provider adds them without a
//! new version.

mod block;
mod complexity;
mod reading;
mod request_body;
mod schema_subset;

use reading::Received;
use request_body::RequestBody;

use super::dialect::Dialect;
use super::failure::ErrorBody;
use super::http::Client;
use crate::domain::{ApiVersion, ModelRequest};
use crate::ports::ModelErrorKind;

/// Calls Anthropic's models.
pub(super) type AnthropicClient = Client<Anthropic>;

/// The Messages API.
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    const PATH: &'static str = "/v1/messages";
    const REQUEST_ID: &'static str = "request-id";

    type RequestBody<'a> = RequestBody<'a>;
    type ResponseParser = Received;

    fn body(request: &ModelRequest) -> RequestBody<'_> {
        RequestBody::from(request)
    }

    fn headers(request: &ModelRequest) -> Vec<(&'static str, &'static str)> {
        let version = match request.chain.first().settings.api_version {
            ApiVersion::Current => "2026-10-21",
            ApiVersion::Anthropic20230601 => "2023-06-01",
        };
        vec![("anthropic-version", version)]
    }
}

/// What an error means that comes with status 200, in a stream that had already begun.
fn kind_despite_success(error_body: &ErrorBody) -> ModelErrorKind {
    error_body.kind_despite_success()
}
