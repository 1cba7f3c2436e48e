//! Batches over the platform in memory. Responses are compared byte for byte, because Lambda takes
//! a response that it doesn't understand for success, and deletes the batch.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod turns;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use executor::Executor;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde_json::Value;
use shared::app::{Room, Runner, WorkTimes};
use shared::domain::{Agent, CacheRules, ModelAnswer, ModelRequest, Task, TaskStatus};
use shared::ports::{AgentStore, Clock, Model, ModelError, TaskMessage, TaskQueue, TaskStore};
use shared::runtime::{self, computed};
use shared::telemetry::held::HeldLines;
use shared::telemetry::{Service, logs};
use shared::testing::{
    Faults, ManualClock, MemoryQueue, MemoryStore, MemoryUsage, Reply, ScriptedModel,
    ScriptedTools, listen_to, samples,
};
use tracing_subscriber::filter::LevelFilter;

struct Platform {
    store: MemoryStore,
    queue: MemoryQueue,
    clock: ManualClock,
    agent: Agent,
}

impl Platform {
    async fn new() -> Self {
        let agent = samples::agent(&samples::tenant("acme"));
        let store = MemoryStore::default();
        AgentStore::create(&store, &agent).await.unwrap();
        Self {
            store,
            queue: MemoryQueue::default(),
            clock: ManualClock::at(samples::START),
            agent,
        }
    }

    async fn task(&self) -> Task {
        self.task_of(|message| message).await
    }

    /// A task whose message is changed in this way.
    async fn task_of(&self, change: impl Fn(TaskMessage) -> TaskMessage) -> Task {
        let task = samples::task(&self.agent, self.clock.now());
        TaskStore::create(&self.store, &task).await.unwrap();
        let message = change(TaskMessage {
            tenant: self.agent.tenant.clone(),
            task: task.id(),
            alone: false,
        });
        self.queue
            .send(&message, None, Duration::ZERO)
            .await
            .unwrap();
        task
    }

    /// Everything in the queue as Lambda delivers it, with the ids `m1`, `m2`, ….
    fn batch(&self) -> Vec<SqsMessage> {
        let mut messages = Vec::new();
        while let Some(delivery) = self.queue.receive() {
            messages.push(message(
                &format!("m{}", messages.len() + 1),
                &delivery.receipt,
                &delivery.body,
            ));
        }
        messages
    }

    async fn status(&self, task: &Task) -> TaskStatus {
        TaskStore::task(&self.store, &self.agent.tenant, task.id())
            .await
            .unwrap()
            .unwrap()
            .status()
    }

    async fn handle(&self, messages: Vec<SqsMessage>, model: ScriptedModel) -> String {
        self.handle_failing(messages, model, &Faults::default())
            .await
    }

    async fn handle_failing(
        &self,
        messages: Vec<SqsMessage>,
        model: ScriptedModel,
        faults: &Faults,
    ) -> String {
        self.handle_asking(messages, Arc::new(model), faults).await
    }

    async fn handle_asking(
        &self,
        messages: Vec<SqsMessage>,
        model: Arc<ScriptedModel>,
        faults: &Faults,
    ) -> String {
        self.handle_by(messages, self.runner(model, faults)).await
    }

    fn runner(&self, model: Arc<ScriptedModel>, faults: &Faults) -> Runner {
        let store = self.store.with_faults(faults.clone());
        Runner {
            usage: Arc::new(MemoryUsage::default()),
            agents: Arc::new(store.clone()),
            tasks: Arc::new(store.clone()),
            journal: Arc::new(store),
            model,
            clock: Arc::new(self.clock.clone()),
            queue: Arc::new(self.queue.clone()),
            tools: Arc::new(ScriptedTools::default()),
            cache: CacheRules::Off,
            times: WorkTimes {
                step_reserve: Duration::ZERO,
                ..WorkTimes::default()
            },
            slots: None,
            room: Room::default(),
        }
    }

    /// What the function answers to Lambda: the response, or the error document.
    async fn handle_by(&self, messages: Vec<SqsMessage>, runner: Runner) -> String {
        let executor = Executor {
            runner: Arc::new(runner),
            queue: Arc::new(self.queue.clone()),
        };
        let mut batch = SqsEvent::default();
        batch.records = messages;
        let mut context = Context::default();
        context.deadline = self.clock.now().plus(Duration::from_mins(1)).as_millis();
        context.xray_trace_id = Some(samples::trace_of(self.clock.now()).to_string());
        match executor.handle(LambdaEvent::new(batch, context)).await {
            Ok(response) => serde_json::to_string(&response).unwrap(),
            Err(error) => serde_json::to_string(&Diagnostic::from(error)).unwrap(),
        }
    }
}

