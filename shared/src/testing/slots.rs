//! Slots in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::{TaskId, Timestamp};
use crate::ports::{LimitOwner, Slot, Slots, StoreError, Taken};

type Held = BTreeMap<TaskId, Slot>;

/// Slots in memory with the conditional writes of the real ones. Clones share the content.
///
/// Each call yields to the runtime before its effect, so that concurrent calls interleave in tests
/// as well.
#[derive(Debug, Clone, Default)]
pub struct MemorySlots {
    owners: Arc<Mutex<HashMap<LimitOwner, Held>>>,
    faults: Faults,
}

impl MemorySlots {
    /// The same slots, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// The owner's slots, with the ended ones that nobody has cleared away yet.
    pub fn held(&self, owner: &LimitOwner) -> Vec<Slot> {
        lock(&self.owners)
            .get(owner)
            .into_iter()
            .flat_map(|held| held.values().copied())
            .collect()
    }

    async fn run<T>(
        &self,
        owner: &LimitOwner,
        effect: impl FnOnce(&mut Held) -> T,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let failure = |fault| StoreError::Unavailable(Box::new(fault));
        self.faults.around(Call::Other, failure, || {
            Ok(effect(lock(&self.owners).entry(owner.clone()).or_default()))
        })
    }
}

#[async_trait]
impl Slots for MemorySlots {
    async fn take(
        &self,
        owner: &LimitOwner,
        slot: &Slot,
        most: u32,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        self.run(owner, |held| {
            if let Some(own) = held.get_mut(&slot.task) {
                if own.fence <= slot.fence {
                    *own = *slot;
                }
                return Taken::Granted;
            }
            if held.len() >= most as usize {
                held.retain(|_, held| now < held.until);
            }
            if held.len() >= most as usize {
                return Taken::Full;
            }
            held.insert(slot.task, *slot);
            Taken::Granted
        })
        .await
    }

    async fn give_back(&self, owner: &LimitOwner, slot: &Slot) -> Result<(), StoreError> {
        self.run(owner, |held| {
            held.retain(|task, held| *task != slot.task || held.fence != slot.fence);
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contract;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_slots() {
        contract::slots(Arc::new(MemorySlots::default())).await;
    }
}
