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
use super::status::TaskStatus;
use super::tenant::TenantId;
use super::time::Timestamp;

const MAX_INPUT_BYTES: usize = 128 * 1_024;

/// How many attempts a task has before it is given up: one that kills its worker each time, or whose answer is paid and
/// lost each time, must end.
pub const MAX_ATTEMPTS: u64 = 5;

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
    /// Its deadline passed.
    TimedOut,
    /// Its attempts are used up.
    GivenUp,
}

impl Task {
    /// Accepts a task for `agent`.
    pub fn submit(id: TaskId, agent: &Agent, input: TaskInput, now: Timestamp) -> Self {
        Self {
            spec: TaskSpec {
                id,
                tenant: agent.tenant.clone(),
                agent: agent.version_ref(),
                input,
                created_at: now,
                deadline: now.plus(Duration::from_secs(agent.config.limits.timeout_seconds().into())),
            },
            progress: Progress {
                revision: 1,
                fence: 0,
                attempts: 0,
                sends: 1,
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

    /// The state without its content.
    pub const fn status(&self) -> TaskStatus {
        match self.progress.state {
            TaskState::Queued { .. } => TaskStatus::Queued,
            TaskState::Running(_) => TaskStatus::Running,
            TaskState::Completed(_) => TaskStatus::Completed,
            TaskState::Failed(_) => TaskStatus::Failed,
            TaskState::TimedOut => TaskStatus::TimedOut,
        }
    }

    /// When the watchdog must look at the task if nothing else happened; `None` once it has ended. A running task past
    /// its deadline is left to its worker, which is bound by the deadline too, until its lease ends.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.progress.state {
            TaskState::Queued { due_at } => Some(*due_at.min(&self.spec.deadline)),
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
            TaskState::Queued { .. } | TaskState::Running(_) if now >= self.spec.deadline => {
                return Err(ClaimRefused::Overdue);
            }
            TaskState::Running(_) if self.progress.attempts >= MAX_ATTEMPTS => return Err(ClaimRefused::Overdue),
            TaskState::Queued { .. } | TaskState::Running(_) => {}
        }
        self.progress.fence += 1;
        self.progress.attempts += 1;
        self.progress.sends = 0;
        self.enter(TaskState::Running(lease), now);
        Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{AgentConfig, AgentName, Instructions, Limits, ModelRef, Provider, StopReason, Usage};

    const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn queued() -> Task {
        let config = AgentConfig {
            name: AgentName::new("clerk".to_owned()).unwrap(),
            instructions: Instructions::default(),
            model: ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5").unwrap(),
            limits: Limits::default(),
        };
        let agent = Agent::create("acme".parse().unwrap(), config, START);
        Task::submit(TaskId::new(START), &agent, TaskInput::new("hello".to_owned()).unwrap(), START)
    }

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn lease(until: u64) -> Lease {
        Lease { worker: WorkerId::new(START), expires_at: after(until) }
    }

    fn output() -> Output {
        Output { text: "hi".to_owned(), stop_reason: StopReason::EndTurn, usage: Usage::default() }
    }

    #[test]
    fn a_lease_is_exclusive_until_it_expires() {
        let mut task = queued();
        assert_eq!(task.claim(lease(60), after(0)), Ok(()));
        assert_eq!(task.claim(lease(90), after(59)), Err(ClaimRefused::Leased { until: after(60) }));
        assert_eq!(task.claim(lease(120), after(60)), Ok(()));
        assert_eq!(task.fence(), 2);
    }

    #[test]
    fn a_worker_that_lost_its_lease_changes_nothing() {
        let mut task = queued();
        task.claim(lease(60), after(0)).unwrap();
        let lost = task.fence();
        task.claim(lease(120), after(60)).unwrap();
        let before = task.clone();
        assert_eq!(task.complete(lost, output(), after(61)), Err(LeaseLost));
        assert_eq!(task, before);
        assert_eq!(task.complete(task.fence(), output(), after(61)), Ok(()));
        assert_eq!(task.status(), TaskStatus::Completed);
    }

    #[test]
    fn an_unclaimed_task_is_sent_again_ever_more_seldom() {
        let mut task = queued();
        let mut moments = Vec::new();
        while let Some(due_at) = task.due_at() {
            moments.push(due_at.since(START).as_secs());
            task.settle_overdue(due_at);
        }
        assert_eq!(moments, [60, 180, 420, 900, 1_800]);
        assert_eq!(task.status(), TaskStatus::TimedOut);
    }

    #[test]
    fn a_task_whose_workers_all_die_is_given_up() {
        let mut task = queued();
        let mut settled = Vec::new();
        for attempt in 1..=MAX_ATTEMPTS {
            task.claim(lease(attempt * 10), after(attempt * 10 - 10)).unwrap();
            settled.extend(task.settle_overdue(after(attempt * 10)));
        }
        assert_eq!(settled, [[Overdue::Requeued; 4].as_slice(), &[Overdue::GivenUp]].concat());
        let TaskState::Failed(failure) = task.state() else { panic!("{task:?}") };
        assert!(failure.code.is_dead_letter());
    }

    #[test]
    fn nothing_happens_before_it_is_due() {
        let mut task = queued();
        assert_eq!(task.settle_overdue(after(59)), None);
        task.claim(lease(90), after(59)).unwrap();
        assert_eq!(task.settle_overdue(after(89)), None);
        assert_eq!(task.settle_overdue(after(90)), Some(Overdue::Requeued));
    }

    proptest! {
        /// Whatever is tried in whatever order: a refused transition changes nothing, an allowed one raises the revision
        /// by one, fences only grow, an ended task stays as it is, and every other one has a moment to look at it.
        #[test]
        fn any_history_keeps_the_rules(history in prop::collection::vec((0..7_u8, 0..120_u64, 0..7_u64), 0..60)) {
            let mut task = queued();
            let mut now = 0;
            for (act, seconds, fence) in history {
                now += seconds;
                let before = task.clone();
                let changed = match act {
                    0 => task.claim(lease(now + 45), after(now)).is_ok(),
                    1 => task.complete(fence, output(), after(now)).is_ok(),
                    2 => task.fail(fence, Failure::attempts_exhausted(MAX_ATTEMPTS), after(now)).is_ok(),
                    3 => task.complete(task.fence(), output(), after(now)).is_ok(),
                    4 => task.release(fence, Spent::Nothing, after(now)).is_ok(),
                    5 => task.release(fence, Spent::ModelCall, after(now)).is_ok(),
                    _ => task.settle_overdue(after(now)).is_some(),
                };
                if changed {
                    prop_assert_eq!(task.progress.revision, before.progress.revision + 1);
                    prop_assert!(!before.status().is_terminal());
                } else {
                    prop_assert_eq!(&task, &before);
                }
                prop_assert!(task.fence() >= before.fence() && task.attempts() <= MAX_ATTEMPTS.min(task.fence()));
                prop_assert_eq!(task.due_at().is_none(), task.status().is_terminal());
            }
        }
    }
}
