//! How tasks that ended long ago are deleted, with all that belongs to them.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{TaskId, Timestamp};

/// What became of a wish to delete a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purged {
    /// Nothing of the task is there any more.
    Gone,
    /// It is not one that ended before the moment, and nothing changed.
    Kept,
}

/// Deletes what ended long ago, of all tenants.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Up to `limit` tasks that ended before the moment, the first to end first as far as the store can tell. May lag
    /// behind writes for a moment, so that not each may have to be deleted.
    async fn ended_before(&self, moment: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError>;

    /// Deletes the task, its journal and its budget, if it ended before the moment and was not opened again. From the first
    /// change on, nobody has the task any more; whoever dies over it leaves one that [`Self::ended_before`] finds again.
    /// May be done twice, and by several at the same time.
    async fn purge(&self, id: TaskId, ended_before: Timestamp) -> Result<Purged, StoreError>;
}
