//! What the platform can't do without, as far as to know whether it is there.

use std::error::Error;

use async_trait::async_trait;

use super::{SecretError, StoreError};

/// It can't be used, for a reason that is fit to be shown to anyone.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It is not there, or may not be used: a mistake in the deployment.
    #[error("is missing, or the platform may not use it")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// It has too much to do.
    #[error("refuses requests for their rate")]
    Throttled(#[source] Box<dyn Error + Send + Sync>),
    /// It says nothing, or that it failed.
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

/// A service outside that can be asked whether it is there.
#[async_trait]
pub trait Dependency: Send + Sync {
    /// Asks for next to nothing, and changes nothing.
    async fn answer(&self) -> Result<(), NoAnswer>;
}
