//! Creating and suspending tenants, by the operator.

use std::sync::Arc;

use super::keys::check_rate;
use super::span::record;
use super::{AppError, Keys};
use crate::domain::{
    ApiKey, ApiToken, KeyTerms, Patch, RequestRate, Scope, Tenant, TenantId, TenantStatus,
};
use crate::ports::{Clock, Page, PageRequest, StoreError, TenantStore};

/// What changes about a tenant; a status that is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct TenantChanges {
    /// Whether it may use the API.
    pub status: Option<TenantStatus>,
    /// How many requests its keys together may make.
    pub rate: Patch<RequestRate>,
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

    /// Creates a tenant.
    pub async fn create_tenant(&self, id: TenantId) -> Result<Tenant, AppError> {
        let tenant = Tenant::create(id, self.clock.now());
        if tenant.id == self.home {
            return Err(AppError::TenantExists(tenant.id));
        }
        match self.store.add(&tenant).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(AppError::TenantExists(tenant.id)),
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

    /// A tenant.
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

    /// Changes a tenant. All functions know it within 30 s.
    pub async fn change_tenant(
        &self,
        id: &TenantId,
        changes: TenantChanges,
    ) -> Result<Tenant, AppError> {
        let before = self.find_tenant(id).await?;
        let status = changes.status.unwrap_or(before.status);
        let rate = changes.rate.apply(before.rate);
        if (status, rate) == (before.status, before.rate) {
            return Ok(before);
        }
        let tenant = before.changed(status, rate);
        self.store.update(&tenant).await?;
        match changes.status {
            Some(TenantStatus::Suspended) => tracing::warn!("tenant suspended"),
            Some(TenantStatus::Active) => tracing::warn!("tenant active again"),
            None => tracing::info!("tenant changed"),
        }
        Ok(tenant)
    }

    /// Seals the keys of a page of tenants with the present pepper, so that the pepper can be rotated
    /// again. The first page has the deployment's own tenant too. Safe to repeat.
    pub async fn renew_seals(&self, page: &PageRequest) -> Result<RenewedSeals, AppError> {
        let tenants = self.store.list(page).await?;
        let home = page.after.is_none().then_some(&self.home);
        let ids = home
            .into_iter()
            .chain(tenants.entries.iter().map(|tenant| &tenant.id));
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
        let tenant = self.find_tenant(id).await?;
        check_rate(terms.rate, tenant.rate)?;
        self.keys.create_key_of(tenant.id, terms).await
    }
}
