//! How tasks end: with an output, or with a failure in terms that its owner can act on.

use serde::{Deserialize, Serialize};

use super::call::{FailedAttempt, Origin, StopReason};
use super::chain::ModelRef;
use super::hidden::Hidden;
use super::limits::LimitKind;
use super::task::Setbacks;
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
    /// A sentence for people. Of a vendor's text it has only what can't repeat the prompt.
    pub message: String,
    /// The model calls that led to it, if any did: each attempt, in order.
    pub attempts: Vec<FailedAttempt>,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The provider could not be reached or answered with a server error.
    ModelUnavailable,
    /// The provider didn't answer in time.
    ModelTimeout,
    /// The provider asks to slow down.
    ModelRateLimited,
    /// The provider's quota or credit is used up.
    ModelQuotaExhausted,
    /// The provider refuses the key.
    ModelAuthentication,
    /// The provider's key could not be read just now.
    ModelKeyUnavailable,
    /// The breaker of the model is open: too many calls before this one failed.
    ModelCircuitOpen,
    /// The provider refuses the request, such as for an unknown model.
    ModelRejected,
    /// The input is larger than the model's context window.
    ContextTooLong,
    /// The model, or the vendor's filter, declined to answer.
    ModelRefused,
    /// The provider's answer is empty or not in its documented form.
    ModelBadAnswer,
    /// The next model call could pass the task's or the tenant's cap on cost.
    BudgetExhausted,
    /// The model has no price, and a cap on cost can't be kept without one.
    ModelUnpriced,
    /// The answer is too large to be stored.
    OutputTooLarge,
    /// The agent version is gone.
    AgentMissing,
    /// The task used up its attempts without a result; see
    /// [`MAX_ATTEMPTS`](super::task::MAX_ATTEMPTS).
    AttemptsExhausted,
    /// The task reached one of its limits.
    LimitReached,
    /// The task went through too many invocations; see [`MAX_HOPS`](super::task::MAX_HOPS).
    HopsExhausted,
    /// The model kept calling tools in a way that they can't be called.
    BadToolCalls,
    /// The task's client did not answer in time.
    InputExpired,
    /// The queue gave up on the task's messages before any worker could claim the task.
    Undeliverable,
}

impl FailureCode {
    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelUnavailable => "model_unavailable",
            Self::ModelTimeout => "model_timeout",
            Self::ModelRateLimited => "model_rate_limited",
            Self::ModelQuotaExhausted => "model_quota_exhausted",
            Self::ModelAuthentication => "model_authentication",
            Self::ModelKeyUnavailable => "model_key_unavailable",
            Self::ModelCircuitOpen => "model_circuit_open",
            Self::ModelRejected => "model_rejected",
            Self::ContextTooLong => "context_too_long",
            Self::ModelRefused => "model_refused",
            Self::ModelBadAnswer => "model_bad_answer",
            Self::BudgetExhausted => "budget_exhausted",
            Self::ModelUnpriced => "model_unpriced",
            Self::OutputTooLarge => "output_too_large",
            Self::AgentMissing => "agent_missing",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::LimitReached => "limit_reached",
            Self::HopsExhausted => "hops_exhausted",
            Self::BadToolCalls => "bad_tool_calls",
            Self::InputExpired => "input_expired",
            Self::Undeliverable => "undeliverable",
        }
    }

    /// Whether the cause is the client's: its agent, input or limits, or that it did nothing. Of
    /// the others, the platform, its deployment or a provider is the cause.
    pub const fn is_of_client(self) -> bool {
        match self {
            Self::ModelRejected
            | Self::ContextTooLong
            | Self::ModelRefused
            | Self::BudgetExhausted
            | Self::ModelUnpriced
            | Self::OutputTooLarge
            | Self::AgentMissing
            | Self::LimitReached
            | Self::HopsExhausted
            | Self::BadToolCalls
            | Self::InputExpired => true,
            Self::ModelUnavailable
            | Self::ModelTimeout
            | Self::ModelRateLimited
            | Self::ModelQuotaExhausted
            | Self::ModelAuthentication
            | Self::ModelKeyUnavailable
            | Self::ModelCircuitOpen
            | Self::ModelBadAnswer
            | Self::AttemptsExhausted
            | Self::Undeliverable => false,
        }
    }

    /// Whether the task was given up by the platform rather than ended by an answer about it.
    pub const fn is_dead_letter(self) -> bool {
        matches!(self, Self::AttemptsExhausted | Self::Undeliverable)
    }
}

impl Failure {
    /// A failure in which no model had a part.
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

    /// The failure of a task whose workers all disappeared.
    pub(super) fn attempts_exhausted(attempts: u64, steps: u32, setbacks: &Setbacks) -> Self {
        let message = format!(
            "given up after {attempts} attempts that came to nothing: workers were lost or could not record what they did; since \
             step {steps}, they reported {setbacks}"
        );
        Self::of_its_own(FailureCode::AttemptsExhausted, message)
    }

    /// The failure of a task that never ends.
    pub(super) fn hops_exhausted(hops: u32) -> Self {
        Self::of_its_own(
            FailureCode::HopsExhausted,
            format!("given up after {hops} invocations"),
        )
    }

    /// The failure of a task whose client stayed silent.
    pub(super) fn input_expired() -> Self {
        Self::of_its_own(
            FailureCode::InputExpired,
            "no answer came in time: raise input_timeout_seconds or retry",
        )
    }

    /// The failure of a task whose messages no worker could take.
    pub(super) fn undeliverable(messages: u32, steps: u32) -> Self {
        let message = format!(
            "{messages} messages for it were delivered in vain: no worker could claim the task; {steps} steps are recorded"
        );
        Self::of_its_own(FailureCode::Undeliverable, message)
    }
}
