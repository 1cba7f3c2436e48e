//! The deployed platform as a client sees it, and the services behind it as an operator does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::deployment::tenant;
use crate::services::Services;
use crate::{LocalAws, Unreliable, UnreliableAws, processes};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use shared::config::Environment;
use shared::domain::{Change, Step, Task, TaskId, Timestamp};
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, Journal, TaskDetails, TaskStore};
use shared::store::{DynamoJournal, DynamoTaskStore};

/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(5);

/// The platform that `make test` deployed.
pub struct Platform {
    /// The AWS that it is deployed to.
    pub aws: LocalAws,
    /// The name of its state table.
    pub state_table: String,
    /// The URL of its task queue.
    pub task_queue_url: String,
    /// The name of the executor's function.
    pub executor_function: String,
    cleanup_function: String,
    api_function: String,
    /// Its services that there is no client for.
    pub(crate) services: Services,
    http: Client,
    api_url: String,
    api_key: String,
    model_url: String,
    traces: String,
}

impl Platform {
    /// The one that the environment names.
    pub async fn deployed() -> Self {
        let environment = Environment::process();
        let read = |name| {
            environment
                .required(name)
                .expect("`make test` deploys the platform and runs these tests on it")
        };
        Self {
            aws: LocalAws::from_env().await,
            state_table: read("STATE_TABLE"),
            task_queue_url: read("TASK_QUEUE_URL"),
            executor_function: read("EXECUTOR_FUNCTION"),
            cleanup_function: read("CLEANUP_FUNCTION"),
            api_function: read("API_FUNCTION"),
            services: Services::at(&read("LOCAL_AWS_URL")),
            http: Client::builder().no_proxy().build().unwrap(),
            api_url: read("API_URL"),
            api_key: read("API_KEY"),
            model_url: read("MODEL_URL"),
            traces: read("TRACES"),
        }
    }

    /// The provider of trouble, with the stand-in behind it.
    pub fn unreliable(&self) -> Unreliable {
        Unreliable::shared(&self.model_url)
    }

