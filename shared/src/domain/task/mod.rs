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
mod watchdog;
mod worker;

pub use client::{Cancellation, ReopenFrom, ResumeRefused, WrongState};
pub use history::{Change, Event, HISTORY_BLOCK, History, MAX_HISTORY};
pub use parkings::Parkings;
pub use watchdog::Overdue;

use super::agent::{Agent, AgentVersion};
use super::hidden::Hidden;
use super::id::{TaskId, WorkerId};
use super::invalid::{Invalid, text};
use super::limits::{LimitKind, Limits};
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

/// How many attempts a task has before it is given up: one that kills its worker each time, or
/// whose answer is paid and lost each time, must end.
pub const MAX_ATTEMPTS: u64 = 5;

/// How many workers a task may lose in a row beside other tasks. One that has lost so many may be
/// what ends them, and is worked on alone: the tasks beside it lose as few attempts, and so are
/// never given up for it.
const LOSSES_BESIDE_OTHERS: u64 = 2;

/// How many tool calls a task may ask its client to answer at once: their answers are stored
/// together.
pub const MAX_OPEN_CALLS: usize = 64;

/// How many messages for a task SQS may dead-letter, one after the other, before the task is
/// dead-lettered as well: the watchdog sends the fifth a quarter of an hour after the first.
pub const MAX_SENDS: u32 = 5;

/// How many invocations may work on a task one after the other: with the deadline, the brake on a
/// task that never ends.
pub const MAX_HOPS: u32 = 1_000;

/// The longest delay that a queue's message can have; a task that waits longer gets its message
/// from the watchdog.
pub const LONGEST_MESSAGE_DELAY: Duration = Duration::from_mins(15);

/// How long a queued task may wait for a worker before the watchdog sends its message again. The
/// wait doubles with each message, so that a backlog is not fed with duplicates of itself.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// How long a task is left to its message while other messages wait as well.
const BACKLOG_WAIT: Duration = Duration::from_mins(5);

/// What a task shall work on: 1 byte to 128 KiB of text.
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
    spec: TaskSpec,
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
    /// What it works on; none if the store keeps it apart and the task was read without it.
    pub input: Option<TaskInput>,
    /// What it wants of the response cache.
    pub cache_use: CacheUse,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The trace that all work on it belongs to, unless nobody knew of one when it was accepted.
    pub trace: Option<TraceHeader>,
}

/// The part of a task that changes. A store reads and writes it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Raised by one with each transition.
    pub revision: u64,
    /// Leases granted so far; the number of the present one.
    pub fence: u64,
    /// Leases that count against [`MAX_ATTEMPTS`]: all since the journal last grew, but for those
    /// given back with nothing spent.
    pub attempts: u64,
    /// How often a message was sent for the task since it was last claimed.
    pub sends: u32,
    /// How often it was parked since the journal last grew.
    pub parkings: Parkings,
    /// What its failed model calls met since the journal last grew.
    pub setbacks: Setbacks,
    /// How often a worker ran out of time and another went on.
    pub hops: u32,
    /// The journal has all steps up to this number, at least; `spend` has theirs.
    pub steps: u32,
    /// Steps up to this number are of an earlier run and count no more.
    pub base: u32,
    /// How many bytes its run's recorded steps had when last counted, for which its next worker
    /// needs memory; unknown in old records.
    pub conversation_bytes: Option<u64>,
    /// Whether its client wants it to be canceled, while it has a worker.
    pub cancel_requested: bool,
    /// Its bounds.
    pub limits: Limits,
    /// When it times out.
    pub deadline: Timestamp,
    /// What its model calls came to so far, as far as their workers could tell.
    pub spend: Spend,
    /// The last part of what happened to it.
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
    /// Parked: nobody works on it, and nothing of ours runs for it.
    Waiting {
        /// Why, and until when.
        wait: Wait,
        /// When the watchdog queues it if no message has.
        due_at: Timestamp,
    },
    /// Waits for its client to answer what a model asks; its own time stands still.
    InputRequired {
        /// What is asked.
        calls: Vec<PendingCall>,
        /// Since when.
        since: Timestamp,
        /// When it fails if no answer has come.
        expires_at: Timestamp,
    },
    /// Reached a limit and waits to be resumed with a higher one; its own time stands still.
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
    /// Ended because its client wanted so.
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

/// Why a worker may not have a task.
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
        /// When it may be had.
        until: Timestamp,
    },
    /// It waits for its client.
    #[error("the task is {}", .0.as_str())]
    AwaitsClient(TaskStatus),
    /// It is to be ended by [`Task::settle_overdue`] instead: its deadline passed, its attempts are
    /// used up, or its client wanted it canceled.
    #[error("the task is overdue")]
    Overdue,
}