fn message(id: &str, receipt: &str, body: &str) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(id.to_owned());
    message.receipt_handle = Some(receipt.to_owned());
    message.body = Some(body.to_owned());
    message
        .attributes
        .insert("ApproximateReceiveCount".to_owned(), "1".to_owned());
    message
}

#[track_caller]
fn check_golden(response: &str, golden: &str) {
    assert_eq!(response, golden.trim_end());
}

#[tokio::test]
async fn all_well() {
    let platform = Platform::new().await;
    let tasks = [
        platform.task().await,
        platform.task().await,
        platform.task().await,
    ];
    let response = platform
        .handle(platform.batch(), ScriptedModel::default())
        .await;
    check_golden(&response, include_str!("../golden/all_ok.json"));
    for task in &tasks {
        assert_eq!(platform.status(task).await, TaskStatus::Completed);
    }
}

#[tokio::test]
async fn the_work_is_in_its_tasks_trace_as_long_as_that_one_takes_spans() {
    let platform = Platform::new().await;
    let begun = samples::trace_of(samples::START);
    let mut traces = Vec::new();
    for days in [1, 30] {
        platform.clock.advance(Duration::from_hours(24 * days));
        platform.task().await;
        let mut messages = platform.batch();
        messages[0]
            .attributes
            .insert("AWSTraceHeader".to_owned(), begun.to_string());
        let (heard, _listening) = listen_to(|log| {
            logs::layer(
                Service::new("executor", "v1"),
                LevelFilter::INFO,
                HeldLines::default(),
                log,
            )
        });
        platform.handle(messages, ScriptedModel::default()).await;
        let line: Value = serde_json::from_str(heard.text().lines().last().unwrap()).unwrap();
        traces.push(line["xray_trace_id"].as_str().unwrap().to_owned());
    }
    let invocations = samples::trace_of(platform.clock.now());
    assert_eq!(traces, [begun.trace_id(), invocations.trace_id()]);
}

#[tokio::test]
async fn a_bad_body_fails_alone_and_comes_back_at_once() {
    let platform = Platform::new().await;
    let good = platform.task().await;
    let mut messages = platform.batch();
    platform.task().await;
    let poison = platform.queue.receive().unwrap();
    messages.push(message("m2", &poison.receipt, "not ours"));
    let response = platform.handle(messages, ScriptedModel::default()).await;
    check_golden(&response, include_str!("../golden/bad_body.json"));
    assert_eq!(platform.status(&good).await, TaskStatus::Completed);
    assert_eq!(
        platform.queue.postponed(),
        [(poison.receipt, Duration::ZERO)]
    );
}

