//! The kinds of failure of a task.

use serde::{Deserialize, Serialize};

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
    /// The model, or the provider's filter, declined to answer.
    ModelRefused,
    /// The provider's answer is empty or not in its documented form.
    ModelBadAnswer,
    /// The next model call could pass the task's or the tenant's cap on cost.
    BudgetExhausted,
    /// The model has no price, and a cap on cost can't be enforced without one.
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
    /// The model repeatedly called tools that do not exist, or with arguments that do not fit.
    BadToolCalls,
    /// The model repeatedly called tools in ways that their rules forbid.
    BlockedToolCalls,
    /// The task's client did not answer in time.
    InputExpired,
    /// The queue moved the task's messages to the dead-letter queue before any worker could claim
    /// the task.
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
            Self::BlockedToolCalls => "blocked_tool_calls",
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
            | Self::BlockedToolCalls
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

    /// Whether the platform failed the task for good: the task is a dead letter.
    pub const fn is_dead_letter(self) -> bool {
        matches!(self, Self::AttemptsExhausted | Self::Undeliverable)
    }
}
