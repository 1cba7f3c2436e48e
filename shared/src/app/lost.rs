//! The journal and the task's record: steps of workers that were lost before they stored their task,
//! and steps that the record counts but the journal no longer has.

use crate::domain::{Causes, Outline, Task, Timestamp};
use crate::ports::{Journal, StoreError};

/// Adds the steps that a task's workers recorded, and their cost, to the task, if its worker is
/// lost or its deadline has passed. Every change of such a task that its worker does not make
/// begins with this.
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

/// Adds the steps that the task's workers recorded to the task, if it had any worker. A journal
/// that will never be readable must not keep the task from its end.
pub(super) async fn note_steps(journal: &dyn Journal, task: &mut Task) -> Result<(), StoreError> {
    if task.fence() == 0 {
        return Ok(());
    }
    match journal.step_summaries(task.id()).await {
        Ok(recorded) => {
            task.note_steps(recorded);
            Ok(())
        }
        Err(error @ (StoreError::Throttled(_) | StoreError::Unavailable(_))) => Err(error),
        Err(error) => {
            tracing::error!(error = %Causes(&error), "recorded steps can't be read; their cost is not counted");
            Ok(())
        }
    }
}

/// Fails with [`StoreError::Corrupt`] if the journal of the task's run lacks a step that the task's
/// record counts: the step was deleted, and the model would be called for it again. The journal may
/// have more steps than the record counts.
pub(super) fn check_complete(task: &Task, outline: &Outline) -> Result<(), StoreError> {
    let (recorded, counted) = (outline.complete_until(), task.progress().steps);
    if recorded >= counted {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        key: task.id().to_string(),
        reason: format!("step {} of {counted} is missing", recorded + 1),
    })
}
