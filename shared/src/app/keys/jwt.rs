//! Checks the JWT of a request.
//!
//! Its tenant is trusted for 30 s without a read, as that of an API key is. If the store fails,
//! nothing older is trusted. A JWT cannot be revoked: it ends when it expires.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::check::{MAX_REMEMBERED, Refused, admitted, failed, is_fresh};
use super::{Access, AppError, PresentTenants};
use crate::domain::{Scope, Tenant, TenantId, Timestamp};
use crate::ports::{Clock, JwtError, JwtIssuer};

/// Checks the JWTs of one issuer.
pub struct JwtCheck {
    issuer: Arc<dyn JwtIssuer>,
    tenants: PresentTenants,
    clock: Arc<dyn Clock>,
    remembered: Mutex<HashMap<TenantId, (Option<Tenant>, Timestamp)>>,
}

impl JwtCheck {
    /// Checks JWTs of the issuer, and their tenants.
    pub fn new(issuer: Arc<dyn JwtIssuer>, tenants: PresentTenants, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            tenants,
            clock,
            remembered: Mutex::default(),
        }
    }

    /// What the owner of this JWT may do, and who it is in the issuer's words. At the end of a
    /// request that lasts so long, what was read of the tenant is still not older than 30 s.
    pub async fn check(
        &self,
        token: &str,
        lasting: Duration,
    ) -> Result<(Access, Option<String>), Refused> {
        let claims = self.issuer.claims(token).await;
        let claims = claims.map_err(|error| match error {
            JwtError::Invalid(reason) => Refused::Invalid(reason),
            JwtError::KeysUnreadable => Refused::Failed(AppError::IssuerUnavailable),
        })?;
        let now = self.clock.now();
        if claims.has_expired(now) {
            return Err(Refused::Expired);
        }
        if claims.is_early(now) {
            return Err(Refused::Invalid("not_yet_valid"));
        }
        let Some(tenant) = self.tenant(&claims.tenant, lasting).await? else {
            return Err(Refused::Invalid("tenant"));
        };
        let scopes = claims.scopes.iter();
        let scopes = scopes.filter(|scope| Scope::is_for_jwts(*scope)).collect();
        let access = admitted(&tenant, scopes)?;
        Ok((access, claims.subject))
    }

    async fn tenant(&self, id: &TenantId, lasting: Duration) -> Result<Option<Tenant>, Refused> {
        let now = self.clock.now();
        if let Some((tenant, read_at)) = self.lock().get(id)
            && is_fresh((*read_at, tenant.is_some()), now, lasting)
        {
            return Ok(tenant.clone());
        }
        let found = self.tenants.find(id, now).await.map_err(failed)?;
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id.clone(), (found.clone(), now));
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (Option<Tenant>, Timestamp)>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
