//! What answers and failures of models make of their task, in words that its owner can act on.

use crate::domain::{Failure, FailureCode, Output, StepKind, StopReason, Upstream};
use crate::ports::ModelError;
use crate::ports::model::ModelErrorKind;

/// What a recorded answer makes of its task.
pub(super) fn outcome_of(recorded: StepKind) -> Result<Output, Failure> {
    let StepKind::ModelCall { requested, answer } = recorded;
    let model = requested.name();
    let (code, message) = match answer.stop_reason {
        StopReason::Refusal => (FailureCode::ModelRefused, format!("{model} declined to answer")),
        StopReason::MaxTokens if answer.text.is_empty() => (
            FailureCode::ModelBadAnswer,
            format!("{model} used up all its tokens before it said anything: raise max_output_tokens"),
        ),
        _ if answer.text.is_empty() => (FailureCode::ModelBadAnswer, format!("{model} gave an empty answer")),
        StopReason::EndTurn | StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Other => {
            return Ok(Output { text: answer.text, stop_reason: answer.stop_reason, usage: answer.usage });
        }
    };
    let upstream = Upstream { provider: requested.provider(), status: None, request_id: answer.request_id };
    Err(Failure { code, message, upstream: Some(upstream) })
}

/// The failure of a task whose answer doesn't fit into the store.
pub(super) fn too_large() -> Failure {
    Failure {
        code: FailureCode::OutputTooLarge,
        message: "the answer is too large to be kept; lower max_output_tokens".to_owned(),
        upstream: None,
    }
}

/// What a failed model call makes of its task.
pub(super) fn failure_of(error: &ModelError) -> Failure {
    let (code, advice) = match error.kind {
        ModelErrorKind::Unavailable => (FailureCode::ModelUnavailable, "submit the task again later"),
        ModelErrorKind::Timeout => (FailureCode::ModelTimeout, "ask for less output or submit the task again later"),
        ModelErrorKind::RateLimited { .. } => (FailureCode::ModelRateLimited, "submit the task again later"),
        ModelErrorKind::QuotaExhausted => {
            (FailureCode::ModelQuotaExhausted, "raise the quota or spend limit at the provider")
        }
        ModelErrorKind::Authentication => {
            (FailureCode::ModelAuthentication, "check the provider's key in Secrets Manager")
        }
        ModelErrorKind::Rejected => (FailureCode::ModelRejected, "check the agent's model name and limits"),
        ModelErrorKind::ContextTooLong => (FailureCode::ContextTooLong, "shorten the input or take a larger model"),
        ModelErrorKind::BadAnswer => (FailureCode::ModelBadAnswer, "check the provider's base URL and status"),
    };
    let Upstream { provider, status, request_id } = error.upstream();
    let kind = &error.kind;
    let message = match status {
        Some(status) => format!("{provider} {kind} (HTTP status {status}): {advice}"),
        None => format!("{provider} {kind}: {advice}"),
    };
    Failure { code, message, upstream: Some(Upstream { provider, status, request_id }) }
}
