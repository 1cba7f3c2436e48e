//! Tasks and their life: the only place where a task changes state.
//!
//! Each transition is one method. It refuses what the present state does not allow, and raises the
//! revision by one; a store makes it durable with one write, conditional on the revision before. A
//! lease says which worker may work on a task now, and its fence refuses the holders of earlier
//! leases. Every non-terminal task has a moment at which the watchdog checks it ([`Task::due_at`]),
//! so no task is forgotten.

use std::time::Duration;

mod backoffs;
mod client;
mod history;
mod parkings;
mod submission;
mod watchdog;
mod worker;

pub use client::{Cancellation, ReopenFrom, ResumeRefused, WrongState};
pub use history::{Change, Event, HISTORY_BLOCK, History, MAX_HISTORY};
pub use parkings::Parkings;
pub use watchdog::Overdue;

use super::agent::AgentVersion;
use super::api_key::KeyId;
use super::hidden::Hidden;
use super::id::{TaskId, WorkerId};
use super::invalid::{Invalid, text};
use super::limits::{LimitKind, Limits};
use super::metadata::Metadata;
use super::outcome::{Failure, Output};
use super::rules::CacheUse;
use super::setbacks::Setbacks;
use super::spend::Spend;
use super::status::TaskStatus;
use super::tenant::TenantId;
use super::time::Timestamp;
use super::trace::TraceHeader;
use super::transcript::PendingCall;
use super::wait::Wait;

const MAX_INPUT_BYTES: usize = 128 * 1_024;

/// After how many attempts a task fails. A task that kills its worker each time, or whose answer is
/// paid and lost each time, must end.
pub const MAX_ATTEMPTS: u64 = 5;

/// How many workers a task may lose in a row while they also work on other tasks. After that, the
/// task may be what kills them, so a worker works on it alone. So other tasks lose few attempts,
/// and never fail because of this task.
const LOSSES_BESIDE_OTHERS: u64 = 2;

/// How many tool calls a task may ask its client to answer at once: their answers are stored
/// together.
pub const MAX_OPEN_CALLS: usize = 64;

/// How many messages for a task SQS may dead-letter, one after the other, before the task is
/// dead-lettered as well: the watchdog sends the fifth a quarter of an hour after the first.
pub const MAX_SENDS: u32 = 5;

/// How many invocations may work on a task one after the other. This limit and the deadline stop a
/// task that never ends.
pub const MAX_HOPS: u32 = 1_000;

/// The longest delay that a queue's message can have; a task that waits longer gets its message
/// from the watchdog.
pub const LONGEST_MESSAGE_DELAY: Duration = Duration::from_mins(15);

/// How long a queued task may wait for a worker before the watchdog sends its message again. The
/// wait doubles with each message, so that duplicates do not enlarge a backlog.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// How long the watchdog leaves a task alone whose messages wait in a backlog.
const BACKLOG_WAIT: Duration = Duration::from_mins(5);

/// The input that a task works on: 1 byte to 128 KiB of text.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct TaskInput(#[debug("{}", Hidden(_0))] String);

impl TaskInput {
    /// Checks the text at `/input`.
    pub fn new(input: String) -> Result<Self, Invalid> {
        text("/input", input, MAX_INPUT_BYTES).map(Self)
    }

    /// The input as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One run of one agent version on one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    spec: Box<TaskSpec>,
    progress: Progress,
}

/// The part of a task that never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its id.
    pub id: TaskId,
    /// The tenant that owns the task.
    pub tenant: TenantId,
    /// The agent version that it runs.
    pub agent: AgentVersion,
    /// The input; `None` if it has a record of its own and the task was read without it.
    pub input: Option<TaskInput>,
    /// How it uses the response cache.
    pub cache_use: CacheUse,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The trace that all work on it belongs to, if there was one when it was accepted.
    pub trace: Option<TraceHeader>,
    /// What its client noted about it.
    pub metadata: Metadata,
    /// The API key that submitted it; `None` for the deployment's own key, and in old records.
    pub submitted_by: Option<KeyId>,
    /// When it begins, if its client said so; `None` in old records.
    pub not_before: Option<Timestamp>,
}

