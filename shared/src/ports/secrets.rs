//! Secrets, read by name.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

/// A secret's value. It has no `Display`, and its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret's value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret, or this function may not read it: a mistake in the deployment.
    #[error("secret {name} is missing or not readable")]
    Missing {
        /// The secret's name or ARN.
        name: String,
        /// What the store said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store doesn't answer now; worth another try later.
    #[error("the secret store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads secrets.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The present value of the secret called `name`; at most a few minutes old.
    async fn secret(&self, name: &str) -> Result<Secret, SecretError>;

    /// The accepted values of the secret called `name`, which was perhaps just rotated. The first
    /// is the present value. The previous value follows while the present one is younger than
    /// `grace`. Values that were read longer than `max_age` ago are read again; if that fails, the
    /// old ones serve for a while.
    async fn accepted(
        &self,
        name: &str,
        grace: Duration,
        max_age: Duration,
    ) -> Result<Vec<Secret>, SecretError>;
}
