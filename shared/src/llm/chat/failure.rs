//! What the errors of servers with the Chat Completions API mean.
//!
//! They have no names in common, so they are told by their wording too. The start of a message is enough for that: what
//! comes after it may quote the prompt.

use serde_json::Value;

use crate::llm::dialect::Fault;
use crate::llm::failure::Complaint;
use crate::ports::ModelErrorKind;

/// How much of a message is looked at: enough for the prefixes of gateways.
const MAX_WORDING_BYTES: usize = 256;

/// How servers say that the input is too long, in lower case.
const TOO_LONG: [&str; 9] = [
    // OpenAI, vLLM, DeepSeek, OpenRouter, SGLang
    "maximum context length",
    // vLLM
    "longer than the maximum model length",
    // SGLang
    "longer than the model's context length",
    // llama.cpp, Ollama
    "exceeds the available context size",
    // Ollama
    "exceeds the context length",
    "exceeded max context length",
    // LiteLLM
    "contextwindowexceedederror",
    // Anthropic's and OpenAI's models behind gateways
    "prompt is too long",
    "exceeds the context window",
];

/// How the vendors behind gateways say that a quota or a credit is used up, in lower case.
const USED_UP: [&str; 4] = [
    // OpenAI
    "you exceeded your current quota",
    // Anthropic
    "your credit balance is too low",
    "you have reached your specified api usage limits",
    "you have reached your specified workspace api usage limits",
];

/// What the servers' names for errors mean, where the status leaves it open.
pub(super) fn kind_by_name(complaint: &Complaint) -> Option<ModelErrorKind> {
    let names = [complaint.r#type.as_str(), complaint.code.as_str()];
    let is_named = |name: &str| names.contains(&name);
    let start = complaint.message.floor_char_boundary(MAX_WORDING_BYTES);
    let wording = complaint.message.get(..start).unwrap_or_default().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| wording.contains(words));
    if complaint.is_used_up() || says(&USED_UP) {
        Some(ModelErrorKind::QuotaExhausted)
    } else if is_named("context_length_exceeded") || is_named("exceed_context_size_error") || says(&TOO_LONG) {
        Some(ModelErrorKind::ContextTooLong)
    } else {
        None
    }
}

/// The error that a body or chunk with status 200 reports, if it does. `{"error": …}` is the rule, vLLM had
/// `{"object": "error", …}`, and some frameworks have `{"detail": …}`.
pub(super) fn complaint_in(body: &Value) -> Option<&Value> {
    let error = body.get("error").filter(|error| !error.is_null());
    let is_error = body.get("object").is_some_and(|object| object == "error");
    error.or_else(|| is_error.then_some(body)).or_else(|| body.get("detail").filter(|_| body.get("choices").is_none()))
}

/// What an error means that came with status 200. Where its code is a status, it means what that does.
pub(super) fn fault(error: &Value) -> Fault {
    let complaint = Complaint::from_error(error);
    let code = error.get("code");
    let number = code.and_then(Value::as_u64).or_else(|| code?.as_str()?.parse().ok());
    let by_name = kind_by_name(&complaint);
    let kind = match number.unwrap_or_default() {
        401 | 403 => ModelErrorKind::Authentication,
        402 => ModelErrorKind::QuotaExhausted,
        408 => ModelErrorKind::Timeout,
        413 => by_name.unwrap_or(ModelErrorKind::ContextTooLong),
        429 => by_name.unwrap_or(ModelErrorKind::RateLimited),
        409 => ModelErrorKind::Unavailable,
        400..=499 => by_name.unwrap_or(ModelErrorKind::Rejected),
        _ if is_request_refused(&complaint) => by_name.unwrap_or(ModelErrorKind::Rejected),
        _ if complaint.r#type.starts_with("rate_limit") || complaint.code.starts_with("rate_limit") => {
            ModelErrorKind::RateLimited
        }
        _ => by_name.unwrap_or(ModelErrorKind::Unavailable),
    };
    Fault::Complaint(kind, complaint)
}

fn is_request_refused(complaint: &Complaint) -> bool {
    ["invalid_request_error", "BadRequestError", "NotFoundError"].contains(&complaint.r#type.as_str())
}
