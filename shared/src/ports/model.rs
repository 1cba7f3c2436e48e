//! Language models.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{
    BudgetScope, FailedAttempt, FailureCode, ModelAnswer, ModelRef, ModelRequest, ProviderError,
    Spend, Timestamp, Wait, WaitReason,
};

/// Answers questions.
///
/// One behaviour is one implementation that wraps another, so that a stack of them reads as a list.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks, and comes back with an answer or an error before the request's deadline.
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError>;
}

/// A model call failed.
#[derive(Debug, thiserror::Error)]
#[error("{} {kind}", .model.provider())]
pub struct ModelError {
    /// The model that was asked.
    pub model: ModelRef,
    /// What the caller can do about it.
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
    /// What was spent on this and the earlier attempts: a broken answer is paid too.
    pub spend: Spend,
    /// The attempts before this one, in order.
    pub earlier: Vec<FailedAttempt>,
    /// The cause underneath, for logs. Never holds a prompt, an answer or a key.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// What the caller can do about a failed model call.
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
    #[error("is not asked before it recovers")]
    CircuitOpen {
        /// When it is asked again.
        until: Timestamp,
    },
    /// Worth another try, but not within this call.
    #[error("{}", advice(.0.reason))]
    Park(Wait),
    /// The same, but maybe sooner: of several models, at least one is out of service and named no
    /// wait.
    #[error("is better asked again later")]
    ParkAtMost(Wait),
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
    /// The key could not be read just now; the provider was not asked.
    #[error("could not be asked without its key")]
    KeyUnavailable,
    /// The request is refused, such as for an unknown model: the same request will be refused
    /// again.
    #[error("refuses the request")]
    Rejected,
    /// The input doesn't fit into the model's context window, or is larger than the provider takes.
    #[error("says that the input is too long for the model")]
    ContextTooLong,
    /// The vendor's filter declines to answer: the same request will be declined again.
    #[error("declines to answer")]
    Refused,
    /// The response is unreadable, empty or too large, or the vendor says that its model made a bad
    /// one. Another attempt or another model may succeed.
    #[error("gave an answer that can't be understood")]
    BadAnswer,
    /// The call could pass this cap on cost; it was not made.
    #[error("is not asked, because the call could pass the {0}'s cap on cost")]
    BudgetExhausted(BudgetScope),
    /// A cap on cost can't be kept, because the model has no price; the call was not made.
    #[error("is not asked, because a cap on cost can't be kept for a model without a price")]
    Unpriced,
}

impl ModelError {
    /// The error of a call that was not made, or of which nothing else is known.
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
            spend,
            earlier,
            source: None,
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

    /// All attempts, this one last. Advice to park is none: it says what to do after those before
    /// it.
    pub fn attempts(&self) -> Vec<FailedAttempt> {
        let this = if self.kind.is_advice() {
            None
        } else {
            Some(self.attempt())
        };
        self.earlier.iter().cloned().chain(this).collect()
    }

    /// What went wrong: the failure after which it is advised to park, or else this one.
    pub fn trouble(&self) -> &Self {
        self.advised_after().unwrap_or(self)
    }

    fn advised_after(&self) -> Option<&Self> {
        self.source
            .as_ref()
            .filter(|_| self.kind.is_advice())?
            .downcast_ref()
    }

    /// The same failure for one who waited for the outcome and paid nothing. Of its causes, it has
    /// what went wrong.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self {
            status: self.status,
            request_id: self.request_id.clone(),
            said: self.said.clone(),
            should_retry: self.should_retry,
            earlier: self.earlier.clone(),
            source: self.advised_after().map(|trouble| trouble.shared().into()),
            ..Self::new(self.model.clone(), self.kind.clone())
        }
    }

    /// Whether the same request to the same model may succeed soon: the rules of the vendors' own
    /// clients, but for a quota that is used up, which no header brings back.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind, ModelErrorKind::QuotaExhausted)
            && self
                .should_retry
                .unwrap_or_else(|| self.kind.is_retryable())
    }
}

impl ModelErrorKind {
    /// Whether it says what to do, and not what went wrong.
    pub const fn is_advice(&self) -> bool {
        matches!(self, Self::Park(_) | Self::ParkAtMost(_))
    }

    /// Whether the same request to the same model may succeed soon.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Timeout
            | Self::RateLimited
            | Self::KeyUnavailable
            | Self::BadAnswer => true,
            Self::CircuitOpen { .. }
            | Self::Park(_)
            | Self::ParkAtMost(_)
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

    /// Whether another model may do what this one can't just now, and this one may do it later.
    /// What a cap on cost forbids is no model's outage.
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable
            | Self::Timeout
            | Self::RateLimited
            | Self::KeyUnavailable
            | Self::BadAnswer
            | Self::CircuitOpen { .. } => true,
            Self::Park(wait) | Self::ParkAtMost(wait) => match wait.reason {
                WaitReason::RetryAfter
                | WaitReason::Breaker
                | WaitReason::RateLimit
                | WaitReason::SingleFlight
                | WaitReason::OutOfTime => true,
                WaitReason::Budget | WaitReason::Concurrency => false,
            },
            Self::QuotaExhausted
            | Self::Authentication
            | Self::KeyMissing
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
            Self::Unavailable => FailureCode::ModelUnavailable,
            Self::Park(wait) | Self::ParkAtMost(wait) => match wait.reason {
                WaitReason::RetryAfter
                | WaitReason::Breaker
                | WaitReason::RateLimit
                | WaitReason::SingleFlight
                | WaitReason::Concurrency => FailureCode::ModelUnavailable,
                WaitReason::OutOfTime => FailureCode::ModelTimeout,
                WaitReason::Budget => FailureCode::BudgetExhausted,
            },
            Self::Timeout => FailureCode::ModelTimeout,
            Self::RateLimited => FailureCode::ModelRateLimited,
            Self::CircuitOpen { .. } => FailureCode::ModelCircuitOpen,
            Self::QuotaExhausted => FailureCode::ModelQuotaExhausted,
            Self::Authentication => FailureCode::ModelAuthentication,
            Self::KeyMissing | Self::KeyUnavailable => FailureCode::ModelKeyUnavailable,
            Self::Rejected => FailureCode::ModelRejected,
            Self::ContextTooLong => FailureCode::ContextTooLong,
            Self::Refused => FailureCode::ModelRefused,
            Self::BadAnswer => FailureCode::ModelBadAnswer,
            Self::BudgetExhausted(_) => FailureCode::BudgetExhausted,
            Self::Unpriced => FailureCode::ModelUnpriced,
        }
    }
}

/// What is said of a model that is to be asked again later.
const fn advice(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::OutOfTime => "did not answer before the time was up",
        WaitReason::SingleFlight => "is being asked the same for another task",
        WaitReason::Budget => "is not asked before open calls leave room under a cap on cost",
        WaitReason::RetryAfter
        | WaitReason::Breaker
        | WaitReason::RateLimit
        | WaitReason::Concurrency => "is better asked again later",
    }
}
