//! What a request leaves in the log.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs};
use shared::testing::log_schema::check_log_line;
use shared::testing::{Captured, Faults, listen_to};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

use crate::platform::{Platform, request};

/// Hears this thread's log until the guard is dropped.
pub(crate) fn hear() -> (Captured, DefaultGuard) {
    listen_to(|log| {
        logs::layer(
            Service::new("api", "v1"),
            LevelFilter::INFO,
            HeldLines::default(),
            log,
        )
    })
}

/// Sorted, as many tasks are worked on at once.
fn sorted(lines: impl IntoIterator<Item = [Value; 3]>) -> Vec<String> {
    let mut lines: Vec<_> = lines
        .into_iter()
        .map(|line| json!(line).to_string())
        .collect();
    lines.sort();
    lines
}

/// The message, task and agent of each line since `from`. No line has a field twice.
fn said(heard: &Captured, from: usize) -> Vec<[Value; 3]> {
    let text = heard.text();
    let lines = text.lines().skip(from).map(|text| {
        let line: Value = serde_json::from_str(text).unwrap();
        check_log_line(&line).unwrap();
        for name in line.as_object().unwrap().keys() {
            assert_eq!(
                text.matches(&format!(r#""{name}":"#)).count(),
                1,
                "{name}: {text}"
            );
        }
        ["message", "task_id", "agent_id"].map(|field| line[field].clone())
    });
    lines.collect()
}

#[tokio::test]
async fn each_line_of_a_request_has_the_task_and_the_agent_that_it_is_about() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    let (heard, _guard) = hear();
    let mut before = 0;
    let mut check = |expected: &[(&str, &Value, &Value)]| {
        let said = said(&heard, before);
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, task, agent)| [json!(text), (*task).clone(), (*agent).clone()])
            .collect();
        assert_eq!(said, expected);
        before += said.len();
    };
    let none = Value::Null;

    let agent = json!(platform.create_agent().await);
    check(&[
        ("agent created", &none, &agent),
        ("request handled", &none, &agent),
    ]);
    let task = platform.submit(agent.as_str().unwrap(), "hello").await["id"].clone();
    check(&[
        ("task accepted", &task, &agent),
        ("request handled", &task, &agent),
    ]);
    let path = format!("/v1/tasks/{}", task.as_str().unwrap());
    platform.get(&path).await;
    check(&[("request handled", &task, &none)]);
    platform
        .get(&format!("/v1/agents/{}", agent.as_str().unwrap()))
        .await;
    check(&[("request handled", &none, &agent)]);
    platform.post(&format!("{path}/cancel"), "").await;
    check(&[
        ("task ended", &task, &agent),
        ("request handled", &task, &agent),
    ]);

    faults.die_now();
    assert_eq!(
        platform.get(&path).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    check(&[
        ("request failed", &task, &none),
        ("request handled", &task, &none),
    ]);
}

#[tokio::test]
async fn of_many_tasks_that_are_redriven_each_has_lines_of_its_own() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    let (mut redriven, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let agent = platform.create_agent().await;
        let task = platform.submit(&agent, "hello").await["id"].clone();
        platform.dead_letter(task.as_str().unwrap()).await;
        redriven.push([json!("task retried"), task.clone(), json!(agent)]);
        ids.push(task);
    }
    let order = json!({ "ids": ids }).to_string();
    let about_none = [json!("request handled"), Value::Null, Value::Null];

    let (heard, _guard) = hear();
    faults.die_now();
    platform
        .post("/v1/dead-letters/redrive", order.clone())
        .await;
    let failed = ids
        .iter()
        .map(|task| [json!("request failed"), task.clone(), Value::Null]);
    assert_eq!(
        sorted(said(&heard, 0)),
        sorted(failed.chain([about_none.clone()]))
    );

    faults.clear();
    platform.post("/v1/dead-letters/redrive", order).await;
    assert_eq!(
        sorted(said(&heard, 3)),
        sorted(redriven.into_iter().chain([about_none]))
    );
}

#[tokio::test]
async fn a_clients_own_id_is_logged_beside_the_platforms_if_it_is_fit_for_a_log() {
    let platform = Platform::new();
    let (heard, _guard) = hear();
    for given in ["abc-123", "has space", &"x".repeat(129)] {
        let request = Request::get("/healthz")
            .header("x-request-id", given)
            .body(Body::empty())
            .unwrap();
        platform.send(request).await;
    }
    let text = heard.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let logged: Vec<&Value> = lines
        .iter()
        .map(|line| &line["client_request_id"])
        .collect();
    assert_eq!(logged, [&json!("abc-123"), &Value::Null, &Value::Null]);
    for line in &lines {
        check_log_line(line).unwrap();
        assert_ne!(line["request_id"], "abc-123");
    }
}

