//! The keys with which the issuer signs: where they are (`OpenID` Connect Discovery 1.0), their form
//! (RFC 7517), and how long they are trusted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::document::{DocumentError, Documents};
use crate::domain::{Causes, Timestamp, whole_millis};
use crate::metric;
use crate::ports::{Clock, JwtError};

/// How old the keys may be before they are read again.
const FRESH: Duration = Duration::from_hours(1);

/// How old they may be while the issuer does not respond. A key that it withdrew meanwhile ends
/// then.
const STALE_FOR: Duration = Duration::from_hours(24);

/// How often the keys are read at most: anybody can send JWTs that name an unknown key.
const READ_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// How often they are read at most while there are none that may be used.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How long both documents together may take: a request may wait 25 s for a task besides, and the
/// function has 29 s.
const TIME: Duration = Duration::from_secs(2);

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("the issuer did not respond within 2 s")]
    Late,
    #[error("{url} is not the JSON that an issuer has there")]
    Form {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{url} is of the issuer {found}, and JwtIssuer is {expected}")]
    OtherIssuer {
        url: String,
        found: String,
        expected: String,
    },
    #[error("the keys are at {0}, which does not begin with https://")]
    Insecure(String),
    #[error("{0} has no key with an id and an algorithm that the platform knows")]
    NoKeys(String),
}

/// The part that is used of an issuer's metadata.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// A public key of the issuer.
pub(super) struct VerifyingKey {
    id: String,
    key: DecodingKey,
    /// The only algorithm that it may be used with.
    algorithm: Option<Algorithm>,
}

impl VerifyingKey {
    /// `None` if the key has no id, signs nothing, or is of a kind that the platform does not know.
    /// A symmetric key is never taken: who can read it can sign with it.
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let is_for_signatures = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        if !is_for_signatures || matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
            return None;
        }
        let algorithm = jwk.common.key_algorithm;
        Some(Self {
            key: DecodingKey::from_jwk(&jwk).ok()?,
            algorithm: algorithm
                .map(|named| named.to_string().parse())
                .transpose()
                .ok()?,
            id: jwk.common.key_id?,
        })
    }

    pub(super) const fn key(&self) -> &DecodingKey {
        &self.key
    }

    fn is(&self, id: &str, algorithm: Algorithm) -> bool {
        self.id == id
            && self.key.family() == algorithm.family()
            && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

/// What is known of the issuer's keys.
#[derive(Default)]
struct Known {
    keys: Vec<Arc<VerifyingKey>>,
    read_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    has_failed: bool,
}

impl Known {
    fn find(&self, id: &str, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        let found = self.keys.iter().find(|key| key.is(id, algorithm));
        found.cloned()
    }

    /// Whether there are keys that may still be used.
    fn are_usable(&self, now: Timestamp) -> bool {
        !self.keys.is_empty() && self.is_younger_than(STALE_FOR, now)
    }

    fn is_younger_than(&self, age: Duration, now: Timestamp) -> bool {
        self.read_at.is_some_and(|at| now.since(at) < age)
    }

    /// Whether they may be read again already.
    fn may_read(&self, now: Timestamp) -> bool {
        let pause = if self.are_usable(now) {
            READ_AGAIN_AFTER
        } else {
            RETRY_AFTER
        };
        self.tried_at.is_none_or(|at| now.since(at) >= pause)
    }
}

/// The keys of one issuer, with a cache.
pub(super) struct IssuerKeys {
    issuer: String,
    documents: Documents,
    clock: Arc<dyn Clock>,
    /// Its holder reads the keys for all that wait.
    known: Mutex<Known>,
}

impl IssuerKeys {
    pub(super) fn new(issuer: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            documents: Documents::new(),
            clock,
            known: Mutex::default(),
        }
    }

    /// The key with this id for this algorithm. The keys are read if they are an hour old or the key
    /// is not among them.
    pub(super) async fn find(
        &self,
        id: &str,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, JwtError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let is_known = known.is_younger_than(FRESH, now) && known.find(id, algorithm).is_some();
        if !is_known && known.may_read(now) {
            self.read_again(&mut known, now).await;
        }
        if known.has_failed && !known.are_usable(now) {
            return Err(JwtError::KeysUnreadable);
        }
        let found = known.find(id, algorithm);
        found.ok_or(JwtError::Invalid("unknown_key"))
    }

    async fn read_again(&self, known: &mut Known, now: Timestamp) {
        // Before the read: if the request is dropped during it, the keys are not read.
        known.tried_at = Some(now);
        known.has_failed = true;
        let began = Instant::now();
        let read = timeout(TIME, self.read()).await;
        match read.unwrap_or(Err(KeysError::Late)) {
            Ok(keys) => {
                let duration_ms = whole_millis(began.elapsed());
                tracing::info!(
                    keys = keys.len(),
                    duration_ms,
                    "keys of the JWT issuer read"
                );
                known.keys = keys;
                known.read_at = Some(now);
                known.has_failed = false;
            }
            Err(error) => {
                if matches!(error, KeysError::NoKeys(_)) {
                    // The issuer responded: it has withdrawn the keys that were known.
                    known.keys.clear();
                }
                metric::ISSUER_KEY_FAILURES.add([], 1);
                tracing::warn!(error = %Causes(&error), "keys of the JWT issuer can't be read");
            }
        }
    }

    async fn read(&self) -> Result<Vec<Arc<VerifyingKey>>, KeysError> {
        let issuer = &self.issuer;
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let metadata: Metadata = self.read_json(&url).await?;
        if metadata.issuer != *issuer {
            return Err(KeysError::OtherIssuer {
                url,
                found: metadata.issuer,
                expected: issuer.clone(),
            });
        }
        self.read_set(metadata.jwks_uri).await
    }

    /// The keys in the set at this address.
    pub(super) async fn read_set(&self, url: String) -> Result<Vec<Arc<VerifyingKey>>, KeysError> {
        if self.issuer.starts_with("https://") && !url.starts_with("https://") {
            return Err(KeysError::Insecure(url));
        }
        let set: KeySet = self.read_json(&url).await?;
        let keys = set.keys.into_iter().filter_map(VerifyingKey::read);
        let keys: Vec<_> = keys.map(Arc::new).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKeys(url));
        }
        Ok(keys)
    }

    async fn read_json<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, KeysError> {
        let content = self.documents.read(url).await?;
        serde_json::from_slice(&content).map_err(|source| KeysError::Form {
            url: url.to_owned(),
            source,
        })
    }
}