/// The part of a task that changes. A store reads and writes it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Raised by one with each transition.
    pub revision: u64,
    /// How many leases were granted so far: the number of the present lease.
    pub fence: u64,
    /// Leases that count against [`MAX_ATTEMPTS`]: all since the journal last grew, except leases
    /// that were given back without cost.
    pub attempts: u64,
    /// How often a message was sent for the task since it was last claimed.
    pub sends: u32,
    /// How often it was parked since the journal last grew.
    pub parkings: Parkings,
    /// Why its model calls failed since the journal last grew.
    pub setbacks: Setbacks,
    /// How often a worker ran out of time and another worker continued.
    pub hops: u32,
    /// The journal has all steps up to this number, or more. `spend` includes the cost of these
    /// steps.
    pub steps: u32,
    /// Steps up to this number belong to an earlier run and no longer count.
    pub base: u32,
    /// How many bytes the run's recorded steps had when they were last counted. The next worker
    /// needs so much memory. Unknown in old records.
    pub conversation_bytes: Option<u64>,
    /// Whether its client requested a cancel that its worker has not done yet.
    pub cancel_requested: bool,
    /// Its limits.
    pub limits: Limits,
    /// When it times out.
    pub deadline: Timestamp,
    /// What its model calls have cost so far, as far as workers recorded it.
    pub spend: Spend,
    /// Its last transitions.
    pub history: History,
    /// When the last transition was made.
    pub updated_at: Timestamp,
    /// Where it is in its life.
    pub state: TaskState,
}

/// Where a task is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for a worker.
    Queued {
        /// When the watchdog sends its message again.
        due_at: Timestamp,
    },
    /// A worker holds its lease.
    Running(Lease),
    /// Parked: it has no worker and uses no compute.
    Waiting {
        /// Why, and until when.
        wait: Wait,
        /// When the watchdog queues it if no message has.
        due_at: Timestamp,
    },
    /// Waits for its client's results of tool calls. This time does not count against its deadline.
    InputRequired {
        /// The calls.
        calls: Vec<PendingCall>,
        /// Since when.
        since: Timestamp,
        /// When it fails if no answer has come.
        expires_at: Timestamp,
    },
    /// Reached a limit, and waits to be resumed with a higher limit. This time does not count
    /// against its deadline.
    Paused {
        /// The limit.
        limit: LimitKind,
        /// Since when.
        since: Timestamp,
        /// When it fails if it was not resumed.
        expires_at: Timestamp,
    },
    /// Ended with an answer.
    Completed(Output),
    /// Ended without an answer, for a reason.
    Failed(Failure),
    /// Ended because its client canceled it.
    Canceled,
    /// Ended because its deadline passed.
    TimedOut,
}

/// Who may work on a task, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The worker.
    pub worker: WorkerId,
    /// When others may take over.
    pub expires_at: Timestamp,
}

/// Why a worker can't claim a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    /// Nothing is left to do.
    #[error("the task is already {}", .0.as_str())]
    Finished(TaskStatus),
    /// Another worker holds its lease.
    #[error("another worker holds the lease")]
    Leased {
        /// When the other lease ends.
        until: Timestamp,
    },
    /// It is parked.
    #[error("the task is parked")]
    Waiting {
        /// When it can be claimed.
        until: Timestamp,
    },
    /// It waits for its client.
    #[error("the task is {}", .0.as_str())]
    AwaitsClient(TaskStatus),
    /// [`Task::settle_overdue`] must end it instead: its deadline passed, its attempts are used up,
    /// or its client requested a cancel.
    #[error("the task is overdue")]
    Overdue,
}

/// The worker has lost the lease, so it can't change the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

/// What an attempt spent without a recorded result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: no model was called, or its answer is recorded.
    Nothing,
    /// The attempt: a model call whose answer could not be recorded, or a record that can't be
    /// read, now or the next time.
    Attempt,
}

impl Task {
    /// This task with its input, or without it.
    #[must_use]
    pub fn with_input(mut self, input: Option<TaskInput>) -> Self {
        self.spec.input = input;
        self
    }

    /// The task as it was stored.
    pub fn restore(spec: TaskSpec, progress: Progress) -> Self {
        Self {
            spec: Box::new(spec),
            progress,
        }
    }

