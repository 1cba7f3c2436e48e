//! The stores of API keys and tenants.

use async_trait::async_trait;

use super::store::{Addition, Page, PageRequest, StoreError};
use crate::domain::{ApiKey, Credential, KeyId, Seal, Tenant, TenantId};

/// A credential with the seal that its record has. Every reader checks the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// The key and its secrets.
    pub credential: Credential,
    /// The seal.
    pub seal: Seal,
}

/// A key in its tenant's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: ApiKey,
    /// The day on which it was last used, counted from the epoch.
    pub last_used_day: Option<u64>,
}

/// Stores API keys: for each key one record that a check reads, and one in its tenant's list.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Adds a key unless its tenant has `most` keys that are not revoked. Adding the very same key
    /// twice succeeds, because a store's answer can get lost after its write; another key under its
    /// id is a [`StoreError::Conflict`].
    async fn add(&self, key: &SealedCredential, most: u32) -> Result<Addition, StoreError>;

    /// How many keys of the tenant are not revoked.
    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError>;

    /// The record of the key that a check reads.
    async fn credential(&self, id: KeyId) -> Result<Option<SealedCredential>, StoreError>;

    /// Stores a change if the key still has the revision before it; else fails with
    /// [`StoreError::Conflict`]. Storing the same change twice succeeds.
    async fn update(&self, key: &SealedCredential) -> Result<(), StoreError>;

    /// The tenant's keys in the order of their ids, revoked keys too.
    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<ListedKey>, StoreError>;

    /// One of the tenant's keys.
    async fn key(&self, tenant: &TenantId, id: KeyId) -> Result<Option<ListedKey>, StoreError>;

    /// Notes in the list of the key's tenant that it was used on this day. Does nothing if a later
    /// day is noted, or the key is unknown.
    async fn note_use(&self, tenant: &TenantId, id: KeyId, day: u64) -> Result<(), StoreError>;
}

/// Stores tenants.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Adds a tenant; fails with [`StoreError::Conflict`] if its id is taken. Adding the very same
    /// tenant twice succeeds.
    async fn add(&self, tenant: &Tenant) -> Result<(), StoreError>;

    /// The tenant.
    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, StoreError>;

    /// Stores a change if the tenant still has the revision before it; else fails with
    /// [`StoreError::Conflict`]. Storing the same change twice succeeds.
    async fn update(&self, tenant: &Tenant) -> Result<(), StoreError>;

    /// All tenants in the order of their ids.
    async fn list(&self, page: &PageRequest) -> Result<Page<Tenant>, StoreError>;
}
