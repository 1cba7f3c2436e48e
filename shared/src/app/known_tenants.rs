//! A cache of the status and the caps of tenants, and of the caps of keys, for workers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Caps, Causes, KeyId, Tenant, TenantId, TenantStatus, Timestamp};
use crate::ports::{CapsOfTask, Clock, KeyStore, StoreError, TaskCaps, TenantStore};

/// How long what was read is used without another read.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// The most tenants, and the most keys, that are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// The status and the caps of tenants, and the caps of keys.
///
/// What was read is used for 30 s, and is then read again. If that fails, the last known is used for
/// another 30 s: an outage must not stop all tenants.
pub struct KnownTenants {
    tenants: Arc<dyn TenantStore>,
    keys: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    statuses: Mutex<HashMap<TenantId, (KnownTenant, Timestamp)>>,
    caps_of_keys: Mutex<HashMap<KeyId, (Caps, Timestamp)>>,
}

/// What is known of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownTenant {
    pub(super) status: TenantStatus,
    pub(super) caps: Caps,
}

impl KnownTenants {
    /// Knows the tenants in `tenants` and the keys in `keys`.
    pub fn new(
        tenants: Arc<dyn TenantStore>,
        keys: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            tenants,
            keys,
            clock,
            statuses: Mutex::default(),
            caps_of_keys: Mutex::default(),
        }
    }

    /// The tenant. The deployment's own has no record: it is active, and has no caps of its own.
    pub(super) async fn tenant(&self, id: &TenantId) -> Result<KnownTenant, StoreError> {
        let read = async {
            let found = self.tenants.tenant(id).await?;
            let (status, caps) = found.map_or_else(
                || (TenantStatus::Active, Caps::default()),
                |Tenant { status, caps, .. }| (status, caps),
            );
            Ok(KnownTenant { status, caps })
        };
        self.known(&self.statuses, id.clone(), read).await
    }

    async fn caps_of_key(&self, tenant: &TenantId, key: KeyId) -> Result<Caps, StoreError> {
        let read = async {
            let found = self.keys.key(tenant, key).await?;
            Ok(found.map_or_else(Caps::default, |found| found.key.terms.caps))
        };
        self.known(&self.caps_of_keys, key, read).await
    }

    /// What is remembered under the id if it is fresh, or else what `read` reads.
    async fn known<I: Eq + Hash, T: Copy>(
        &self,
        remembered: &Mutex<HashMap<I, (T, Timestamp)>>,
        id: I,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let now = self.clock.now();
        let last = lock(remembered).get(&id).copied();
        if let Some((known, read_at)) = last
            && now.since(read_at) < KNOWN_FOR
        {
            return Ok(known);
        }
        let known = match (read.await, last) {
            (Ok(read), _) => read,
            (Err(error), Some((last, _))) => {
                tracing::warn!(error = %Causes(&error), "tenant or key can't be read; what was last known of it is used");
                last
            }
            (Err(error), None) => return Err(error),
        };
        let mut remembered = lock(remembered);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id, (known, now));
        Ok(known)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl TaskCaps for KnownTenants {
    async fn of_task(
        &self,
        tenant: &TenantId,
        key: Option<KeyId>,
    ) -> Result<CapsOfTask, StoreError> {
        let of_key = async {
            match key {
                Some(key) => self.caps_of_key(tenant, key).await,
                None => Ok(Caps::default()),
            }
        };
        let (known, key) = futures::future::try_join(self.tenant(tenant), of_key).await?;
        Ok(CapsOfTask {
            tenant: known.caps,
            key,
        })
    }
}
