//! The platform in memory: the real functions over ports in memory, whose metrics go to a
//! `CloudWatch` in memory.
//!
//! There is one recorder in a process, and so one `service` for all that is counted here: each
//! document gets the name of the function that ran when it was written. That each function writes
//! the metrics that `docs/metrics.txt` lists for it is another test's.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use cleanup::Cleanup;
use executor::Executor;
use lambda_runtime::{Context, LambdaEvent};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use shared::app::TaskSlots;
use shared::config::Environment;
use shared::domain::TenantId;
use shared::policy::DailyCaps;
use shared::ports::{Clock, Secret, SecretError, Secrets, TaskStore};
use shared::telemetry::{Service, start, write_metrics};
use shared::testing::{
    Delivery, Faults, ManualClock, MemoryQueue, MemorySecrets, MemorySlots, MemoryStore, Reply,
    SameCaps, ScriptedModel, samples,
};
use tower::ServiceExt;

use super::cloudwatch::Metrics;
use super::functions::{Ports, model};

const TEMPLATE: &str = include_str!("../../template.yaml");
const KEY: &str = "k3y";
const INVOCATION: Duration = Duration::from_mins(5);

/// How far the metrics are moved against the edges of their periods, in seconds.
const OFFSETS: [u64; 5] = [0, 25, 70, 185, 290];

/// The platform, and what it wrote.
pub(crate) struct Stack {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) provider: Arc<ScriptedModel>,
    /// Fail the calls of the state table, of the queue and of the ephemeral table.
    pub(crate) state: Faults,
    pub(crate) sending: Faults,
    pub(crate) ephemeral: Faults,
    /// How long Secrets Manager takes.
    pub(crate) secrets: Arc<Secretive>,
    api: Router,
    executor: Executor,
    cleanup: Cleanup,
    agent: String,
    submitted: AtomicU64,
    metrics: Mutex<Metrics>,
}

/// Secrets that take a while.
#[derive(Default)]
pub(crate) struct Secretive {
    secrets: MemorySecrets,
    delay: Mutex<Duration>,
}

impl Secretive {
    pub(crate) fn take(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }
}

#[async_trait]
impl Secrets for Secretive {
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        self.secrets.secret(name).await
    }

    async fn accepted(
        &self,
        name: &str,
        grace: Duration,
        max_age: Duration,
    ) -> Result<Vec<Secret>, SecretError> {
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        self.secrets.accepted(name, grace, max_age).await
    }
}

impl Stack {
    pub(crate) async fn new() -> Self {
        Self::with(DailyCaps::default()).await
    }

