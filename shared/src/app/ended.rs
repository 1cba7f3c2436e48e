//! Counting the ends of tasks, by whomever they are ended.

use crate::domain::{Task, TaskState};
use crate::metric;

/// Counts the end of a task that was just stored as ended; any other is not counted.
pub(super) fn count_end(task: &Task) {
    let Some(at) = task.finished_at() else { return };
    metric::TASK_DURATION.note([], at.since(task.spec().created_at));
    match task.state() {
        TaskState::Completed(_) => metric::TASKS_COMPLETED.add([], 1),
        TaskState::Failed(failure) => {
            metric::TASKS_FAILED.add([], 1);
            metric::DEAD_LETTERS.add([], u64::from(failure.code.is_dead_letter()));
        }
        TaskState::Canceled => metric::TASKS_CANCELED.add([], 1),
        TaskState::TimedOut => metric::TASKS_TIMED_OUT.add([], 1),
        TaskState::Queued { .. }
        | TaskState::Running(_)
        | TaskState::Waiting { .. }
        | TaskState::InputRequired { .. }
        | TaskState::Paused { .. } => {}
    }
}
