//! Tasks and their life: the only place where a task changes state.
//!
//! Each transition is one method, refuses what is not allowed from the present state, and raises the revision by one; a
//! store makes it durable with one write conditional on the revision before. A lease says who may work on a task now,
//! and its fence refuses whoever held an earlier one. Every non-terminal task has a moment at which the watchdog looks
//! at it ([`Task::due_at`]), so that none is forgotten.

use std::time::Duration;

use super::agent::{Agent, AgentVersion};
use super::id::{TaskId, WorkerId};
use super::invalid::{Invalid, text};
use super::outcome::{Failure, Output};
use super::rules::CacheUse;
use super::spend::Spend;
use super::status::TaskStatus;
use super::tenant::TenantId;
use super::time::Timestamp;
use super::wait::Wait;

const MAX_INPUT_BYTES: usize = 128 * 1_024;

/// How many attempts a task has before it is given up: one that kills its worker each time, or whose answer is paid and
/// lost each time, must end.
pub const MAX_ATTEMPTS: u64 = 5;

/// The longest delay that a queue's message can have; a task that waits longer gets its message from the watchdog.
pub const LONGEST_MESSAGE_DELAY: Duration = Duration::from_mins(15);

/// How long a task pauses whose models are all out of service; the pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The least time over which tasks come back that wait for the same moment.
const LEAST_STAGGER: Duration = Duration::from_millis(500);

/// How long a queued task may wait for a worker before the watchdog sends its message again. The wait doubles with
/// each message, so that a backlog is not fed with duplicates of itself.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// What a task shall work on: 1 byte to 128 KiB of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInput(String);

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
    /// Whose task it is.
    pub tenant: TenantId,
    /// The agent version that it runs.
    pub agent: AgentVersion,
    /// What it works on.
    pub input: TaskInput,
    /// What it wants of the response cache.
    pub cache_use: CacheUse,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it times out.
    pub deadline: Timestamp,
}

/// The part of a task that changes. A store reads and writes it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Raised by one with each transition.
    pub revision: u64,
    /// Leases granted so far; the number of the present one.
    pub fence: u64,
    /// Leases that count against [`MAX_ATTEMPTS`]: all but those that were given back with nothing spent.
    pub attempts: u64,
    /// How often a message was sent for the task since it was last claimed.
    pub sends: u32,
    /// How often it was parked.
    pub parkings: u32,
    /// What its model calls came to so far, as far as their workers could tell.
    pub spend: Spend,
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
    /// A worker has it.
    Running(Lease),
    /// Parked: nobody works on it, and nothing of ours runs for it.
    Waiting {
        /// Why, and until when.
        wait: Wait,
        /// When the watchdog queues it if no message has.
        due_at: Timestamp,
    },
    /// Ended with an answer.
    Completed(Output),
    /// Ended without an answer, for a reason.
    Failed(Failure),
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
    /// Another worker has it.
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
    /// It is to be ended by [`Task::settle_overdue`] instead: its deadline passed or its attempts are used up.
    #[error("the task is overdue")]
    Overdue,
}

/// The worker's lease is no longer the task's; whatever it did must have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

/// What an attempt spent for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: no model was asked, or its answer is recorded.
    Nothing,
    /// A model call whose answer could not be recorded.
    ModelCall,
}

/// What the watchdog did to an overdue task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Its message may be lost: send it again.
    Resent,
    /// Its worker is gone: queued again; send its message.
    Requeued,
    /// Its wait is over, and no message came for it: queued; send one.
    Awakened,
    /// Its deadline passed.
    TimedOut,
    /// Its attempts are used up.
    GivenUp,
}

