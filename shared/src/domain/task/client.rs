//! The transitions that a client requests: cancel, reopen, resume, and answers to tool calls.

use super::history::Event;
use super::parkings::Parkings;
use super::{Lease, Task, TaskState};
use crate::domain::limits::{BudgetScope, LimitKind, Limits};
use crate::domain::setbacks::Setbacks;
use crate::domain::status::TaskStatus;
use crate::domain::time::Timestamp;

/// The task's status does not allow what the client requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is {}", .0.as_str())]
pub struct WrongState(pub TaskStatus);

/// Why a task can't be resumed, or opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResumeRefused {
    /// The task's status does not allow it.
    #[error(transparent)]
    WrongState(#[from] WrongState),
    /// The client did not raise the limit at which the task stopped.
    #[error("the task stopped at its {limit} of {bound}")]
    NotRaised {
        /// The limit.
        limit: LimitKind,
        /// Its present value.
        bound: u64,
    },
}

/// The result of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// The task is canceled.
    Done,
    /// A worker has the task: it will be canceled in a moment.
    Requested,
}

/// Where a task that is opened again starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReopenFrom {
    /// After its last recorded step.
    #[default]
    Checkpoint,
    /// From the beginning, in a new run: the steps so far do not belong to it.
    Start {
        /// The number after which the new run's steps begin.
        last_step: u32,
    },
}

impl Task {
    /// Cancels the task: at once, or by its worker if it has one. Cancelling a canceled task
    /// changes nothing and is no error; `None` says so.
    pub fn cancel(&mut self, now: Timestamp) -> Result<Option<Cancellation>, WrongState> {
        match self.progress.state {
            TaskState::Canceled => Ok(None),
            TaskState::Running(Lease { expires_at, .. }) if now < expires_at => {
                if self.progress.cancel_requested {
                    return Ok(None);
                }
                self.progress.cancel_requested = true;
                self.note(Event::CancelRequested, now);
                Ok(Some(Cancellation::Requested))
            }
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Waiting { .. }
            | TaskState::InputRequired { .. }
            | TaskState::Paused { .. } => {
                self.without_worker(now, |task| task.cancel_now(now));
                Ok(Some(Cancellation::Done))
            }
            TaskState::Completed(_) | TaskState::Failed(_) | TaskState::TimedOut => {
                Err(WrongState(self.status()))
            }
        }
    }

    /// Whether the task ended without an answer, so that it may be opened again.
    pub const fn is_reopenable(&self) -> bool {
        match self.progress.state {
            TaskState::Failed(_) | TaskState::Canceled | TaskState::TimedOut => true,
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Waiting { .. }
            | TaskState::InputRequired { .. }
            | TaskState::Paused { .. }
            | TaskState::Completed(_) => false,
        }
    }

    /// Continues a task that failed, was canceled or timed out, with these limits and all the time
    /// that they allow. The caller sends a message for the task. If it failed at a limit, and would
    /// reach it again before it does anything, the limit must be higher than before, unless it was
    /// the cap on cost of another budget. A new run counts steps and tool calls anew; tokens and
    /// cost are the task's. But the calls of a new run may be cheaper, and fit under the cap.
    pub fn reopen(
        &mut self,
        from: ReopenFrom,
        limits: Limits,
        now: Timestamp,
    ) -> Result<(), ResumeRefused> {
        if !self.is_reopenable() {
            return Err(WrongState(self.status()).into());
        }
        if let TaskState::Failed(failure) = &self.progress.state
            && let Some(limit) = failure.limit()
            && (from == ReopenFrom::Checkpoint || limit == LimitKind::MaxTokens)
        {
            self.check_raised(limit, limits)?;
        }
        if let ReopenFrom::Start { last_step } = from {
            // Recorded steps may be missing. The new run must not have their numbers, which count as
            // recorded.
            self.progress.steps = self.progress.steps.max(last_step);
            self.progress.base = self.progress.steps;
            self.progress.conversation_bytes = Some(0);
        }
        self.progress.limits = limits;
        self.progress.deadline = now.plus(limits.timeout());
        self.progress.hops = 0;
        self.progress.attempts = 0;
        self.progress.parkings = Parkings::default();
        self.progress.setbacks = Setbacks::default();
        self.progress.sends = 0;
        self.progress.cancel_requested = false;
        self.queue(
            Event::Reopened {
                base: self.progress.base,
            },
            now,
        );
        Ok(())
    }

    /// Continues a paused task under these limits; the time that it has used counts. The caller
    /// sends a message for the task. The limit at which it paused must be higher than before,
    /// unless it was the cap on cost of another budget.
    pub fn resume(&mut self, limits: Limits, now: Timestamp) -> Result<(), ResumeRefused> {
        let TaskState::Paused { limit, since, .. } = self.progress.state else {
            return Err(WrongState(self.status()).into());
        };
        self.check_raised(limit, limits)?;
        let began = self.progress.deadline.minus(self.progress.limits.timeout());
        self.progress.deadline = began.plus(limits.timeout());
        self.progress.limits = limits;
        self.queue_after_client(since, Event::Resumed, now);
        Ok(())
    }

    /// Continues a task whose client has answered; the answers, of so many bytes, are stored with
    /// this change. The caller sends a message for the task.
    pub fn answered(&mut self, bytes: u64, now: Timestamp) -> Result<(), WrongState> {
        let TaskState::InputRequired { since, .. } = self.progress.state else {
            return Err(WrongState(self.status()));
        };
        self.progress.conversation_bytes = self
            .progress
            .conversation_bytes
            .map(|known| known.saturating_add(bytes));
        self.queue_after_client(since, Event::Answered, now);
        Ok(())
    }

    /// Refuses limits that do not raise this one, unless it was the cap on cost of another budget.
    fn check_raised(&self, limit: LimitKind, limits: Limits) -> Result<(), ResumeRefused> {
        let is_own =
            limit != LimitKind::Budget || self.progress.setbacks.cap() == Some(BudgetScope::Task);
        let bounds = limits.bound(limit).zip(self.progress.limits.bound(limit));
        match bounds.filter(|(raised, bound)| is_own && raised <= bound) {
            Some((_, bound)) => Err(ResumeRefused::NotRaised { limit, bound }),
            None => Ok(()),
        }
    }

    /// Queues the task, and moves its deadline by the time that it waited for its client.
    fn queue_after_client(&mut self, since: Timestamp, event: Event, now: Timestamp) {
        self.progress.deadline = self.progress.deadline.plus(now.since(since));
        self.queue(event, now);
    }
}
