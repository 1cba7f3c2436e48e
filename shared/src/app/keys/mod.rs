//! Creating and managing API keys.
//!
//! A key can only give what it has: nobody gets a scope through a key that he creates, changes or
//! rotates.

mod check;
mod jwt;
mod peppers;
mod present_tenants;

use std::sync::Arc;

pub use check::{KeyCheck, Refused};
pub use jwt::JwtCheck;
use peppers::{Peppers, SealState};
pub use present_tenants::PresentTenants;

use super::span::record;
use super::{AppError, Tenants};
use crate::domain::{
    ApiKey, ApiToken, CapChanges, Caps, CountLimits, Counted, Credential, Grace, Invalid, KeyId,
    KeyName, KeyTerms, Patch, RequestRate, Scope, Scopes, TenantId, Timestamp,
};
use crate::ports::{
    Addition, Clock, KeyStore, ListedKey, Page, PageRequest, SealedCredential, Secrets, StoreError,
    TenantStore,
};

/// How often a change is tried whose key is changed by others at the same time.
const TRIES: u32 = 3;

/// What a request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The tenant that it acts for.
    pub tenant: TenantId,
    /// Its key; `None` for the deployment's own key, and for a JWT.
    pub key: Option<KeyId>,
    /// What its key may do.
    pub scopes: Scopes,
    /// How many requests its key may make.
    pub key_rate: Option<RequestRate>,
    /// How many requests all keys of its tenant may make.
    pub tenant_rate: Option<RequestRate>,
    /// What the tasks of its tenant may use.
    pub tenant_caps: Caps,
    /// How many agents and keys its tenant may have.
    pub count_limits: CountLimits,
}

impl Access {
    /// The limits of its tenant.
    const fn limits(&self) -> (Option<RequestRate>, Caps) {
        (self.tenant_rate, self.tenant_caps)
    }
}

/// What changes about a key; a name or scopes that are `None` stay.
#[derive(Debug, Clone, Default)]
pub struct KeyChanges {
    /// The name.
    pub name: Option<KeyName>,
    /// The scopes.
    pub scopes: Option<Scopes>,
    /// From when on the key is refused.
    pub expires_at: Patch<Timestamp>,
    /// How many requests it may make.
    pub rate: Patch<RequestRate>,
    /// What the tasks that are submitted with it may use.
    pub caps: CapChanges,
}

/// What API keys need from the outside.
pub struct KeyPorts {
    /// The store of keys.
    pub keys: Arc<dyn KeyStore>,
    /// The store of tenants.
    pub tenants: Arc<dyn TenantStore>,
    /// Where the pepper is.
    pub secrets: Arc<dyn Secrets>,
    /// The name or ARN of the secret that holds the pepper.
    pub pepper_secret: String,
    /// The deployment's own tenant.
    pub home: TenantId,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl KeyPorts {
    /// The use cases on keys and on tenants, and the check of the keys of requests.
    pub fn use_cases(self) -> (Keys, Tenants, KeyCheck) {
        let Self {
            keys: store,
            tenants,
            secrets,
            pepper_secret,
            home,
            clock,
        } = self;
        let keys = Keys {
            store,
            peppers: Peppers::new(secrets, pepper_secret),
            clock: Arc::clone(&clock),
        };
        let present = PresentTenants::new(Arc::clone(&tenants), home.clone());
        let check = KeyCheck::new(keys.clone(), present);
        let tenants = Tenants::new(tenants, keys.clone(), home, clock);
        (keys, tenants, check)
    }
}

/// The use cases on API keys.
#[derive(Clone)]
pub struct Keys {
    store: Arc<dyn KeyStore>,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
}

impl Keys {
    /// Creates a key of the caller's tenant. The token is shown once: nobody can read it again.
    pub async fn create_key(
        &self,
        caller: &Access,
        terms: KeyTerms,
    ) -> Result<(ApiKey, ApiToken), AppError> {
        if let Some(scope) = terms.scopes.beyond(&caller.scopes) {
            return Err(not_granted(scope));
        }
        check_limits((terms.rate, terms.caps), caller.limits())?;
        let most = caller.count_limits.most(Counted::Keys);
        self.create_key_of(caller.tenant.clone(), terms, most).await
    }