    pub(crate) async fn with(caps: DailyCaps) -> Self {
        static STARTED: OnceLock<()> = OnceLock::new();
        STARTED.get_or_init(|| {
            let environment =
                Environment::of([("ENVIRONMENT", "dev"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")]);
            start(Service::new("alarms", "v1"), &environment);
        });
        let (clock, store, queue) = (
            ManualClock::at(samples::START),
            MemoryStore::default(),
            MemoryQueue::default(),
        );
        let provider = Arc::new(ScriptedModel::default().on(clock.clone()));
        let (state, sending, ephemeral) = (Faults::default(), Faults::default(), Faults::default());
        let secrets = Arc::new(Secretive::default());
        secrets.secrets.set("api-key", KEY);
        let ports = Ports {
            clock: clock.clone(),
            store: store.with_faults(state.clone()),
            queue: queue.with_faults(sending.clone()),
        };
        let model = model(
            Arc::<ScriptedModel>::clone(&provider),
            &ephemeral,
            caps,
            &clock,
        );
        let slots = MemorySlots::default().with_faults(ephemeral.clone());
        let caps = Arc::new(SameCaps::default());
        let slots = TaskSlots::new(Arc::new(slots), caps, NonZeroU32::new(500), None);
        let (api, executor, cleanup) = (
            ports.api(&secrets),
            ports.executor(model, slots),
            ports.cleanup(),
        );
        let mut stack = Self {
            clock,
            store,
            queue,
            provider,
            state,
            sending,
            ephemeral,
            secrets,
            api,
            executor,
            cleanup,
            agent: String::new(),
            submitted: AtomicU64::default(),
            metrics: Mutex::default(),
        };
        stack.agent = stack.agent_with(&json!({})).await;
        stack
    }

    /// An agent with these settings.
    pub(crate) async fn agent_with(&self, settings: &Value) -> String {
        let mut agent = json!({"name": "clerk", "models": [{"provider": "anthropic", "model": "claude-sonnet-5-5"}]});
        agent
            .as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let (status, agent) = self.call("/v1/agents", KEY, &agent).await;
        assert_eq!(status, StatusCode::CREATED, "{agent}");
        agent["id"].as_str().unwrap().to_owned()
    }

    /// Submits a task, each with another input; returns its id, which is empty if it was refused.
    pub(crate) async fn submit(&self) -> String {
        self.submit_to(&self.agent).await
    }

    pub(crate) async fn submit_many(&self, count: usize) {
        for _ in 0..count {
            self.submit().await;
        }
    }

    pub(crate) async fn submit_to(&self, agent: &str) -> String {
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        let task = json!({ "agent_id": agent, "input": format!("hello {number}") });
        let (_, task) = self.call("/v1/tasks", KEY, &task).await;
        task["id"].as_str().unwrap_or_default().to_owned()
    }

    /// A request with this API key.
    pub(crate) async fn try_key(&self, key: &str) {
        self.call("/v1/tasks", key, &json!({})).await;
    }

    async fn call(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        let response = self.api.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        self.collect("api");
        if status.is_server_error() {
            // As API Gateway counts it ("Monitor HTTP API metrics").
            self.aws("AWS/ApiGateway", "5xx", &[("ApiId", "HttpApi")], 1.0);
        }
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Lets the executor work on all messages that wait.
    pub(crate) async fn work(&self) {
        let mut batch = SqsEvent::default();
        let mut receipts = Vec::new();
        while let Some(Delivery { receipt, body, .. }) = self.queue.receive() {
            batch.records.push(message(&receipt, &body));
            receipts.push(receipt);
        }
        let event = LambdaEvent::new(batch, self.context(INVOCATION));
        let response = self.executor.handle(event).await.unwrap();
        let failed: BTreeSet<String> = response
            .batch_item_failures
            .into_iter()
            .map(|one| one.item_identifier)
            .collect();
        for receipt in receipts.iter().filter(|receipt| !failed.contains(*receipt)) {
            self.queue.acknowledge(receipt);
        }
        self.collect("executor");
    }

    /// Hands the executor a message with this body.
    pub(crate) async fn deliver(&self, body: &str) {
        let mut batch = SqsEvent::default();
        batch.records = vec![message("stray", body)];
        drop(
            self.executor
                .handle(LambdaEvent::new(batch, self.context(INVOCATION)))
                .await,
        );
        self.collect("executor");
    }

    /// Lets the watchdog sweep in an invocation with so much time, and Lambda count that.
    pub(crate) async fn sweep_within(&self, time: Duration) {
        drop(
            self.cleanup
                .handle(LambdaEvent::new(Value::Null, self.context(time)))
                .await,
        );
        self.collect("cleanup");
        self.aws(
            "AWS/Lambda",
            "Invocations",
            &[("FunctionName", "CleanupFunction")],
            1.0,
        );
    }

    pub(crate) async fn sweep(&self) {
        self.sweep_within(Duration::from_mins(1)).await;
    }

    /// A task that was accepted and whose message is not there.
    pub(crate) async fn stray_task(&self) {
        let task = samples::task(&samples::agent(&tenant()), self.clock.now());
        TaskStore::create(&self.store, &task).await.unwrap();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.queue.elapse();
    }

    /// The provider's next answers.
    pub(crate) fn answers(&self, replies: impl IntoIterator<Item = Reply>) {
        replies
            .into_iter()
            .for_each(|reply| self.provider.then(reply));
    }

    /// What AWS itself writes.
    pub(crate) fn aws(&self, namespace: &str, name: &str, dimensions: &[(&str, &str)], value: f64) {
        self.metrics.lock().unwrap().put(
            (namespace, name),
            dimensions,
            self.clock.now().as_millis() / 1_000,
            value,
        );
    }

    /// The alarms that fire at every alignment of periods, and the alarms that fire at one at
    /// least.
    pub(crate) fn fired(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let template = Yaml::load_from_str(TEMPLATE).unwrap().remove(0);
        let metrics = self.metrics.lock().unwrap();
        let fired = OFFSETS.map(|offset| metrics.fired(&template, offset));
        let [first, rest @ ..] = fired;
        let always = rest
            .iter()
            .fold(first.clone(), |always, fired| &always & fired);
        (
            always,
            rest.iter()
                .fold(first, |sometimes, fired| &sometimes | fired),
        )
    }

    fn collect(&self, service: &str) {
        let mut written = Vec::new();
        write_metrics(&mut written).unwrap();
        let at = self.clock.now().as_millis() / 1_000;
        for line in String::from_utf8(written).unwrap().lines() {
            let mut document: Value = serde_json::from_str(line).unwrap();
            document["service"] = json!(service);
            self.metrics.lock().unwrap().take(&document, at);
        }
    }

    fn context(&self, time: Duration) -> Context {
        let mut context = Context::default();
        context.deadline = self.clock.now().plus(time).as_millis();
        context
    }
}

/// All alarms of the template.
pub(crate) fn alarms() -> BTreeSet<String> {
    let template = Yaml::load_from_str(TEMPLATE).unwrap().remove(0);
    let resources = template["Resources"].as_mapping().unwrap().iter();
    let alarms = resources.filter(|(_, resource)| {
        matches!(
            resource["Type"].as_str(),
            Some("AWS::CloudWatch::Alarm" | "AWS::CloudWatch::CompositeAlarm")
        )
    });
    alarms
        .map(|(name, _)| name.as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn tenant() -> TenantId {
    samples::tenant("default")
}

fn message(id: &str, body: &str) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(id.to_owned());
    message.receipt_handle = Some(id.to_owned());
    message.body = Some(body.to_owned());
    message
        .attributes
        .insert("ApproximateReceiveCount".to_owned(), "1".to_owned());
    message
}
