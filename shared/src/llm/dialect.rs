//! What differs between the APIs of providers: the form of the request, the form of the answer, and
//! the names of errors.
//!
//! A dialect knows no connection. [`Client`](super::http::Client) posts its request and feeds what
//! comes back to its [`ResponseParser`], in one piece or event by event.

use serde::Serialize;

use super::provider_error::ErrorBody;
use super::sse::Event;
use crate::domain::{AssistantContent, ModelRequest, StopReason, Usage};
use crate::ports::ModelErrorKind;

/// A provider's API.
pub(super) trait Dialect: Send + Sync + 'static {
    /// The path of the resource, from `/v1/` on.
    const PATH: &'static str;
    /// The header of an answer that has the provider's id for the exchange.
    const REQUEST_ID: &'static str;

    /// The body that is posted.
    type RequestBody<'a>: Serialize + Send + Sync;
    /// An answer as far as it has arrived.
    type ResponseParser: ResponseParser;

    /// The body of the HTTP request to the model; streamed or not, as the model's settings say.
    fn body(request: &ModelRequest) -> Self::RequestBody<'_>;

    /// The provider's own headers.
    fn headers(request: &ModelRequest) -> Vec<(&'static str, &'static str)>;
}

/// An answer as far as it has arrived.
pub(super) trait ResponseParser: Default + Send {
    /// Takes in the next event of a stream.
    fn event(&mut self, event: &Event) -> Result<Progress, Fault>;

    /// Takes in an answer that came in one piece.
    fn whole(&mut self, body: &str) -> Result<(), Fault>;

    /// The tokens used, as far as they are known: they are counted even if the answer never gets
    /// whole. Output that the server did not count is estimated, at `max_output_tokens` at most.
    fn usage(&self, max_output_tokens: u64) -> Usage;

    /// The answer, at its end or at the end of the body, whichever came first.
    fn finish(self) -> Result<Answer, Fault>;
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More of the answer follows.
    More,
    /// The reason to stop is known. What may still come is usage.
    Stopped,
    /// The reason to stop and the usage are known. What may still come is the mark of the end.
    Counted,
    /// That was all of the answer.
    Done,
}

/// The content of a response that could be decoded.
pub(super) struct Answer {
    pub(super) content: Vec<Part>,
    pub(super) stop_reason: StopReason,
    /// The provider's name for the model that it served.
    pub(super) served_model: Option<String>,
}

/// A part of an answer.
pub(super) struct Part {
    pub(super) content: AssistantContent,
    /// The provider's own block, if the provider wants it back.
    pub(super) original: Option<serde_json::Value>,
}

/// Why a response with status 200 has no answer.
pub(super) enum Fault {
    /// The response reports an error of the provider.
    ProviderError(ModelErrorKind, ErrorBody),
    /// The response is not in the documented form.
    Malformed(Malformed),
    /// The response is well-formed, but its content is impossible. The text says why, and quotes
    /// nothing.
    Inconsistent(&'static str),
    /// The response ended too early.
    Truncated,
    /// The server says that it aborted the answer.
    Aborted,
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.into())
    }
}

/// A body is not JSON, or not the documented JSON. Only the place of the error is recorded, because
/// the parser's message quotes the body.
#[derive(Debug, thiserror::Error)]
#[error("{category:?} error at line {line} column {column} of the body")]
pub(super) struct Malformed {
    pub(super) category: serde_json::error::Category,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        }
    }
}