    /// The key.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// Sends a request with the key and a JSON body.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        self.call_with_key(method, path, body, &self.api_key).await
    }

    /// Sends a request with any key and a JSON body.
    pub async fn call_with_key(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> (StatusCode, Value) {
        self.call_at(method, &format!("{}{path}", self.api_url), body, key)
            .await
    }

    /// Sends a request to any URL.
    pub(crate) async fn call_at(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        key: &str,
    ) -> (StatusCode, Value) {
        let request = self.http.request(method, url).bearer_auth(key);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Creates an agent of one model and returns its id.
    pub async fn agent(&self, provider: &str, model: &str) -> String {
        self.agent_of(json!({ "models": [{ "provider": provider, "model": model }] }))
            .await
    }

    /// Creates an agent whose tasks fail at the first failure of its model, and returns its id.
    pub async fn impatient_agent(&self, provider: &str, model: &str) -> String {
        let models = json!([{ "provider": provider, "model": model }]);
        self.agent_of(json!({ "models": models, "retry": { "max_attempts": 1, "outage": "fail" } }))
            .await
    }

    /// Creates an agent with these fields added to its name and instructions, and returns its id.
    pub async fn agent_of(&self, fields: Value) -> String {
        let mut body = json!({ "name": "clerk", "instructions": "Be brief." });
        let Value::Object(fields) = fields else {
            panic!("not an object: {fields}")
        };
        body.as_object_mut().unwrap().extend(fields);
        let (status, agent) = self.call(Method::POST, "/v1/agents", Some(&body)).await;
        assert_eq!(status, StatusCode::CREATED, "{agent}");
        agent["id"].as_str().unwrap().to_owned()
    }

    /// Creates an agent on an Anthropic model and returns its id.
    pub async fn claude(&self) -> String {
        self.agent("anthropic", "claude-sonnet-5-5").await
    }

    /// Submits a task and returns its id.
    pub async fn submit(&self, agent: &str, input: &str) -> String {
        self.submit_body(&json!({ "agent_id": agent, "input": input }))
            .await
    }

    /// Submits a task as it is written and returns its id.
    pub async fn submit_body(&self, body: &Value) -> String {
        let (status, task) = self.call(Method::POST, "/v1/tasks", Some(body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        task["id"].as_str().unwrap().to_owned()
    }

    /// The task once it has ended. Like any client, it asks again if the response says that this
    /// makes sense.
    pub async fn ended(&self, task: &str) -> Value {
        let begun = Instant::now();
        loop {
            let (status, task) = self
                .call(Method::GET, &format!("/v1/tasks/{task}?wait=5"), None)
                .await;
            if task["retryable"] == true && begun.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            assert_eq!(status, StatusCode::OK, "{task}");
            if !matches!(
                task["status"].as_str(),
                Some("queued" | "running" | "waiting")
            ) {
                return task;
            }
            assert!(begun.elapsed() < PATIENCE, "still not ended: {task}");
            // The API does not wait for a task that is parked for longer.
            if task["status"] == "waiting" {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Waits until the task is in this state.
    pub async fn until_status(&self, task: &str, status: &str) {
        let path = format!("/v1/tasks/{task}");
        self.until(
            async || self.call(Method::GET, &path, None).await.1["status"] == status,
            status,
        )
        .await;
    }

    /// Every request that reached the model stand-in with `text` in its last message.
    pub async fn model_requests(&self, text: &str) -> Vec<Value> {
        let journal = self
            .http
            .get(format!("{}/__aimock/journal", self.model_url))
            .send()
            .await
            .unwrap();
        let entries: Vec<Value> = journal.json().await.unwrap();
        let asks = |entry: &Value| entry["body"]["messages"].to_string().contains(text);
        entries.into_iter().filter(asks).collect()
    }

    /// Waits until someone has a connection to the model stand-in, which lists a request only once
    /// it is answered.
    pub async fn until_model_is_called(&self) {
        let port = Url::parse(&self.model_url).unwrap().port().unwrap();
        self.until(
            async || processes::anybody_is_connected_to(port),
            "the model is asked",
        )
        .await;
    }

    /// The processes of its executor, and of no other stack's on this machine.
    pub fn executor_processes(&self) -> Vec<u32> {
        processes::of_function(&self.executor_function, self.aws_url())
    }

    /// The log lines of a function, as JSON, that contain `text`.
    pub async fn log_lines(&self, function: &str, text: &str) -> Vec<Value> {
        let messages = self
            .services
            .log(&log_group(function), &format!("\"{text}\""))
            .await;
        let lines = messages.iter().filter(|line| line.contains(text));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// All that a function has logged, in any form.
    pub async fn log(&self, function: &str) -> String {
        self.services.log(&log_group(function), "").await.join("\n")
    }

    /// All that the functions of all deployments have logged, in any form, by their log groups.
    pub async fn all_logs(&self) -> BTreeMap<String, String> {
        let mut logs = BTreeMap::new();
        for group in self.services.log_groups().await {
            let log = self.services.log(&group, "").await.join("\n");
            logs.insert(group, log);
        }
        logs
    }

    /// Every segment document that the functions have sent so far, one a line.
    pub fn traces(&self) -> String {
        std::fs::read_to_string(&self.traces).unwrap()
    }

    /// The spans of one trace, as far as they have ended.
    pub fn spans(&self, trace: &str) -> Vec<Value> {
        let traces = self.traces();
        let of_trace = traces.lines().filter(|line| line.contains(trace));
        // The last line may be half written.
        of_trace
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until a function has logged `message` for the task, and returns the line.
    pub async fn logged(&self, function: &str, message: &str, task: &str) -> Value {
        let of_task = async || {
            let lines = self.log_lines(function, task).await;
            lines.into_iter().find(|line| line["message"] == message)
        };
        self.until(async || of_task().await.is_some(), message)
            .await;
        of_task().await.unwrap()
    }

    /// Waits until `condition` holds.
    pub async fn until(&self, condition: impl AsyncFn() -> bool, what: &str) {
        self.until_some(async || condition().await.then_some(()), what)
            .await;
    }

    /// Waits until `find` finds something, and returns that.
    pub async fn until_some<T>(&self, find: impl AsyncFn() -> Option<T>, what: &str) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = find().await {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The numbers and fences of the task's recorded steps.
    pub async fn steps(&self, task: &str) -> Vec<(u32, u64)> {
        self.journal(task)
            .await
            .iter()
            .map(|step| (step.number, step.fence))
            .collect()
    }

    /// The task's recorded steps.
    pub async fn journal(&self, task: &str) -> Vec<Step> {
        let journal = DynamoJournal::new(self.aws.dynamodb(), self.state_table.as_str());
        journal.steps(id(task)).await.unwrap()
    }

    /// The stored task.
    pub async fn task(&self, task: &str) -> Task {
        let tasks = DynamoTaskStore::new(self.aws.dynamodb(), self.state_table.as_str());
        tasks.task(&tenant(), id(task)).await.unwrap().unwrap()
    }

    /// All that happened to a task.
    pub async fn history(&self, task: &str) -> Vec<Change> {
        let tasks = DynamoTaskStore::new(self.aws.dynamodb(), self.state_table.as_str());
        history_of(&tasks, &self.task(task).await).await
    }

    /// Runs the watchdog, in addition to its schedule.
    pub async fn invoke_cleanup(&self) {
        self.services
            .invoke_later(&self.cleanup_function, &json!({}))
            .await;
    }

    /// The functions, with what each is called when it is deployed.
    pub(crate) fn functions(&self) -> [(&'static str, &str); 3] {
        [
            ("api", &self.api_function),
            ("executor", &self.executor_function),
            ("cleanup", &self.cleanup_function),
        ]
    }

    /// The names of all schedules in its account and region.
    pub async fn schedules(&self) -> Vec<String> {
        self.services.schedules().await
    }

    /// Where its AWS is.
    pub fn aws_url(&self) -> &str {
        &self.services.url
    }

    /// A way to its AWS on which calls can be made to fail.
    pub fn unreliable_aws(&self) -> UnreliableAws {
        UnreliableAws::start(self.aws_url())
    }
}

/// All that happened to a task.
pub(crate) async fn history_of(tasks: &DynamoTaskStore, task: &Task) -> Vec<Change> {
    let history = &task.progress().history;
    let earlier = tasks
        .earlier_history(task.id(), 0..history.first(), u32::MAX)
        .await
        .unwrap();
    earlier
        .into_iter()
        .map(|(_, change)| change)
        .chain(history.recent().iter().cloned())
        .collect()
}

/// Where a function of the template logs.
fn log_group(function: &str) -> String {
    format!("/aws/lambda/agents-local/{function}")
}

/// The id as a domain type.
pub fn id(task: &str) -> TaskId {
    task.parse().unwrap()
}

/// The present moment.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A text that no other test or run has in its prompts.
pub fn unique(text: &str) -> String {
    format!("{text} {}", TaskId::new(now()))
}

/// Says something that is to be seen although the test passes: what is printed, its harness keeps
/// to itself.
pub fn tell(text: &str) {
    std::io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}
