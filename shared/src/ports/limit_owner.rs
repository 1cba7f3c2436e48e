//! Whose use of the platform is limited.

use crate::domain::{KeyId, TenantId};

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitOwner {
    /// One key's: what is done and submitted with it.
    Key(KeyId),
    /// One tenant's: what is done and submitted with all of its keys.
    Tenant(TenantId),
}

impl LimitOwner {
    /// What it is, for responses and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Tenant(_) => "tenant",
        }
    }
}
