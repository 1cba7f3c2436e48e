//! Limits how many tasks of one tenant run at once. Further tasks of the tenant wait for a slot.
//!
//! A worker takes a slot after it has claimed the task. Before the claim, several workers could
//! take one each for the same task. If no slot is free, the worker parks the task, which costs no
//! attempt. The worker gives the slot back after it has left the task. A slot expires when the
//! invocation ends, so a worker that dies does not keep it. If the slots can't be read, tasks run:
//! a cap on one tenant must not stop all tenants.

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
    /// The last invocation that logged a failure of the store, identified by its end in
    /// milliseconds.
    warned: AtomicU64,
}

impl TenantSlots {
    /// A cap of `most` tasks for each tenant. `slots` counts them.
    pub fn new(slots: Arc<dyn Slots>, most: NonZeroU32) -> Self {
        Self {
            slots,
            most,
            warned: AtomicU64::new(0),
        }
    }

    /// Takes a slot. A failure of the store grants it.
    pub(super) async fn take(&self, tenant: &TenantId, slot: &Slot, now: Timestamp) -> Taken {
        match self.slots.take(tenant, slot, self.most.get(), now).await {
            Ok(taken) => taken,
            Err(error) => {
                self.warn_once(&error, slot.until);
                Taken::Granted
            }
        }
    }

    /// Gives back a slot that was granted, or that the store may have recorded before it failed.
    pub(super) async fn give_back(&self, tenant: &TenantId, slot: &Slot) {
        if let Err(error) = self.slots.give_back(tenant, slot).await {
            self.warn_once(&error, slot.until);
        }
    }

    /// Counts a failure of the store, and logs it once in each invocation: a store that is down
    /// fails for every task of every batch. `until` is when the invocation ends.
    fn warn_once(&self, error: &StoreError, until: Timestamp) {
        metric::EPHEMERAL_FAILURES.add([], 1);
        if self.warned.swap(until.as_millis(), Ordering::Relaxed) != until.as_millis() {
            tracing::warn!(error = %Causes(error), "cap on running tasks unavailable; not enforced");
        }
    }
}
