//! The thirteen faults of `docs/operations.md`: each is brought about, and must leave behind what
//! the table there says.
//!
//! The table is the expectation. Each fault has a deployment of its own, so that what is found in
//! its log is that fault's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::stream::{self, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use shared::domain::task::MAX_SENDS;
use shared::domain::{Lease, Overdue, WorkerId};
use shared::ports::{Claimed, TaskStore};
use shared::testing::log_schema::check_log_line;
use tests::deployment::{long_ago, message, tenant};
use tests::platform::{now, unique};
use tests::telemetry::is_ours;
use tests::unreliable_aws::Refusal;
use tests::{Deployment, Platform};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// What AWS counts and the local one doesn't. `local/test_operations.py` sees to it that these have
/// a place in the template.
const UNCOUNTED_HERE: [&str; 2] = ["AWS/DynamoDB WriteThrottleEvents", "AWS/ApiGateway 5xx"];

/// Far more than any trace takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A row of the table.
struct Row {
    fault: &'static str,
    lines: Vec<&'static str>,
    metrics: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let table = OPERATIONS
        .split("## The thirteen faults")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect::<Vec<_>>()
    });
    cells
        .map(|cells| Row {
            fault: cells[0],
            lines: quoted(cells[1]),
            metrics: quoted(cells[2]),
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &'static str) -> Vec<&'static str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Submits a task to an agent with these fields, and waits until it is in this state.
async fn run_until(deployment: &Deployment, agent: &Value, prompt: &str, status: &str) {
    let agent = deployment.agent_of(agent).await;
    let task = deployment.submit(&agent, &unique(prompt)).await;
    deployment.until_status(task, status).await;
}

/// Checks that the deployment says and counts all that the table says of the fault, and nothing
/// that has no place in a log.
async fn check_traces(deployment: &Deployment, fault: &str) {
    let row = rows().into_iter().find(|row| row.fault == fault).unwrap();
    until_left(deployment, &row).await;
    for line in deployment.said().await.iter().filter(|line| is_ours(line)) {
        check_log_line(line).unwrap();
    }
}

async fn until_left(deployment: &Deployment, traces: &Row) {
    let begun = Instant::now();
    loop {
        let missing = missing(deployment, traces).await;
        if missing.is_empty() {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{} leaves no trace of {missing:?}",
            traces.fault
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the row says and the deployment hasn't said or counted yet.
async fn missing(deployment: &Deployment, row: &Row) -> Vec<&'static str> {
    let said = deployment.said().await;
    let mut missing: Vec<&str> = row.lines.clone();
    missing.retain(|line| {
        !said
            .iter()
            .any(|one| one["message"] == *line && one["level"] != "DEBUG")
    });
    for metric in row
        .metrics
        .iter()
        .filter(|metric| !UNCOUNTED_HERE.contains(metric))
    {
        let counted = match metric.split_once(' ') {
            Some((namespace, name)) => deployment.aws_has_counted(namespace, name).await,
            None => said
                .iter()
                .any(|document| document["_aws"].is_object() && is_counted(&document[metric])),
        };
        if !counted {
            missing.push(metric);
        }
    }
    missing
}

/// Whether a metric's value in a document says that anything was: a count, or measurements.
fn is_counted(value: &Value) -> bool {
    let positive = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
    positive(value)
        || value
            .as_array()
            .is_some_and(|values| values.iter().any(positive))
}

fn claude() -> Value {
    json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }])
}

/// A way to bring a fault about, as a function of the fault's name in the table.
type Scenario = fn(&'static str) -> LocalBoxFuture<'static, ()>;

/// Every fault of the table, with what brings it about.
const SCENARIOS: [(&str, Scenario); 13] = [
    ("provider overloaded (529)", |fault| {
        an_overloaded_provider(fault).boxed_local()
    }),
    ("provider slow", |fault| {
        a_slow_provider(fault).boxed_local()
    }),
    ("table throttled", |fault| {
        a_throttled_table(fault).boxed_local()
    }),
    ("queue send fails", |fault| {
        a_queue_that_takes_no_message(fault).boxed_local()
    }),
    ("poison message", |fault| {
        a_poison_message(fault).boxed_local()
    }),
    ("lease lost", |fault| a_lost_lease(fault).boxed_local()),
    ("budget hit", |fault| {
        a_budget_that_is_hit(fault).boxed_local()
    }),
    ("bad configuration deployed", |fault| {
        a_bad_configuration(fault).boxed_local()
    }),
    ("provider key missing", |fault| {
        a_providers_key_that_is_missing(fault).boxed_local()
    }),
    ("ephemeral table gone", |fault| {
        an_ephemeral_table_that_is_gone(fault).boxed_local()
    }),
    ("messages not received", |fault| {
        messages_that_nobody_receives(fault).boxed_local()
    }),
    ("tool blocked by the guard", |fault| {
        a_tool_that_the_guard_blocks(fault).boxed_local()
    }),
    ("task stuck", |fault| {
        tasks_that_are_stuck(fault).boxed_local()
    }),
];

/// As many deployments run at once as there are cores on a small machine.
const AT_ONCE: usize = 2;

#[test]
fn every_fault_of_the_table_has_a_scenario() {
    let rows = rows();
    for row in &rows {
        assert!(
            !row.lines.is_empty() && !row.metrics.is_empty(),
            "{}",
            row.fault
        );
    }
    let listed: BTreeSet<_> = rows.iter().map(|row| row.fault).collect();
    assert_eq!(listed, SCENARIOS.map(|(fault, _)| fault).into());
}

/// `FAULT` in the environment chooses the one with this name.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test has no config.rs")]
async fn every_fault_leaves_what_the_table_says() {
    let chosen = std::env::var("FAULT").ok();
    let scenarios = SCENARIOS
        .into_iter()
        .filter(|(fault, _)| chosen.as_ref().is_none_or(|chosen| chosen == fault));
    let runs = scenarios.map(|(fault, scenario)| async move {
        let run = AssertUnwindSafe(scenario(fault)).catch_unwind().await;
        run.is_err().then_some(fault)
    });
    let runs: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    assert!(!runs.is_empty(), "no fault is called {chosen:?}");
    let failed: Vec<_> = runs.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:?}: see the panics above");
}

async fn an_overloaded_provider(fault: &'static str) {
    let deployment =
        Deployment::with(&[("BREAKER_FAILURES", "2"), ("BREAKER_OPEN_SECONDS", "60")]).await;
    let chain = json!([
        { "provider": "anthropic", "model": "claude-sonnet-5-5" }, { "provider": "openai", "model": "gpt-6.1-terra" },
    ]);
    let agent = deployment
        .agent_of(&json!({ "models": chain, "retry": { "max_attempts": 2 } }))
        .await;
    // The first opens the circuits; the second meets them open.
    for _ in 0..2 {
        let task = deployment.submit(&agent, &unique("[overloaded]")).await;
        deployment.until_status(task, "waiting").await;
    }
    check_traces(&deployment, fault).await;
}

async fn a_slow_provider(fault: &'static str) {
    let deployment = Deployment::with(&[("MODEL_TIMEOUT_SECONDS", "1")]).await;
    let retry = json!({ "max_attempts": 2, "outage": "fail" });
    let agent = json!({ "models": claude(), "retry": retry });
    run_until(&deployment, &agent, "[slow]", "failed").await;
    check_traces(&deployment, fault).await;
}

async fn a_throttled_table(fault: &'static str) {
    let table = Platform::deployed().await.unreliable_aws();
    let deployment = Deployment::with(&[("AWS_ENDPOINT_URL_DYNAMODB", table.url())]).await;
    let agent = deployment.agent_of(&json!({ "models": claude() })).await;
    let task = deployment.write_task(&agent, long_ago(now())).await;
    table.refuse("DynamoDB", Refusal::Throttled);
    let body = json!({ "agent_id": agent, "input": "[ok]" });
    assert_eq!(
        deployment
            .call(Method::POST, "/v1/tasks", Some(&body))
            .await
            .0,
        503
    );
    deployment.send(&message(task.id())).await;
    deployment.invoke("cleanup", &json!({})).await;
    check_traces(&deployment, fault).await;
    table.recover();
    deployment.until_status(task.id(), "completed").await;
}

async fn a_queue_that_takes_no_message(fault: &'static str) {
    let queue = Platform::deployed().await.unreliable_aws();
    let deployment = Deployment::with(&[("AWS_ENDPOINT_URL_SQS", queue.url())]).await;
    let agent = deployment
        .agent_of(&json!({ "models": claude(), "retry": { "max_attempts": 1 } }))
        .await;
    let forgotten = deployment.write_task(&agent, long_ago(now())).await;
    queue.refuse("AmazonSQS.SendMessage", Refusal::Broken);
    let task = deployment.submit(&agent, &unique("[overloaded]")).await;
    deployment.send(&message(task)).await;
    let unsent = Row {
        fault: "a park",
        lines: vec!["message send failed; watchdog will resend"],
        metrics: Vec::new(),
    };
    until_left(&deployment, &unsent).await;
    queue.recover();
    deployment.invoke("cleanup", &json!({})).await;
    check_traces(&deployment, fault).await;
    deployment.until_status(forgotten.id(), "completed").await;
}

async fn a_poison_message(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    deployment.send("not ours").await;
    check_traces(&deployment, fault).await;
}

async fn a_lost_lease(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    let agent = deployment.agent_of(&json!({ "models": claude() })).await;
    let task = deployment.submit(&agent, &unique("[slow]")).await;
    deployment.until_status(task, "running").await;
    // Another worker, for which the lease's 10 seconds have passed already.
    let later = now().plus(Duration::from_secs(20));
    let lease = Lease {
        worker: WorkerId::new(later),
        expires_at: later.plus(Duration::from_secs(20)),
    };
    let claimed = deployment
        .tasks()
        .claim(&tenant(), task, lease, later)
        .await
        .unwrap();
    assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
    check_traces(&deployment, fault).await;
}

async fn a_budget_that_is_hit(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    let agent = json!({ "models": claude(), "max_cost_micro_usd": 100, "on_limit": "pause" });
    run_until(&deployment, &agent, "[ok]", "paused").await;
    check_traces(&deployment, fault).await;
}

async fn a_bad_configuration(fault: &'static str) {
    let deployment = Deployment::with(&[("STATE_TABLE", "")]).await;
    for function in ["api", "executor", "cleanup"] {
        let answer = deployment.invoke(function, &json!({})).await;
        let said = answer["errorMessage"].as_str().unwrap();
        assert!(
            said.contains("configuration refused") && said.contains("STATE_TABLE"),
            "{function}: {answer}"
        );
    }
    check_traces(&deployment, fault).await;
}

async fn a_providers_key_that_is_missing(fault: &'static str) {
    let deployment = Deployment::with(&[("ANTHROPIC_KEY_SECRET", "nobody/has/this")]).await;
    run_until(
        &deployment,
        &json!({ "models": claude() }),
        "[ok]",
        "failed",
    )
    .await;
    check_traces(&deployment, fault).await;
}

/// Its tasks are none the worse for it.
async fn an_ephemeral_table_that_is_gone(fault: &'static str) {
    let deployment = Deployment::with(&[
        ("EPHEMERAL_TABLE", "gone"),
        ("TENANT_MAX_RUNNING_TASKS", "5"),
    ])
    .await;
    run_until(
        &deployment,
        &json!({ "models": claude() }),
        "[ok]",
        "completed",
    )
    .await;
    check_traces(&deployment, fault).await;
}

/// Such as with the event source mapping off.
async fn messages_that_nobody_receives(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    let agent = deployment
        .agent_of(&json!({ "models": claude(), "timeout_seconds": 3_600 }))
        .await;
    deployment.hold_messages().await;
    deployment.write_task(&agent, long_ago(now())).await;
    deployment.submit(&agent, &unique("[ok]")).await;
    deployment.invoke("cleanup", &json!({})).await;
    check_traces(&deployment, fault).await;
}

async fn a_tool_that_the_guard_blocks(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    let tools = json!([{ "name": "http_request", "hosts": ["api.example.com"] }]);
    let agent = json!({ "models": claude(), "builtin_tools": tools });
    run_until(&deployment, &agent, "[private-host]", "completed").await;
    check_traces(&deployment, fault).await;
}

async fn tasks_that_are_stuck(fault: &'static str) {
    let deployment = Deployment::with(&[]).await;
    let agent = deployment
        .agent_of(&json!({ "models": claude(), "timeout_seconds": 3_600 }))
        .await;
    let (tasks, begun) = (deployment.tasks(), long_ago(now()));

    // Its one worker died, and with another's fifth worker that task's last attempt.
    for attempts in [1, 5] {
        let task = deployment.write_task(&agent, begun).await;
        for attempt in 1..=attempts {
            let at = begun.plus(Duration::from_secs(attempt));
            let lease = Lease {
                worker: WorkerId::new(at),
                expires_at: at,
            };
            let claimed = tasks.claim(&tenant(), task.id(), lease, at).await.unwrap();
            assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
        }
    }
    // No message led to a claim.
    let mut unclaimed = deployment.write_task(&agent, begun).await;
    for _ in 0..MAX_SENDS {
        let due_at = unclaimed.due_at().unwrap();
        assert_eq!(unclaimed.settle_overdue(due_at), Some(Overdue::Resent));
        tasks.update(&unclaimed).await.unwrap();
    }
    deployment.invoke("cleanup", &json!({})).await;
    deployment.give_up(unclaimed.id()).await;
    deployment.until_status(unclaimed.id(), "failed").await;
    check_traces(&deployment, fault).await;
}
