//! Deletes agents that no task names.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{AgentId, TaskId, TenantId, Timestamp};

/// An agent that its client deleted and that is not gone yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedAgent {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its id.
    pub id: AgentId,
    /// When it was created: no task that names it is older.
    pub created_at: Timestamp,
    /// Up to where the tenant's tasks have been searched for a task of this agent, as
    /// [`TaskSearch::NoneSoFar`] returned it.
    pub searched_to: Option<String>,
}

/// The result of a search for a task that names an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSearch {
    /// This task names the agent.
    Found(TaskId),
    /// No task names the agent.
    None,
    /// No task up to this place names the agent; the search continues there. Opaque.
    NoneSoFar(String),
}

/// Deletes agents, in two stages: a marked agent takes no more tasks, and is removed if then no
/// task names it.
#[async_trait]
pub trait AgentRetention: Send + Sync {
    /// Marks the agent as deleted at `now`; an earlier mark stays. A marked agent is not found and
    /// not listed any more, but tasks still find its versions. False if the tenant has no such
    /// agent.
    async fn mark(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Searches a bounded part of the tenant's tasks, newest first, for one that names the agent,
    /// whether it can be read or not. It continues after [`DeletedAgent::searched_to`]. May lag
    /// behind writes for a moment.
    async fn find_task(&self, agent: &DeletedAgent) -> Result<TaskSearch, StoreError>;

    /// Up to `limit` agents that were marked before the moment, of all tenants. May lag behind
    /// writes for a moment.
    async fn marked_before(
        &self,
        moment: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeletedAgent>, StoreError>;

    /// Stores [`DeletedAgent::searched_to`], if the agent is still marked.
    async fn note_search(&self, agent: &DeletedAgent) -> Result<(), StoreError>;

    /// Removes the mark, if the agent is marked and its removal has not begun; else fails with
    /// [`StoreError::Conflict`].
    async fn restore(&self, agent: &DeletedAgent) -> Result<(), StoreError>;

    /// Removes a marked agent with all its versions; fails with [`StoreError::Conflict`] if it is
    /// not marked any more. A crash midway leaves an agent that [`Self::marked_before`] finds
    /// again. May be done twice, and by several at the same time.
    async fn remove(&self, agent: &DeletedAgent) -> Result<(), StoreError>;
}
