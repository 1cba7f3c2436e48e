//! The walk through a tenant's tasks, and the deletion of everything that a tenant has.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{TaskId, Tenant, TenantId, Timestamp};

/// A tenant whose tasks are walked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkedTenant {
    /// The tenant. Its [`quiet_since`](Tenant::quiet_since) is set.
    pub tenant: Tenant,
    /// The pass that is under way; `None` if the next one begins.
    pub pass: Option<Pass>,
}

/// One pass through all tasks of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// When it began.
    pub began_at: Timestamp,
    /// Where it goes on, as [`WalkedTasks::next`] said. Opaque.
    pub place: String,
}

/// Which tasks of a tenant a walk wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkedFor {
    /// All of them.
    Deletion,
    /// Those that have not ended.
    Cancellation,
}

/// A part of a tenant's tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkedTasks {
    /// The tasks, unreadable ones too.
    pub tasks: Vec<TaskId>,
    /// Where the next part begins; `None` after the last.
    pub next: Option<String>,
}

/// What is left of a tenant's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Only the tenant's own record.
    Nothing,
    /// Perhaps more.
    Some,
}

/// Walks through the tasks of tenants, and deletes tenants.
#[async_trait]
pub trait TenantRetention: Send + Sync {
    /// Up to `limit` tenants whose walk is due at `now`. A walk is due when the change of the
    /// tenant is stored that begins it, and later when [`Self::note_walk`] says. May lag behind writes for a
    /// moment.
    async fn due_tenants(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<WalkedTenant>, StoreError>;

    /// A part of bounded size of the tenant's tasks, oldest first, after the `place`. May lag
    /// behind writes for a moment.
    async fn tasks_of(
        &self,
        tenant: &TenantId,
        wanted: WalkedFor,
        place: Option<&str>,
    ) -> Result<WalkedTasks, StoreError>;

    /// Notes how far the walk came, and that the next round is due at `due_at`. Fails with
    /// [`StoreError::Conflict`] if the tenant was changed meanwhile.
    async fn note_walk(&self, walked: &WalkedTenant, due_at: Timestamp) -> Result<(), StoreError>;

    /// Ends the walk through the tenant's tasks. Fails with [`StoreError::Conflict`] if the tenant
    /// was changed meanwhile.
    async fn end_walk(&self, tenant: &Tenant) -> Result<(), StoreError>;

    /// Deletes the tenant's keys, agents, counts and budgets, as many as a round may. May be done
    /// twice, and by several at the same time.
    async fn remove_records(&self, tenant: &TenantId) -> Result<Remains, StoreError>;

    /// Stores the [tombstone](Tenant::deleted) of the tenant, which no list shows, under the
    /// conditions of [`TenantStore::update`](super::TenantStore::update).
    async fn bury(&self, tombstone: &Tenant) -> Result<(), StoreError>;
}
