//! Runs a task: claims it, executes the steps that its journal lacks, and stores the new state.
//!
//! Several workers may run a task at once, and a worker may die at any line. The claim is
//! exclusive. A recorded step is never executed again. Every change of the task is conditional on
//! the worker's lease, so a worker that lost its lease changes nothing. If a worker dies, the next
//! delivery or the watchdog continues the task.
//!
//! A file imports only files that stand below it in this list:
//!
//! - `admit` decides which claimed tasks are worked on now.
//! - `agent_loop` derives the next action.
//! - `steps` executes it.
//! - `request` builds the request to a model.
//! - `journal` reads the recorded steps.
//! - `work` holds what a worker knows during its work on a task.
//! - `finish` stores how the work ended.
//! - `lease` keeps the task for its worker.
//! - `tools` runs tool calls.
//! - `step_log` has the spans and log lines of steps.
//! - `exit` lists how work can end.
//! - `ledger` adds what the work cost to the tenant's usage.
//! - `runner` has the ports.
//! - `room` limits conversations in memory, and `slots` a tenant's running tasks.

mod admit;
mod agent_loop;
mod exit;
mod finish;
mod journal;
mod lease;
mod ledger;
mod request;
mod room;
mod runner;
mod slots;
mod step_log;
mod steps;
mod tools;
mod work;

use tracing::{Instrument, Span};

use crate::app::change::record_transition;
use crate::app::span::record;
use crate::app::sweep::settling;
use crate::domain::{ClaimRefused, Event, Lease, Task, Timestamp, WorkerId};
use crate::metric;
use crate::ports::{Claimed, TaskMessage};

pub use room::Room;
pub use runner::{RunError, RunOutcome, Runner, WorkTimes};
pub use slots::TaskSlots;

impl Runner {
    /// Works on the message's task until the task ends or must wait, or the time is over. `until`
    /// is when Lambda kills this invocation; no lease lasts much longer.
    pub async fn run(
        &self,
        message: &TaskMessage,
        until: Timestamp,
    ) -> Result<RunOutcome, RunError> {
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
            record("agent_id", task.spec().agent.id.to_string());
            record("hop", hop(task));
        }
        match claimed {
            Claimed::Granted(task) => {
                metric::TASKS_CLAIMED.add([], 1);
                metric::QUEUE_WAIT.note([], now.since(ready_since(&task)));
                record_transition(&task);
                tracing::info!(worker = %lease.worker, attempt = task.attempts(), "task claimed");
                let span = invoke_agent(&task);
                self.run_in_room(*task, until).instrument(span).await
            }
            Claimed::Refused(_, ClaimRefused::Finished(status)) => {
                Ok(RunOutcome::EndedBefore(status))
            }
            Claimed::Refused(_, ClaimRefused::AwaitsClient(status)) => {
                Ok(RunOutcome::AwaitsClient(status))
            }
            Claimed::Refused(_, ClaimRefused::Leased { until }) => Err(RunError::Leased { until }),
            Claimed::Refused(_, ClaimRefused::Waiting { until }) => {
                Err(RunError::Waiting { until })
            }
            Claimed::Refused(task, ClaimRefused::Overdue) => {
                let span = settling(&task, None, None);
                self.settle(*task).instrument(span).await
            }
            Claimed::Unknown => Ok(RunOutcome::Unknown),
        }
    }
}

/// When a task that was just claimed had become ready: at the transition before the claim, or at
/// the end of its wait.
fn ready_since(task: &Task) -> Timestamp {
    // The newest transition is the claim itself.
    match task.progress().history.recent().iter().rev().nth(1) {
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
