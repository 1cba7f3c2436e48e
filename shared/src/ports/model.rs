//! Language models.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    BudgetScope, CircuitCause, FailedAttempt, FailureCode, ModelAnswer, ModelRef, ModelRequest,
    ProviderError, Spend, Timestamp, Wait, WaitReason,
};

/// Calls a model.
///
/// One behaviour is one implementation that wraps another, so that a stack of them reads as a list.
#[async_trait]
pub trait Model: Send + Sync {
    /// Makes the call. Returns an answer or an error before the request's deadline.
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError>;
}

/// A model call failed.
#[derive(Debug, thiserror::Error)]
#[error("{} {kind}", .model.provider())]
pub struct ModelError {
    /// The model that was called.
    pub model: ModelRef,
    /// What went wrong.
    pub kind: ModelErrorKind,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The provider's id for the exchange, if it gave one.
    pub request_id: Option<String>,
    /// What the provider said of it, as far as it is fit for logs.
    pub said: Option<Box<ProviderError>>,
    /// The provider's own word on whether another try makes sense (`x-should-retry`), which goes
    /// before ours.
    pub should_retry: Option<bool>,
    /// The wait that the provider asks for before another try.
    pub retry_after: Option<Duration>,
    /// When another call may succeed, if a layer knows; the task's own backoff decides otherwise.
    pub recovery: Option<Recovery>,
    /// The circuit that refused the call, if one did.
    pub circuit: Option<Box<OpenCircuit>>,
    /// What was spent on this and the earlier attempts: a broken answer is paid too.
    pub spend: Spend,
    /// The attempts before this one, in order.
    pub earlier: Vec<FailedAttempt>,
    /// The cause underneath, for logs. Never holds a prompt, an answer or a key.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// A circuit that refuses calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCircuit {
    /// Its model.
    pub model: ModelRef,
    /// Why it is open.
    pub cause: CircuitCause,
    /// Until when it refuses calls.
    pub until: Timestamp,
}

/// When another call may succeed after a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// The end of the wait, and what is waited for.
    pub wait: Wait,
    /// Whether a model may recover before that: at least one is out of service and named no wait.
    pub maybe_sooner: bool,
}

impl Recovery {
    /// At the end of this wait, and not before.
    pub const fn at(wait: Wait) -> Self {
        Self {
            wait,
            maybe_sooner: false,
        }
    }

    /// At the end of this wait, or before.
    pub const fn by(wait: Wait) -> Self {
        Self {
            wait,
            maybe_sooner: true,
        }
    }
}

/// What went wrong with a model call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelErrorKind {
    /// Could not be reached, broke off, or answered with a server error: try again later or
    /// elsewhere.
    #[error("is unavailable")]
    Unavailable,
    /// Did not answer in time.
    #[error("did not answer in time")]
    Timeout,
    /// Asks to slow down: try again later.
    #[error("asks to slow down")]
    RateLimited,
    /// Too many calls before this one failed; it was not made.
    #[error("is not called before it recovers")]
    CircuitOpen,
    /// The request's deadline ended the call, or came before it. Says nothing about the model.
    #[error("did not answer before the time was up")]
    OutOfTime,
    /// Another process makes the same request; the call was not made.
    #[error("is working on the same request for another task")]
    InFlight,
    /// Open calls have reserved what a cap on cost leaves, or the cap can't be checked now; the
    /// call was not made.
    #[error("is not called before open calls leave room under a cap on cost")]
    BudgetReserved,
    /// The account's quota, credit or spend limit is used up: nothing but a person helps.
    #[error("says that the account's quota is used up")]
    QuotaExhausted,
    /// The key is refused: nothing but a person helps.
    #[error("refuses the key")]
    Authentication,
    /// There is no key that could be sent, or none is set and the provider wants one: nothing but a
    /// person helps.
    #[error("has no usable key")]
    KeyMissing,
    /// The key could not be read just now; the provider was not called.
    #[error("could not be called without its key")]
    KeyUnavailable,
    /// The request is refused, such as for an unknown model: the same request will be refused
    /// again.
    #[error("refuses the request")]
    Rejected,
    /// The input doesn't fit into the model's context window, or is larger than the provider takes.
    #[error("says that the input is too long for the model")]
    ContextTooLong,
    /// The provider's filter declines to answer: the same request will be declined again.
    #[error("declines to answer")]
    Refused,
    /// The response is unreadable, empty or too large, or the provider says that its model made a
    /// bad one. Another attempt or another model may succeed.
    #[error("gave an answer that can't be understood")]
    BadAnswer,
    /// The call could pass this cap on cost; it was not made.
    #[error("is not called, because the call could pass the {0}'s cap on cost")]
    BudgetExhausted(BudgetScope),
    /// A cap on cost can't be enforced, because the model has no price; the call was not made.
    #[error("is not called, because a cap on cost can't be enforced for a model without a price")]
    Unpriced,
}

impl ModelError {
    /// The error of a call that was not made, or about which nothing else is known.
    pub fn new(model: ModelRef, kind: ModelErrorKind) -> Self {
        let (spend, earlier) = (Spend::default(), Vec::new());
        Self {
            model,
            kind,
            status: None,
            request_id: None,
            said: None,
            should_retry: None,
            retry_after: None,
            recovery: None,
            circuit: None,
            spend,
            earlier,
            source: None,
        }
    }

    /// The same failure, after which another call may succeed then.
    #[must_use]
    pub fn with_recovery(self, recovery: Recovery) -> Self {
        Self {
            recovery: Some(recovery),
            ..self
        }
    }

