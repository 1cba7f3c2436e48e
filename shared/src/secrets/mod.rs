//! Secrets from Secrets Manager, cached for some minutes.
//!
//! A value is read again when it is five minutes old, so that a rotated key is taken up without a
//! deployment. While Secrets Manager fails, the last known value is served instead, for a day at
//! most; a plain "there is no such secret" is believed at once, and for 30 seconds. A secret must be a
//! text: binary ones count as missing. A slow read of one secret holds nobody up who asks for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use tokio::sync::Mutex;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Secret, SecretError, Secrets};

/// How long a value is served without another read.
const FRESH: Duration = Duration::from_mins(5);

/// How long the last known value is served after a failed read, before the next one.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How long a missing secret is taken for missing without another read.
const MISSING_FOR: Duration = Duration::from_secs(30);

/// The most names in the cache with names that have no secret: clients choose the names of
/// credentials.
const MAX_NAMES: usize = 256;

/// How long after it was read a value is served while Secrets Manager fails. One that was revoked
/// meanwhile ends then.
const STALE_FOR: Duration = Duration::from_hours(24);

/// The Secrets Manager client of a function. Cheap to clone.
pub fn secrets_manager(shared: &SdkConfig) -> Client {
    Client::from_conf(secrets_manager_config(shared).build())
}

/// The Secrets Manager client's configuration: 1 s to connect, 2 s an attempt, 5 s in all.
pub fn secrets_manager_config(shared: &SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5));
    let retries = aws_sdk_secretsmanager::config::retry::RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100));
    Builder::from(shared)
        .timeout_config(timeouts.build())
        .retry_config(retries)
}

/// Secrets from Secrets Manager, each by its name or ARN.
pub struct SecretsManager {
    client: Client,
    clock: Arc<dyn Clock>,
    entries: StdMutex<HashMap<String, Arc<Mutex<Entry>>>>,
}

/// What is known of one secret. The holder of its lock reads for all callers that wait; other
/// secrets have locks of their own.
#[derive(Default)]
struct Entry {
    known: Option<Known>,
    tried_at: Option<Timestamp>,
    /// When it was found missing.
    missing_at: Option<Timestamp>,
}

/// A secret as it was read.
#[derive(Clone)]
struct Known {
    current: Secret,
    /// When the present value was made.
    since: Timestamp,
    /// The value before, if it was read.
    previous: Option<Secret>,
    read_at: Timestamp,
}

impl Entry {
    /// What is known, if it may be served without another read.
    fn served(&self, now: Timestamp, max_age: Duration) -> Option<&Known> {
        let known = self.known.as_ref()?;
        let age = now.since(known.read_at);
        let is_tried = self
            .tried_at
            .is_some_and(|tried_at| now.since(tried_at) < RETRY_AFTER.min(max_age));
        (age < max_age || (is_tried && age < STALE_FOR)).then_some(known)
    }

    fn is_missing(&self, now: Timestamp, max_age: Duration) -> bool {
        self.missing_at
            .is_some_and(|missing_at| now.since(missing_at) < MISSING_FOR.min(max_age))
    }
}

