//! Counts of requests in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::ports::{LimitOwner, RequestCounts, StoreError};

/// Counts of requests in memory. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct MemoryRequestCounts {
    counts: Arc<Mutex<BTreeMap<(LimitOwner, u64), u64>>>,
    faults: Faults,
}

impl MemoryRequestCounts {
    /// The same counts, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }
}

#[async_trait]
impl RequestCounts for MemoryRequestCounts {
    async fn count(&self, owner: &LimitOwner, minute: u64) -> Result<u64, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            Call::Other,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || {
                let mut counts = lock(&self.counts);
                let count = counts.entry((owner.clone(), minute)).or_default();
                *count += 1;
                Ok(*count)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn counts_in_memory_keep_the_contract() {
        contract::request_counts(Arc::new(MemoryRequestCounts::default())).await;
    }
}
