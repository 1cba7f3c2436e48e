//! Checks the API key of a request.
//!
//! A key that was found is trusted for 30 s without a read, so a revocation takes effect within
//! 30 s everywhere. The cache holds no secret: each request's secret is compared with the hash. If
//! the store fails, nothing older is trusted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::peppers::SealState;
use super::present_tenants::PresentTenants;
use super::{Access, AppError, Keys};
use crate::domain::{
    ApiToken, Causes, Credential, KeyId, KeyRefusal, Scopes, Tenant, TenantId, TenantStatus,
    Timestamp,
};

/// How long a key that was found is trusted without another read.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

/// How long a key that was not found counts as unknown; and after what time a key may be read again
/// because the secret of a request is not its secret. It may have been rotated a moment ago.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The most keys that are remembered.
pub(super) const MAX_REMEMBERED: usize = 1_000;

/// Why a key does not open the API.
#[derive(Debug)]
pub enum Refused {
    /// The key is not valid, for this reason. The reason is for the log: a client must not see it.
    Invalid(&'static str),
    /// A JWT of the issuer that has expired. Every client has one from time to time.
    Expired,
    /// The key is valid, but this tenant, which it acts for, is suspended.
    Suspended(TenantId),
    /// The key could not be checked.
    Failed(AppError),
}

/// Checks API keys.
pub struct KeyCheck {
    keys: Keys,
    tenants: PresentTenants,
    remembered: Mutex<HashMap<KeyId, Remembered>>,
}

/// What was read of a key.
#[derive(Clone)]
struct Remembered {
    read_at: Timestamp,
    /// When it was last read because of a wrong secret.
    read_again_at: Option<Timestamp>,
    /// The day on which a use was last noted.
    noted_day: Option<u64>,
    found: Option<Arc<Found>>,
}

/// A key whose seal is valid.
struct Found {
    credential: Credential,
    tenant: Tenant,
}

impl KeyCheck {
    /// Checks keys and their tenants.
    pub(super) fn new(keys: Keys, tenants: PresentTenants) -> Self {
        Self {
            keys,
            tenants,
            remembered: Mutex::default(),
        }
    }

    /// What the owner of this token may do, in a request that lasts so long: at its end, what was
    /// read of the key is still not older than 30 s.
    pub async fn check(&self, token: &ApiToken, lasting: Duration) -> Result<Access, Refused> {
        let (id, secret) = (token.id(), token.secret_hash());
        let remembered = self.remembered(id, lasting);
        let is_remembered = remembered.is_some();
        let mut entry = match remembered {
            Some(entry) => entry,
            None => self.read(id, None).await?,
        };
        let now = self.keys.clock.now();
        let is_owner = |entry: &Remembered| {
            entry
                .found
                .as_ref()
                .is_some_and(|found| found.credential.has_secret(&secret, now))
        };
        let has_wrong_secret = entry.found.is_some() && !is_owner(&entry);
        if has_wrong_secret && is_remembered && may_read_again(&entry, now) {
            entry = self.read(id, Some(now)).await?;
        }
        let Some(found) = &entry.found else {
            return Err(Refused::Invalid("unknown"));
        };
        if !is_owner(&entry) {
            return Err(Refused::Invalid("wrong"));
        }
        let key = &found.credential.key;
        match key.refusal(now) {
            Some(KeyRefusal::Revoked) => return Err(Refused::Invalid("revoked")),
            Some(KeyRefusal::Expired) => return Err(Refused::Invalid("expired")),
            None => {}
        }
        let access = Access {
            key: Some(id),
            key_rate: key.terms.rate,
            ..admitted(&found.tenant, key.terms.scopes.clone())?
        };
        self.note_use(&entry, &key.tenant, id, now).await;
        Ok(access)
    }

    /// What is known of the key, unless it is too old.
    fn remembered(&self, id: KeyId, lasting: Duration) -> Option<Remembered> {
        let remembered = self.lock();
        let entry = remembered.get(&id)?;
        let read = (entry.read_at, entry.found.is_some());
        is_fresh(read, self.keys.clock.now(), lasting).then(|| entry.clone())
    }

