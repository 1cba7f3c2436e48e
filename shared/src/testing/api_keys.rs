//! API keys and tenants in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use super::store::{cursor, cut};
use crate::domain::{KeyId, Tenant, TenantId, TenantStatus, Timestamp};
use crate::ports::{
    Addition, KeyStore, ListedKey, Page, PageRequest, Pass, SealedCredential, StoreError,
    TenantStore,
};

/// API keys in memory, with the conditional writes of the real store. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct MemoryKeys {
    pub(super) content: Arc<Mutex<Content>>,
    faults: Faults,
}

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) keys: BTreeMap<KeyId, SealedCredential>,
    last_used: BTreeMap<KeyId, u64>,
    /// How often a credential was read.
    reads: u32,
}

impl Content {
    /// How many keys of the tenant are not revoked.
    fn count(&self, tenant: &TenantId) -> u32 {
        let keys = self.keys.values().map(|stored| &stored.credential.key);
        let counted = keys.filter(|key| key.tenant == *tenant && key.revoked_at.is_none());
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    fn listed(&self, sealed: &SealedCredential) -> ListedKey {
        let key = sealed.credential.key.clone();
        let last_used_day = self.last_used.get(&key.id).copied();
        ListedKey { key, last_used_day }
    }
}

impl MemoryKeys {
    /// The same keys, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// How often a credential was read.
    pub fn reads(&self) -> u32 {
        lock(&self.content).reads
    }

    /// Puts a record at this id that the platform did not write there.
    pub fn put(&self, id: KeyId, record: SealedCredential) {
        lock(&self.content).keys.insert(id, record);
    }

    async fn run<T>(
        &self,
        effect: impl FnOnce(&mut Content) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            Call::Other,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || effect(&mut lock(&self.content)),
        )
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn add(&self, key: &SealedCredential, most: u32) -> Result<Addition, StoreError> {
        self.run(|content| {
            let new = &key.credential.key;
            if let Some(stored) = content.keys.get(&new.id) {
                return if stored == key {
                    Ok(Addition::Added)
                } else {
                    Err(StoreError::Conflict)
                };
            }
            let count = content.count(&new.tenant);
            if count >= most {
                return Ok(Addition::Full(count));
            }
            content.keys.insert(new.id, key.clone());
            Ok(Addition::Added)
        })
        .await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        self.run(|content| Ok(content.count(tenant))).await
    }

    async fn credential(&self, id: KeyId) -> Result<Option<SealedCredential>, StoreError> {
        self.run(|content| {
            content.reads += 1;
            Ok(content.keys.get(&id).cloned())
        })
        .await
    }

    async fn update(&self, key: &SealedCredential) -> Result<(), StoreError> {
        self.run(|content| {
            let stored = content.keys.get_mut(&key.credential.key.id);
            let stored = stored.ok_or(StoreError::Conflict)?;
            if stored == key {
                return Ok(());
            }
            if stored.credential.key.revision + 1 != key.credential.key.revision {
                return Err(StoreError::Conflict);
            }
            *stored = key.clone();
            Ok(())
        })
        .await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<ListedKey>, StoreError> {
        self.run(|content| {
            let after: Option<KeyId> = cursor(page, |text| text.parse().ok())?;
            let keys = content.keys.values().filter(|stored| {
                let key = &stored.credential.key;
                key.tenant == *tenant && after.is_none_or(|after| key.id > after)
            });
            let keys = keys.map(|stored| content.listed(stored));
            Ok(cut(keys, page, |last| last.key.id.to_string()))
        })
        .await
    }

    async fn key(&self, tenant: &TenantId, id: KeyId) -> Result<Option<ListedKey>, StoreError> {
        self.run(|content| {
            let found = content.keys.get(&id);
            let found = found.filter(|stored| stored.credential.key.tenant == *tenant);
            Ok(found.map(|stored| content.listed(stored)))
        })
        .await
    }

    async fn note_use(&self, tenant: &TenantId, id: KeyId, day: u64) -> Result<(), StoreError> {
        self.run(|content| {
            let found = content.keys.get(&id);
            if found.is_some_and(|stored| stored.credential.key.tenant == *tenant) {
                let noted = content.last_used.entry(id).or_default();
                *noted = day.max(*noted);
            }
            Ok(())
        })
        .await
    }
}

/// When the walks through tenants' tasks go on, and in which pass.
pub(super) type Walks = BTreeMap<TenantId, (Timestamp, Option<Pass>)>;

/// Tenants in memory, with the conditional writes of the real store. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct MemoryTenants {
    pub(super) tenants: Arc<Mutex<BTreeMap<TenantId, Tenant>>>,
    /// How far the walks through the tenants' tasks came, and when they go on.
    pub(super) walks: Arc<Mutex<Walks>>,
    faults: Faults,
}

impl MemoryTenants {
    /// The same tenants, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    pub(super) async fn run<T>(
        &self,
        effect: impl FnOnce(&mut BTreeMap<TenantId, Tenant>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            Call::Other,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || effect(&mut lock(&self.tenants)),
        )
    }
}

#[async_trait]
impl TenantStore for MemoryTenants {
    async fn add(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.run(|tenants| {
            let stored = tenants
                .entry(tenant.id.clone())
                .or_insert_with(|| tenant.clone());
            if stored == tenant {
                Ok(())
            } else {
                Err(StoreError::Conflict)
            }
        })
        .await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError> {
        self.run(|tenants| Ok(tenants.get(id).cloned())).await
    }

    async fn update(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.run(|tenants| {
            let stored = tenants.get_mut(&tenant.id).ok_or(StoreError::Conflict)?;
            if stored == tenant {
                return Ok(());
            }
            if stored.revision + 1 != tenant.revision {
                return Err(StoreError::Conflict);
            }
            *stored = tenant.clone();
            let walk = tenant.quiet_since.map(|due_at| (due_at, None));
            let mut walks = lock(&self.walks);
            walks.remove(&tenant.id);
            walks.extend(walk.map(|walk| (tenant.id.clone(), walk)));
            Ok(())
        })
        .await
    }

    async fn list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError> {
        self.run(|tenants| {
            let after: Option<TenantId> = cursor(page, |text| text.parse().ok())?;
            let tenants = tenants
                .values()
                .filter(|tenant| tenant.status != TenantStatus::Deleted)
                .filter(|tenant| after.as_ref().is_none_or(|after| tenant.id > *after));
            Ok(cut(tenants.cloned(), page, |last| last.id.to_string()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn keys_in_memory_keep_the_contract() {
        contract::key_store(Arc::new(MemoryKeys::default())).await;
    }

    #[tokio::test]
    async fn tenants_in_memory_keep_the_contract() {
        contract::tenant_store(Arc::new(MemoryTenants::default())).await;
    }
}
