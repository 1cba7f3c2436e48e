//! Fairness between tenants: no more of a tenant's tasks work at once than its slots allow, the
//! others wait for their turn.
//!
//! A task asks for a slot once it is claimed, because only then its worker is the only one to ask.
//! If there is none, it is parked, which costs it no attempt. The slot is given back after the task
//! was left, and ends with the invocation at the latest, so that a worker that dies keeps it no
//! longer. If the slots can't be told, tasks run: a cap that makes tenants wait for each other must
//! not make all of them wait.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::leave::End;
use super::room::Place;
use super::work::Work;
use super::{Ran, RunError, Runner, SKEW};
use crate::domain::{Causes, Spent, Task, TenantId, Timestamp, Wait, WaitReason};
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

    async fn take(&self, tenant: &TenantId, slot: &Slot, now: Timestamp) -> Taken {
        match self.slots.take(tenant, slot, self.most.get(), now).await {
            Ok(taken) => taken,
            Err(error) => {
                self.complain(&error, slot.until);
                Taken::Granted
            }
        }
    }

    /// Whether the slot was granted or not told: then it may be there all the same.
    async fn give_back(&self, tenant: &TenantId, slot: &Slot) {
        if let Err(error) = self.slots.give_back(tenant, slot).await {
            self.complain(&error, slot.until);
        }
    }

    /// Tells of the store's failure, once in each invocation: one that is down fails every task of
    /// every batch.
    fn complain(&self, error: &StoreError, until: Timestamp) {
        metric::EPHEMERAL_FAILURES.add([], 1);
        if self.complained.swap(until.as_millis(), Ordering::Relaxed) != until.as_millis() {
            tracing::warn!(error = %Causes(error), "slots can't be told: the cap on running tasks is not kept");
        }
    }
}

impl Runner {
    /// Works on a task that was just claimed and has room, if it is its tenant's turn.
    pub(super) async fn run_in_turn(
        &self,
        task: Task,
        until: Timestamp,
        place: Place<'_>,
    ) -> Result<Ran, RunError> {
        let Some(slots) = &self.slots else {
            return Work::new(self, task, until).in_place(place).run().await;
        };
        let tenant = task.spec().tenant.clone();
        let slot = Slot {
            task: task.id(),
            fence: task.fence(),
            until: until.plus(SKEW),
        };
        let now = self.clock.now();
        match slots.take(&tenant, &slot, now).await {
            Taken::Granted => {
                let ran = Work::new(self, task, until).in_place(place).run().await;
                slots.give_back(&tenant, &slot).await;
                ran
            }
            Taken::Full => {
                let wait = Wait {
                    until: now.plus(task.turn_pause(now)),
                    reason: WaitReason::Concurrency,
                };
                Work::new(self, task, until)
                    .leave(End::Parked(wait, Spent::Nothing))
                    .await
            }
        }
    }
}
