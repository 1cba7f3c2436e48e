//! Where servers with the Chat Completions API report errors in answers with status 200.

use serde_json::Value;

use crate::llm::dialect::Fault;
use crate::llm::failure::ErrorBody;

/// The error that a body or chunk with status 200 reports, if it does. `{"error": …}` is the rule,
/// vLLM had `{"object": "error", …}`, and some frameworks have `{"detail": …}`.
pub(super) fn error_in(body: &Value) -> Option<&Value> {
    let error = body.get("error").filter(|error| !error.is_null());
    let is_error = body.get("object").is_some_and(|object| object == "error");
    error
        .or_else(|| is_error.then_some(body))
        .or_else(|| body.get("detail").filter(|_| body.get("choices").is_none()))
}

/// What an error means that came with status 200.
pub(super) fn fault(error: &Value) -> Fault {
    let error_body = ErrorBody::from_error(error);
    Fault::ProviderError(error_body.kind_despite_success(), error_body)
}
