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
    /// Its worker was lost: queued again; send its message.
    Requeued,
    /// Its wait is over, and no message came for it: queued; send one.
    Awakened,
    /// Its deadline passed.
    TimedOut,
    /// Its attempts are used up.
    GivenUp,
    /// Its worker was lost, and its client had requested a cancel: canceled.
    Canceled,
    /// Its client did not respond in time: failed.
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
    /// When the watchdog must handle the task if nothing else happens first; `None` once it has
    /// ended. A running task past its deadline belongs to its worker until the lease ends, because
    /// the worker observes the deadline too.
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

    /// Whether the task may be what kills its workers: it is queued because its last worker was
    /// lost, and it has lost workers before since its journal last grew.
    pub fn is_suspect(&self) -> bool {
        let changes = self.progress.history.recent().iter().rev();
        let last = changes
            .map(|change| &change.event)
            .find(|event| **event != Event::Resent);
        let has_lost_worker = matches!(self.progress.state, TaskState::Queued { .. })
            && last == Some(&Event::Requeued);
        has_lost_worker && self.progress.attempts >= LOSSES_BESIDE_OTHERS
    }

    /// Whether only another message is due, although more than one was sent already. If messages
    /// wait in the queue, the task's messages are among them.
    pub fn was_sent_again(&self, now: Timestamp) -> bool {
        let is_due = matches!(self.progress.state, TaskState::Queued { due_at } if due_at <= now);
        is_due && self.progress.sends > 1 && now < self.progress.deadline
    }

    /// Postpones a task that [was sent again](Self::was_sent_again): its messages are in the queue,
    /// and another message would only add to the backlog.
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

    /// Times the task out if its deadline has passed, unless it awaits its client or has ended. The
    /// lease of a worker does not matter: the worker calls this too.
    fn settle_late(&mut self, now: Timestamp) -> Option<Overdue> {
        let late = now >= self.progress.deadline
            && !self.status().awaits_client()
            && !self.status().is_terminal();
        if late {
            self.enter(TaskState::TimedOut, Event::TimedOut, now);
        }
        late.then_some(Overdue::TimedOut)
    }

    /// Fails a queued task if [`MAX_SENDS`] messages were sent for it and no worker could claim it.
    /// Otherwise returns `false` and changes nothing. Fewer lost messages may come from an outage,
    /// which must cost only time.
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
