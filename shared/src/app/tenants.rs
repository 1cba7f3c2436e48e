//! Creating and suspending tenants, by the operator.

use std::sync::Arc;

use super::keys::check_limits;
use super::span::record;
use super::{AppError, Keys, TenantRefused};
use crate::domain::{
    ApiKey, ApiToken, CapChanges, Caps, CountLimitChanges, CountLimits, Counted, KeyTerms, Patch,
    RequestRate, Scope, SuspendedTasks, Tenant, TenantId, TenantStatus,
};
use crate::ports::{Clock, Page, PageRequest, StoreError, TenantStore};

/// How often a tenant is read again that somebody else changes at the same time.
const MOST_TRIES: usize = 8;

/// What changes about a tenant; a status that is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct TenantChanges {
    /// Whether it may use the API.
    pub status: Option<TenantStatus>,
    /// What happens to its tasks while it is suspended, if that changes.
    pub suspended_tasks: Option<SuspendedTasks>,
    /// How many requests its keys together may make.
    pub rate: Patch<RequestRate>,
    /// What its tasks may use.
    pub caps: CapChanges,
    /// How many agents and keys it may have.
    pub count_limits: CountLimitChanges,
}

/// What one call of [`Tenants::renew_seals`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewedSeals {
    /// How many keys it sealed.
    pub keys: u32,
    /// Where the next page starts; `None` after the last.
    pub next: Option<String>,
}

/// The use cases on tenants.
#[derive(Clone)]
pub struct Tenants {
    store: Arc<dyn TenantStore>,
    keys: Keys,
    home: TenantId,
    clock: Arc<dyn Clock>,
}

impl Tenants {
    /// Tenants in `store`. The tenant `home` is the deployment's own.
    pub(super) fn new(
        store: Arc<dyn TenantStore>,
        keys: Keys,
        home: TenantId,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            keys,
            home,
            clock,
        }
    }

    /// Creates a tenant with these limits.
    pub async fn create_tenant(
        &self,
        id: TenantId,
        (rate, caps, count_limits): (Option<RequestRate>, Caps, CountLimits),
    ) -> Result<Tenant, AppError> {
        let tenant = Tenant {
            rate,
            caps,
            count_limits,
            ..Tenant::create(id, self.clock.now())
        };
        if tenant.id == self.home {
            return Err(TenantRefused::Exists(tenant.id).into());
        }
        match self.store.add(&tenant).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => {
                self.find_present(&tenant.id).await?;
                return Err(TenantRefused::Exists(tenant.id).into());
            }
            Err(error) => return Err(error.into()),
        }
        record("subject_tenant_id", tenant.id.as_str());
        tracing::info!("tenant created");
        Ok(tenant)
    }

    /// The tenants in the order of their ids, without the deployment's own.
    pub async fn list_tenants(&self, page: &PageRequest) -> Result<Page<Tenant>, AppError> {
        Ok(self.store.list(page).await?)
    }

    /// A tenant, also one that was deleted.
    pub async fn find_tenant(&self, id: &TenantId) -> Result<Tenant, AppError> {
        let found = self.store.tenant(id).await?;
        found.ok_or_else(|| {
            AppError::NotFound(if *id == self.home {
                format!("a record of the tenant {id}, which is the deployment's own and has only keys, under /v1/keys,")
            } else {
                format!("tenant {id}")
            })
        })
    }

    /// A tenant that is not deleted.
    async fn find_present(&self, id: &TenantId) -> Result<Tenant, AppError> {
        let tenant = self.find_tenant(id).await?;
        if tenant.status.is_gone() {
            return Err(TenantRefused::Deleted(tenant.id).into());
        }
        Ok(tenant)
    }

    /// Deletes a tenant with everything of it. Its keys are refused within 30 s. The watchdog
    /// deletes what it has, and leaves a tombstone. Deleting a deleted tenant changes nothing.
    pub async fn delete_tenant(&self, id: &TenantId) -> Result<Tenant, AppError> {
        if *id == self.home {
            return Err(TenantRefused::Own(id.clone()).into());
        }
        for _ in 0..MOST_TRIES {
            let tenant = self.find_tenant(id).await?;
            if tenant.status.is_gone() {
                return Ok(tenant);
            }
            let deleting = tenant.deleting(self.clock.now());
            match self.store.update(&deleting).await {
                Ok(()) => {
                    tracing::warn!("tenant is being deleted");
                    return Ok(deleting);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Changes a tenant. All functions know it within 30 s.
    pub async fn change_tenant(
        &self,
        id: &TenantId,
        changes: TenantChanges,
    ) -> Result<Tenant, AppError> {
        let before = self.find_present(id).await?;
        let status = changes.status.unwrap_or(before.status);
        let mut tenant = before
            .clone()
            .changed(status, changes.rate.apply(before.rate))
            .under(changes.caps.apply(before.caps))
            .with_count_limits(changes.count_limits.apply(before.count_limits));
        if let Some(tasks) = changes.suspended_tasks {
            if status != TenantStatus::Suspended {
                let reason = "must be left out unless the tenant is suspended";
                return Err(AppError::invalid("/suspended_tasks", reason));
            }
            tenant = tenant.with_suspended_tasks(tasks, self.clock.now());
        }
        let unchanged = Tenant {
            revision: before.revision,
            ..tenant.clone()
        };
        if unchanged == before {
            return Ok(before);
        }
        self.store.update(&tenant).await?;
        match changes.status {
            Some(TenantStatus::Suspended) => {
                let are_canceled = tenant.suspended_tasks == SuspendedTasks::Cancel;
                tracing::warn!(tasks_are_canceled = are_canceled, "tenant suspended");
            }
            Some(TenantStatus::Active) => tracing::warn!("tenant active again"),
            Some(TenantStatus::Deleting | TenantStatus::Deleted) | None => {
                tracing::info!("tenant changed");
            }
        }
        Ok(tenant)
    }

    /// Seals the keys of a page of tenants with the present pepper, so that the pepper can be rotated
    /// again. The first page has the deployment's own tenant too. Safe to repeat.
    pub async fn renew_seals(&self, page: &PageRequest) -> Result<RenewedSeals, AppError> {
        let tenants = self.store.list(page).await?;
        let home = page.after.is_none().then_some(&self.home);
        let present = tenants.entries.iter();
        let present = present.filter(|tenant| !tenant.status.is_gone());
        let ids = home.into_iter().chain(present.map(|tenant| &tenant.id));
        let mut keys = 0;
        for id in ids {
            keys += self.keys.renew_seals_of(id).await?;
        }
        tracing::info!(keys, "API keys sealed with the present pepper");
        Ok(RenewedSeals {
            keys,
            next: tenants.next,
        })
    }

    /// Creates a key of the tenant: its first one, or one more if it lost all others.
    pub async fn create_key(
        &self,
        id: &TenantId,
        terms: KeyTerms,
    ) -> Result<(ApiKey, ApiToken), AppError> {
        if terms.scopes.contain(Scope::Operator) {
            let reason = "must not have operator: only keys of the deployment's own tenant may";
            return Err(AppError::invalid("/scopes", reason));
        }
        let tenant = self.find_present(id).await?;
        check_limits((terms.rate, terms.caps), (tenant.rate, tenant.caps))?;
        let most = tenant.count_limits.most(Counted::Keys);
        self.keys.create_key_of(tenant.id, terms, most).await
    }
}
