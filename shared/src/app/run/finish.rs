//! Stores how a worker's work on a task ended, and sends the message that resumes the task.
//!
//! The write comes first: a message before it would find the task still under this worker's lease.
//! If the worker dies between the two, the watchdog finds the task due.

use std::time::Duration;

use futures::future::join;

use super::exit::Exit;
use super::lease::{HeldTask, MAX_CONFLICTS};
use super::runner::{RunError, RunOutcome, Runner};
use crate::app::change::record_transition;
use crate::app::lost::note_lost_steps;
use crate::app::outcome::too_large;
use crate::app::send::send;
use crate::app::sweep::record_settled;
use crate::domain::task::LONGEST_MESSAGE_DELAY;
use crate::domain::{
    Causes, LimitKind, Spent, Task, TaskState, TaskStatus, Timestamp, Wait, WaitReason,
    whole_millis,
};
use crate::metric;
use crate::ports::{OpenCircuit, StoreError};

impl HeldTask<'_> {
    /// Stores how the work ended. If the store fails, the task is released, so that a short failure
    /// does not cost the rest of the lease. If that fails as well, the lease's end frees the task.
    pub(super) async fn finish(mut self, mut exit: Exit) -> Result<RunOutcome, RunError> {
        for _ in 0..MAX_CONFLICTS {
            if self.task.progress().cancel_requested && exit.yields_to_cancel() {
                exit = Exit::Canceled;
            }
            let mut finished = self.task.clone();
            if exit.apply(&mut finished, self.runner.clock.now()).is_err() {
                return match exit {
                    Exit::GivenBack(error, _) => Err(error.into()),
                    _ => Ok(RunOutcome::LeaseLost),
                };
            }
            exit = match (self.runner.tasks.update(&finished).await, exit) {
                (Ok(()), exit) => {
                    let runner = self.runner;
                    let usage = runner.add_usage(&finished, self.ledger);
                    let (outcome, ()) = join(runner.after_finish(&finished, exit), usage).await;
                    return outcome;
                }
                (Err(StoreError::Conflict), exit) => match self.refresh().await {
                    Ok(()) => exit,
                    Err(Exit::GivenBack(error, _)) => return Err(error.into()),
                    Err(_) => return Ok(RunOutcome::LeaseLost),
                },
                (Err(StoreError::TooLarge), Exit::Completed(_) | Exit::InputRequired(_)) => {
                    Exit::Failed(too_large())
                }
                (Err(second), Exit::GivenBack(error, _)) => {
                    tracing::debug!(error = %Causes(&second), "task could not be released; its lease will expire");
                    return Err(error.into());
                }
                // The cost of the failed call counts, although the task could not be parked.
                (Err(error), Exit::Parked(_, spent, _)) => Exit::GivenBack(error, spent),
                (Err(error), _) => Exit::GivenBack(error, Spent::Nothing),
            };
        }
        Err(StoreError::Conflict.into())
    }
}

impl Runner {
    /// Logs and counts the outcome after the task was stored, and sends its next message.
    async fn after_finish(&self, task: &Task, exit: Exit) -> Result<RunOutcome, RunError> {
        if let Exit::GivenBack(error, _) = &exit
            && task.status().is_terminal()
        {
            tracing::error!(error = %Causes(error), "store failed in the last attempt; task failed");
            metric::STORE_FAILURES.add([], 1);
        }
        record_transition(task);
        match task.state() {
            TaskState::Completed(_)
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => Ok(RunOutcome::Ended(task.status())),
            TaskState::Waiting { wait, .. } => {
                let now = self.clock.now();
                let circuit = match exit {
                    Exit::Parked(_, _, circuit) => circuit,
                    _ => None,
                };
                log_parked(task, *wait, circuit.as_deref(), now);
                metric::TASKS_PARKED.add([], 1);
                let delay = wait.until.since(now);
                if delay <= LONGEST_MESSAGE_DELAY {
                    send(self.queue.as_ref(), task, delay).await;
                }
                Ok(RunOutcome::Parked(*wait))
            }
            TaskState::InputRequired { calls, .. } => {
                tracing::info!(calls = calls.len(), "task waits for its client's answers");
                metric::TASKS_AWAITING_INPUT.add([], 1);
                Ok(RunOutcome::AwaitsClient(TaskStatus::InputRequired))
            }
            TaskState::Paused { limit, .. } => {
                let cap = task.progress().setbacks.cap();
                let scope = cap.filter(|_| *limit == LimitKind::Budget);
                tracing::info!(
                    limit = limit.as_str(),
                    scope = scope.map(tracing::field::display),
                    "task paused at a limit"
                );
                metric::TASKS_PAUSED.add([], 1);
                Ok(RunOutcome::AwaitsClient(TaskStatus::Paused))
            }
            TaskState::Queued { .. } | TaskState::Running(_) => {
                if let Exit::GivenBack(error, _) = exit {
                    return Err(error.into());
                }
                tracing::info!(
                    hops = task.progress().hops,
                    steps = task.progress().steps,
                    "task handed over"
                );
                metric::HOPS.add([], 1);
                send(self.queue.as_ref(), task, Duration::ZERO).await;
                Ok(RunOutcome::HandedOver)
            }
        }
    }

    /// Ends a task whose time or attempts are used up, or which was to be canceled.
    pub(super) async fn settle(&self, mut task: Task) -> Result<RunOutcome, RunError> {
        note_lost_steps(self.journal.as_ref(), &mut task, self.clock.now()).await?;
        let now = self.clock.now();
        let overdue = task.settle_overdue(now).ok_or(StoreError::Conflict)?;
        match self.tasks.update(&task).await {
            Ok(()) => {
                record_transition(&task);
                record_settled(overdue);
                // Its attempts were not used up if its lost worker had recorded a step.
                if overdue.wants_message() {
                    Err(RunError::Waiting { until: now })
                } else {
                    Ok(RunOutcome::Ended(task.status()))
                }
            }
            // Another writer did this.
            Err(StoreError::Conflict) => Err(RunError::Waiting { until: now }),
            Err(error) => Err(error.into()),
        }
    }
}

/// Logs that the task is parked. If it waits for a circuit, the line names the circuit.
fn log_parked(task: &Task, wait: Wait, circuit: Option<&OpenCircuit>, now: Timestamp) {
    let waits_for_it = matches!(wait.reason, WaitReason::Breaker | WaitReason::RateLimit);
    let circuit = circuit.filter(|_| waits_for_it);
    tracing::info!(
        reason = wait.reason.as_str(),
        after_ms = whole_millis(wait.until.since(now)),
        parkings = task.progress().parkings.all,
        provider = circuit.map(|circuit| circuit.model.provider().as_str()),
        model = circuit.map(|circuit| circuit.model.name()),
        cause = circuit.map(|circuit| circuit.cause.as_str()),
        open_seconds = circuit.map(|circuit| circuit.until.since(now).as_secs()),
        "task parked"
    );
}
