//! API keys: who may call the API, for which tenant, and what for.

mod scope;
mod seal;
#[cfg(test)]
mod tests;
mod token;

use std::time::Duration;

pub use scope::{Scope, Scopes};
pub use seal::{Pepper, PepperVersion, Seal};
pub use token::{ApiToken, KEY_PREFIX, KeyId, SecretHash};

use super::caps::{CapKind, Caps};
use super::invalid::{self, Invalid, within};
use super::request_rate::RequestRate;
use super::tenant::TenantId;
use super::time::Timestamp;

/// The longest time for which a rotated key's earlier secret is accepted: a week.
const MAX_GRACE_SECONDS: u32 = 7 * 24 * 3_600;

/// An API key as its tenant sees it: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Identifies the key.
    pub id: KeyId,
    /// The tenant that it acts for.
    pub tenant: TenantId,
    /// What its creator decided about it.
    pub terms: KeyTerms,
    /// When it was created.
    pub created_at: Timestamp,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// How often it was changed.
    pub revision: u64,
}

impl ApiKey {
    /// Why the key is refused at this moment, even with the right secret.
    pub fn refusal(&self, now: Timestamp) -> Option<KeyRefusal> {
        if self.revoked_at.is_some() {
            return Some(KeyRefusal::Revoked);
        }
        let has_expired = self.terms.expires_at.is_some_and(|end| end <= now);
        has_expired.then_some(KeyRefusal::Expired)
    }
}

/// Why a key is refused even with the right secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
}

/// What its creator decides about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTerms {
    /// A name for people.
    pub name: KeyName,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// How many requests it may make.
    pub rate: Option<RequestRate>,
    /// What the tasks that are submitted with it may use.
    pub caps: Caps,
}

impl KeyTerms {
    /// Every rule that these terms break at this moment.
    pub fn broken_rules(&self, now: Timestamp) -> Vec<Invalid> {
        let mut broken = Vec::new();
        if self.scopes.is_empty() {
            broken.push(Invalid::new("/scopes", "must have at least one scope"));
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            broken.push(Invalid::new("/expires_at", "must be in the future"));
        }
        broken
    }
}

/// A key with what is stored of its secrets. All of it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The key.
    pub key: ApiKey,
    /// The secret.
    pub current: SecretHash,
    /// The secret before the last rotation.
    pub previous: Option<PreviousSecret>,
}

/// A secret that a rotation replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The secret.
    pub hash: SecretHash,
    /// From when on it is refused.
    pub until: Timestamp,
}

impl Credential {
    /// A new key of the tenant.
    pub fn create(tenant: TenantId, terms: KeyTerms, token: &ApiToken, now: Timestamp) -> Self {
        Self {
            key: ApiKey {
                id: token.id(),
                tenant,
                terms,
                created_at: now,
                revoked_at: None,
                revision: 1,
            },
            current: token.secret_hash(),
            previous: None,
        }
    }

    /// Whether the secret is the key's at this moment. Each comparison takes constant time.
    pub fn has_secret(&self, secret: &SecretHash, now: Timestamp) -> bool {
        let is_current = self.current == *secret;
        let is_previous = self
            .previous
            .is_some_and(|previous| previous.hash == *secret && now < previous.until);
        is_current || is_previous
    }

    /// The key under other terms.
    #[must_use]
    pub fn under(mut self, terms: KeyTerms) -> Self {
        self.key.terms = terms;
        self.next()
    }

    /// The key with the secret of `token`. The secret that it had is accepted for `grace` more.
    #[must_use]
    pub fn rotated(mut self, token: &ApiToken, grace: Grace, now: Timestamp) -> Self {
        self.previous = Some(PreviousSecret {
            hash: self.current,
            until: now.plus(grace.0),
        });
        self.current = token.secret_hash();
        self.next()
    }

    /// The key, refused from now on.
    #[must_use]
    pub fn revoked(mut self, now: Timestamp) -> Self {
        self.key.revoked_at = Some(now);
        self.previous = None;
        self.next()
    }

    /// The same key in the next revision, for a change of nothing but its seal.
    #[must_use]
    pub const fn next(mut self) -> Self {
        self.key.revision += 1;
        self
    }

    /// What the seal covers, in a fixed order. A part that is added later must come last, and be
    /// left out where it is absent, so that earlier seals stay valid.
    fn sealed_parts(&self) -> Vec<Vec<u8>> {
        let ApiKey {
            id,
            tenant,
            terms,
            created_at,
            revoked_at,
            revision,
        } = &self.key;
        let KeyTerms {
            name,
            scopes,
            expires_at,
            rate,
            caps,
        } = terms;
        let number = |number: u64| number.to_be_bytes().to_vec();
        let moment = |moment: &Option<Timestamp>| {
            moment.map_or_else(Vec::new, |moment| number(moment.as_millis()))
        };
        let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        let previous = self.previous.map(|previous| {
            let until = number(previous.until.as_millis());
            [previous.hash.as_bytes().as_slice(), &until].concat()
        });
        let mut parts = vec![
            id.to_string().into(),
            tenant.as_str().into(),
            name.as_str().into(),
            scopes.join(" ").into(),
            number(created_at.as_millis()),
            moment(expires_at),
            moment(revoked_at),
            number(*revision),
            self.current.as_bytes().to_vec(),
            previous.unwrap_or_default(),
        ];
        parts.extend(rate.map(|rate| number(rate.requests().into())));
        // With its name, so that it is not taken for another absent part.
        let cap = |(kind, most): (CapKind, u64)| [kind.field().as_bytes(), &number(most)].concat();
        parts.extend(caps.present().map(cap));
        parts
    }
}

/// For how long the earlier secret of a rotated key is accepted: up to a week, by default an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Duration);

impl Grace {
    /// Checks the seconds at `/grace_seconds`.
    pub fn from_seconds(seconds: u32) -> Result<Self, Invalid> {
        let seconds = within("/grace_seconds", seconds, 0..=MAX_GRACE_SECONDS)?;
        Ok(Self(Duration::from_secs(seconds.into())))
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self(Duration::from_hours(1))
    }
}

/// A name for people: 1 to 64 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// Checks the name at `/name`.
    pub fn new(name: String) -> Result<Self, Invalid> {
        invalid::name("/name", name).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