    /// This failure as one attempt.
    pub fn attempt(&self) -> FailedAttempt {
        FailedAttempt {
            model: self.model.clone(),
            code: self.kind.code(),
            status: self.status,
            request_id: self.request_id.clone(),
            said: self.said.clone(),
        }
    }

    /// All attempts, this one last, unless it says nothing about the model.
    pub fn attempts(&self) -> Vec<FailedAttempt> {
        let this = if self.kind.is_attempt() {
            Some(self.attempt())
        } else {
            None
        };
        self.earlier.iter().cloned().chain(this).collect()
    }

    /// The same failure for a caller that waited for the outcome and paid nothing. Its source is
    /// left out.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            status: self.status,
            request_id: self.request_id.clone(),
            said: self.said.clone(),
            should_retry: self.should_retry,
            recovery: self.recovery,
            circuit: self.circuit.clone(),
            earlier: self.earlier.clone(),
            ..Self::new(self.model.clone(), self.kind.clone())
        }
    }

    /// Whether the same request to the same model may succeed within this call. The rules are those
    /// of the providers' own clients, with two exceptions: no header restores an exhausted quota,
    /// and an inner layer that says when to come back has decided already.
    pub fn is_retryable(&self) -> bool {
        self.recovery.is_none()
            && self.kind != ModelErrorKind::QuotaExhausted
            && self
                .should_retry
                .unwrap_or_else(|| self.kind.is_retryable())
    }

    /// Whether another model may answer now, and this one later. What a cap on cost forbids is no
    /// model's outage.
    pub fn is_outage(&self) -> bool {
        match self.recovery {
            Some(recovery) => match recovery.wait.reason {
                WaitReason::RetryAfter
                | WaitReason::Breaker
                | WaitReason::RateLimit
                | WaitReason::SingleFlight
                | WaitReason::OutOfTime => true,
                WaitReason::Budget
                | WaitReason::Concurrency
                | WaitReason::AgentDisabled
                | WaitReason::NotBefore
                | WaitReason::TenantSuspended => false,
            },
            None => self.kind.is_outage(),
        }
    }
}

impl ModelErrorKind {
    /// Whether it counts as an attempt on the model. The others say nothing about the model: the
    /// platform's own time, single flight or budget was in the way.
    pub const fn is_attempt(&self) -> bool {
        !matches!(
            self,
            Self::OutOfTime | Self::InFlight | Self::BudgetReserved
        )
    }

    /// Whether the same request to the same model may succeed soon.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Timeout
            | Self::RateLimited
            | Self::KeyUnavailable
            | Self::BadAnswer => true,
            Self::CircuitOpen
            | Self::OutOfTime
            | Self::InFlight
            | Self::BudgetReserved
            | Self::QuotaExhausted
            | Self::Authentication
            | Self::KeyMissing
            | Self::Rejected
            | Self::ContextTooLong
            | Self::Refused
            | Self::BudgetExhausted(_)
            | Self::Unpriced => false,
        }
    }

    const fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Timeout
            | Self::RateLimited
            | Self::KeyUnavailable
            | Self::BadAnswer
            | Self::CircuitOpen
            | Self::OutOfTime
            | Self::InFlight => true,
            Self::BudgetReserved
            | Self::QuotaExhausted
            | Self::Authentication
            | Self::KeyMissing
            | Self::Rejected
            | Self::ContextTooLong
            | Self::Refused
            | Self::BudgetExhausted(_)
            | Self::Unpriced => false,
        }
    }

    /// Whether it says something about the provider, or the deployment's access to it. The other
    /// failures are of the request, of its time or its caps, or of a call that was not made.
    pub const fn is_of_provider(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Timeout
            | Self::RateLimited
            | Self::QuotaExhausted
            | Self::Authentication
            | Self::KeyMissing
            | Self::KeyUnavailable
            | Self::BadAnswer => true,
            Self::CircuitOpen
            | Self::OutOfTime
            | Self::InFlight
            | Self::BudgetReserved
            | Self::Rejected
            | Self::ContextTooLong
            | Self::Refused
            | Self::BudgetExhausted(_)
            | Self::Unpriced => false,
        }
    }

    /// Whether the deployment may not use the provider until a person mends a key or an account.
    pub const fn is_of_access(&self) -> bool {
        matches!(
            self,
            Self::Authentication | Self::KeyMissing | Self::QuotaExhausted
        )
    }

    /// What the failure is called to the task's owner.
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::Unavailable | Self::InFlight => FailureCode::ModelUnavailable,
            Self::Timeout | Self::OutOfTime => FailureCode::ModelTimeout,
            Self::RateLimited => FailureCode::ModelRateLimited,
            Self::CircuitOpen => FailureCode::ModelCircuitOpen,
            Self::QuotaExhausted => FailureCode::ModelQuotaExhausted,
            Self::Authentication => FailureCode::ModelAuthentication,
            Self::KeyMissing | Self::KeyUnavailable => FailureCode::ModelKeyUnavailable,
            Self::Rejected => FailureCode::ModelRejected,
            Self::ContextTooLong => FailureCode::ContextTooLong,
            Self::Refused => FailureCode::ModelRefused,
            Self::BadAnswer => FailureCode::ModelBadAnswer,
            Self::BudgetExhausted(_) | Self::BudgetReserved => FailureCode::BudgetExhausted,
            Self::Unpriced => FailureCode::ModelUnpriced,
        }
    }
}
