//! A deployment for one test, for faults that no other test may meet and whose traces must be
//! distinguishable from all others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

mod messages;
mod records;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use aws_sdk_sqs::types::QueueAttributeName::{QueueArn, RedrivePolicy, VisibilityTimeout};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::domain::{Change, Step, Task, TaskId, TenantId, Timestamp};
use shared::ports::{Journal, TaskMessage, TaskStore};
use shared::store::DynamoJournal;
use tokio::sync::OnceCell;

use crate::platform::{history_of, unique};
use crate::{Platform, processes};

/// Set once the functions' code lies where the copies have it from.
static CODE: OnceCell<Vec<()>> = OnceCell::const_new();

/// The bucket that the deployment of `make test` has put code into, too.
pub(crate) const BUCKET: &str = "artifacts";

/// Instead of a status, if the function came to no answer.
const NO_ANSWER: u16 = 0;

/// What a copy of a function has of the original.
const COPIED: [&str; 8] = [
    "Runtime",
    "Role",
    "Handler",
    "Timeout",
    "MemorySize",
    "Architectures",
    "TracingConfig",
    "Environment",
];

/// Copies of the deployed functions, as the template configures them, with a table, queues and a
/// log of their own.
pub struct Deployment {
    platform: Platform,
    /// The name, which each function's begins with.
    name: String,
    /// The one table, for all records.
    table: String,
    queue_url: String,
    dead_letter_url: String,
    /// The id of what hands the queue's messages to the executor.
    deliveries: String,
    /// What functions said that failed to start, which the local AWS answers with instead of
    /// logging it.
    last_words: Mutex<String>,
}

impl Deployment {
    /// A new one. These environment variables are added to its functions' own, or replace them.
    pub async fn with(changes: &[(&str, &str)]) -> Self {
        let platform = Platform::deployed().await;
        let keep_code = || {
            join_all(
                platform
                    .functions()
                    .map(|(_, function)| platform.services.keep_code(BUCKET, function)),
            )
        };
        CODE.get_or_init(keep_code).await;
        let name = unique("faults").replace(' ', "-");
        let sqs = platform.aws.sqs();
        let queue = async |kind: &str, attributes| {
            let created = sqs
                .create_queue()
                .queue_name(format!("{name}-{kind}"))
                .set_attributes(Some(attributes));
            created.send().await.unwrap().queue_url.unwrap()
        };
        let attribute = async |url: &str, attribute: QueueAttributeName| {
            let received = sqs
                .get_queue_attributes()
                .queue_url(url)
                .attribute_names(attribute.clone());
            received.send().await.unwrap().attributes.unwrap()[&attribute].clone()
        };
        let dead_letter_url = queue("dead", [(VisibilityTimeout, "300".to_owned())].into()).await;
        let dead_letter_arn = attribute(&dead_letter_url, QueueArn).await;
        let redrive =
            json!({ "deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": 5 }).to_string();
        let hidden = attribute(&platform.task_queue_url, VisibilityTimeout).await;
        let queue_url = queue(
            "tasks",
            [(RedrivePolicy, redrive), (VisibilityTimeout, hidden)].into(),
        )
        .await;
        let queue_arn = attribute(&queue_url, QueueArn).await;
        let table = platform.aws.create_state_table().await;
        let (deliveries, last_words) = (String::new(), Mutex::default());
        let mut deployment = Self {
            platform,
            name,
            table,
            queue_url,
            dead_letter_url,
            deliveries,
            last_words,
        };
        for (kind, original) in deployment.platform.functions() {
            deployment.copy(kind, original, changes).await;
        }
        deployment.deliveries = deployment.deliver(&queue_arn, "executor").await;
        deployment.deliver(&dead_letter_arn, "cleanup").await;
        deployment
    }

    async fn copy(&self, kind: &str, original: &str, changes: &[(&str, &str)]) {
        let path = format!("functions/{original}/configuration");
        let deployed = self
            .platform
            .services
            .lambda(Method::GET, &path, &Value::Null)
            .await
            .1;
        let mut copy = json!({
            "FunctionName": format!("{}-{kind}", self.name),
            "Code": { "S3Bucket": BUCKET, "S3Key": original },
            "LoggingConfig": { "LogFormat": "JSON", "LogGroup": self.log_group() },
        });
        for field in COPIED {
            copy[field] = deployed[field].clone();
        }
        let own = [
            ("STATE_TABLE", &*self.table),
            ("EPHEMERAL_TABLE", &self.table),
            ("TASK_QUEUE_URL", &self.queue_url),
        ];
        for (variable, value) in own.iter().chain(changes) {
            copy["Environment"]["Variables"][variable] = json!(value);
        }
        assert_eq!(
            self.platform
                .services
                .lambda(Method::POST, "functions", &copy)
                .await
                .0,
            StatusCode::CREATED
        );
    }

