//! Creating and reading agents.

use std::sync::Arc;

use super::AppError;
use super::span::record;
use crate::domain::{
    Agent, AgentConfig, AgentId, Invalid, Limits, ModelChain, ModelChoice, TenantId,
    ToolDefinition, Unlisted,
};
use crate::policy::admission::{Admission, CompatibleServer, output_refusals};
use crate::policy::schemas;
use crate::ports::{AgentStore, Clock, Page, PageRequest, UnreadableAgent};

/// The use cases on agents.
#[derive(Clone)]
pub struct Agents {
    store: Arc<dyn AgentStore>,
    compatible_server: CompatibleServer,
    clock: Arc<dyn Clock>,
}

impl Agents {
    /// Agents in `store`. `compatible_server` says whether the deployment has a server for models
    /// of `openai_compatible`.
    pub fn new(
        store: Arc<dyn AgentStore>,
        compatible_server: CompatibleServer,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            compatible_server,
            clock,
        }
    }

    /// Every rule that a model of a new agent with this cap on cost breaks, at pointers relative to
    /// the model: somebody must serve it, it must be known, unless its owner allows otherwise, have
    /// a price where a cap needs one, and take its settings.
    pub fn refusals(
        &self,
        model: &ModelChoice,
        unlisted: Unlisted,
        max_cost_micro_usd: Option<u64>,
    ) -> Vec<Invalid> {
        let (now, compatible_server) = (self.clock.now(), self.compatible_server);
        Admission {
            now,
            max_cost_micro_usd,
            compatible_server,
        }
        .refusals(model, unlisted)
    }

    /// Every rule of the chain's providers that the tools and limits of a new agent break, at
    /// pointers from its root. What can be repaired without a change of meaning breaks none.
    pub fn provider_refusals(
        &self,
        models: &ModelChain,
        tools: &[ToolDefinition],
        limits: Limits,
    ) -> Vec<Invalid> {
        let mut refused = output_refusals(models, limits.max_output_tokens(), self.clock.now());
        for (place, tool) in tools.iter().enumerate() {
            let of_tool = schemas::refusals(tool.input_schema.as_value(), models).into_iter();
            refused.extend(of_tool.map(|Invalid { field, reason }| {
                Invalid::new(format!("/tools/{place}/input_schema{field}"), reason)
            }));
        }
        refused
    }

    /// Creates an agent with its first version. It has passed [`Agents::refusals`] and
    /// [`Agents::provider_refusals`].
    pub async fn create_agent(
        &self,
        tenant: TenantId,
        config: AgentConfig,
    ) -> Result<Agent, AppError> {
        let agent = Agent::create(tenant, config, self.clock.now());
        self.store.create(&agent).await?;
        record("agent_id", agent.id.to_string());
        tracing::info!(agent_version = agent.version, "agent created");
        Ok(agent)
    }

    /// The newest version of an agent.
    pub async fn find_agent(&self, tenant: &TenantId, id: AgentId) -> Result<Agent, AppError> {
        let found = self.store.newest(tenant, id).await?;
        found.ok_or_else(|| AppError::NotFound(format!("agent {id}")))
    }

    /// The tenant's agents, oldest first. One that can't be read hides none of the others.
    pub async fn list_agents(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<Agent, UnreadableAgent>>, AppError> {
        let listed = self.store.list(tenant, page).await?;
        for UnreadableAgent { id, reason } in listed
            .entries
            .iter()
            .filter_map(|entry| entry.as_ref().err())
        {
            tracing::error!(agent_id = %id, error = reason.as_str(), "agent can't be read; the list names its id only");
        }
        Ok(listed)
    }
}
