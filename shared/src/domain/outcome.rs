//! How tasks end: with an output, or with a failure in terms that its owner can act on.

use super::call::{FailedAttempt, Origin, StopReason};
use super::chain::ModelRef;
use super::failure_code::FailureCode;
use super::hidden::Hidden;
use super::limits::LimitKind;
use super::setbacks::Setbacks;
use super::usage::Usage;

/// What a completed task produced.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The answer.
    #[debug("{}", Hidden(text))]
    pub text: String,
    /// Why the model stopped.
    pub stop_reason: StopReason,
    /// The model of the agent's chain that answered.
    pub model: ModelRef,
    /// The tokens of the answer.
    pub usage: Usage,
    /// Where the answer came from.
    pub origin: Origin,
}

/// Why a task failed, in terms that its owner can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub code: FailureCode,
    /// A sentence for people. It contains only those parts of a provider's text that can't repeat
    /// the prompt.
    pub message: String,
    /// The model calls that led to it, if any did: each attempt, in order.
    pub attempts: Vec<FailedAttempt>,
}

impl Failure {
    /// A failure without model attempts: no model caused it.
    pub fn of_its_own(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            attempts: Vec::new(),
        }
    }

    /// The failure of a task that reached a limit.
    pub fn limit_reached(limit: LimitKind) -> Self {
        Self::of_its_own(
            FailureCode::LimitReached,
            format!("the task reached its {limit}: raise {}", limit.setting()),
        )
    }

    /// The limit that the task reached, if that is why it failed. The cap on cost may be another
    /// budget's: [`Setbacks::cap`] says whose.
    pub fn limit(&self) -> Option<LimitKind> {
        if self.code == FailureCode::BudgetExhausted {
            return Some(LimitKind::Budget);
        }
        LimitKind::ALL
            .into_iter()
            .find(|limit| *self == Self::limit_reached(*limit))
    }

    /// The failure of a task whose attempts are used up, because its workers were lost or failed.
    pub(super) fn attempts_exhausted(attempts: u64, steps: u32, setbacks: &Setbacks) -> Self {
        let message = format!(
            "failed after {attempts} attempts without progress: workers were lost or could not record their results; since \
             step {steps}, they reported {setbacks}"
        );
        Self::of_its_own(FailureCode::AttemptsExhausted, message)
    }

    /// The failure of a task that used too many invocations.
    pub(super) fn hops_exhausted(hops: u32) -> Self {
        Self::of_its_own(
            FailureCode::HopsExhausted,
            format!("failed after {hops} invocations"),
        )
    }

    /// The failure of a task whose client did not answer in time.
    pub(super) fn input_expired() -> Self {
        Self::of_its_own(
            FailureCode::InputExpired,
            "the client sent no valid tool results in time: raise input_timeout_seconds, or retry the task",
        )
    }

    /// The failure of a task whose messages led to no claim.
    pub(super) fn undeliverable(messages: u32, steps: u32) -> Self {
        let message = format!(
            "no worker could claim the task after {messages} messages; {steps} steps are recorded"
        );
        Self::of_its_own(FailureCode::Undeliverable, message)
    }
}