    /// The part that never changes.
    pub fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.spec.id
    }

    /// The part that changes.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where it is in its life.
    pub const fn state(&self) -> &TaskState {
        &self.progress.state
    }

    /// The present lease's number.
    pub const fn fence(&self) -> u64 {
        self.progress.fence
    }

    /// The attempts that count, the present one included.
    pub const fn attempts(&self) -> u64 {
        self.progress.attempts
    }

    /// What its model calls have cost so far, as far as workers recorded it.
    pub const fn spend(&self) -> Spend {
        self.progress.spend
    }

    /// The state that its last change ended, and how long that state lasted. `None` if the change
    /// ended no state, or the history no longer has the beginning of the state.
    pub fn last_stay(&self) -> Option<(TaskStatus, Duration)> {
        self.progress.history.last_stay()
    }

    /// The state without its content.
    pub const fn status(&self) -> TaskStatus {
        match self.progress.state {
            TaskState::Queued { .. } => TaskStatus::Queued,
            TaskState::Running(_) => TaskStatus::Running,
            TaskState::Waiting { .. } => TaskStatus::Waiting,
            TaskState::InputRequired { .. } => TaskStatus::InputRequired,
            TaskState::Paused { .. } => TaskStatus::Paused,
            TaskState::Completed(_) => TaskStatus::Completed,
            TaskState::Failed(_) => TaskStatus::Failed,
            TaskState::Canceled => TaskStatus::Canceled,
            TaskState::TimedOut => TaskStatus::TimedOut,
        }
    }

    /// Its limits.
    pub const fn limits(&self) -> Limits {
        self.progress.limits
    }

    /// When it times out.
    pub const fn deadline(&self) -> Timestamp {
        self.progress.deadline
    }

    /// From when on the model gets no tools, so that it must finish: after five sixths of the
    /// task's time, for example 25 of 30 minutes.
    pub fn soft_deadline(&self) -> Timestamp {
        self.progress
            .deadline
            .minus(self.progress.limits.timeout() / 6)
    }

    /// Whether its worker is lost: its lease has ended, and no other worker has claimed it.
    pub fn has_lost_worker(&self, now: Timestamp) -> bool {
        matches!(self.progress.state, TaskState::Running(lease) if now >= lease.expires_at)
    }

    /// When it ended, if it has.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.status()
            .is_terminal()
            .then_some(self.progress.updated_at)
    }

    /// Queues the task. The wait until the watchdog sends its message again doubles each time.
    fn queue(&mut self, event: Event, now: Timestamp) {
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.progress.sends.min(8))
            .min(LONGEST_WAIT);
        self.progress.sends += 1;
        self.enter(
            TaskState::Queued {
                due_at: now.plus(wait),
            },
            event,
            now,
        );
    }

    /// Makes a change without the task's worker. If the worker was lost, the history notes that.
    fn without_worker<T>(&mut self, now: Timestamp, change: impl FnOnce(&mut Self) -> T) -> T {
        let is_lost = self.has_lost_worker(now);
        let changed = change(self);
        if is_lost {
            self.progress.history.note_lost();
        }
        changed
    }

    /// The state of this task in the wait. The watchdog wakes the task at the end of the wait, or a
    /// minute later if a message arrives at the end.
    fn waiting(&mut self, wait: Wait, now: Timestamp) -> TaskState {
        let by_message = message_delay(wait, now).is_some();
        let due_at = if by_message {
            wait.until.plus(FIRST_WAIT)
        } else {
            wait.until
        };
        self.progress.sends = u32::from(by_message);
        TaskState::Waiting { wait, due_at }
    }

    fn cancel_now(&mut self, now: Timestamp) {
        self.enter(TaskState::Canceled, Event::Canceled, now);
    }

    fn end_failed(&mut self, failure: Failure, now: Timestamp) {
        let failed = Event::Failed { code: failure.code };
        self.enter(TaskState::Failed(failure), failed, now);
    }

    fn enter(&mut self, state: TaskState, event: Event, now: Timestamp) {
        // A cancel is requested of the worker. Without a lease there is no worker.
        self.progress.cancel_requested &= matches!(state, TaskState::Running(_));
        self.progress.state = state;
        self.note(event, now);
    }

    /// Completes a transition whose fields have changed already, and adds it to the history.
    fn note(&mut self, event: Event, now: Timestamp) {
        self.turn(now);
        self.progress.history.push(Change::new(now, event));
    }

    /// Completes a transition that is not added to the history.
    fn turn(&mut self, now: Timestamp) {
        self.progress.history.make_room();
        self.progress.revision += 1;
        self.progress.updated_at = now;
    }
}

/// The delay of the message that ends the wait; `None` if a message can't have such a delay.
fn message_delay(wait: Wait, now: Timestamp) -> Option<Duration> {
    let delay = wait.until.since(now);
    (delay <= LONGEST_MESSAGE_DELAY).then_some(delay)
}

#[cfg(test)]
mod tests;
