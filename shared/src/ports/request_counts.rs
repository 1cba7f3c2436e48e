//! Counts requests for limits on their rate.

use async_trait::async_trait;

use super::limit_owner::LimitOwner;
use super::store::StoreError;

/// Counts requests in minutes.
#[async_trait]
pub trait RequestCounts: Send + Sync {
    /// Counts one more request of the owner in this minute, counted from the epoch. Returns how many
    /// there are now. A request whose response got lost may count twice.
    async fn count(&self, owner: &LimitOwner, minute: u64) -> Result<u64, StoreError>;
}
