//! Secrets from Secrets Manager, cached for some minutes.
//!
//! A value is read again when it is five minutes old, so that a rotated key is taken up without a
//! deployment. While Secrets Manager fails, the last known value is served instead, for a day at
//! most; a plain "there is no such secret" is believed at once. A secret must be a text: binary
//! ones count as missing. A slow read of one secret holds nobody up who asks for another.

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

/// What is known of one secret. Whoever holds its lock reads for all who wait; other secrets have
/// locks of their own.
#[derive(Default)]
struct Entry {
    known: Option<Known>,
    tried_at: Option<Timestamp>,
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
        Arc::clone(entries.entry(name.to_owned()).or_default())
    }

    /// One read of a secret at a time: whoever else asks meanwhile waits for its result instead of
    /// reading as well.
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
        entry.tried_at = Some(now);
        let known = match (self.read(name, grace, now).await, entry.known.take()) {
            (Ok(read), _) => read,
            (Err(SecretError::Unavailable(error)), Some(stale))
                if now.since(stale.read_at) < STALE_FOR =>
            {
                tracing::warn!(error = %Causes(&*error), "an old secret is used: a new one can't be read");
                stale
            }
            (Err(error), _) => return Err(error),
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

    /// A function asks for a secret's accepted values always with the same `grace`, and for its
    /// present one never besides: what is kept holds the value before only as far as it was asked
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
mod tests {
    use std::collections::VecDeque;

    use aws_sdk_secretsmanager::config::retry::RetryConfig;
    use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
    use axum::http::StatusCode;
    use axum::{Json, Router, routing::post};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{ManualClock, samples};

    type Script = Arc<StdMutex<VecDeque<(u16, Value)>>>;

    /// A Secrets Manager that gives each answer once, and the adapter before it.
    async fn scripted(
        answers: impl IntoIterator<Item = (u16, Value)>,
    ) -> (SecretsManager, ManualClock, Script) {
        let script: Script = Arc::new(StdMutex::new(answers.into_iter().collect()));
        let answers = Arc::clone(&script);
        let respond = move || async move {
            let (status, body) = answers
                .lock()
                .unwrap()
                .pop_front()
                .expect("no more requests");
            (StatusCode::from_u16(status).unwrap(), Json(body))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async {
            axum::serve(listener, Router::new().route("/", post(respond))).await
        });
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(endpoint);
        let clock = ManualClock::at(samples::START);
        let manager =
            SecretsManager::new(Client::from_conf(config.build()), Arc::new(clock.clone()));
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
        let (manager, clock, script) =
            scripted([value("old"), outage(), outage(), value("new")]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(FRESH);
        assert_eq!(exposed(&manager).await, "old");
        assert_eq!(exposed(&manager).await, "old");
        assert_eq!(
            script.lock().unwrap().len(),
            2,
            "no second look within the wait"
        );
        clock.advance(RETRY_AFTER);
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(RETRY_AFTER);
        assert_eq!(exposed(&manager).await, "new");
    }

    #[tokio::test]
    async fn a_removed_secret_is_missing_although_it_was_known() {
        let gone = refusal(400, "ResourceNotFoundException");
        let (manager, clock, _) =
            scripted([value("old"), gone, refusal(500, "InternalServiceError")]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(FRESH);
        assert!(matches!(
            manager.secret("key").await,
            Err(SecretError::Missing { .. })
        ));
        assert!(matches!(
            manager.secret("key").await,
            Err(SecretError::Unavailable(_))
        ));
    }

    #[tokio::test]
    async fn mistakes_in_the_deployment_are_told_from_outages() {
        let missing = [
            "ResourceNotFoundException",
            "AccessDeniedException",
            "DecryptionFailure",
        ];
        for code in missing {
            let (manager, _, _) = scripted([refusal(400, code)]).await;
            let refused = manager.secret("key").await;
            assert!(
                matches!(refused, Err(SecretError::Missing { .. })),
                "{code}: {refused:?}"
            );
        }
        for empty in [
            value(""),
            (200, json!({"Name": "key", "SecretBinary": "AAAA"})),
        ] {
            let (manager, _, _) = scripted([empty]).await;
            assert!(matches!(
                manager.secret("key").await,
                Err(SecretError::Missing { .. })
            ));
        }
        for (status, code) in [
            (500, "InternalServiceError"),
            (400, "ThrottlingException"),
            (503, "Whatever"),
        ] {
            let (manager, _, _) = scripted([refusal(status, code)]).await;
            let refused = manager.secret("key").await;
            assert!(
                matches!(refused, Err(SecretError::Unavailable(_))),
                "{code}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn concurrent_readers_share_one_look() {
        let (manager, _, _) = scripted([value("one")]).await;
        let (first, second) = tokio::join!(exposed(&manager), exposed(&manager));
        assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
    }
    /// A value that was made at this moment.
    fn made_at(text: &str, at: Timestamp) -> (u16, Value) {
        (
            200,
            json!({"Name": "key", "SecretString": text, "CreatedDate": at.as_millis() / 1_000}),
        )
    }

    const HOUR: Duration = Duration::from_hours(1);

    #[track_caller]
    fn check_accepted(accepted: Result<Vec<Secret>, SecretError>, expected: &[&str]) {
        let accepted = accepted.unwrap();
        assert_eq!(
            accepted.iter().map(Secret::expose).collect::<Vec<_>>(),
            expected
        );
    }

    #[tokio::test]
    async fn the_value_before_is_accepted_until_the_present_one_is_as_old_as_the_grace() {
        let answers = [
            made_at("new", samples::START),
            value("old"),
            made_at("new", samples::START),
        ];
        let (manager, clock, script) = scripted(answers).await;
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new", "old"]);
        clock.advance(FRESH.saturating_sub(Duration::from_millis(1)));
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new", "old"]);
        clock.set(samples::after(3_600));
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new"]);
        assert!(
            script.lock().unwrap().is_empty(),
            "a value that is not accepted is not read"
        );
    }

    #[tokio::test]
    async fn the_grace_ends_between_two_reads() {
        let (manager, clock, _) = scripted([made_at("new", samples::START), value("old")]).await;
        clock.set(samples::after(3_590));
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new", "old"]);
        clock.advance(Duration::from_secs(10));
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new"]);
    }

    #[tokio::test]
    async fn a_secret_that_was_never_rotated_has_no_value_before() {
        let binary = (200, json!({"Name": "key", "SecretBinary": "AAAA"}));
        for none in [
            refusal(400, "ResourceNotFoundException"),
            value(" "),
            binary,
        ] {
            let (manager, _, _) = scripted([made_at("first", samples::START), none]).await;
            check_accepted(manager.accepted("key", HOUR, FRESH).await, &["first"]);
        }
    }

    #[tokio::test]
    async fn an_outage_between_the_two_values_is_an_outage_and_leaves_what_is_known() {
        let outage = || refusal(500, "InternalServiceError");
        let new = || made_at("new", samples::START);
        let (manager, clock, _) =
            scripted([new(), outage(), new(), value("old"), new(), outage()]).await;
        let refused = manager.accepted("key", HOUR, FRESH).await;
        assert!(
            matches!(refused, Err(SecretError::Unavailable(_))),
            "{refused:?}"
        );
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new", "old"]);
        clock.advance(FRESH);
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["new", "old"]);
    }

    #[tokio::test]
    async fn who_must_know_sooner_has_it_read_again_but_not_more_often() {
        let soon = Duration::from_secs(10);
        let (manager, clock, script) =
            scripted([value("old"), value("new"), refusal(500, "Whatever")]).await;
        check_accepted(manager.accepted("key", HOUR, FRESH).await, &["old"]);
        clock.advance(Duration::from_millis(9_999));
        check_accepted(manager.accepted("key", HOUR, soon).await, &["old"]);
        clock.advance(Duration::from_millis(1));
        check_accepted(manager.accepted("key", HOUR, soon).await, &["new"]);
        clock.advance(soon);
        check_accepted(manager.accepted("key", HOUR, soon).await, &["new"]);
        check_accepted(manager.accepted("key", HOUR, soon).await, &["new"]);
        assert!(
            script.lock().unwrap().is_empty(),
            "a failed read is not repeated at once"
        );
    }

    #[tokio::test]
    async fn a_stale_value_is_served_for_a_day_and_no_longer() {
        let outage = || refusal(500, "InternalServiceError");
        let (manager, clock, _) = scripted([value("old"), outage(), outage(), outage()]).await;
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(STALE_FOR.saturating_sub(Duration::from_millis(1)));
        assert_eq!(exposed(&manager).await, "old");
        clock.advance(Duration::from_millis(1));
        for _ in 0..2 {
            assert!(matches!(
                manager.secret("key").await,
                Err(SecretError::Unavailable(_))
            ));
        }
    }

    #[tokio::test]
    async fn a_slow_read_of_one_secret_holds_nobody_up_who_asks_for_another() {
        let (manager, _, _) = scripted([value("other")]).await;
        let slow = manager.entry("slow");
        let _held = slow.lock().await;
        let other = tokio::time::timeout(Duration::from_secs(5), manager.secret("other")).await;
        assert_eq!(other.unwrap().unwrap().expose(), "other");
    }
}
