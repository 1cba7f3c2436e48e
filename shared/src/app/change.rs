//! The metrics and log lines of every change of a task, by a worker, a client or the watchdog.

use crate::domain::{Failure, Task, TaskState, TaskStatus, whole_millis};
use crate::metric;

/// Notes a change of the task that was just stored: how long the task had been in the state that
/// the change ended, and its end if it has ended. To be called where lines have the task's ids.
pub(super) fn record_transition(task: &Task) {
    note_stay(task);
    tell_end(task);
}

/// What the task waited in the queue is measured when a worker takes it.
fn note_stay(task: &Task) {
    let Some((state, duration)) = task.last_stay() else {
        return;
    };
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

/// Logs and counts the end of a task that has ended; of any other it says nothing.
fn tell_end(task: &Task) {
    let Some(at) = task.finished_at() else { return };
    let spec = task.spec();
    let duration = at.since(spec.not_before.unwrap_or(spec.created_at));
    let failure = count(task.state());
    metric::TASK_DURATION.note([], duration);
    let (progress, cost) = (task.progress(), task.progress().spend.cost);
    tracing::info!(
        status = task.status().as_str(),
        failure = failure.map(|failure| failure.code.as_str()),
        reason = failure.map(|failure| failure.message.as_str()),
        attempts = progress.attempts,
        parkings = progress.parkings.all,
        hops = progress.hops,
        steps = progress.steps,
        cost_micro_usd = cost.micro_usd,
        unpriced_calls = cost.unpriced_calls,
        duration_ms = whole_millis(duration),
        "task ended"
    );
}

/// Counts the end that the state is, and returns its failure if it is one.
fn count(state: &TaskState) -> Option<&Failure> {
    match state {
        TaskState::Completed(_) => {
            metric::TASKS_COMPLETED.add([], 1);
            metric::TASKS_LOST.note(false);
        }
        TaskState::Failed(failure) => {
            metric::TASKS_FAILED.add([], 1);
            if !failure.code.is_of_client() {
                metric::TASKS_LOST.note(true);
            }
            metric::DEAD_LETTERS.add([], u64::from(failure.code.is_dead_letter()));
            return Some(failure);
        }
        TaskState::Canceled => metric::TASKS_CANCELED.add([], 1),
        TaskState::TimedOut => {
            metric::TASKS_TIMED_OUT.add([], 1);
            metric::TASKS_LOST.note(true);
        }
        TaskState::Queued { .. }
        | TaskState::Running(_)
        | TaskState::Waiting { .. }
        | TaskState::InputRequired { .. }
        | TaskState::Paused { .. } => {}
    }
    None
}
