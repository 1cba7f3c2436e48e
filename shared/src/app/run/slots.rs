//! Fairness between tenants: no more of a tenant's tasks work at once than its slots allow, the
//! others wait for their turn.
//!
//! A task asks for a slot once it is claimed, because only then its worker is the only one to ask.
//! If there is none, it is parked, which costs it no attempt. The slot is given back after the task
//! was left, and ends with the invocation at the latest, so that a worker that dies keeps it no
//! longer. If the slots can't be read, tasks run: a cap on one tenant must not stop all tenants.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Causes, TenantId, Timestamp};
use crate::metric;
use crate::ports::{Slot, Slots, StoreError, Taken};

/// A cap on how many tasks of one tenant run at once.
pub struct TenantSlots {
    slots: Arc<dyn Slots>,
    most: NonZeroU32,
    /// The end, in milliseconds, of the invocation that last complained about the store.
    complained: AtomicU64,
}

impl TenantSlots {
    /// At most so many, counted in `slots`.
    pub fn new(slots: Arc<dyn Slots>, most: NonZeroU32) -> Self {
        Self {
            slots,
            most,
            complained: AtomicU64::new(0),
        }
    }

    pub(super) async fn take(&self, tenant: &TenantId, slot: &Slot, now: Timestamp) -> Taken {
        match self.slots.take(tenant, slot, self.most.get(), now).await {
            Ok(taken) => taken,
            Err(error) => {
                self.complain(&error, slot.until);
                Taken::Granted
            }
        }
    }

    /// Gives a slot back that was granted, or may have been while the store failed.
    pub(super) async fn give_back(&self, tenant: &TenantId, slot: &Slot) {
        if let Err(error) = self.slots.give_back(tenant, slot).await {
            self.complain(&error, slot.until);
        }
    }

    /// Tells of the store's failure, once in each invocation: one that is down fails every task of
    /// every batch.
    fn complain(&self, error: &StoreError, until: Timestamp) {
        metric::EPHEMERAL_FAILURES.add([], 1);
        if self.complained.swap(until.as_millis(), Ordering::Relaxed) != until.as_millis() {
            tracing::warn!(error = %Causes(error), "cap on running tasks unavailable; not enforced");
        }
    }
}
