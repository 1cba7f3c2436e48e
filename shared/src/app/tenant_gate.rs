//! Holds the tasks of a suspended tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{AgentVersion, Causes, TenantId, TenantStatus, Timestamp};
use crate::ports::{AgentOfTask, Clock, StoreError, TaskAgents, TenantStore};

/// How long a status is used without another read.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// The most tenants that are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// The agents of tasks, with the status of their tenants.
///
/// A status that was read is used for 30 s. If it can't be read, the last known one is used, and
/// else the tenant is taken for active: an outage must not stop all tenants.
pub struct TenantGate {
    agents: Arc<dyn TaskAgents>,
    tenants: Arc<dyn TenantStore>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<TenantId, (TenantStatus, Timestamp)>>,
}

impl TenantGate {
    /// The agents in `agents`, of the tenants in `tenants`.
    pub fn new(
        agents: Arc<dyn TaskAgents>,
        tenants: Arc<dyn TenantStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            agents,
            tenants,
            clock,
            known: Mutex::default(),
        }
    }

    /// The tenant's status. The deployment's own tenant has no record, and is active.
    async fn status(&self, tenant: &TenantId) -> TenantStatus {
        let now = self.clock.now();
        let known = self.known().get(tenant).copied();
        if let Some((status, read_at)) = known
            && now.since(read_at) < KNOWN_FOR
        {
            return status;
        }
        let status = match self.tenants.tenant(tenant).await {
            Ok(found) => found.map_or(TenantStatus::Active, |tenant| tenant.status),
            Err(error) => {
                let last = known.map_or(TenantStatus::Active, |(status, _)| status);
                tracing::warn!(error = %Causes(&error), "tenant can't be read; its last known status, or active, is used");
                last
            }
        };
        let mut known = self.known();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(tenant.clone(), (status, now));
        status
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, (TenantStatus, Timestamp)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
