//! Slots: they limit how many tasks of one tenant or key run at once, and how many clients wait.

use async_trait::async_trait;

use super::limit_owner::LimitOwner;
use super::store::StoreError;
use crate::domain::{TaskId, Timestamp};

/// The permission for one running task, or for one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The task; for a waiting client, an id of its own.
    pub task: TaskId,
    /// The fence of the worker that has the task. With it, an earlier worker can't give back the
    /// slot of a later worker.
    pub fence: u64,
    /// When the worker is certainly dead. The slot is free then, even if the worker lives.
    pub until: Timestamp,
}

/// The result of a request for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The task has a slot.
    Granted,
    /// The owner has no slot left; nothing changed.
    Full,
}

/// Counts the tasks of each owner of a limit that run at once.
///
/// A slot past its `until` belongs to a dead worker. A caller that finds all slots of the owner
/// taken deletes such slots. If the caller's clock is ahead, it deletes slots of living workers:
/// until those workers end, as many more tasks may run.
#[async_trait]
pub trait Slots: Send + Sync {
    /// Takes a slot if the owner has fewer than `most`. A task that has a slot keeps it, with the
    /// new fence and end; the slot of a later worker does not change. Taking the very same slot
    /// twice succeeds, because the response to a write can be lost.
    async fn take(
        &self,
        owner: &LimitOwner,
        slot: &Slot,
        most: u32,
        now: Timestamp,
    ) -> Result<Taken, StoreError>;

    /// Gives the slot back. Nothing happens if the task has none any more, or a later worker's.
    async fn give_back(&self, owner: &LimitOwner, slot: &Slot) -> Result<(), StoreError>;
}
