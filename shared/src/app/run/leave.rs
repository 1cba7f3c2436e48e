//! How a worker leaves a task: one transition, made durable, and the message that brings the task
//! back.
//!
//! The transition comes first and the message second: a message that came first would meet the
//! lease. A worker that dies between the two leaves a task that comes due.

use std::time::Duration;

use super::lease::MOST_CONFLICTS;
use super::work::Work;
use super::{Ran, RunError, Runner};
use crate::app::change::note_change;
use crate::app::lost::note_lost_steps;
use crate::app::outcome::too_large;
use crate::app::send::send;
use crate::app::sweep::record_settled;
use crate::domain::task::{LONGEST_MESSAGE_DELAY, LeaseLost};
use crate::domain::{
    Causes, Failure, LimitKind, Output, PendingCall, Spent, Task, TaskState, TaskStatus, Timestamp,
    Wait, whole_millis,
};
use crate::metric;
use crate::ports::StoreError;

/// How a worker's work on a task ends.
#[derive(Debug)]
pub(super) enum End {
    /// With an answer.
    Completed(Output),
    /// Without one.
    Failed(Failure),
    /// As the client wished.
    Canceled,
    /// Past the deadline.
    TimedOut,
    /// In a wait that is better spent without compute, with this spent for nothing.
    Parked(Wait, Spent),
    /// With the invocation's time.
    HandedOver,
    /// With calls that the client must answer.
    InputRequired(Vec<PendingCall>),
    /// At a limit.
    Paused(LimitKind),
    /// With a store that failed, and this spent for nothing: the message must come back.
    GivenBack(StoreError, Spent),
    /// With somebody else as the task's worker.
    LeaseLost,
}

impl End {
    /// Whether a wish to cancel that was accepted by now decides instead.
    const fn yields_to_cancel(&self) -> bool {
        match self {
            Self::Completed(_)
            | Self::Failed(_)
            | Self::Parked(..)
            | Self::HandedOver
            | Self::InputRequired(_)
            | Self::Paused(_) => true,
            Self::Canceled | Self::TimedOut | Self::GivenBack(..) | Self::LeaseLost => false,
        }
    }

    fn apply(&self, task: &mut Task, now: Timestamp) -> Result<(), LeaseLost> {
        let fence = task.fence();
        match self {
            Self::Completed(output) => task.complete(fence, output.clone(), now),
            Self::Failed(failure) => task.fail(fence, failure.clone(), now),
            Self::Canceled => task.end_canceled(fence, now),
            Self::TimedOut => task.settle_overdue(now).map(|_| ()).ok_or(LeaseLost),
            Self::Parked(wait, spent) => task.park(fence, *wait, *spent, now),
            Self::HandedOver => task.hand_over(fence, now),
            Self::InputRequired(calls) => task.require_input(fence, calls.clone(), now),
            Self::Paused(limit) => task.pause(fence, *limit, now),
            Self::GivenBack(_, spent) => task.release(fence, *spent, now),
            Self::LeaseLost => Err(LeaseLost),
        }
    }
}

impl Work<'_> {
    /// Leaves the task as its work ended. If the store fails, the task is given back, so that a
    /// hiccup doesn't cost the rest of the lease; if that fails as well, the lease's end still
    /// frees the task.
    pub(super) async fn leave(mut self, mut end: End) -> Result<Ran, RunError> {
        for _ in 0..MOST_CONFLICTS {
            if self.task.progress().cancel_requested && end.yields_to_cancel() {
                end = End::Canceled;
            }
            let mut left = self.task.clone();
            if end.apply(&mut left, self.runner.clock.now()).is_err() {
                return match end {
                    End::GivenBack(error, _) => Err(error.into()),
                    _ => Ok(Ran::LeaseLost),
                };
            }
            end = match (self.runner.tasks.update(&left).await, end) {
                (Ok(()), end) => return self.runner.left(&left, end).await,
                (Err(StoreError::Conflict), end) => match self.look().await {
                    Ok(()) => end,
                    Err(End::GivenBack(error, _)) => return Err(error.into()),
                    Err(_) => return Ok(Ran::LeaseLost),
                },
                (Err(StoreError::TooLarge), End::Completed(_) | End::InputRequired(_)) => {
                    End::Failed(too_large())
                }
                (Err(second), End::GivenBack(error, _)) => {
                    tracing::debug!(error = %Causes(&second), "the task is left to the end of its lease");
                    return Err(error.into());
                }
                // What was paid and lost counts, whichever way the work was to end.
                (Err(error), End::Parked(_, spent)) => End::GivenBack(error, spent),
                (Err(error), _) => End::GivenBack(error, Spent::Nothing),
            };
        }
        Err(StoreError::Conflict.into())
    }
}

impl Runner {
    /// Does what a task needs that was just left, and says what came of its message.
    async fn left(&self, task: &Task, end: End) -> Result<Ran, RunError> {
        if let End::GivenBack(error, _) = &end
            && task.status().is_terminal()
        {
            tracing::error!(error = %Causes(error), "the last attempt came to nothing");
            metric::STORE_FAILURES.add([], 1);
        }
        note_change(task);
        match task.state() {
            TaskState::Completed(_)
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => Ok(Ran::Ended(task.status())),
            TaskState::Waiting { wait, .. } => {
                let delay = wait.until.since(self.clock.now());
                tracing::info!(
                    reason = wait.reason.as_str(),
                    after_ms = whole_millis(delay),
                    parkings = task.progress().parkings.all,
                    "task parked"
                );
                metric::TASKS_PARKED.add([], 1);
                if delay <= LONGEST_MESSAGE_DELAY {
                    send(self.queue.as_ref(), task, delay).await;
                }
                Ok(Ran::Parked(*wait))
            }
            TaskState::InputRequired { calls, .. } => {
                tracing::info!(calls = calls.len(), "task waits for its client's answers");
                metric::TASKS_AWAITING_INPUT.add([], 1);
                Ok(Ran::AwaitsClient(TaskStatus::InputRequired))
            }
            TaskState::Paused { limit, .. } => {
                tracing::info!(limit = limit.as_str(), "task paused at a limit");
                metric::TASKS_PAUSED.add([], 1);
                Ok(Ran::AwaitsClient(TaskStatus::Paused))
            }
            TaskState::Queued { .. } | TaskState::Running(_) => {
                if let End::GivenBack(error, _) = end {
                    return Err(error.into());
                }
                tracing::info!(
                    hops = task.progress().hops,
                    steps = task.progress().steps,
                    "task handed over"
                );
                metric::HOPS.add([], 1);
                send(self.queue.as_ref(), task, Duration::ZERO).await;
                Ok(Ran::HandedOver)
            }
        }
    }

    /// Ends a task whose time or attempts are used up, or which was to be canceled.
    pub(super) async fn settle(&self, mut task: Task) -> Result<Ran, RunError> {
        note_lost_steps(self.journal.as_ref(), &mut task, self.clock.now()).await?;
        let now = self.clock.now();
        let overdue = task.settle_overdue(now).ok_or(StoreError::Conflict)?;
        match self.tasks.update(&task).await {
            Ok(()) => {
                note_change(&task);
                record_settled(overdue);
                // Its attempts were not used up if its lost worker had recorded a step.
                if overdue.wants_message() {
                    Err(RunError::Waiting { until: now })
                } else {
                    Ok(Ran::Ended(task.status()))
                }
            }
            // Somebody else did this.
            Err(StoreError::Conflict) => Err(RunError::Waiting { until: now }),
            Err(error) => Err(error.into()),
        }
    }
}
