//! Holds the tasks of a suspended tenant.

use std::sync::Arc;

use async_trait::async_trait;

use super::known_tenants::KnownTenants;
use crate::domain::{AgentVersion, Causes, TenantId, TenantStatus};
use crate::ports::{AgentOfTask, StoreError, TaskAgents};

/// The agents of tasks, with the status of their tenants.
///
/// If a tenant can't be read and was never read, it is taken for active: an outage must not stop all
/// tenants.
pub struct TenantGate {
    agents: Arc<dyn TaskAgents>,
    tenants: Arc<KnownTenants>,
}

impl TenantGate {
    /// The agents in `agents`, of these tenants.
    pub fn new(agents: Arc<dyn TaskAgents>, tenants: Arc<KnownTenants>) -> Self {
        Self { agents, tenants }
    }

    async fn status(&self, tenant: &TenantId) -> TenantStatus {
        match self.tenants.tenant(tenant).await {
            Ok(known) => known.status,
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "tenant can't be read; it is taken for active");
                TenantStatus::Active
            }
        }
    }
}

#[async_trait]
impl TaskAgents for TenantGate {
    async fn of_task(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<AgentOfTask>, StoreError> {
        let (status, found) =
            futures::future::join(self.status(tenant), self.agents.of_task(tenant, version)).await;
        Ok(found?.map(|found| AgentOfTask {
            tenant: status,
            ..found
        }))
    }
}