    /// Creates a key of this tenant, which exists and may have `most` keys.
    pub(super) async fn create_key_of(
        &self,
        tenant: TenantId,
        terms: KeyTerms,
        most: u32,
    ) -> Result<(ApiKey, ApiToken), AppError> {
        let now = self.clock.now();
        check_terms(&terms, now)?;
        let token = ApiToken::from_random(KeyId::from_random(random()?), random()?);
        let credential = Credential::create(tenant, terms, &token, now);
        let sealed = self.sealed(credential).await?;
        if let Addition::Full(used) = self.store.add(&sealed, most).await? {
            return Err(AppError::TooMany {
                counted: Counted::Keys,
                most,
                used,
            });
        }
        let key = sealed.credential.key;
        record("key_id", key.id.to_string());
        tracing::info!("API key created");
        Ok((key, token))
    }

    /// How many keys of the tenant are not revoked.
    pub async fn count_keys(&self, tenant: &TenantId) -> Result<u32, AppError> {
        Ok(self.store.count(tenant).await?)
    }

    /// The keys of the caller's tenant, revoked keys too.
    pub async fn list_keys(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<ListedKey>, AppError> {
        Ok(self.store.list(tenant, page).await?)
    }

    /// A key of the caller's tenant.
    pub async fn find_key(&self, tenant: &TenantId, id: KeyId) -> Result<ListedKey, AppError> {
        let found = self.store.key(tenant, id).await?;
        found.ok_or_else(|| unknown(id))
    }

    /// Changes a key. All functions know it within 30 s.
    pub async fn change_key(
        &self,
        caller: &Access,
        id: KeyId,
        changes: KeyChanges,
    ) -> Result<ListedKey, AppError> {
        let added = changes.scopes.as_ref();
        if let Some(scope) = added.and_then(|scopes| scopes.beyond(&caller.scopes)) {
            return Err(not_granted(scope));
        }
        check_limits((changes.rate.set(), changes.caps.set()), caller.limits())?;
        let now = self.clock.now();
        let change = |credential: Credential| {
            let before = credential.key.terms.clone();
            let terms = KeyTerms {
                name: changes.name.clone().unwrap_or(before.name),
                scopes: changes.scopes.clone().unwrap_or(before.scopes),
                expires_at: changes.expires_at.apply(before.expires_at),
                rate: changes.rate.apply(before.rate),
                caps: changes.caps.apply(before.caps),
            };
            check_terms(&terms, now)?;
            Ok(credential.under(terms))
        };
        self.update(caller, id, change).await?;
        tracing::info!("API key changed");
        self.find_key(&caller.tenant, id).await
    }

    /// Gives a key another secret. The secret that it had is accepted for `grace` more.
    pub async fn rotate_key(
        &self,
        caller: &Access,
        id: KeyId,
        grace: Grace,
    ) -> Result<(ApiKey, ApiToken), AppError> {
        let token = ApiToken::from_random(id, random()?);
        let now = self.clock.now();
        let rotate = |credential: Credential| Ok(credential.rotated(&token, grace, now));
        let key = self.update(caller, id, rotate).await?;
        tracing::info!("API key rotated");
        Ok((key, token))
    }

    /// Revokes a key. All functions refuse it within 30 s. Revoking a revoked key changes nothing.
    pub async fn revoke_key(&self, tenant: &TenantId, id: KeyId) -> Result<ListedKey, AppError> {
        for _ in 0..TRIES {
            let found = self.found(tenant, id).await?.credential;
            if found.key.revoked_at.is_some() {
                return self.find_key(tenant, id).await;
            }
            let revoked = found.revoked(self.clock.now());
            if self.store_change(revoked).await?.is_some() {
                tracing::info!("API key revoked");
                return self.find_key(tenant, id).await;
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Seals the tenant's keys with the present pepper that have a seal of the pepper before. Returns
    /// how many there were.
    pub(super) async fn renew_seals_of(&self, tenant: &TenantId) -> Result<u32, AppError> {
        let (mut renewed, mut after) = (0, None);
        loop {
            let page = PageRequest { limit: 100, after };
            let page = self.store.list(tenant, &page).await?;
            for listed in page.entries {
                if listed.key.revoked_at.is_some() {
                    continue;
                }
                let found = self.found(tenant, listed.key.id).await?;
                if let SealState::Outdated = self.peppers.check(&found).await? {
                    self.renew_seal(&found).await?;
                    renewed += 1;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(renewed);
            }
        }
    }

    /// Seals the record with the present pepper, unless it has changed meanwhile.
    async fn renew_seal(&self, outdated: &SealedCredential) -> Result<(), AppError> {
        let same = outdated.credential.clone().next();
        self.store_change(same).await.map(drop)
    }

    /// Seals and stores a changed key. Returns `None` if the record has changed meanwhile.
    async fn store_change(&self, changed: Credential) -> Result<Option<ApiKey>, AppError> {
        let changed = self.sealed(changed).await?;
        match self.store.update(&changed).await {
            Ok(()) => Ok(Some(changed.credential.key)),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a key that is not revoked and has no scope that the caller lacks. With such a key,
    /// the caller would get the scope.
    async fn update(
        &self,
        caller: &Access,
        id: KeyId,
        change: impl Fn(Credential) -> Result<Credential, AppError>,
    ) -> Result<ApiKey, AppError> {
        for _ in 0..TRIES {
            let found = self.found(&caller.tenant, id).await?;
            if let SealState::Invalid = self.peppers.check(&found).await? {
                return Err(unsealed(id).into());
            }
            let key = &found.credential.key;
            if let Some(scope) = key.terms.scopes.beyond(&caller.scopes) {
                return Err(AppError::MissingScope(scope));
            }
            if key.revoked_at.is_some() {
                return Err(AppError::KeyRevoked);
            }
            if let Some(key) = self.store_change(change(found.credential)?).await? {
                return Ok(key);
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn found(&self, tenant: &TenantId, id: KeyId) -> Result<SealedCredential, AppError> {
        let found = self.store.credential(id).await?;
        found
            .filter(|found| found.credential.key.tenant == *tenant)
            .ok_or_else(|| unknown(id))
    }

    async fn sealed(&self, credential: Credential) -> Result<SealedCredential, AppError> {
        let seal = self.peppers.current().await?.seal(&credential);
        Ok(SealedCredential { credential, seal })
    }
}

fn check_terms(terms: &KeyTerms, now: Timestamp) -> Result<(), AppError> {
    let broken = terms.broken_rules(now);
    if broken.is_empty() {
        Ok(())
    } else {
        Err(AppError::Invalid(broken))
    }
}

/// Refuses limits of a key that are above its tenant's.
pub(super) fn check_limits(
    (rate, caps): (Option<RequestRate>, Caps),
    (tenant_rate, tenant_caps): (Option<RequestRate>, Caps),
) -> Result<(), AppError> {
    let rate = rate.zip(tenant_rate);
    let rate = rate.filter(|(key, tenant)| key > tenant);
    let rate = rate.map(|(_, tenant)| ("requests_per_minute", tenant.requests().into()));
    let cap = caps.above(tenant_caps);
    let broken: Vec<Invalid> = rate
        .into_iter()
        .chain(cap.map(|(kind, most)| (kind.field(), most)))
        .map(|(field, most)| {
            let reason = format!("must not be above the limit of the tenant, {most}");
            Invalid::new(format!("/limits/{field}"), reason)
        })
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(AppError::Invalid(broken))
    }
}

fn not_granted(scope: Scope) -> AppError {
    let reason = format!("must not have {scope}: the key of this request does not have it");
    AppError::invalid("/scopes", reason)
}

fn unknown(id: KeyId) -> AppError {
    AppError::NotFound(format!("key {id}"))
}

fn unsealed(id: KeyId) -> StoreError {
    StoreError::Corrupt {
        key: id.to_string(),
        reason: "its seal is not valid: it was changed outside the platform".to_owned(),
    }
}

/// Random bytes of the operating system, fit for secrets.
fn random<const N: usize>() -> Result<[u8; N], AppError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| AppError::Internal(StoreError::Refused(Box::new(error))))?;
    Ok(bytes)
}