/// The worker's lease is no longer the task's; none of the worker's changes may have an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

/// What an attempt spent for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: no model was asked, or its answer is recorded.
    Nothing,
    /// The attempt: a model call whose answer could not be recorded, or a record that can't be
    /// read, now or the next time.
    Attempt,
}

impl Task {
    /// Accepts a task for `agent`, within its limits.
    pub fn submit(
        id: TaskId,
        agent: &Agent,
        input: TaskInput,
        cache_use: CacheUse,
        now: Timestamp,
    ) -> Self {
        Self {
            spec: TaskSpec {
                id,
                tenant: agent.tenant.clone(),
                agent: agent.version_ref(),
                input: Some(input),
                cache_use,
                created_at: now,
                trace: None,
            },
            progress: Progress {
                revision: 1,
                fence: 0,
                attempts: 0,
                sends: 1,
                parkings: Parkings::default(),
                setbacks: Setbacks::default(),
                hops: 0,
                steps: 0,
                base: 0,
                conversation_bytes: Some(0),
                cancel_requested: false,
                limits: agent.config.limits,
                deadline: now.plus(agent.config.limits.timeout()),
                spend: Spend::default(),
                history: History::beginning(Change::new(now, Event::Submitted)),
                updated_at: now,
                state: TaskState::Queued {
                    due_at: now.plus(FIRST_WAIT),
                },
            },
        }
    }

    /// This new task with bounds of its own.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.progress.limits = limits;
        self.progress.deadline = self.spec.created_at.plus(limits.timeout());
        self
    }

    /// This new task as a part of a trace.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceHeader>) -> Self {
        self.spec.trace = trace;
        self
    }

    /// This task with its input, or without it.
    #[must_use]
    pub fn with_input(mut self, input: Option<TaskInput>) -> Self {
        self.spec.input = input;
        self
    }

    /// The task as a store kept it.
    pub const fn restore(spec: TaskSpec, progress: Progress) -> Self {
        Self { spec, progress }
    }

    /// The part that never changes.
    pub const fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// Its id.
    pub const fn id(&self) -> TaskId {
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

    /// What its model calls came to so far, as far as their workers could tell.
    pub const fn spend(&self) -> Spend {
        self.progress.spend
    }

    /// The state that its last change ended, and how long it had lasted; none if the change ended
    /// none, or if its record does not have when that state began.
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

    /// The bounds that it has.
    pub const fn limits(&self) -> Limits {
        self.progress.limits
    }

    /// When it times out.
    pub const fn deadline(&self) -> Timestamp {
        self.progress.deadline
    }

    /// When the model is asked to finish: five sixths of the task's time have passed, such as 25
    /// minutes of 30.
    pub fn soft_deadline(&self) -> Timestamp {
        self.progress
            .deadline
            .minus(self.progress.limits.timeout() / 6)
    }

    /// Whether its worker is gone: its lease has ended, and nobody has taken over.
    pub fn has_lost_worker(&self, now: Timestamp) -> bool {
        matches!(self.progress.state, TaskState::Running(lease) if now >= lease.expires_at)
    }

    /// When it ended, if it has.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.status()
            .is_terminal()
            .then_some(self.progress.updated_at)
    }

    /// Queues the task: the watchdog sends its message again after ever longer waits.
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

    /// Makes a change that is not its worker's. If that one was lost, the change says so.
    fn without_worker<T>(&mut self, now: Timestamp, change: impl FnOnce(&mut Self) -> T) -> T {
        let is_lost = self.has_lost_worker(now);
        let changed = change(self);
        if is_lost {
            self.progress.history.note_lost();
        }
        changed
    }

    fn cancel_now(&mut self, now: Timestamp) {
        self.enter(TaskState::Canceled, Event::Canceled, now);
    }

    fn end_failed(&mut self, failure: Failure, now: Timestamp) {
        let failed = Event::Failed { code: failure.code };
        self.enter(TaskState::Failed(failure), failed, now);
    }

    fn enter(&mut self, state: TaskState, event: Event, now: Timestamp) {
        // A wish to cancel is its worker's business, and over with the lease.
        self.progress.cancel_requested &= matches!(state, TaskState::Running(_));
        self.progress.state = state;
        self.note(event, now);
    }

    /// Makes a transition of what was changed already.
    fn note(&mut self, event: Event, now: Timestamp) {
        self.turn(now);
        self.progress.history.push(Change::new(now, event));
    }

    /// Makes a transition that the history does not tell of.
    fn turn(&mut self, now: Timestamp) {
        self.progress.history.make_room();
        self.progress.revision += 1;
        self.progress.updated_at = now;
    }
}

#[cfg(test)]
mod tests;
