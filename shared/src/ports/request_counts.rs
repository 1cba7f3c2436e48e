//! Counts requests for limits on their rate.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{KeyId, TenantId};

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateOwner {
    /// Those with one key.
    Key(KeyId),
    /// Those of all keys of one tenant.
    Tenant(TenantId),
}

impl RateOwner {
    /// What it is, for responses and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Tenant(_) => "tenant",
        }
    }
}

/// Counts requests in minutes.
#[async_trait]
pub trait RequestCounts: Send + Sync {
    /// Counts one more request of the owner in this minute, counted from the epoch. Returns how many
    /// there are now. A request whose response got lost may count twice.
    async fn count(&self, owner: &RateOwner, minute: u64) -> Result<u64, StoreError>;
}
