//! The schedule's and the dead-letter queue's events over the platform in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cleanup::{Cleanup, CleanupError};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use shared::app::{AgentPurger, DeadLetterHandler, Purger, Sweeper, TenantWalker, UsageChecker};
use shared::domain::{Agent, FailureCode, Task, TaskState, Tenant, TenantId, TraceHeader};
use shared::ports::clock::SystemClock;
use shared::ports::{AgentRetention, AgentStore, Clock, TaskMessage, TaskStore, TenantStore};
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs, traces};
use shared::testing::{
    Captured, Faults, ManualClock, MemoryQueue, MemoryStore, MemoryTenantRetention, MemoryTenants,
    MemoryUsage, When, XrayDaemon, listen_to, samples,
};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;

const EVENT: &str = include_str!("../../../events/schedule-cleanup.json");

/// What the function answers to Lambda.
async fn handle(
    event: Value,
    store: MemoryStore,
    queue: &MemoryQueue,
) -> Result<String, CleanupError> {
    let tenants = MemoryTenantRetention {
        store,
        ..MemoryTenantRetention::default()
    };
    handle_of(event, &tenants, queue).await
}

async fn handle_of(
    event: Value,
    tenants: &MemoryTenantRetention,
    queue: &MemoryQueue,
) -> Result<String, CleanupError> {
    let clock = Arc::new(ManualClock::at(samples::after(60)));
    let mut context = Context::default();
    context.deadline = clock.now().plus(Duration::from_mins(1)).as_millis();
    context.xray_trace_id = Some(own_trace().to_string());
    let store = Arc::new(tenants.store.clone());
    let tasks = || Arc::<MemoryStore>::clone(&store);
    let sweeper = Sweeper {
        tasks: tasks(),
        journal: tasks(),
        queue: Arc::new(queue.clone()),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let purger = Purger {
        retention: tasks(),
        keep_for: Some(Duration::from_hours(1)),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let agents = AgentPurger {
        retention: tasks(),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let usage = UsageChecker {
        usage: Arc::new(MemoryUsage::default()),
        tasks: tasks(),
        tenants: Arc::new(MemoryTenants::default()),
        home: TenantId::home(),
        clock: Arc::<ManualClock>::clone(&clock),
        ended: Mutex::default(),
    };

    let walker = TenantWalker {
        tenants: Arc::new(tenants.clone()),
        tasks: tasks(),
        journal: tasks(),
        retention: tasks(),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let cleanup = Cleanup {
        sweeper,
        purger,
        agents,
        usage,
        tenants: walker,
        undelivered: DeadLetterHandler {
            tasks: tasks(),
            clock,
        },
        task_queue_url: "https://sqs.eu-central-1.amazonaws.com/1/tasks".to_owned(),
    };
    let response = cleanup.handle(LambdaEvent::new(event, context)).await?;
    Ok(serde_json::to_string(&response).unwrap())
}

/// The trace of an invocation. The exporter takes only traces that began recently by the system's
/// clock.
fn own_trace() -> TraceHeader {
    samples::trace_of(SystemClock.now())
}

async fn sweep(store: MemoryStore, queue: &MemoryQueue) -> Result<String, CleanupError> {
    handle(serde_json::from_str(EVENT).unwrap(), store, queue).await
}

/// Hears this thread's log until the guard is dropped.
fn hear() -> (Captured, DefaultGuard) {
    listen_to(|log| {
        logs::layer(
            Service::new("cleanup", "v1"),
            LevelFilter::INFO,
            HeldLines::default(),
            log,
        )
    })
}

/// A batch of the dead-letter queue with these bodies, as `m1`, `m2`, ….
fn dead_letters(bodies: &[String]) -> Value {
    dead_letters_of(&samples::trace_of(samples::START), bodies)
}

fn dead_letters_of(trace: &TraceHeader, bodies: &[String]) -> Value {
    let message = |(place, body): (usize, &String)| {
        serde_json::json!({
            "messageId": format!("m{}", place + 1), "receiptHandle": "r", "body": body,
            "attributes": { "ApproximateReceiveCount": "6", "AWSTraceHeader": trace.to_string() },
            "messageAttributes": {},
        })
    };
    serde_json::json!({ "Records": bodies.iter().enumerate().map(message).collect::<Vec<_>>() })
}

async fn submitted(store: &MemoryStore) -> Task {
    let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
    TaskStore::create(store, &task).await.unwrap();
    task
}

fn body_of(task: &Task) -> String {
    TaskMessage {
        tenant: task.spec().tenant.clone(),
        task: task.id(),
        alone: false,
    }
    .to_body()
}

async fn stored(store: &MemoryStore, task: &Task) -> Option<Task> {
    TaskStore::task(store, &task.spec().tenant, task.id())
        .await
        .unwrap()
}

#[track_caller]
fn check_logged(log: &str, stranded: &Task) {
    let line = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["message"] == "task dead-lettered: no worker could claim it")
        .unwrap();
    assert_eq!(
        line["xray_trace_id"],
        samples::trace_of(samples::START).trace_id(),
        "{line}"
    );
    assert_eq!(line["task_id"], stranded.id().to_string(), "{line}");
}

#[tokio::test]
async fn undeliverable_task_is_dead_lettered_and_others_are_left() {
    let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
    let (mut stranded, mut running) = (submitted(&store).await, submitted(&store).await);
    for moment in [60, 180, 420, 900] {
        stranded.settle_overdue(samples::after(moment)).unwrap();
        store.update(&stranded).await.unwrap();
    }
    let unlucky = submitted(&store).await;
    let lease = samples::lease_until(samples::after(600));
    store
        .claim(
            &running.spec().tenant,
            running.id(),
            lease,
            samples::after(1),
        )
        .await
        .unwrap();
    let gone = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
    let bodies = [&stranded, &running, &gone, &unlucky]
        .map(body_of)
        .into_iter()
        .chain(["not ours".to_owned()]);
    let bodies: Vec<String> = bodies.collect();
    let (heard, _listening) = hear();
    let response = handle(dead_letters(&bodies), store.clone(), &queue)
        .await
        .unwrap();
    assert_eq!(response, r#"{"batchItemFailures":[]}"#);
    check_logged(&heard.text(), &stranded);
    let failed = stored(&store, &stranded).await.unwrap();
    let TaskState::Failed(failure) = failed.state() else {
        panic!("{failed:?}")
    };
    assert_eq!(failure.code, FailureCode::Undeliverable);
    assert_eq!(stored(&store, &unlucky).await, Some(unlucky.clone()));
    running.claim(lease, samples::after(1)).unwrap();
    assert_eq!(stored(&store, &running).await, Some(running));
}

#[tokio::test]
async fn the_schedule_removes_archived_agents_that_no_task_names() {
    let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
    let tenant = samples::tenant("acme");
    let [free, named] = [samples::agent(&tenant), samples::agent(&tenant)];
    for agent in [&free, &named] {
        AgentStore::create(&store, agent).await.unwrap();
        let (long_ago, due_at) = (samples::START, samples::after(60));
        let archived = store.archive(&tenant, agent.id, long_ago, due_at).await;
        assert!(archived.unwrap());
    }
    let task = samples::task(&named, samples::START);
    TaskStore::create(&store, &task).await.unwrap();
    let (heard, _listening) = hear();
    let event: Value = serde_json::from_str(EVENT).unwrap();
    handle(event, store.clone(), &queue).await.unwrap();
    let left = async |agent: &Agent| {
        let version = store.version(&tenant, agent.version_ref()).await;
        version.unwrap()
    };
    assert_eq!(left(&free).await, None);
    assert_eq!(left(&named).await, Some(named.clone()));
    let log = heard.text();
    for told in [
        "agent removed; no task names it",
        "archived and inline agents checked",
    ] {
        assert_eq!(log.matches(told).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn the_schedule_deletes_what_a_deleted_tenant_has() {
    let (world, queue) = (MemoryTenantRetention::default(), MemoryQueue::default());
    let task = submitted(&world.store).await;
    let tenant = Tenant::create(task.spec().tenant.clone(), samples::START);
    world.tenants.add(&tenant).await.unwrap();
    let long_ago = samples::START.minus(Duration::from_hours(1));
    world
        .tenants
        .update(&tenant.deleting(long_ago))
        .await
        .unwrap();
    let (heard, _listening) = hear();
    let event: Value = serde_json::from_str(EVENT).unwrap();
    for _ in 0..2 {
        handle_of(event.clone(), &world, &queue).await.unwrap();
    }
    assert_eq!(stored(&world.store, &task).await, None);
    let log = heard.text();
    let told = "tasks of tenants walked through";
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[tokio::test]
async fn undelivered_message_is_handled_in_its_trace_or_with_a_link() {
    let open = samples::trace_of(SystemClock.now().minus(Duration::from_mins(1)));
    let closed = samples::trace_of(samples::START.minus(Duration::from_hours(31 * 24)));
    for (trace, linked) in [(open, false), (closed, true)] {
        let daemon = XrayDaemon::start().unwrap();
        let layer =
            traces::to_daemon(Service::new("cleanup", "v1"), &daemon.address().unwrap()).unwrap();
        let (_, _listening) = listen_to(|_| layer);
        let store = MemoryStore::default();
        let task = submitted(&store).await;
        handle(
            dead_letters_of(&trace, &[body_of(&task)]),
            store,
            &MemoryQueue::default(),
        )
        .await
        .unwrap();

        let spans = daemon.spans();
        let names: Vec<&str> = spans
            .iter()
            .map(|span| span["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["undelivered message", "undelivered messages"]);
        let (of_message, of_invocation) = (&spans[0]["trace_id"], &spans[1]["trace_id"]);
        assert_eq!(
            (of_message == trace.trace_id(), of_message == of_invocation),
            (!linked, linked)
        );
        let link = if linked {
            Value::from(trace.trace_id())
        } else {
            Value::Null
        };
        assert_eq!(spans[0]["annotations"]["linked_trace_id"], link);
    }
}

#[tokio::test]
async fn an_event_that_is_no_batch_after_all_is_one_line() {
    let (heard, _listening) = hear();
    let event = serde_json::json!({ "Records": [{ "attributes": 7 }] });
    let refused = handle(event, MemoryStore::default(), &MemoryQueue::default()).await;
    assert!(matches!(refused, Err(CleanupError::NoBatch)), "{refused:?}");
    assert_eq!(
        heard.text().matches("batch refused").count(),
        1,
        "{}",
        heard.text()
    );
}

#[tokio::test]
async fn a_dead_letter_that_could_not_be_recorded_stays_in_its_queue() {
    let (store, faults) = (MemoryStore::default(), Faults::default());
    let (one, two) = (submitted(&store).await, submitted(&store).await);
    faults.fail_next(When::Before);
    let bodies = [body_of(&one), body_of(&two)];
    let response = handle(
        dead_letters(&bodies),
        store.with_faults(faults),
        &MemoryQueue::default(),
    )
    .await
    .unwrap();
    assert_eq!(
        response,
        r#"{"batchItemFailures":[{"itemIdentifier":"m1"}]}"#
    );
}

#[tokio::test]
async fn the_schedules_event_sweeps() {
    let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
    let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
    TaskStore::create(&store, &task).await.unwrap();
    sweep(store, &queue).await.unwrap();
    let sent: Vec<_> = queue.sent().iter().map(|message| message.task).collect();
    assert_eq!(sent, [task.id()]);
}

#[tokio::test]
async fn a_failing_store_fails_the_invocation() {
    let faults = Faults::default();
    faults.die_now();
    let swept = sweep(
        MemoryStore::default().with_faults(faults),
        &MemoryQueue::default(),
    )
    .await;
    assert!(
        matches!(swept, Err(CleanupError::SweepBrokeOff(_))),
        "{swept:?}"
    );
}

/// Somebody created an event source mapping from the task queue to this function.
#[tokio::test]
async fn a_message_of_the_task_queue_is_no_dead_letter_and_warns() {
    for (queue, warnings) in [("tasks", 1), ("tasks-dead", 0)] {
        let store = MemoryStore::default();
        let task = submitted(&store).await;
        let mut event = dead_letters(&[body_of(&task)]);
        let arn = format!("arn:aws:sqs:eu-central-1:1:{queue}");
        event["Records"][0]["eventSourceARN"] = arn.into();
        let (heard, _listening) = hear();
        handle(event, store.clone(), &MemoryQueue::default())
            .await
            .unwrap();
        let text = heard.text();
        let warned = text.matches("dead letter came from the task queue").count();
        assert_eq!(warned, warnings, "{text}");
        assert_eq!(stored(&store, &task).await, Some(task));
    }
}
