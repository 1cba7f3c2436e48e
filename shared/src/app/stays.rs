//! Measuring how long tasks are in each of their states.

use crate::domain::{Task, TaskStatus};
use crate::metric;

/// Notes how long a task had been in the state that its last change ended, once that change is stored. What it waited in the
/// queue is measured when a worker takes it.
pub(super) fn note_stay(task: &Task) {
    let Some((state, duration)) = task.last_stay() else { return };
    match state {
        TaskStatus::Running => metric::TIME_RUNNING.note([], duration),
        TaskStatus::Waiting => metric::TIME_WAITING.note([], duration),
        TaskStatus::InputRequired => metric::TIME_AWAITING_INPUT.note([], duration),
        TaskStatus::Paused => metric::TIME_PAUSED.note([], duration),
        TaskStatus::Queued
        | TaskStatus::Completed
        | TaskStatus::Failed
        | TaskStatus::Canceled
        | TaskStatus::TimedOut => {}
    }
}
