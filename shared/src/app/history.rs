//! Reading a task's whole history: the part that its record has, and the blocks that have left it.

use super::{AppError, Tasks};
use crate::domain::{Change, TaskId, TenantId};

/// A part of a task's history, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPart {
    /// The changes with their numbers: at least one if any is left.
    pub changes: Vec<(u32, Change)>,
    /// Whether there are more after them.
    pub more: bool,
}

impl Tasks {
    /// The changes of the task from the number `from` on, up to `limit` of them. A change keeps its
    /// number and stays as it is. A number without a change is one that an earlier version of the
    /// platform did not keep.
    pub async fn list_history(
        &self,
        tenant: &TenantId,
        id: TaskId,
        from: u32,
        limit: u32,
    ) -> Result<HistoryPart, AppError> {
        // First: what leaves the record from here on is in what was read of it.
        let task = self.find_task(tenant, id).await?;
        let history = &task.progress().history;
        let mut changes = Vec::new();
        if from < history.first() {
            changes = self
                .store
                .earlier_history(id, from..history.first(), limit.saturating_add(1))
                .await?;
        }
        changes.extend(
            history
                .numbered()
                .filter(|(number, _)| *number >= from)
                .map(|(number, change)| (number, change.clone())),
        );
        let more = changes.len() > limit as usize;
        changes.truncate(limit as usize);
        Ok(HistoryPart { changes, more })
    }
}
