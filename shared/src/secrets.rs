//! Secrets from Secrets Manager, cached for some minutes.
//!
//! A value is read again when it is five minutes old, so that a rotated key is taken up without a deployment. While
//! Secrets Manager fails, the last known value is served instead; a plain "there is no such secret" is believed at once.
//! A secret must be a text: binary ones count as missing.

use std::collections::HashMap;
use std::sync::Arc;
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

/// How long a value is served without another look.
const FRESH: Duration = Duration::from_mins(5);

/// How long the last known value is served after a failed look, before the next one.
const RETRY_AFTER: Duration = Duration::from_secs(30);

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
    Builder::from(shared).timeout_config(timeouts.build()).retry_config(retries)
}

/// Secrets from Secrets Manager, each by its name or ARN.
pub struct SecretsManager {
    client: Client,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, Known>>,
}

/// A value, and until when it is served without another look.
struct Known {
    value: Secret,
    until: Timestamp,
}

impl SecretsManager {
    /// An empty cache before Secrets Manager.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock, known: Mutex::default() }
    }

    async fn read(&self, name: &str) -> Result<Secret, SecretError> {
        let answer = self.client.get_secret_value().secret_id(name).send().await;
        let text = answer.map_err(|error| failure(name, error))?.secret_string.unwrap_or_default();
        if text.trim().is_empty() {
            return Err(SecretError::Missing {
                name: name.to_owned(),
                source: "its value is not a text or empty".into(),
            });
        }
        Ok(Secret::new(text))
    }
}

#[async_trait]
impl Secrets for SecretsManager {
    /// One look at a time: whoever else asks meanwhile waits for its result instead of asking as well.
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some(fresh) = known.get(name).filter(|known| now < known.until) {
            return Ok(fresh.value.clone());
        }
        match (self.read(name).await, known.get_mut(name)) {
            (Ok(value), _) => {
                known.insert(name.to_owned(), Known { value: value.clone(), until: now.plus(FRESH) });
                Ok(value)
            }
            (Err(SecretError::Unavailable(error)), Some(stale)) => {
                tracing::warn!(error = %Causes(&*error), "an old secret is used: a new one can't be read");
                stale.until = now.plus(RETRY_AFTER);
                Ok(stale.value.clone())
            }
            (Err(missing @ SecretError::Missing { .. }), _) => {
                known.remove(name);
                Err(missing)
            }
            (Err(unavailable @ SecretError::Unavailable(_)), None) => Err(unavailable),
        }
    }
}

/// What the SDK's error means. Refusals are mistakes in the deployment: a name, a permission, a key policy.
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
        SecretError::Missing { name: name.to_owned(), source: Box::new(error) }
    } else {
        SecretError::Unavailable(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex as StdMutex;

    use aws_sdk_secretsmanager::config::retry::RetryConfig;
    use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
    use axum::http::StatusCode;
    use axum::{Json, Router, routing::post};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{ManualClock, samples};

    type Script = Arc<StdMutex<VecDeque<(u16, Value)>>>;

    /// A Secrets Manager that gives each answer once, and the adapter before it.
    async fn scripted(answers: impl IntoIterator<Item = (u16, Value)>) -> (SecretsManager, ManualClock, Script) {
        let script: Script = Arc::new(StdMutex::new(answers.into_iter().collect()));
        let answers = Arc::clone(&script);
        let respond = move || async move {
            let (status, body) = answers.lock().unwrap().pop_front().expect("no more requests");
            (StatusCode::from_u16(status).unwrap(), Json(body))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(respond))).await });
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint);
        let clock = ManualClock::at(samples::START);
        let manager = SecretsManager::new(Client::from_conf(config.build()), Arc::new(clock.clone()));
        (manager, clock, script)
    }

    fn value(text: &str) -> (u16, Value) {
        (200, json!({"Name": "key", "SecretString": text}))
    }

    fn refusal(status: u16, code: &str) -> (u16, Value) {
        (status, json!({"__type": code, "Message": "no"}))
    }

    async fn exposed(manager: &SecretsManager) -> String {
        manager.secret("key").await.unwrap().expose().to_owned()
    }

    #[tokio::test]
    async fn a_value_is_read_again_when_it_is_five_minutes_old() {
        let (manager, clock, script) = scripted([value("old"), value("new")]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(Duration::from_millis(299_999));
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(Duration::from_millis(1));
        assert_eq!(exposed(&manager).await, "new");
        assert!(script.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_last_known_value_outlives_an_outage() {
        let outage = || refusal(500, "InternalServiceError");
        let (manager, clock, script) = scripted([value("old"), outage(), outage(), value("new")]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(FRESH);
        assert_eq!(exposed(&manager).await, "old");
        assert_eq!(exposed(&manager).await, "old");
        assert_eq!(script.lock().unwrap().len(), 2, "no second look within the wait");
        clock.advance(RETRY_AFTER);
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(RETRY_AFTER);
        assert_eq!(exposed(&manager).await, "new");
    }

    #[tokio::test]
    async fn a_removed_secret_is_missing_although_it_was_known() {
        let gone = refusal(400, "ResourceNotFoundException");
        let (manager, clock, _) = scripted([value("old"), gone, refusal(500, "InternalServiceError")]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(FRESH);
        assert!(matches!(manager.secret("key").await, Err(SecretError::Missing { .. })));
        assert!(matches!(manager.secret("key").await, Err(SecretError::Unavailable(_))));
    }

    #[tokio::test]
    async fn mistakes_in_the_deployment_are_told_from_outages() {
        let missing = ["ResourceNotFoundException", "AccessDeniedException", "DecryptionFailure"];
        for code in missing {
            let (manager, _, _) = scripted([refusal(400, code)]).await;
            let refused = manager.secret("key").await;
            assert!(matches!(refused, Err(SecretError::Missing { .. })), "{code}: {refused:?}");
        }
        for empty in [value(""), (200, json!({"Name": "key", "SecretBinary": "AAAA"}))] {
            let (manager, _, _) = scripted([empty]).await;
            assert!(matches!(manager.secret("key").await, Err(SecretError::Missing { .. })));
        }
        for (status, code) in [(500, "InternalServiceError"), (400, "ThrottlingException"), (503, "Whatever")] {
            let (manager, _, _) = scripted([refusal(status, code)]).await;
            let refused = manager.secret("key").await;
            assert!(matches!(refused, Err(SecretError::Unavailable(_))), "{code}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn concurrent_readers_share_one_look() {
        let (manager, _, _) = scripted([value("one")]).await;
        let (first, second) = tokio::join!(exposed(&manager), exposed(&manager));
        assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
    }
}
