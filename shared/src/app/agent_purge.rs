//! Removing archived and inline agents once no task names them.
//!
//! An archived agent takes no more tasks. A submission that read it before may still write its
//! task; so the first scan begins once every such submission has ended. A scan goes through the
//! tenant's tasks from the agent's creation on, oldest first. Where it finds a task that names the
//! agent, it waits until that task is deleted. What it has passed never names the agent again, so
//! that all scans together read each task once. For an inline agent, its last noted use stands for the
//! moment of the archiving, and it is removed only if no later use is noted. Safe to run twice and at
//! the same time.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::domain::{Causes, Timestamp};
use crate::metric;
use crate::ports::{AgentRetention, ArchivedAgent, Clock, StoreError, TaskScan};

/// After which time no submission is under way that read the agent before it was archived, and the
/// index shows the task of each. An API function lasts 30 s, and an index lags for less than a
/// second, unless it is in trouble.
pub(super) const LONGEST_SUBMISSION: Duration = Duration::from_mins(15);

/// How long an agent is left alone that a task still names: tasks are kept for days.
const STILL_NAMED: Duration = Duration::from_hours(6);

/// How many agents a round deals with.
const PAGE: u32 = 100;

/// How many parts of a tenant's tasks one round scans for one agent; the next round continues.
const PARTS_OF_ROUND: u32 = 50;

/// What one round did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentPurgeSummary {
    /// Agents that were removed with all their versions.
    pub deleted: u32,
    /// Agents that a task still names.
    pub named: u32,
    /// Agents that could not be removed; each has its own log line and is found again.
    pub failed: u32,
    /// Whether agents may be left for the next round.
    pub unfinished: bool,
}

/// Removes archived and inline agents.
pub struct AgentPurger {
    /// The part of the store that archives and removes agents.
    pub retention: Arc<dyn AgentRetention>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl AgentPurger {
    /// Removes archived and inline agents that no task names, until none is due or `until` has come.
    pub async fn purge(&self, until: Timestamp) -> Result<AgentPurgeSummary, StoreError> {
        let mut summary = AgentPurgeSummary::default();
        let due = self.retention.due_agents(self.clock.now(), PAGE).await?;
        summary.unfinished = due.len() >= PAGE as usize;
        for agent in due {
            if self.clock.now() >= until {
                summary.unfinished = true;
                break;
            }
            let log = tracing::info_span!("agent", agent_id = %agent.id, tenant_id = agent.tenant.as_str());
            match self.settle(agent).instrument(log.clone()).await {
                Ok(TaskScan::Clear) => summary.deleted += 1,
                Ok(TaskScan::Found { .. }) => summary.named += 1,
                Ok(TaskScan::Unfinished { .. }) => summary.unfinished = true,
                // Another round was faster, or an inline agent was used again.
                Err(StoreError::Conflict) => {}
                Err(error) => {
                    log.in_scope(
                        || tracing::error!(error = %Causes(&error), "agent can't be removed"),
                    );
                    summary.failed += 1;
                }
            }
        }
        Ok(summary)
    }

    async fn settle(&self, mut agent: ArchivedAgent) -> Result<TaskScan, StoreError> {
        let scan = self.scan(&mut agent).await?;
        match &scan {
            TaskScan::Clear => {
                self.retention.remove(&agent).await?;
                tracing::info!("agent removed; no task names it");
                metric::AGENTS_DELETED.add([], 1);
            }
            TaskScan::Found { task, .. } => {
                let due_at = self.clock.now().plus(STILL_NAMED);
                self.retention.note_scan(&agent, due_at).await?;
                tracing::debug!(task_id = %task, "agent is still named by a task");
            }
            TaskScan::Unfinished { .. } => {
                self.retention.note_scan(&agent, self.clock.now()).await?;
            }
        }
        Ok(scan)
    }

    /// Scans as many parts of the tenant's tasks as a round may, and moves the agent's place.
    async fn scan(&self, agent: &mut ArchivedAgent) -> Result<TaskScan, StoreError> {
        let last = agent.archived_at.plus(LONGEST_SUBMISSION);
        let mut parts = 0;
        loop {
            let scan = self.retention.scan(agent, last).await?;
            let (TaskScan::Found { place, .. } | TaskScan::Unfinished { place }) = &scan else {
                return Ok(scan);
            };
            agent.scanned_to = Some(place.clone());
            parts += 1;
            if matches!(scan, TaskScan::Found { .. }) || parts >= PARTS_OF_ROUND {
                return Ok(scan);
            }
        }
    }
}
