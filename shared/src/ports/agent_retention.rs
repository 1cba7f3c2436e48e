//! How agents are archived, and how archived and inline agents are removed once no task names them.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{AgentId, TaskId, TenantId, Timestamp};

/// An agent that its client archived and whose versions are still there, or an inline agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedAgent {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its id.
    pub id: AgentId,
    /// When it was created. No task that names it is older.
    pub created_at: Timestamp,
    /// When it was archived; for an inline agent, its last noted use. Few tasks that name it are
    /// younger.
    pub archived_at: Timestamp,
    /// Before which place in the list of the tenant's tasks no task names the agent, as
    /// [`TaskScan`] said it; `None` if nothing was scanned yet. Opaque.
    pub scanned_to: Option<String>,
}

/// The result of one part of a scan for tasks that name an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskScan {
    /// No task names the agent.
    Clear,
    /// This task names the agent, and no task before `place` does.
    Found {
        /// The task.
        task: TaskId,
        /// Where the scan continues: the place of the task.
        place: String,
    },
    /// No task before `place` names the agent.
    Unfinished {
        /// Where the scan continues.
        place: String,
    },
}

/// Archives agents, and removes archived and inline agents with their versions.
#[async_trait]
pub trait AgentRetention: Send + Sync {
    /// Archives the agent at `now`, unless it was before: it has no head and is in no list any
    /// more, but its versions are still there for tasks. It is [due](Self::due_agents) from `due_at` on.
    /// False if the tenant has no such agent.
    async fn archive(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
        due_at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Up to `limit` archived and inline agents that are due at `now`, of all tenants. May lag behind writes
    /// for a moment.
    async fn due_agents(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchivedAgent>, StoreError>;

    /// Scans a bounded part of the tenant's tasks, oldest first, for one that names the agent,
    /// also if it is unreadable. The scan covers the time from the creation of the agent to
    /// `last`. It continues at [`ArchivedAgent::scanned_to`]. May lag behind writes for a moment.
    async fn scan(&self, agent: &ArchivedAgent, last: Timestamp) -> Result<TaskScan, StoreError>;

    /// Notes [`ArchivedAgent::scanned_to`], and has the agent be due at `due_at`, if it is still
    /// there, and no later use of an inline agent is noted.
    async fn note_scan(&self, agent: &ArchivedAgent, due_at: Timestamp) -> Result<(), StoreError>;

    /// Removes an archived agent with all its versions; fails with [`StoreError::Conflict`] if it
    /// is not archived, or a later use of an inline agent is noted. A crash midway leaves an agent that is still due. May be done twice, and
    /// by several at the same time.
    async fn remove(&self, agent: &ArchivedAgent) -> Result<(), StoreError>;
}