    /// Reads the key and its tenant, and remembers what it finds.
    async fn read(
        &self,
        id: KeyId,
        read_again_at: Option<Timestamp>,
    ) -> Result<Remembered, Refused> {
        let read_at = self.keys.clock.now();
        let found = self.find(id).await?.map(Arc::new);
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED && !remembered.contains_key(&id) {
            forget_oldest(&mut remembered);
        }
        let noted_day = remembered.get(&id).and_then(|entry| entry.noted_day);
        let entry = Remembered {
            read_at,
            read_again_at,
            noted_day,
            found,
        };
        remembered.insert(id, entry.clone());
        Ok(entry)
    }

    async fn find(&self, id: KeyId) -> Result<Option<Found>, Refused> {
        let Some(sealed) = self.keys.store.credential(id).await.map_err(failed)? else {
            return Ok(None);
        };
        let key = &sealed.credential.key;
        let tenant = self.tenants.find(&key.tenant, key.created_at).await;
        let Some(tenant) = tenant.map_err(failed)? else {
            return Ok(None);
        };
        // A record that was copied to another id is not sealed for it.
        let is_in_place = key.id == id;
        match self.keys.peppers.check(&sealed).await.map_err(failed)? {
            SealState::Current if is_in_place => {}
            // Who revokes a key need not have its seal, so a revoked key may have an old one.
            _ if key.revoked_at.is_some() => {}
            SealState::Outdated if is_in_place => {
                // If this fails, the next read does it.
                if let Err(error) = self.keys.renew_seal(&sealed).await {
                    tracing::warn!(caller_key_id = %id, error = %Causes(&error), "API key could not be sealed with the present pepper");
                }
            }
            SealState::Current | SealState::Outdated | SealState::Invalid => {
                tracing::error!(caller_key_id = %id, "API key record has no valid seal; the key is refused");
                return Ok(None);
            }
        }
        Ok(Some(Found {
            credential: sealed.credential,
            tenant,
        }))
    }

    /// Notes once a day that the key is used.
    async fn note_use(&self, entry: &Remembered, tenant: &TenantId, id: KeyId, now: Timestamp) {
        let today = now.day();
        if entry.noted_day == Some(today) {
            return;
        }
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.noted_day = Some(today);
        }
        if let Err(error) = self.keys.store.note_use(tenant, id, today).await {
            tracing::warn!(caller_key_id = %id, error = %Causes(&error), "use of the API key could not be noted");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<KeyId, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What these scopes allow in the tenant, for a credential that is no key. Fails if the tenant is
/// suspended.
pub(super) fn admitted(tenant: &Tenant, scopes: Scopes) -> Result<Access, Refused> {
    if tenant.status == TenantStatus::Suspended {
        return Err(Refused::Suspended(tenant.id.clone()));
    }
    Ok(Access {
        tenant: tenant.id.clone(),
        key: None,
        scopes,
        key_rate: None,
        tenant_rate: tenant.rate,
        tenant_caps: tenant.caps,
        count_limits: tenant.count_limits,
    })
}

/// Whether what was read at this moment, and found or not, may be used now, and until `lasting` has
/// passed.
pub(super) fn is_fresh(
    (read_at, is_found): (Timestamp, bool),
    now: Timestamp,
    lasting: Duration,
) -> bool {
    let lasts = if is_found {
        TRUSTED_FOR
    } else {
        READ_AGAIN_AFTER
    };
    read_at <= now && now.since(read_at) + lasting < lasts
}

pub(super) fn failed(error: impl Into<AppError>) -> Refused {
    Refused::Failed(error.into())
}

fn may_read_again(entry: &Remembered, now: Timestamp) -> bool {
    entry
        .read_again_at
        .is_none_or(|last| now.since(last) >= READ_AGAIN_AFTER)
}

fn forget_oldest(remembered: &mut HashMap<KeyId, Remembered>) {
    let oldest = remembered
        .iter()
        .min_by_key(|(_, entry)| entry.read_at)
        .map(|(id, _)| *id);
    if let Some(oldest) = oldest {
        remembered.remove(&oldest);
    }
}