#[tokio::test]
async fn unreadable_agent_is_named_and_the_others_are_listed() {
    let platform = Platform::new();
    let [first, damaged, last] = [
        platform.create_agent().await,
        platform.create_agent().await,
        platform.create_agent().await,
    ];
    platform.store.damage_agent(damaged.parse().unwrap());
    let (heard, _guard) = hear();
    let (mut seen, mut unreadable, mut path) =
        (Vec::new(), Vec::new(), "/v1/agents?limit=2".to_owned());
    loop {
        let page = platform.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        seen.extend(
            page.body["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|agent| agent["id"].clone()),
        );
        unreadable.extend(
            page.body["unreadable"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        );
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/agents?limit=2&cursor={next}");
    }
    // Those of one millisecond come in any order.
    seen.sort_by_key(Value::to_string);
    let mut readable = [first, last];
    readable.sort();
    assert_eq!(
        (json!(seen), json!(unreadable)),
        (json!(readable), json!([damaged]))
    );
    let line = [
        "agent can't be read; the list names its id only".into(),
        Value::Null,
        json!(damaged),
    ];
    assert_eq!(
        said(&heard, 0)
            .into_iter()
            .filter(|said| *said == line)
            .count(),
        1,
        "{}",
        heard.text()
    );
    let refused = platform.get(&format!("/v1/agents/{damaged}")).await;
    assert_eq!(refused.body["code"], "unreadable_record");
}

/// Who tries keys leaves a trace in the log, and no key.
#[tokio::test]
async fn a_request_whose_key_is_refused_says_what_was_wrong_with_it() {
    let platform = Platform::new();
    let (heard, _guard) = hear();
    let cases = [
        (None, "absent"),
        (Some("Basic c2VjcmV0"), "malformed"),
        (Some("s3cret"), "malformed"),
        (Some("Bearer s3cret"), "wrong"),
    ];
    for (credential, _) in cases {
        let request = Request::get("/v1/agents");
        let request = credential.into_iter().fold(request, |request, value| {
            request.header("authorization", value)
        });
        let answer = platform.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{credential:?}");
    }
    let text = heard.text();
    assert!(
        !text.contains("s3cret") && !text.contains("c2VjcmV0"),
        "{text}"
    );
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = lines
        .filter(|line| line["message"] == "API key or JWT refused")
        .inspect(|line| check_log_line(line).unwrap());
    let reasons: Vec<Value> = refused.map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, cases.map(|(_, reason)| json!(reason)));
}

#[tokio::test]
async fn a_refused_request_logs_its_first_rule_without_the_clients_words() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let (heard, _guard) = hear();
    let bodies = [
        json!({ "agent_id": agent, "input": "" }),
        json!({ "agent_id": agent, "input": "hello", "metadata": { "canary": "x".repeat(9_999) } }),
        json!({ "agent_id": agent, "input": "hello", "canary": 1 }),
    ];
    for body in &bodies {
        let answer = platform.post("/v1/tasks", body.to_string()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let text = heard.text();
    assert!(!text.contains("canary"), "{text}");
    let rules: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["rule"].clone())
        .collect();
    assert_eq!(rules[0], "/input must not be empty");
    assert!(
        rules[1].as_str().unwrap().starts_with("/metadata"),
        "{rules:?}"
    );
    assert_eq!(rules[2], Value::Null);
}

#[tokio::test]
async fn a_repeated_submission_is_logged_with_the_age_of_its_task() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let (heard, _guard) = hear();
    for _ in 0..2 {
        platform.clock.advance(Duration::from_secs(1));
        let body = json!({ "agent_id": agent, "input": "hello" }).to_string();
        let request = request("POST", "/v1/tasks")
            .header("content-type", "application/json")
            .header("idempotency-key", "order 7")
            .body(Body::from(body))
            .unwrap();
        platform.send(request).await;
    }
    let text = heard.text();
    let repeated = "submission repeated; its first task is returned";
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<Value> = lines.filter(|line| line["message"] == repeated).collect();
    let [line] = &found[..] else { panic!("{text}") };
    check_log_line(line).unwrap();
    assert_eq!(
        (&line["status"], &line["task_age_ms"]),
        (&json!("queued"), &json!(1_000))
    );
    assert!(line["task_id"].is_string(), "{line}");
}
