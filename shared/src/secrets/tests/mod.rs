//! Tests of `secrets`.

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
    for _ in 0..2 {
        assert!(matches!(
            manager.secret("key").await,
            Err(SecretError::Missing { .. })
        ));
    }
    clock.advance(MISSING_FOR);
    assert!(matches!(
        manager.secret("key").await,
        Err(SecretError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_missing_secret_is_read_again_after_half_a_minute() {
    let gone = refusal(400, "ResourceNotFoundException");
    let (manager, clock, script) = scripted([gone, value("new")]).await;
    for _ in 0..2 {
        assert!(manager.secret("key").await.is_err());
    }
    clock.advance(MISSING_FOR);
    assert_eq!(exposed(&manager).await, "new");
    assert!(script.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_without_a_secret_do_not_fill_the_memory() {
    let gone = || refusal(400, "ResourceNotFoundException");
    let answers = std::iter::once(value("kept")).chain(std::iter::repeat_n(gone(), 600));
    let (manager, _, _) = scripted(answers).await;
    assert_eq!(exposed(&manager).await, "kept");
    for number in 0..600 {
        assert!(manager.secret(&format!("name-{number}")).await.is_err());
        assert!(manager.entries.lock().unwrap().len() <= MAX_NAMES);
    }
    assert_eq!(exposed(&manager).await, "kept");
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
async fn previous_secret_is_accepted_until_the_grace_ends() {
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
