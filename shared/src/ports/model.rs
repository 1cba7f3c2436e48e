//! Language models.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{ModelAnswer, ModelRequest, Provider, Upstream};

/// Answers questions.
///
/// One behaviour is one implementation that wraps another, so that a stack of them reads as a list.
#[async_trait]
pub trait Model: Send + Sync {
    /// Asks once and waits at most `timeout` for the whole answer. Never retries.
    async fn ask(&self, request: &ModelRequest, timeout: Duration) -> Result<ModelAnswer, ModelError>;
}

/// A model call failed.
#[derive(Debug, thiserror::Error)]
#[error("{provider} {kind}")]
pub struct ModelError {
    /// The provider that was asked.
    pub provider: Provider,
    /// What the caller can do about it.
    pub kind: ModelErrorKind,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The provider's id for the exchange, if it gave one.
    pub request_id: Option<String>,
    /// The cause underneath, for logs. Never holds a prompt, an answer or a key.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl ModelError {
    /// The provider's part in a task's failure.
    pub fn upstream(&self) -> Upstream {
        Upstream { provider: self.provider, status: self.status, request_id: self.request_id.clone() }
    }
}

/// What the caller can do about a failed model call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelErrorKind {
    /// Could not be reached, broke off, or answered with a server error: try again later or elsewhere.
    #[error("is unavailable")]
    Unavailable,
    /// Did not answer in time.
    #[error("did not answer in time")]
    Timeout,
    /// Asks to slow down: try again after the wait, if it names one.
    #[error("asks to slow down")]
    RateLimited {
        /// The wait that the provider asks for.
        retry_after: Option<Duration>,
    },
    /// The account's quota, credit or spend limit is used up: nothing but a person helps.
    #[error("says that the account's quota is used up")]
    QuotaExhausted,
    /// The key is refused or can't be read: nothing but a person helps.
    #[error("refuses the key")]
    Authentication,
    /// The request is refused, such as for an unknown model: the same request will be refused again.
    #[error("refuses the request")]
    Rejected,
    /// The input doesn't fit into the model's context window.
    #[error("says that the input is too long for the model")]
    ContextTooLong,
    /// The answer is not in the documented form, or too large.
    #[error("gave an answer that can't be understood")]
    BadAnswer,
}
