//! Reads a task's history: the part in its record, and the blocks that were moved out.

use super::{AppError, Tasks};
use crate::domain::{Change, TaskId, TenantId};

/// A part of a task's history, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPart {
    /// The changes with their numbers; at least one, unless none is left.
    pub changes: Vec<(u32, Change)>,
    /// Whether more changes follow.
    pub more: bool,
}

impl Tasks {
    /// The changes of the task from the number `from` on, up to `limit` of them. A change keeps its
    /// number and stays as it is. A number without a change belongs to a change that an earlier
    /// version of the platform removed.
    pub async fn list_history(
        &self,
        tenant: &TenantId,
        id: TaskId,
        from: u32,
        limit: u32,
    ) -> Result<HistoryPart, AppError> {
        // Read the record first: a block that is moved out later is in the record that was read.
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
