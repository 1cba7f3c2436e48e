//! Deletes ended tasks, with all their records.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{TaskId, Timestamp};

/// The moments that decide which tasks are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Tasks that ended before this moment are deleted. `None`: only those whose clients deleted
    /// them.
    pub ended_before: Option<Timestamp>,
    /// No worker can still write for a task that ended before this moment.
    pub quiet_before: Timestamp,
}

/// The result of a purge of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// No record of the task is left.
    Gone,
    /// Only the task's empty record is left. It stays while a worker may still write for the task,
    /// so that a later purge finds and deletes late writes.
    Emptied,
    /// The task must not be deleted, and nothing changed.
    Unchanged,
}

/// Deletes ended tasks of all tenants.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Up to `limit` tasks to purge, the first to end first as far as the store knows: tasks that
    /// ended before the horizon, tasks whose clients deleted them, and emptied tasks that are quiet
    /// by now. May lag behind writes for a moment, so that some may no longer have to be purged.
    async fn due(&self, horizon: Horizon, limit: u32) -> Result<Vec<TaskId>, StoreError>;

    /// Deletes the task's journal, its budget, everything else under its key, and the cached
    /// answers that its steps name, if its client deleted it or it ended before the horizon. From
    /// the first change on, the task no longer exists for readers; a crash midway leaves a record
    /// that [`Self::due`] finds again. May be done twice, and by several at the same time.
    async fn purge(&self, id: TaskId, horizon: Horizon) -> Result<Purged, StoreError>;
}