impl SecretsManager {
    /// An empty cache before Secrets Manager.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            clock,
            entries: StdMutex::default(),
        }
    }

    fn entry(&self, name: &str) -> Arc<Mutex<Entry>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_NAMES && !entries.contains_key(name) {
            // What is in use or known stays.
            entries.retain(|_, entry| entry.try_lock().map_or(true, |entry| entry.known.is_some()));
        }
        Arc::clone(entries.entry(name.to_owned()).or_default())
    }

    /// One read of a secret at a time: other callers wait for its result instead of reading as
    /// well.
    async fn known(
        &self,
        name: &str,
        grace: Duration,
        max_age: Duration,
    ) -> Result<Known, SecretError> {
        let entry = self.entry(name);
        let mut entry = entry.lock().await;
        let now = self.clock.now();
        if let Some(known) = entry.served(now, max_age) {
            return Ok(known.clone());
        }
        if entry.is_missing(now, max_age) {
            return Err(SecretError::Missing {
                name: name.to_owned(),
                source: "it was missing when it was last read, less than 30 s ago".into(),
            });
        }
        entry.tried_at = Some(now);
        let known = match (self.read(name, grace, now).await, entry.known.take()) {
            (Ok(read), _) => read,
            (Err(SecretError::Unavailable(error)), Some(stale))
                if now.since(stale.read_at) < STALE_FOR =>
            {
                tracing::warn!(error = %Causes(&*error), "secret refresh failed; cached secret used");
                stale
            }
            (Err(error), _) => {
                let is_missing = matches!(error, SecretError::Missing { .. });
                entry.missing_at = is_missing.then_some(now);
                return Err(error);
            }
        };
        Ok(entry.known.insert(known).clone())
    }

    /// The secret's present value, and the one before if the present one is younger than `grace`.
    async fn read(
        &self,
        name: &str,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Known, SecretError> {
        let (current, since) = self.version(name, "AWSCURRENT").await?;
        let previous = if now.since(since) < grace {
            self.previous(name).await?
        } else {
            None
        };
        Ok(Known {
            current,
            since,
            previous,
            read_at: now,
        })
    }

    /// The value before. A secret that was never rotated has none, and one that is no text opens
    /// nothing.
    async fn previous(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        match self.version(name, "AWSPREVIOUS").await {
            Ok((previous, _)) => Ok(Some(previous)),
            Err(SecretError::Missing { .. }) => Ok(None),
            Err(unavailable @ SecretError::Unavailable(_)) => Err(unavailable),
        }
    }

    /// The value at this staging label, and when it was made.
    async fn version(&self, name: &str, stage: &str) -> Result<(Secret, Timestamp), SecretError> {
        let answer = self
            .client
            .get_secret_value()
            .secret_id(name)
            .version_stage(stage)
            .send()
            .await;
        let answer = answer.map_err(|error| failure(name, error))?;
        let made_at = answer
            .created_date()
            .and_then(|date| date.to_millis().ok()?.try_into().ok());
        let text = answer.secret_string.unwrap_or_default();
        if text.trim().is_empty() {
            return Err(SecretError::Missing {
                name: name.to_owned(),
                source: "its value is not a text or empty".into(),
            });
        }
        Ok((
            Secret::new(text),
            Timestamp::from_millis(made_at.unwrap_or(0)),
        ))
    }
}

#[async_trait]
impl Secrets for SecretsManager {
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        Ok(self.known(name, Duration::ZERO, FRESH).await?.current)
    }

    /// A function asks for a secret's accepted values always with the same `grace`, and never for
    /// its present value as well. So the cache keeps the previous value only as far as it was asked
    /// for.
    async fn accepted(
        &self,
        name: &str,
        grace: Duration,
        max_age: Duration,
    ) -> Result<Vec<Secret>, SecretError> {
        let Known {
            current,
            since,
            previous,
            ..
        } = self.known(name, grace, max_age.min(FRESH)).await?;
        let previous = previous.filter(|_| self.clock.now().since(since) < grace);
        Ok([Some(current), previous].into_iter().flatten().collect())
    }
}

/// What the SDK's error means. Refusals are mistakes in the deployment: a name, a permission, a key
/// policy.
fn failure(name: &str, error: SdkError<GetSecretValueError>) -> SecretError {
    let missing = match error.code() {
        Some(
            "ResourceNotFoundException"
            | "AccessDeniedException"
            | "DecryptionFailure"
            | "InvalidRequestException"
            | "InvalidParameterException"
            | "ValidationException",
        ) => true,
        Some(_) | None => matches!(error, SdkError::ConstructionFailure(_)),
    };
    if missing {
        SecretError::Missing {
            name: name.to_owned(),
            source: Box::new(error),
        }
    } else {
        SecretError::Unavailable(Box::new(error))
    }
}

#[cfg(test)]
mod tests;
