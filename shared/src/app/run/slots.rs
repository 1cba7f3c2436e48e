//! Limits how many tasks of one tenant, and of one key, run at once. Further tasks wait for a slot.
//!
//! A worker takes the slots after it has claimed the task. Before the claim, several workers could
//! take one each for the same task. If no slot is free, the worker parks the task, which costs no
//! attempt. The worker gives the slots back after it has left the task. A slot expires when the
//! invocation ends, so a worker that dies does not keep it. If the slots or the caps can't be read,
//! tasks run: a cap on one tenant must not stop all tenants.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{CapKind, Caps, Causes, Task, Timestamp};
use crate::metric;
use crate::ports::{CapsOfTask, LimitOwner, Slot, Slots, StoreError, Taken, TaskCaps};

/// The caps on how many tasks run at once.
pub struct TaskSlots {
    slots: Arc<dyn Slots>,
    caps: Arc<dyn TaskCaps>,
    most_of_tenant: Option<NonZeroU32>,
    at_once: Option<NonZeroU32>,
    /// The last invocation that logged a failure of the store, identified by its end in
    /// milliseconds.
    warned: AtomicU64,
}

/// The slots that a task holds.
pub(super) struct HeldSlots {
    owners: Vec<LimitOwner>,
    slot: Slot,
}

impl TaskSlots {
    /// Creates caps whose running tasks are counted in `slots`. A tenant without a cap of its own may
    /// run `most_of_tenant` tasks, or any number. `at_once` is the most tasks that all workers run
    /// together: a cap at or above it needs no count.
    pub fn new(
        slots: Arc<dyn Slots>,
        caps: Arc<dyn TaskCaps>,
        most_of_tenant: Option<NonZeroU32>,
        at_once: Option<NonZeroU32>,
    ) -> Self {
        Self {
            slots,
            caps,
            most_of_tenant,
            at_once,
            warned: AtomicU64::new(0),
        }
    }

    /// Takes a slot under each cap of the task, until `until`. `None` if one of them has no slot
    /// left. A failure of the store grants it.
    pub(super) async fn take(
        &self,
        task: &Task,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<HeldSlots> {
        let slot = Slot {
            task: task.id(),
            fence: task.fence(),
            until,
        };
        let mut held = HeldSlots {
            owners: Vec::new(),
            slot,
        };
        for (owner, most) in self.caps_of(task, until).await {
            let taken = self.slots.take(&owner, &slot, most, now).await;
            let taken = taken.unwrap_or_else(|error| {
                metric::EPHEMERAL_FAILURES.add([], 1);
                self.warn_once(&error, until);
                Taken::Granted
            });
            let scope = owner.kind();
            if taken == Taken::Full {
                tracing::info!(
                    scope,
                    most,
                    "task must wait: as many tasks run as may run at once"
                );
                self.give_back(held).await;
                return None;
            }
            // The store may have recorded the slot before it failed.
            held.owners.push(owner);
        }
        Some(held)
    }

    /// The caps on running tasks that the task is under, and whose they are.
    async fn caps_of(
        &self,
        task: &Task,
        until: Timestamp,
    ) -> impl Iterator<Item = (LimitOwner, u32)> {
        let spec = task.spec();
        let own = match self.caps.of_task(&spec.tenant, spec.submitted_by).await {
            Ok(own) => own,
            Err(error) => {
                self.warn_once(&error, until);
                CapsOfTask::default()
            }
        };
        let own_cap = |caps: Caps| {
            let most = caps.get(CapKind::RunningTasks)?;
            Some(u32::try_from(most).unwrap_or(u32::MAX))
        };
        let of_key = spec.submitted_by.map(LimitOwner::Key).zip(own_cap(own.key));
        let of_tenant = own_cap(own.tenant).or_else(|| Some(self.most_of_tenant?.get()));
        let tenant = LimitOwner::Tenant(spec.tenant.clone());
        let at_once = self.at_once;
        // The key's first: its tasks must not take slots from others before they are refused.
        let of_tenant = of_tenant.map(|most| (tenant, most));
        let all = of_key.into_iter().chain(of_tenant);
        all.filter(move |(_, most)| at_once.is_none_or(|at_once| *most < at_once.get()))
    }

    /// Gives back slots that were granted, or that the store may have recorded before it failed.
    pub(super) async fn give_back(&self, HeldSlots { owners, slot }: HeldSlots) {
        for owner in owners {
            if let Err(error) = self.slots.give_back(&owner, &slot).await {
                metric::EPHEMERAL_FAILURES.add([], 1);
                self.warn_once(&error, slot.until);
            }
        }
    }

    /// Logs a failure of the store once in each invocation: a store that is down fails for every task
    /// of every batch. `until` is when the invocation ends.
    fn warn_once(&self, error: &StoreError, until: Timestamp) {
        if self.warned.swap(until.as_millis(), Ordering::Relaxed) != until.as_millis() {
            tracing::warn!(error = %Causes(error), "cap on running tasks unavailable; not enforced");
        }
    }
}
