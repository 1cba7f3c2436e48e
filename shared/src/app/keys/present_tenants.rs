//! The tenants that credentials may act for.

use std::sync::Arc;

use crate::domain::{Tenant, TenantId};
use crate::ports::{Clock, StoreError, TenantStore};

/// The tenants that exist, and are not deleted or being deleted.
#[derive(Clone)]
pub struct PresentTenants {
    store: Arc<dyn TenantStore>,
    home: TenantId,
    clock: Arc<dyn Clock>,
}

impl PresentTenants {
    /// The tenants in the store, and `home`: the deployment's own, which needs no record.
    pub fn new(store: Arc<dyn TenantStore>, home: TenantId, clock: Arc<dyn Clock>) -> Self {
        Self { store, home, clock }
    }

    /// The tenant with this id.
    pub(super) async fn find(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        match self.store.tenant(id).await? {
            Some(tenant) => Ok(Some(tenant).filter(|tenant| !tenant.status.is_gone())),
            None if *id == self.home => Ok(Some(Tenant::home(id.clone(), self.clock.now()))),
            None => Ok(None),
        }
    }
}
