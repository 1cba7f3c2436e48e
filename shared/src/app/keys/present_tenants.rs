//! The tenants that credentials may act for.

use std::sync::Arc;

use crate::domain::{Tenant, TenantId, Timestamp};
use crate::ports::{StoreError, TenantStore};

/// The tenants that exist, and are not deleted or being deleted.
pub struct PresentTenants {
    store: Arc<dyn TenantStore>,
    home: TenantId,
}

impl PresentTenants {
    /// The tenants in the store, and `home`: the deployment's own, which needs no record.
    pub fn new(store: Arc<dyn TenantStore>, home: TenantId) -> Self {
        Self { store, home }
    }

    /// The tenant with this id, as it is `now`.
    pub(super) async fn find(
        &self,
        id: &TenantId,
        now: Timestamp,
    ) -> Result<Option<Tenant>, StoreError> {
        match self.store.tenant(id).await? {
            Some(tenant) => Ok(Some(tenant).filter(|tenant| !tenant.status.is_gone())),
            None if *id == self.home => Ok(Some(Tenant::home(id.clone(), now))),
            None => Ok(None),
        }
    }
}
