//! What the watchdog does to tasks that no message or worker will pick up again.

use super::history::Event;
use super::{BACKLOG_WAIT, LOSSES_BESIDE_OTHERS, MAX_SENDS, Task, TaskState};
use crate::domain::outcome::Failure;
use crate::domain::time::Timestamp;

/// What the watchdog did to an overdue task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Its message may be lost: send it again.
    Resent,
    /// Its message probably waits with many others: it was sent twice, and the queue has a backlog.
    LeftInBacklog,
    /// Its worker is gone: queued again; send its message.
    Requeued,
    /// Its wait is over, and no message came for it: queued; send one.
    Awakened,
    /// Its deadline passed.
    TimedOut,
    /// Its attempts are used up.
    GivenUp,
    /// Its worker is gone, and its client had wished to cancel it: canceled.
    Canceled,
    /// Its client did nothing for too long: failed.
    Expired,
}

impl Overdue {
    /// Whether the task waits for a worker now, and a message has to be sent for it.
    pub const fn wants_message(self) -> bool {
        match self {
            Self::Resent | Self::Requeued | Self::Awakened => true,
            Self::LeftInBacklog
            | Self::TimedOut
            | Self::GivenUp
            | Self::Canceled
            | Self::Expired => false,
        }
    }
}

impl Task {
    /// When the watchdog must look at the task if nothing else happened; `None` once it has ended.
    /// A running task past its deadline is left to its worker, which is bound by the deadline too,
    /// until its lease ends.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.progress.state {
            TaskState::Queued { due_at } | TaskState::Waiting { due_at, .. } => {
                Some(*due_at.min(&self.progress.deadline))
            }
            TaskState::Running(lease) => Some(lease.expires_at),
            TaskState::InputRequired { expires_at, .. } | TaskState::Paused { expires_at, .. } => {
                Some(*expires_at)
            }
            TaskState::Completed(_)
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => None,
        }
    }

    /// Does what is due; `None` if nothing is. If the result [wants a
    /// message](Overdue::wants_message), the caller sends it once the change is stored.
    pub fn settle_overdue(&mut self, now: Timestamp) -> Option<Overdue> {
        if now < self.due_at()? {
            return self.settle_late(now);
        }
        self.without_worker(now, |task| task.settle_due(now))
    }

    /// Whether the task may be what ends its workers: it waits for one because the last was lost,
    /// and not for the first time since its journal last grew.
    pub fn is_suspect(&self) -> bool {
        let changes = self.progress.history.kept().iter().rev();
        let last = changes
            .map(|change| &change.event)
            .find(|event| **event != Event::Resent);
        let has_lost_worker = matches!(self.progress.state, TaskState::Queued { .. })
            && last == Some(&Event::Requeued);
        has_lost_worker && self.progress.attempts >= LOSSES_BESIDE_OTHERS
    }

    /// Whether nothing is due but another message, and more than one was sent already: if messages
    /// wait in the queue, the task's are among them.
    pub fn was_sent_again(&self, now: Timestamp) -> bool {
        let is_due = matches!(self.progress.state, TaskState::Queued { due_at } if due_at <= now);
        is_due && self.progress.sends > 1 && now < self.progress.deadline
    }

    /// Leaves a task that [was sent again](Self::was_sent_again) to its messages, for a while:
    /// another would feed the backlog.
    pub fn leave_in_backlog(&mut self, now: Timestamp) -> Overdue {
        self.progress.state = TaskState::Queued {
            due_at: now.plus(BACKLOG_WAIT),
        };
        self.turn(now);
        Overdue::LeftInBacklog
    }

    fn settle_due(&mut self, now: Timestamp) -> Option<Overdue> {
        match &self.progress.state {
            TaskState::Running(_) if self.progress.cancel_requested => {
                self.cancel_now(now);
                Some(Overdue::Canceled)
            }
            TaskState::InputRequired { .. } => {
                self.end_failed(Failure::input_expired(), now);
                Some(Overdue::Expired)
            }
            TaskState::Paused { limit, .. } => {
                let failure = Failure::limit_reached(*limit);
                self.end_failed(failure, now);
                Some(Overdue::Expired)
            }
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::Waiting { .. }
                if now >= self.progress.deadline =>
            {
                self.settle_late(now)
            }
            TaskState::Queued { .. } => {
                self.queue(Event::Resent, now);
                Some(Overdue::Resent)
            }
            TaskState::Waiting { .. } => {
                self.queue(Event::Awakened, now);
                Some(Overdue::Awakened)
            }
            TaskState::Running(_) => Some(self.end_attempt(now)),
            TaskState::Completed(_)
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => None,
        }
    }

    /// Ends the task if its deadline has passed and its time runs. Its own worker may do so before
    /// its lease ends.
    fn settle_late(&mut self, now: Timestamp) -> Option<Overdue> {
        let late = now >= self.progress.deadline
            && !self.status().awaits_client()
            && !self.status().is_terminal();
        if late {
            self.enter(TaskState::TimedOut, Event::TimedOut, now);
        }
        late.then_some(Overdue::TimedOut)
    }

    /// Fails a task whose messages SQS dead-lettered one after the other, so that no worker can
    /// have claimed it since [`MAX_SENDS`] of them. `false`, and nothing changes, if there were
    /// fewer, because an outage must cost only time, or if the task doesn't wait for a worker.
    pub fn dead_letter(&mut self, now: Timestamp) -> bool {
        let stranded = matches!(self.progress.state, TaskState::Queued { .. })
            && self.progress.sends >= MAX_SENDS;
        if stranded {
            self.end_failed(
                Failure::undeliverable(self.progress.sends, self.progress.steps),
                now,
            );
        }
        stranded
    }
}
