//! Running a task: claim it, do the steps that its journal lacks, leave it in the state that they
//! led to.
//!
//! Nothing here trusts that it runs once. The claim is exclusive, a recorded step is never done
//! again, and every change of the task is conditional on it being as this worker left it, so that
//! one that was given up for dead and comes back changes nothing. What a worker leaves undone, the
//! next delivery or the watchdog picks up.
//!
//! `room` is the memory for a conversation, `slots` a tenant's turn among others, `work` is the
//! loop over an agent's steps, `steps` does one of them, `lease` keeps the task meanwhile, and
//! `leave` makes durable how the work ended.

mod lease;
mod leave;
mod room;
mod slots;
mod steps;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span};

use crate::app::change::note_change;
use crate::app::span::record;
use crate::app::sweep::settling;
use crate::domain::{
    CacheRules, ClaimRefused, Event, Lease, Task, TaskStatus, Timestamp, Wait, WorkerId,
};
use crate::metric;
use crate::ports::{
    AgentStore, Claimed, Clock, Journal, Model, StoreError, TaskMessage, TaskQueue, TaskStore,
    Tools,
};

pub use room::Room;
pub use slots::TenantSlots;

/// Kept free at the end of an invocation for recording what a model or a tool answered.
const RESERVE: Duration = Duration::from_secs(10);

/// How much longer than its invocation a lease may last, for clocks that differ.
const SKEW: Duration = Duration::from_secs(2);

/// What came of a message; all of these are done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// The task has ended, just now.
    Ended(TaskStatus),
    /// The task had ended before: the message is a duplicate.
    EndedBefore(TaskStatus),
    /// Another worker took the task over meanwhile; it is no longer this one's business.
    LeaseLost,
    /// The task waits without a worker; a message brings it back, or the watchdog does.
    Parked(Wait),
    /// The invocation ran out of time after some steps; a message has the next one go on.
    HandedOver,
    /// The task waits for its client, since now or since earlier.
    AwaitsClient(TaskStatus),
    /// The tenant has no such task.
    Unknown,
}

/// The message must come back.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another worker holds the task; if it is dead, the task can be had at `until`.
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
    /// The store failed at a moment that leaves the task to be taken up again.
    #[error("the task's state could not be kept")]
    Store(#[from] StoreError),
}

/// How a worker deals with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkTimes {
    /// How long a lease lasts; it is renewed when a third of it has passed. So long does the task
    /// of a killed worker wait.
    pub lease: Duration,
    /// The time that a step should have: no step but an invocation's first begins with less than
    /// that left.
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

/// The ports that running a task takes.
pub struct Runner {
    /// Where agents are kept.
    pub agents: Arc<dyn AgentStore>,
    /// Where tasks are kept.
    pub tasks: Arc<dyn TaskStore>,
    /// Where steps are kept.
    pub journal: Arc<dyn Journal>,
    /// Where messages for tasks go that leave their worker.
    pub queue: Arc<dyn TaskQueue>,
    /// The models.
    pub model: Arc<dyn Model>,
    /// The platform's own tools.
    pub tools: Arc<dyn Tools>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether and how long answers are kept, for agents that don't say.
    pub cache: CacheRules,
    /// How workers deal with their time.
    pub times: WorkTimes,
    /// How many tasks of one tenant may run at once, if there is a cap.
    pub slots: Option<TenantSlots>,
    /// Room in memory for the conversations of the tasks that are worked on at once.
    pub room: Room,
}

impl Runner {
    /// Works on the message's task until it has ended, has to wait, or the time is up. `until` is
    /// when this invocation is killed; no lease lasts much longer.
    pub async fn run(&self, message: &TaskMessage, until: Timestamp) -> Result<Ran, RunError> {
        let now = self.clock.now();
        let lease = Lease {
            worker: WorkerId::new(now),
            expires_at: self.lease_end(now, until),
        };
        let claimed = self
            .tasks
            .claim(&message.tenant, message.task, lease, now)
            .await?;
        if let Claimed::Granted(task) | Claimed::Refused(task, _) = &claimed {
            record("agent_id", task.spec().agent.id);
            record("hop", hop(task));
        }
        match claimed {
            Claimed::Granted(task) => {
                metric::TASKS_CLAIMED.add([], 1);
                metric::QUEUE_WAIT.note([], now.since(ready_since(&task)));
                note_change(&task);
                tracing::info!(worker = %lease.worker, attempt = task.attempts(), "task claimed");
                let trace = invoke_agent(&task);
                self.run_in_room(*task, until).instrument(trace).await
            }
            Claimed::Refused(_, ClaimRefused::Finished(status)) => Ok(Ran::EndedBefore(status)),
            Claimed::Refused(_, ClaimRefused::AwaitsClient(status)) => {
                Ok(Ran::AwaitsClient(status))
            }
            Claimed::Refused(_, ClaimRefused::Leased { until }) => Err(RunError::Leased { until }),
            Claimed::Refused(_, ClaimRefused::Waiting { until }) => {
                Err(RunError::Waiting { until })
            }
            Claimed::Refused(task, ClaimRefused::Overdue) => {
                let trace = settling(&task, None, None);
                self.settle(*task).instrument(trace).await
            }
            Claimed::Unknown => Ok(Ran::Unknown),
        }
    }

    fn lease_end(&self, now: Timestamp, until: Timestamp) -> Timestamp {
        now.plus(self.times.lease).min(until.plus(SKEW))
    }
}

/// Since when a task that was just claimed had been there for the taking: since the change before,
/// or the end of its wait.
fn ready_since(task: &Task) -> Timestamp {
    match task.progress().history.kept().iter().rev().nth(1) {
        Some(before) => match before.event {
            Event::Parked { until, .. } => until,
            _ => before.at,
        },
        None => task.progress().updated_at,
    }
}

/// The number of the invocation that works on the task, from 1.
fn hop(task: &Task) -> u32 {
    task.progress().hops.saturating_add(1)
}

/// The span of one invocation's work on the task.
fn invoke_agent(task: &Task) -> Span {
    let spec = task.spec();
    tracing::info_span!(
        "invoke_agent",
        task_id = %task.id(),
        tenant_id = spec.tenant.as_str(),
        agent_id = %spec.agent.id,
        agent_version = spec.agent.version,
        hop = hop(task),
        attempt = task.attempts(),
    )
}
