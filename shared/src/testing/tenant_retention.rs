//! Deleting tenants in memory.

use async_trait::async_trait;

use super::api_keys::{MemoryKeys, MemoryTenants};
use super::lock;
use super::store::MemoryStore;
use crate::domain::{TaskId, Tenant, TenantId, Timestamp};
use crate::ports::{
    Remains, StoreError, TenantRetention, TenantStore, WalkedFor, WalkedTasks, WalkedTenant,
};

/// How many of a tenant's tasks a part of a walk has.
const PART: usize = 100;

/// Deletes tenants, with their keys, agents and budgets, in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryTenantRetention {
    /// The tenants.
    pub tenants: MemoryTenants,
    /// Their keys.
    pub keys: MemoryKeys,
    /// Their agents and tasks.
    pub store: MemoryStore,
}

/// A task's place among its tenant's tasks, as text that sorts.
fn place(at: Timestamp, task: TaskId) -> String {
    format!("{:013}#{task}", at.as_millis())
}

#[async_trait]
impl TenantRetention for MemoryTenantRetention {
    async fn due_tenants(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<WalkedTenant>, StoreError> {
        self.tenants
            .run(|tenants| {
                let walks = lock(&self.tenants.walks);
                let due = walks.iter().filter(|(_, (due_at, _))| *due_at <= now);
                let walked = due.filter_map(|(id, (_, pass))| {
                    let (tenant, pass) = (tenants.get(id)?.clone(), pass.clone());
                    Some(WalkedTenant { tenant, pass })
                });
                Ok(walked.take(limit as usize).collect())
            })
            .await
    }

    async fn tasks_of(
        &self,
        tenant: &TenantId,
        wanted: WalkedFor,
        after: Option<&str>,
    ) -> Result<WalkedTasks, StoreError> {
        self.store
            .run(|records| {
                let of_tenant = records.tasks.values().filter(|task| {
                    let is_wanted = wanted == WalkedFor::Deletion || !task.status().is_terminal();
                    task.spec().tenant == *tenant && is_wanted
                });
                let mut tasks: Vec<(String, TaskId)> = of_tenant
                    .map(|task| (place(task.spec().created_at, task.id()), task.id()))
                    .filter(|(place, _)| after.is_none_or(|after| place.as_str() > after))
                    .collect();
                tasks.sort_unstable();
                let is_last = tasks.len() <= PART;
                tasks.truncate(PART);
                let end = tasks.last().map(|(place, _)| place.clone());
                Ok(WalkedTasks {
                    tasks: tasks.into_iter().map(|(_, id)| id).collect(),
                    next: end.filter(|_| !is_last),
                })
            })
            .await
    }

    async fn note_walk(&self, walked: &WalkedTenant, due_at: Timestamp) -> Result<(), StoreError> {
        let WalkedTenant { tenant, pass } = walked;
        self.tenants
            .run(|tenants| {
                let stored = unchanged(tenants.get_mut(&tenant.id), tenant)?;
                stored.quiet_since = tenant.quiet_since;
                let walk = (due_at, pass.clone());
                lock(&self.tenants.walks).insert(tenant.id.clone(), walk);
                Ok(())
            })
            .await
    }

    async fn end_walk(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.tenants
            .run(|tenants| {
                unchanged(tenants.get_mut(&tenant.id), tenant)?.quiet_since = None;
                lock(&self.tenants.walks).remove(&tenant.id);
                Ok(())
            })
            .await
    }

    async fn remove_records(&self, tenant: &TenantId) -> Result<Remains, StoreError> {
        self.store
            .run(|records| {
                let agents = &mut records.agents;
                let is_kept = |of: &TenantId| of != tenant;
                agents.versions.retain(|_, agent| is_kept(&agent.tenant));
                agents.heads.retain(|_, head| is_kept(&head.newest.tenant));
                let heads = &agents.heads;
                agents.archived.retain(|id, _| heads.contains_key(id));
                let keys = &mut lock(&self.keys.content).keys;
                keys.retain(|_, stored| is_kept(&stored.credential.key.tenant));
                Ok(Remains::Nothing)
            })
            .await
    }

    async fn bury(&self, tombstone: &Tenant) -> Result<(), StoreError> {
        self.tenants.update(tombstone).await
    }
}

/// The stored tenant, if nobody has changed it since it was read.
fn unchanged<'a>(
    stored: Option<&'a mut Tenant>,
    read: &Tenant,
) -> Result<&'a mut Tenant, StoreError> {
    let stored = stored.filter(|stored| stored.revision == read.revision);
    stored.ok_or(StoreError::Conflict)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::contract;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_tenant_retention() {
        let fake = MemoryTenantRetention::default();
        let store = Arc::new(fake.store.clone());
        contract::tenant_retention(contract::TenantPorts {
            tenants: Arc::new(fake.tenants.clone()),
            keys: Arc::new(fake.keys.clone()),
            agents: Arc::<MemoryStore>::clone(&store),
            tasks: store,
            retention: Arc::new(fake),
        })
        .await;
    }
}
