//! Deleting agents that no task names.
//!
//! A marked agent takes no more tasks. A submission that read it before may still write its task;
//! so the watchdog searches again once every such submission has ended, and removes the agent only
//! if no task names it. If one does, the submission came first, and the agent is restored. Safe to
//! run twice and at the same time.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::AppError;
use super::span::record;
use crate::domain::{AgentId, Causes, TenantId, Timestamp};
use crate::metric;
use crate::ports::{AgentRetention, AgentStore, Clock, DeletedAgent, StoreError, TaskSearch};

/// How much of a tenant's tasks a request searches: some ten thousand. The watchdog searches the
/// rest.
const SEARCHES: u32 = 4;

/// After which time no submission is under way that read the agent before it was marked, and the
/// index shows the task of each. An API function lasts 30 s, and an index lags for less than a
/// second, unless it is in trouble.
const LONGEST_SUBMISSION: Duration = Duration::from_mins(15);

/// How many agents a round deals with.
const PAGE: u32 = 100;

/// How many of a tenant's tasks one round searches for one agent; the next round continues.
const SEARCHES_OF_ROUND: u32 = 50;

/// What one round of deletions did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentPurgeSummary {
    /// Agents that were removed with all their versions.
    pub deleted: u32,
    /// Agents that a task names after all, and which are as before.
    pub restored: u32,
    /// Agents that could not be deleted; each has its own log line and is found again.
    pub failed: u32,
    /// Whether agents may be left for the next round.
    pub unfinished: bool,
}

/// Deletes agents.
pub struct AgentDeletion {
    /// The store of agents.
    pub agents: Arc<dyn AgentStore>,
    /// The part of the store that deletes agents.
    pub retention: Arc<dyn AgentRetention>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl AgentDeletion {
    /// Deletes the agent unless a task names it. From now on nobody gets, lists or submits to it;
    /// its versions go within half an hour, unless a submission at the same moment was faster.
    pub async fn delete_agent(&self, tenant: &TenantId, id: AgentId) -> Result<(), AppError> {
        record("agent_id", id.to_string());
        let not_found = || AppError::NotFound(format!("agent {id}"));
        let agent = self
            .agents
            .newest(tenant, id)
            .await?
            .ok_or_else(not_found)?;
        let created_at = agent.created_at;
        let mut searched = DeletedAgent {
            tenant: tenant.clone(),
            id,
            created_at,
            searched_to: None,
        };
        if let TaskSearch::Found(task) = self.search(&mut searched, SEARCHES).await? {
            return Err(AppError::AgentInUse { agent: id, task });
        }
        if !self.retention.mark(tenant, id, self.clock.now()).await? {
            return Err(not_found());
        }
        tracing::info!("agent marked for deletion");
        Ok(())
    }

    /// Removes marked agents that no task names, and restores the others, until none is left or
    /// `until` has come.
    pub async fn purge(&self, until: Timestamp) -> Result<AgentPurgeSummary, StoreError> {
        let mut summary = AgentPurgeSummary::default();
        let moment = self.clock.now().minus(LONGEST_SUBMISSION);
        let marked = self.retention.marked_before(moment, PAGE).await?;
        summary.unfinished = marked.len() >= PAGE as usize;
        for agent in marked {
            if self.clock.now() >= until {
                summary.unfinished = true;
                break;
            }
            let log = tracing::info_span!("agent", agent_id = %agent.id, tenant_id = agent.tenant.as_str());
            match self.settle(agent).instrument(log.clone()).await {
                Ok(TaskSearch::None) => summary.deleted += 1,
                Ok(TaskSearch::Found(_)) => summary.restored += 1,
                Ok(TaskSearch::NoneSoFar(_)) => summary.unfinished = true,
                // Another round was faster, or came to another end.
                Err(StoreError::Conflict) => {}
                Err(error) => {
                    log.in_scope(
                        || tracing::error!(error = %Causes(&error), "agent can't be deleted"),
                    );
                    summary.failed += 1;
                }
            }
        }
        Ok(summary)
    }

    async fn settle(&self, mut agent: DeletedAgent) -> Result<TaskSearch, StoreError> {
        let search = self.search(&mut agent, SEARCHES_OF_ROUND).await?;
        match &search {
            TaskSearch::None => {
                self.retention.remove(&agent).await?;
                tracing::info!("agent deleted");
                metric::AGENTS_DELETED.add([], 1);
            }
            TaskSearch::Found(task) => {
                self.retention.restore(&agent).await?;
                tracing::warn!(task_id = %task, "agent restored: a task was submitted to it at the same time");
            }
            TaskSearch::NoneSoFar(_) => self.retention.note_search(&agent).await?,
        }
        Ok(search)
    }

    /// Searches so many parts of the tenant's tasks.
    async fn search(&self, agent: &mut DeletedAgent, parts: u32) -> Result<TaskSearch, StoreError> {
        let mut search = self.retention.find_task(agent).await?;
        for _ in 1..parts {
            let TaskSearch::NoneSoFar(place) = &search else {
                break;
            };
            agent.searched_to = Some(place.clone());
            search = self.retention.find_task(agent).await?;
        }
        if let TaskSearch::NoneSoFar(place) = &search {
            agent.searched_to = Some(place.clone());
        }
        Ok(search)
    }
}