    /// Has the function read the queue, and returns the id of what does so.
    async fn deliver(&self, queue_arn: &str, kind: &str) -> String {
        let mapping = json!({
            "FunctionName": format!("{}-{kind}", self.name), "EventSourceArn": queue_arn, "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        });
        let (status, made) = self
            .platform
            .services
            .lambda(Method::POST, "event-source-mappings", &mapping)
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{made}");
        made["UUID"].as_str().unwrap().to_owned()
    }

    /// From now on, an invocation of the function may take so long.
    pub async fn set_timeout(&self, kind: &str, seconds: u32) {
        self.change(
            &format!("functions/{}-{kind}/configuration", self.name),
            &json!({ "Timeout": seconds }),
        )
        .await;
    }

    async fn change(&self, path: &str, change: &Value) {
        let (status, answer) = self
            .platform
            .services
            .lambda(Method::PUT, path, change)
            .await;
        assert!(status.is_success(), "{answer}");
    }

    /// The platform that it copies.
    pub const fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The processes of a function.
    pub fn processes(&self, kind: &str) -> Vec<u32> {
        processes::of_function(&format!("{}-{kind}", self.name), self.platform.aws_url())
    }

    fn log_group(&self) -> String {
        format!("/aws/lambda/{}", self.name)
    }

    /// Runs a function and returns its answer, or an error's.
    pub async fn invoke(&self, kind: &str, event: &Value) -> Value {
        self.try_invoke(kind, event).await.unwrap()
    }

    async fn try_invoke(&self, kind: &str, event: &Value) -> reqwest::Result<Value> {
        let path = format!("functions/{}-{kind}/invocations", self.name);
        let (status, answer) = self
            .platform
            .services
            .try_lambda(Method::POST, &path, event)
            .await?;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if let Some(said) = answer["errorMessage"].as_str() {
            let mut words = self
                .last_words
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *words = format!("{words}{said}\n");
        }
        Ok(answer)
    }

    /// Has the watchdog look, which it does here at no other time. It may be killed over it.
    pub async fn sweep(&self) {
        self.invoke("cleanup", &json!({})).await;
    }

    /// Sends a request to the API, as API Gateway does, and returns the status and the body of its
    /// answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        answer_of(&self.invoke("api", &self.request(&method, path, body)).await)
    }

    /// A request as API Gateway hands it over.
    fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": {
                "authorization": format!("Bearer {}", self.platform.api_key()), "content-type": "application/json",
            },
            "requestContext": {
                "requestId": "r", "routeKey": "$default", "stage": "$default", "timeEpoch": 0,
                "http": { "method": method.as_str(), "path": path },
            },
            "body": body.map(Value::to_string), "isBase64Encoded": false,
        })
    }

    /// Creates an agent with these fields added to its name and instructions, and returns its id.
    pub async fn agent_of(&self, fields: &Value) -> String {
        let mut body = json!({ "name": "clerk", "instructions": "Be brief." });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let (status, agent) = self.call(Method::POST, "/v1/agents", Some(&body)).await;
        assert_eq!(status, 201, "{agent}");
        agent["id"].as_str().unwrap().to_owned()
    }

    /// Submits a task and returns its id.
    pub async fn submit(&self, agent: &str, input: &str) -> TaskId {
        let body = json!({ "agent_id": agent, "input": input });
        let (status, task) = self.call(Method::POST, "/v1/tasks", Some(&body)).await;
        assert_eq!(status, 202, "{task}");
        task["id"].as_str().unwrap().parse().unwrap()
    }

    /// Submits a task, again and again if the API gives no answer, and returns its id.
    pub async fn submit_surely(&self, agent: &str, input: &str) -> TaskId {
        let body = json!({ "agent_id": agent, "input": input });
        let mut request = self.request(&Method::POST, "/v1/tasks", Some(&body));
        request["headers"]["idempotency-key"] = json!(unique("key"));
        let submit = async || {
            let answer = self.try_invoke("api", &request).await.unwrap_or_default();
            let (status, task) = answer_of(&answer);
            assert!(matches!(status, NO_ANSWER | 202 | 503), "{status} {task}");
            task["id"].as_str().map(|id| id.parse().unwrap())
        };
        self.platform
            .until_some(submit, "the task is accepted")
            .await
    }

    /// The stored task, once it is `wanted`. A slow store is read again.
    pub async fn until_task(
        &self,
        task: TaskId,
        wanted: impl Fn(&Task) -> bool,
        what: &str,
    ) -> Task {
        let find = async || {
            self.tasks()
                .task(&tenant(), task)
                .await
                .ok()
                .flatten()
                .filter(&wanted)
        };
        self.platform.until_some(find, what).await
    }

    /// Waits until the task is in this state.
    pub async fn until_status(&self, task: TaskId, status: &str) -> Task {
        self.until_task(task, |task| task.status().as_str() == status, status)
            .await
    }

    /// All that happened to a task.
    pub async fn history(&self, task: &Task) -> Vec<Change> {
        history_of(&self.tasks(), task).await
    }

    /// The task's recorded steps.
    pub async fn journal(&self, task: TaskId) -> Vec<Step> {
        let journal = DynamoJournal::new(self.platform.aws.dynamodb(), &*self.table);
        self.platform
            .until_some(
                async || journal.steps(task).await.ok(),
                "the journal is read",
            )
            .await
    }

    /// All lines of JSON that the functions have said so far: those of the log, and metrics.
    pub async fn said(&self) -> Vec<Value> {
        let mut lines = self.platform.services.log(&self.log_group(), "").await;
        lines.extend(
            self.last_words
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .lines()
                .map(str::to_owned),
        );
        // Before the first line of one that didn't start, the local AWS says so.
        let json = lines
            .iter()
            .filter_map(|line| line.find('{').and_then(|begin| line.get(begin..)));
        json.filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Has one invocation of the executor work on these tasks, as if their messages were a batch,
    /// and returns for how long it ran by AWS's own count, which is what it is billed for.
    pub async fn run_batch(&self, tasks: &[TaskId]) -> Duration {
        let record =
            |task: &TaskId| json!({ "messageId": task.to_string(), "body": message(*task) });
        let event = json!({ "Records": tasks.iter().map(record).collect::<Vec<_>>() });
        let before = self.executor_millis().await;
        assert_eq!(
            self.invoke("executor", &event).await,
            json!({ "batchItemFailures": [] })
        );
        Duration::from_secs_f64((self.executor_millis().await - before) / 1_000.0)
    }

    /// For how long its executor has run so far.
    async fn executor_millis(&self) -> f64 {
        let dimension =
            json!({ "Name": "FunctionName", "Value": format!("{}-executor", self.name) });
        self.platform
            .services
            .sum("AWS/Lambda", "Duration", dimension)
            .await
    }

    /// Whether AWS itself has counted the metric for one of the functions.
    pub async fn aws_has_counted(&self, namespace: &str, metric: &str) -> bool {
        let counts = self.platform.functions().map(|(kind, _)| {
            let dimension =
                json!({ "Name": "FunctionName", "Value": format!("{}-{kind}", self.name) });
            self.platform.services.sum(namespace, metric, dimension)
        });
        join_all(counts).await.iter().any(|sum| *sum > 0.0)
    }
}

/// The status and the body of what the API answered to API Gateway.
fn answer_of(answer: &Value) -> (u16, Value) {
    let body = answer["body"]
        .as_str()
        .map(|text| serde_json::from_str(text).unwrap());
    let status = answer["statusCode"]
        .as_u64()
        .map_or(NO_ANSWER, |status| u16::try_from(status).unwrap());
    (status, body.unwrap_or_default())
}

/// The message of a task.
pub fn message(task: TaskId) -> String {
    TaskMessage {
        tenant: tenant(),
        task,
        alone: false,
    }
    .to_body()
}

/// The tenant whose the deployment's key is.
pub fn tenant() -> TenantId {
    "default".parse().unwrap()
}

/// So long ago that everything that waits a minute is due.
pub fn long_ago(now: Timestamp) -> Timestamp {
    let millis = u64::try_from(Duration::from_mins(2).as_millis()).unwrap();
    Timestamp::from_millis(now.as_millis() - millis)
}
