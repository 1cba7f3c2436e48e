//! Checks whether the services that the platform needs answer.

use std::error::Error;

use async_trait::async_trait;

use super::{SecretError, StoreError};

/// Why a service can't be used. Anyone may read the text, because `/readyz` needs no key.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The service does not exist, or may not be used: a mistake in the deployment.
    #[error("is missing, or the platform may not use it")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The service throttles requests.
    #[error("throttles requests")]
    Throttled(#[source] Box<dyn Error + Send + Sync>),
    /// The service does not answer, or answers that it failed.
    #[error("does not answer")]
    Silent(#[source] Box<dyn Error + Send + Sync>),
}

impl From<StoreError> for NoAnswer {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Throttled(_) => Self::Throttled(Box::new(error)),
            StoreError::Refused(_) => Self::Refused(Box::new(error)),
            StoreError::Conflict
            | StoreError::Unavailable(_)
            | StoreError::TooLarge
            | StoreError::Cursor
            | StoreError::Corrupt { .. } => Self::Silent(Box::new(error)),
        }
    }
}

impl From<SecretError> for NoAnswer {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Missing { .. } => Self::Refused(Box::new(error)),
            SecretError::Unavailable(_) => Self::Silent(Box::new(error)),
        }
    }
}

/// A service outside the platform that can be checked.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// Checks the service with a cheap request that changes nothing.
    async fn answer(&self) -> Result<(), NoAnswer>;
}