impl Task {
    /// Accepts a task for `agent`.
    pub fn submit(id: TaskId, agent: &Agent, input: TaskInput, cache_use: CacheUse, now: Timestamp) -> Self {
        Self {
            spec: TaskSpec {
                id,
                tenant: agent.tenant.clone(),
                agent: agent.version_ref(),
                input,
                cache_use,
                created_at: now,
                deadline: now.plus(Duration::from_secs(agent.config.limits.timeout_seconds().into())),
            },
            progress: Progress {
                revision: 1,
                fence: 0,
                attempts: 0,
                sends: 1,
                parkings: 0,
                spend: Spend::default(),
                updated_at: now,
                state: TaskState::Queued { due_at: now.plus(FIRST_WAIT) },
            },
        }
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

    /// The state without its content.
    pub const fn status(&self) -> TaskStatus {
        match self.progress.state {
            TaskState::Queued { .. } => TaskStatus::Queued,
            TaskState::Running(_) => TaskStatus::Running,
            TaskState::Waiting { .. } => TaskStatus::Waiting,
            TaskState::Completed(_) => TaskStatus::Completed,
            TaskState::Failed(_) => TaskStatus::Failed,
            TaskState::TimedOut => TaskStatus::TimedOut,
        }
    }

    /// When the watchdog must look at the task if nothing else happened; `None` once it has ended. A running task past
    /// its deadline is left to its worker, which is bound by the deadline too, until its lease ends.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.progress.state {
            TaskState::Queued { due_at } | TaskState::Waiting { due_at, .. } => Some(*due_at.min(&self.spec.deadline)),
            TaskState::Running(lease) => Some(lease.expires_at),
            TaskState::Completed(_) | TaskState::Failed(_) | TaskState::TimedOut => None,
        }
    }

    /// When it ended, if it has.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.status().is_terminal().then_some(self.progress.updated_at)
    }

    /// Gives the task to a worker under a new fence.
    pub fn claim(&mut self, lease: Lease, now: Timestamp) -> Result<(), ClaimRefused> {
        match &self.progress.state {
            TaskState::Completed(_) | TaskState::Failed(_) | TaskState::TimedOut => {
                return Err(ClaimRefused::Finished(self.status()));
            }
            // Even past the deadline: its worker may be about to end the task in time.
            TaskState::Running(held) if now < held.expires_at => {
                return Err(ClaimRefused::Leased { until: held.expires_at });
            }
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::Waiting { .. }
                if now >= self.spec.deadline =>
            {
                return Err(ClaimRefused::Overdue);
            }
            TaskState::Waiting { wait, .. } if now < wait.until => {
                return Err(ClaimRefused::Waiting { until: wait.until });
            }
            TaskState::Running(_) if self.progress.attempts >= MAX_ATTEMPTS => return Err(ClaimRefused::Overdue),
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::Waiting { .. } => {}
        }
        self.progress.fence += 1;
        self.progress.attempts += 1;
        self.progress.sends = 0;
        self.enter(TaskState::Running(lease), now);
        Ok(())
    }

    /// Adds to what the task's model calls came to. It becomes durable with the transition that follows.
    pub fn add_spend(&mut self, spend: Spend) {
        self.progress.spend = self.progress.spend.plus(spend);
    }

    /// Parks the task, for the worker that holds the lease numbered `fence`: it may be had again when the wait is over. A
    /// parked attempt counts only if it `spent` something.
    pub fn park(&mut self, fence: u64, wait: Wait, spent: Spent, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        match spent {
            Spent::Nothing => self.progress.attempts = self.progress.attempts.saturating_sub(1),
            Spent::ModelCall if self.progress.attempts >= MAX_ATTEMPTS => {
                self.end_attempt(now);
                return Ok(());
            }
            Spent::ModelCall => {}
        }
        let by_message = wait.until.since(now) <= LONGEST_MESSAGE_DELAY;
        let due_at = if by_message { wait.until.plus(FIRST_WAIT) } else { wait.until };
        self.progress.parkings = self.progress.parkings.saturating_add(1);
        self.progress.sends = u32::from(by_message);
        self.enter(TaskState::Waiting { wait, due_at }, now);
        Ok(())
    }

    /// How long the task should pause if all its models are out of service: from 5 s on, twice as long each time up to
    /// 5 minutes, and up to a quarter less, so that tasks that were parked together come back one by one.
    pub fn pause(&self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.progress.parkings.min(8)).min(LONGEST_PAUSE);
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// When the task should come back of all those that wait for the moment `until`: up to a quarter of the wait later, so that
    /// they come one by one, but before its deadline if that moment is.
    pub fn staggered(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        let over = (until.since(now) / 4).max(LEAST_STAGGER).min(self.spec.deadline.since(until) / 2);
        until.plus(over.mul_f64(spread(self.spec.id)))
    }

    /// Ends the task with an answer, for the worker that holds the lease numbered `fence`.
    pub fn complete(&mut self, fence: u64, output: Output, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        self.enter(TaskState::Completed(output), now);
        Ok(())
    }

    /// Ends the task without an answer, for the worker that holds the lease numbered `fence`.
    pub fn fail(&mut self, fence: u64, failure: Failure, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        self.enter(TaskState::Failed(failure), now);
        Ok(())
    }

    /// Gives the task back unfinished, for the worker that holds the lease numbered `fence`: whoever gets a message for it
    /// may claim it at once. An attempt that spent something counts, and the last of them gives the task up.
    pub fn release(&mut self, fence: u64, spent: Spent, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        match spent {
            Spent::Nothing => {
                self.progress.attempts = self.progress.attempts.saturating_sub(1);
                self.queue(now);
            }
            Spent::ModelCall => {
                self.end_attempt(now);
            }
        }
        Ok(())
    }

    /// Does what is due; `None` if nothing is. Whoever gets [`Overdue::Resent`] or [`Overdue::Requeued`] sends a message
    /// for the task once the change is stored.
    pub fn settle_overdue(&mut self, now: Timestamp) -> Option<Overdue> {
        let due_at = self.due_at()?;
        if now >= self.spec.deadline {
            self.enter(TaskState::TimedOut, now);
            return Some(Overdue::TimedOut);
        }
        if now < due_at {
            return None;
        }
        match self.progress.state {
            TaskState::Queued { .. } => {
                self.queue(now);
                Some(Overdue::Resent)
            }
            TaskState::Waiting { .. } => {
                self.queue(now);
                Some(Overdue::Awakened)
            }
            TaskState::Running(_) => Some(self.end_attempt(now)),
            TaskState::Completed(_) | TaskState::Failed(_) | TaskState::TimedOut => None,
        }
    }

    /// Ends an attempt that came to nothing.
    fn end_attempt(&mut self, now: Timestamp) -> Overdue {
        if self.progress.attempts < MAX_ATTEMPTS {
            self.queue(now);
            return Overdue::Requeued;
        }
        self.enter(TaskState::Failed(Failure::attempts_exhausted(MAX_ATTEMPTS)), now);
        Overdue::GivenUp
    }

    fn queue(&mut self, now: Timestamp) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.progress.sends.min(8)).min(LONGEST_WAIT);
        self.progress.sends += 1;
        self.enter(TaskState::Queued { due_at: now.plus(wait) }, now);
    }

    fn must_hold(&self, fence: u64) -> Result<(), LeaseLost> {
        let holds = matches!(self.progress.state, TaskState::Running(_)) && self.progress.fence == fence;
        if holds { Ok(()) } else { Err(LeaseLost) }
    }

    fn enter(&mut self, state: TaskState, now: Timestamp) {
        self.progress.state = state;
        self.progress.revision += 1;
        self.progress.updated_at = now;
    }
}

/// A number from 0 up to 1 that differs between tasks.
fn spread(id: TaskId) -> f64 {
    let [.., last] = id.as_bytes();
    f64::from(*last) / 256.0
}

#[cfg(test)]
mod tests;
