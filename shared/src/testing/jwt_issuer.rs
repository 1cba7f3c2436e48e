//! An issuer of JWTs in memory.

use async_trait::async_trait;

use super::samples;
use crate::domain::{JwtClaims, Scopes};
use crate::ports::{JwtError, JwtIssuer};

/// An issuer whose JWTs are `jwt.<tenant>.signed`.
///
/// They have every scope, and expire an hour after [`samples::START`]. `jwt.forged.signed` is not
/// one of them; nobody knows whether `jwt.unreadable.signed` is.
#[derive(Debug, Clone, Copy)]
pub struct MemoryIssuer;

#[async_trait]
impl JwtIssuer for MemoryIssuer {
    async fn claims(&self, token: &str) -> Result<JwtClaims, JwtError> {
        let tenant = token.strip_prefix("jwt.");
        match tenant.and_then(|rest| rest.strip_suffix(".signed")) {
            None | Some("forged") => Err(JwtError::Invalid("signature")),
            Some("unreadable") => Err(JwtError::KeysUnreadable),
            Some(tenant) => Ok(JwtClaims {
                tenant: samples::tenant(tenant),
                scopes: Scopes::all(),
                subject: Some("user-7".to_owned()),
                not_before: None,
                expires_at: samples::after(3_600),
            }),
        }
    }
}
