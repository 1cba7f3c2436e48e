//! Slots: how many tasks of one tenant run at once, and likewise how many of its clients wait.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{TaskId, TenantId, Timestamp};

/// A task's place among those of its tenant that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The task; for a waiting client, an id of its own.
    pub task: TaskId,
    /// The fence of the worker that has the task: the slot of a later worker is not an earlier
    /// one's to give back.
    pub fence: u64,
    /// When the worker is certainly dead. The slot is free then, even if the worker lives.
    pub until: Timestamp,
}

/// What became of the wish for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The task has one.
    Granted,
    /// The tenant has no slot left; nothing changed.
    Full,
}

/// Counts the tasks of each tenant that run at once.
///
/// A slot that outlives its `until` belongs to a dead worker, and a caller that finds the tenant's
/// slots taken clears it away. A clock that runs ahead does so too early, and then as many tasks
/// more may run until those workers' end.
#[async_trait]
pub trait Slots: Send + Sync {
    /// Takes a slot if the tenant has fewer than `most`. A task that has one keeps it, with the new
    /// fence and end; if a later worker has taken it, it stays as that one left it. The very same
    /// slot may be taken again, because a store's answer can get lost after its write.
    async fn take(
        &self,
        tenant: &TenantId,
        slot: &Slot,
        most: u32,
        now: Timestamp,
    ) -> Result<Taken, StoreError>;

    /// Gives the slot back. Nothing happens if the task has none any more, or a later worker's.
    async fn give_back(&self, tenant: &TenantId, slot: &Slot) -> Result<(), StoreError>;
}
