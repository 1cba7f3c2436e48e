//! What workers left in the journal that were lost before they could tell.

use crate::domain::{Causes, Task, Timestamp};
use crate::ports::{Journal, StoreError};

/// Has the task take note of the steps that its workers recorded, and of what they cost, if its
/// worker is gone or its time is over. Whoever makes the next change of such a task in its worker's
/// place begins with this.
pub(super) async fn note_lost_steps(
    journal: &dyn Journal,
    task: &mut Task,
    now: Timestamp,
) -> Result<(), StoreError> {
    if task.has_lost_worker(now) || now >= task.deadline() {
        note_steps(journal, task).await
    } else {
        Ok(())
    }
}

/// Has the task take note of the steps that its workers recorded, if it had any worker. A journal
/// that can't be read, and won't be the next time, must not keep the task from its end.
pub(super) async fn note_steps(journal: &dyn Journal, task: &mut Task) -> Result<(), StoreError> {
    if task.fence() == 0 {
        return Ok(());
    }
    match journal.heads(task.id()).await {
        Ok(recorded) => {
            task.note_steps(recorded);
            Ok(())
        }
        Err(error @ (StoreError::Throttled(_) | StoreError::Unavailable(_))) => Err(error),
        Err(error) => {
            tracing::error!(error = %Causes(&error), "recorded steps are left out of the task's account");
            Ok(())
        }
    }
}
