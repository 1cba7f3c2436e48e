//! Who issues JWTs for this deployment.

use async_trait::async_trait;

use crate::domain::JwtClaims;

/// Why a JWT could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is not one of this issuer for this deployment, for this reason. The reason is for the
    /// log: a client must not see it.
    #[error("the JWT is not valid: {0}")]
    Invalid(&'static str),
    /// The issuer's keys can't be read, so nobody knows. The same JWT may be accepted later.
    #[error("the issuer's keys can't be read")]
    KeysUnreadable,
}

/// Issues JWTs, and signs them with keys that it publishes.
#[async_trait]
pub trait JwtIssuer: Send + Sync {
    /// The claims of a JWT of this issuer for this deployment. The caller checks its times, its
    /// tenant and its scopes.
    async fn claims(&self, token: &str) -> Result<JwtClaims, JwtError>;
}
