//! The ports and settings with which tasks are run, and the outcomes.

use std::sync::Arc;
use std::time::Duration;

use super::room::Room;
use super::slots::TaskSlots;
use crate::domain::{CacheRules, TaskStatus, Timestamp, Wait};
use crate::ports::{
    Clock, Journal, Model, StoreError, TaskAgents, TaskQueue, TaskStore, Tools, UsageStore,
};

/// The time at the end of an invocation in which only results are recorded.
pub(super) const RESERVE: Duration = Duration::from_secs(10);

/// How much longer than its invocation a lease may last, because clocks differ.
pub(super) const SKEW: Duration = Duration::from_secs(2);

/// The outcome of a message that needs no other delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// The task has ended now.
    Ended(TaskStatus),
    /// The task had ended before: the message is a duplicate.
    EndedBefore(TaskStatus),
    /// Another worker took the task over; this worker's result is dropped.
    LeaseLost,
    /// The task waits without a worker. A message resumes it, or else the watchdog.
    Parked(Wait),
    /// The invocation ran out of time after some steps. A message starts another one.
    HandedOver,
    /// The task waits for its client. This worker or an earlier one left it so.
    AwaitsClient(TaskStatus),
    /// The tenant has no such task.
    Unknown,
}

/// The message must be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another worker holds the task. If that worker is dead, the task can be claimed at `until`.
    #[error("another worker holds the task")]
    Leased {
        /// When the other worker's lease ends.
        until: Timestamp,
    },
    /// The task is parked, and the message is early.
    #[error("the task is parked")]
    Waiting {
        /// When the wait is over.
        until: Timestamp,
    },
    /// The store failed; another delivery continues the task.
    #[error("the task's state could not be stored")]
    Store(#[from] StoreError),
}

/// Durations that limit a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkTimes {
    /// How long a lease lasts. The worker renews it when a third of it has passed. The task of a
    /// killed worker can be claimed when its lease has ended.
    pub lease: Duration,
    /// The time that a step should have. With less than that left, an invocation begins no step
    /// but its first.
    pub step_reserve: Duration,
}

impl Default for WorkTimes {
    /// A minute each.
    fn default() -> Self {
        Self {
            lease: Duration::from_mins(1),
            step_reserve: Duration::from_mins(1),
        }
    }
}

/// The ports and settings with which tasks are run.
pub struct Runner {
    /// The agents of the tasks.
    pub agents: Arc<dyn TaskAgents>,
    /// The store of tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// The store of steps.
    pub journal: Arc<dyn Journal>,
    /// The queue for the messages that resume tasks.
    pub queue: Arc<dyn TaskQueue>,
    /// The usage of tenants.
    pub usage: Arc<dyn UsageStore>,
    /// The models.
    pub model: Arc<dyn Model>,
    /// The built-in tools.
    pub tools: Arc<dyn Tools>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether and for how long answers are cached, for agents without a setting.
    pub cache: CacheRules,
    /// The durations that limit a worker.
    pub times: WorkTimes,
    /// How many tasks of one tenant or key may run at once, if there are caps.
    pub slots: Option<TaskSlots>,
    /// Room in memory for the conversations of the tasks that are worked on at once.
    pub room: Room,
}

impl Runner {
    /// When a lease ends that is granted or renewed now, in an invocation that is killed at
    /// `until`.
    pub(super) fn lease_end(&self, now: Timestamp, until: Timestamp) -> Timestamp {
        now.plus(self.times.lease).min(until.plus(SKEW))
    }
}