#[tokio::test]
async fn a_newer_message_fails_alone_and_waits_for_a_newer_worker() {
    let platform = Platform::new().await;
    platform.task().await;
    let delivery = platform.queue.receive().unwrap();
    let newer = message("m1", &delivery.receipt, r#"{"version":2}"#);
    let response = platform.handle(vec![newer], ScriptedModel::default()).await;
    check_golden(&response, include_str!("../golden/newer_version.json"));
    assert_eq!(
        platform.queue.postponed(),
        [(delivery.receipt, Duration::from_mins(1))]
    );
}

#[tokio::test]
async fn a_panic_fails_alone() {
    let platform = Platform::new().await;
    let tasks = [
        platform.task().await,
        platform.task().await,
        platform.task().await,
    ];
    let model = ScriptedModel::new([Reply::Panic]);
    let response = platform.handle(platform.batch(), model).await;
    check_golden(&response, include_str!("../golden/panic.json"));
    let statuses = [
        platform.status(&tasks[0]).await,
        platform.status(&tasks[1]).await,
        platform.status(&tasks[2]).await,
    ];
    assert_eq!(
        statuses,
        [
            TaskStatus::Running,
            TaskStatus::Completed,
            TaskStatus::Completed
        ]
    );
}

#[tokio::test]
async fn a_failing_store_fails_its_message_which_comes_back_soon() {
    let platform = Platform::new().await;
    let task = platform.task().await;
    let faults = Faults::default();
    faults.die_now();
    let response = platform
        .handle_failing(platform.batch(), ScriptedModel::default(), &faults)
        .await;
    check_golden(&response, include_str!("../golden/retryable.json"));
    assert_eq!(
        platform.queue.postponed(),
        [("receipt-1".to_owned(), Duration::from_secs(5))]
    );
    platform.queue.elapse();
    platform
        .handle(platform.batch(), ScriptedModel::default())
        .await;
    assert_eq!(platform.status(&task).await, TaskStatus::Completed);
}

#[tokio::test]
async fn a_message_without_id_fails_the_batch_before_any_work() {
    let platform = Platform::new().await;
    let task = platform.task().await;
    for missing in [None, Some(String::new())] {
        let mut messages = platform.batch();
        platform.queue.elapse();
        messages.push(SqsMessage::default());
        messages.last_mut().unwrap().message_id = missing;
        let response = platform.handle(messages, ScriptedModel::default()).await;
        check_golden(&response, include_str!("../golden/missing_id.json"));
    }
    assert_eq!(platform.status(&task).await, TaskStatus::Queued);
}

#[tokio::test]
async fn an_empty_batch_is_a_success() {
    let platform = Platform::new().await;
    let response = platform.handle(Vec::new(), ScriptedModel::default()).await;
    check_golden(&response, include_str!("../golden/all_ok.json"));
}

#[tokio::test]
async fn a_duplicate_in_the_batch_waits_for_the_lease_and_is_then_done_with() {
    let platform = Platform::new().await;
    let task = platform.task().await;
    platform
        .queue
        .send(&platform.queue.sent()[0], None, Duration::ZERO)
        .await
        .unwrap();
    let response = platform
        .handle(platform.batch(), ScriptedModel::default())
        .await;
    // Either of the two may be first.
    let late = if response.contains("m1") { 1 } else { 2 };
    check_golden(
        &response.replace("m1", "m2"),
        include_str!("../golden/duplicate.json"),
    );
    let lease_end = WorkTimes::default().lease + Duration::from_secs(1);
    assert_eq!(
        platform.queue.postponed(),
        [(format!("receipt-{late}"), lease_end)]
    );
    platform.queue.elapse();
    platform.clock.advance(lease_end);
    let model = ScriptedModel::default();
    let response = platform.handle(platform.batch(), model).await;
    check_golden(&response, include_str!("../golden/all_ok.json"));
    assert_eq!(platform.status(&task).await, TaskStatus::Completed);
}

#[tokio::test]
async fn tasks_for_nobody_are_done_with() {
    let platform = Platform::new().await;
    let response = platform
        .handle(
            vec![message("m1", "r1", &samples::message().to_body())],
            ScriptedModel::default(),
        )
        .await;
    check_golden(&response, include_str!("../golden/all_ok.json"));
    assert_eq!(platform.queue.postponed(), []);
}

/// Tokio's time passes only when everyone waits: the ten requests wait for their answers together.
#[tokio::test(start_paused = true)]
async fn ten_tasks_with_a_model_of_one_second_take_one_second() {
    let platform = Platform::new().await;
    for _ in 0..10 {
        platform.task().await;
    }
    let model = Arc::new(ScriptedModel::default().on(platform.clock.clone()));
    model.hold();
    let answering = async {
        model.until_called(10).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        model.release();
    };
    let begun = tokio::time::Instant::now();
    let well = Faults::default();
    let handling = platform.handle_asking(platform.batch(), Arc::clone(&model), &well);
    let (response, ()) = tokio::join!(handling, answering);
    check_golden(&response, include_str!("../golden/all_ok.json"));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_as_long_as_its_slowest_task() {
    let platform = Platform::new().await;
    for _ in 0..10 {
        platform.task().await;
    }
    let model = ScriptedModel::new(vec![Reply::Hang; 10]).on(platform.clock.clone());
    let begun = tokio::time::Instant::now();
    let response = platform.handle(platform.batch(), model).await;
    check_golden(&response, include_str!("../golden/all_ok.json"));
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(50),
        "ten calls that hang as long as they may"
    );
}

/// The files under `events/`, for local invokes, are what Lambda sends; the number says how many
/// bad messages each has.
#[tokio::test]
async fn every_sample_event_is_handled() {
    let table = [
        (
            "sqs-task",
            include_str!("../../../../events/sqs-task.json"),
            0,
        ),
        (
            "sqs-duplicate",
            include_str!("../../../../events/sqs-duplicate.json"),
            0,
        ),
        (
            "sqs-malformed-body",
            include_str!("../../../../events/sqs-malformed-body.json"),
            1,
        ),
        (
            "sqs-mixed-batch",
            include_str!("../../../../events/sqs-mixed-batch.json"),
            1,
        ),
    ];
    for (name, event, bad) in table {
        let batch: SqsEvent = serde_json::from_str(event).unwrap();
        assert!(!batch.records.is_empty(), "{name}");
        let response = Platform::new()
            .await
            .handle(batch.records, ScriptedModel::default())
            .await;
        assert_eq!(
            response.matches("itemIdentifier").count(),
            bad,
            "{name}: {response}"
        );
    }
}
