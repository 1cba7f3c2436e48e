//! What the platform counts, as `CloudWatch` gets it. A program of its own, because there is one
//! recorder in a process.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod model_calls;
#[path = "../use_cases/world.rs"]
#[allow(dead_code, reason = "made for other tests")]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use futures::future::join_all;
use serde_json::{Value, json};
use shared::app::{Room, RunOutcome, Runner};
use shared::config::Environment;
use shared::domain::{
    BuiltinTool, JsonSchema, LimitChanges, ModelChain, ModelRef, ModelRequest, Provider, Spend,
    ToolDefinition, ToolName,
};
use shared::llm::{Access, ApiKey, Providers, Timeouts, http_client, router};
use shared::metric;
use shared::policy::{Breaker, BreakerSettings, CostCaps, DailyCaps, Metered, PriceTable};
use shared::ports::{Clock, Model, ModelErrorKind, TaskStore};
use shared::telemetry::{Service, start, write_metrics};
use shared::testing::{
    Call, Faults, ManualClock, MemoryBudgets, MemoryCircuits, MemorySecrets, Reply, SameCaps,
    ScriptedModel, TokioClock, When, samples,
};
use tokio::net::TcpListener;

use model_calls::{check_circuits, check_model_calls, check_streams};
use world::World;

const CANARY: &str = "the canary sings at dawn";

