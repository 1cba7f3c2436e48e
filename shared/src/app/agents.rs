//! Creating and reading agents.

use std::sync::Arc;

use super::AppError;
use crate::domain::{Agent, AgentConfig, AgentId, TenantId};
use crate::ports::{AgentStore, Clock, Page, PageRequest};

/// The use cases on agents.
#[derive(Clone)]
pub struct Agents {
    store: Arc<dyn AgentStore>,
    clock: Arc<dyn Clock>,
}

impl Agents {
    /// Agents kept in `store`.
    pub fn new(store: Arc<dyn AgentStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Creates an agent with its first version.
    pub async fn create_agent(&self, tenant: TenantId, config: AgentConfig) -> Result<Agent, AppError> {
        let agent = Agent::create(tenant, config, self.clock.now());
        self.store.create(&agent).await?;
        tracing::info!(agent_id = %agent.id, version = agent.version, "agent created");
        Ok(agent)
    }

    /// The newest version of an agent.
    pub async fn find_agent(&self, tenant: &TenantId, id: AgentId) -> Result<Agent, AppError> {
        let found = self.store.newest(tenant, id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("agent {id}")))
    }

    /// The tenant's agents, oldest first.
    pub async fn list_agents(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Agent>, AppError> {
        Ok(self.store.list(tenant, page).await?)
    }
}
