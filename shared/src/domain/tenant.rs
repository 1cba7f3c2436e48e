//! Tenants. No data of one tenant is visible to another.

use std::fmt;
use std::str::FromStr;

use super::invalid::Invalid;

/// An isolated customer. It comes from the credential of a request, never from its path or body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(String);

impl TenantId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = Invalid;

    /// Accepts 1 to 64 characters of `a-z`, `0-9` and `-`; the set keeps keys and log searches free
    /// of escapes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "/tenant_id",
            "must have 1 to 64 characters of a-z, 0-9 and -",
        ))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