/// The documents that are due.
fn documents() -> Vec<Value> {
    let mut written = Vec::new();
    write_metrics(&mut written).unwrap();
    let text = String::from_utf8(written).unwrap();
    assert!(!text.contains(CANARY), "{text}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The counts that are due, of all dimensions together.
fn counts() -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for document in documents() {
        for (name, value) in document.as_object().unwrap() {
            if let Some(count) = value.as_u64() {
                *counts.entry(name.clone()).or_default() += count;
            }
        }
    }
    counts
}

/// What is due of metrics that are divided by nothing.
fn totals() -> Value {
    let mut due = documents().into_iter();
    let is_total = |document: &Value| {
        metric::DIMENSIONS
            .iter()
            .all(|dimension| document[dimension].is_null())
    };
    due.find(is_total).unwrap()
}

fn check_form(document: &Value) {
    let directive = &document["_aws"]["CloudWatchMetrics"][0];
    assert!(
        document["_aws"]["Timestamp"]
            .as_u64()
            .is_some_and(|millis| millis > 1_700_000_000_000),
        "{document}"
    );
    assert_eq!(directive["Namespace"], "AgentPlatform");
    for dimension in directive["Dimensions"][0].as_array().unwrap() {
        let name = dimension.as_str().unwrap();
        assert!(
            ["service", "environment"].contains(&name) || metric::DIMENSIONS.contains(&name),
            "{document}"
        );
        assert!(document[name].is_string(), "{document}");
    }
    for declared in directive["Metrics"].as_array().unwrap() {
        let name = declared["Name"].as_str().unwrap();
        let known = metric::ALL.iter().find(|(known, _, _)| *known == name);
        assert!(
            known.is_some() && declared["Unit"].is_string(),
            "{document}"
        );
        assert!(
            document[name].is_number()
                || document[name]
                    .as_array()
                    .is_some_and(|values| values.len() <= 100)
        );
    }
    assert!(
        document.get("level").is_none(),
        "Lambda would filter it: {document}"
    );
}

#[tokio::test]
async fn what_happens_to_tasks_is_counted_and_nothing_of_what_they_say() {
    start(
        Service::new("executor", "v1"),
        &Environment::of([("ENVIRONMENT", "test"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")]),
    );
    assert_eq!(counts()["ColdStarts"], 1);

    let call = samples::tool_call("a", "calculator", r#"{"expression":"1+1"}"#);
    let bad = samples::tool_call("b", "rm", "{}");
    let script = [
        Reply::Answer(samples::answer_calling([call, bad])),
        Reply::Answer(samples::answer("done")),
        Reply::Fail(ModelErrorKind::Unavailable),
        Reply::Fail(ModelErrorKind::Rejected),
    ];
    let world = World::with_model(ScriptedModel::new(script)).await;
    let world = world
        .with_agent(|config| config.tools = vec![BuiltinTool::Calculator.into()])
        .await;

    check_completed(&world).await;
    check_parked_and_paused(&world).await;
    check_unwanted_and_late(&world).await;
    check_bad_days(&world).await;
    check_model_calls().await;
    check_circuits().await;
    check_streams().await;
    check_clients_wishes().await;
    check_begun_later().await;
    check_crowds().await;
}

/// A task that completes, with a tool call that can be made and one that can not.
async fn check_completed(world: &World) {
    let task = world.submit(CANARY).await.unwrap();
    world.pass(3);
    world.run(task.id()).await.unwrap();
    let due = documents();
    due.iter().for_each(check_form);
    let plain = due
        .iter()
        .find(|document| document["TasksCompleted"].is_number())
        .unwrap();
    let counted = [
        "TasksSubmitted",
        "TasksClaimed",
        "TasksCompleted",
        "BadToolCalls",
    ]
    .map(|name| &plain[name]);
    assert_eq!(counted, [&json!(1); 4], "{plain}");
    assert_eq!(
        (&plain["QueueWait"], &plain["TaskDuration"]),
        (&json!([3_000.0]), &json!([3_000.0]))
    );
    assert_eq!(
        (&plain["service"], &plain["environment"]),
        (&json!("executor"), &json!("test"))
    );
    assert_eq!(plain["ToolCalls"], 1, "all tools together");
    let tool = due
        .iter()
        .find(|document| document["tool"].is_string())
        .unwrap();
    assert_eq!(
        (&tool["tool"], &tool["ToolCalls"]),
        (&json!("calculator"), &json!(1))
    );
    assert_eq!(documents(), Vec::<Value>::new(), "nothing is counted twice");
}

/// A task that is parked and then fails, and one that is paused and then canceled.
async fn check_parked_and_paused(world: &World) {
    let parked = world.submit(CANARY).await.unwrap();
    world.run(parked.id()).await.unwrap();
    assert_eq!(counts()["TasksParked"], 1);
    world.pass(60);
    world.run(parked.id()).await.unwrap();
    let ended = totals();
    assert_eq!(ended["TasksFailed"], 1);
    assert_eq!(
        (&ended["TimeWaiting"], &ended["TimeRunning"]),
        (&json!([60_000.0]), &json!([0.0])),
        "{ended}"
    );

    let limits = LimitChanges {
        max_tokens: Some(1),
        ..LimitChanges::default()
    };
    world.model.then(Reply::Answer(samples::answer_calling([
        samples::tool_call("c", "calculator", "{}"),
    ])));
    let new = shared::app::NewTask {
        limits,
        ..world.new_task(CANARY)
    };
    let paused = world
        .tasks()
        .submit_task(world.tenant(), new)
        .await
        .unwrap();
    world.run(paused.id()).await.unwrap();
    assert_eq!(counts()["TasksPaused"], 1);
    world.pass(9);
    world
        .tasks()
        .cancel_task(world.tenant(), paused.id())
        .await
        .unwrap();
    assert_eq!(totals()["TimePaused"], json!([9_000.0]));
}

/// A task that its client cancels, and one whose time is up.
async fn check_unwanted_and_late(world: &World) {
    let unwanted = world.submit(CANARY).await.unwrap();
    world
        .tasks()
        .cancel_task(world.tenant(), unwanted.id())
        .await
        .unwrap();
    let late = world.submit(CANARY).await.unwrap();
    world.pass(1_800);
    world.sweep().await.unwrap();
    let counted = counts();
    assert_eq!(
        (counted["TasksCanceled"], counted["TasksTimedOut"]),
        (1, 1),
        "{late:?}: {counted:?}"
    );
}

/// How long tasks took that begin at a moment of their client's: from then on, and no time if they
/// end before.
async fn check_begun_later() {
    let world = World::new().await;
    let later = || shared::app::NewTask {
        not_before: Some(world.now().plus(Duration::from_mins(10))),
        ..world.new_task(CANARY)
    };
    let (tasks, tenant) = (world.tasks(), world.tenant());
    let unwanted = tasks.submit_task(tenant, later()).await.unwrap();
    let task = tasks.submit_task(tenant, later()).await.unwrap();
    world.pass(60);
    drop(totals());
    tasks.cancel_task(tenant, unwanted.id()).await.unwrap();
    assert_eq!(totals()["TaskDuration"], json!([0.0]));
    world.pass(545);
    world.run(task.id()).await.unwrap();
    assert_eq!(totals()["TaskDuration"], json!([5_000.0]));
}

/// Two tasks that outgrow the room that they have together.
async fn check_crowds() {
    let world = World::new()
        .await
        .with_agent(|config| config.tools = vec![BuiltinTool::Calculator.into()])
        .await;
    for id in ["a", "b"] {
        let call = samples::tool_call(id, "calculator", r#"{"expression":"1+1"}"#);
        world
            .model
            .then(Reply::Answer(samples::answer_calling([call])));
    }
    let tasks = [
        world.submit(CANARY).await.unwrap().id(),
        world.submit(CANARY).await.unwrap().id(),
    ];
    let worker = Runner {
        room: Room::of(1),
        ..world.worker_failing(&Faults::default())
    };
    drop(counts());
    let ran = join_all(tasks.map(|task| world.run_by(&worker, task))).await;
    assert!(
        matches!(
            ran[..],
            [Ok(RunOutcome::Ended(_)), Ok(RunOutcome::Parked(_))]
        ),
        "{ran:?}"
    );
    let counted = counts();
    assert_eq!(
        (counted["TasksCrowdedOut"], counted["TasksParked"]),
        (1, 1),
        "{counted:?}"
    );
    assert_eq!(counted.get("Hops"), None);
}

/// How long a task waited for its client, and how long a worker had it that is gone, if its client
/// then cancels it.
async fn check_clients_wishes() {
    let asks = || {
        Reply::Answer(samples::answer_calling([samples::tool_call(
            "a",
            "ask_human",
            "{}",
        )]))
    };
    let schema = JsonSchema::new(json!({ "type": "object" })).unwrap();
    let tool = ToolDefinition::new(
        ToolName::new("ask_human".to_owned()).unwrap(),
        String::new(),
        schema,
    )
    .unwrap();
    let world = World::with_model(ScriptedModel::new([asks()])).await;
    let world = world
        .with_agent(|config| config.tools = vec![tool.into()])
        .await;
    let asking = world.submit(CANARY).await.unwrap();
    world.run(asking.id()).await.unwrap();
    assert_eq!(counts()["TasksAwaitingInput"], 1);
    world.pass(7);
    world
        .tasks()
        .cancel_task(world.tenant(), asking.id())
        .await
        .unwrap();
    assert_eq!(totals()["TimeAwaitingInput"], json!([7_000.0]));

    let lost = world.submit(CANARY).await.unwrap();
    let lease = samples::lease_until(world.now().plus(Duration::from_mins(1)));
    TaskStore::claim(&world.store, world.tenant(), lost.id(), lease, world.now())
        .await
        .unwrap();
    world.pass(61);
    world
        .tasks()
        .cancel_task(world.tenant(), lost.id())
        .await
        .unwrap();
    assert_eq!(totals()["TimeRunning"], json!([61_000.0]));
}

/// What workers that die add, one whose store fails at its task's last attempt, and a queue that
/// takes no message.
async fn check_bad_days(world: &World) {
    let killed = world.submit(CANARY).await.unwrap();
    for _ in 0..5 {
        let faults = Faults::default();
        faults.die_at_nth(Call::ReadAgent, 1, When::Before);
        drop(world.run_failing(killed.id(), &faults).await);
        world.pass(62);
    }
    drop(world.run(killed.id()).await);
    let counted = counts();
    assert_eq!(
        (counted["TasksClaimed"], counted["DeadLetters"]),
        (5, 1),
        "{counted:?}"
    );

    let unlucky = world.submit(CANARY).await.unwrap();
    for _ in 0..5 {
        let faults = Faults::default();
        faults.fail_at_nth(Call::Append, 1, When::Before);
        drop(world.run_failing(unlucky.id(), &faults).await);
    }
    // Those before come back with their messages, and are counted by who has these.
    let counted = counts();
    assert_eq!(
        (counted["DeadLetters"], counted["StoreFailures"]),
        (1, 1),
        "{counted:?}"
    );

    let faults = Faults::default();
    faults.die_now();
    world
        .tasks_failing(&faults)
        .submit_task(world.tenant(), world.new_task(CANARY))
        .await
        .unwrap();
    assert_eq!(counts()["SendFailures"], 1);
}
