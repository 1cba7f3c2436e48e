//! Every route over the platform in memory: what goes in, what comes out, byte for byte but for ids and times.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may panic like the test itself")]

use std::sync::Arc;
use std::time::Duration;

use api::{Api, ApiKeys, router};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::app::{Agents, Runner, Tasks};
use shared::ports::{Clock, TaskMessage};
use shared::testing::{Faults, ManualClock, MemoryQueue, MemorySecrets, MemoryStore, ScriptedModel, When, samples};
use tower::ServiceExt;

const KEY: &str = "k3y";
const AGENT: &str = r#"{"name":"clerk","models":[{"provider":"anthropic","model":"claude-sonnet-5-5"}]}"#;

struct Platform {
    router: Router,
    store: MemoryStore,
    queue: MemoryQueue,
    clock: ManualClock,
    secrets: MemorySecrets,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Platform {
    fn new() -> Self {
        Self::failing(&Faults::default())
    }

    fn failing(faults: &Faults) -> Self {
        let (store, queue, secrets) = (MemoryStore::default(), MemoryQueue::default(), MemorySecrets::default());
        secrets.set("api-key", KEY);
        let clock = ManualClock::at(samples::START);
        let failing = || Arc::new(store.with_faults(faults.clone()));
        let time = || Arc::new(clock.clone());
        let router = router(Api {
            agents: Agents::new(failing(), time()),
            tasks: Tasks::new(failing(), failing(), Arc::new(queue.clone()), time()),
            keys: ApiKeys::new(Arc::new(secrets.clone()), "api-key".to_owned(), samples::tenant("default")),
        });
        Self { router, store, queue, clock, secrets }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", path).header("content-type", "application/json").body(body.into()).unwrap()).await
    }

    async fn create_agent(&self) -> String {
        let answer = self.post("/v1/agents", AGENT).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    async fn submit(&self, agent: &str, input: &str) -> Value {
        let answer = self.post("/v1/tasks", json!({ "agent_id": agent, "input": input }).to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer.body
    }

    /// Works on every message that waits.
    async fn drain(&self, model: ScriptedModel) {
        let runner = Runner {
            agents: Arc::new(self.store.clone()),
            tasks: Arc::new(self.store.clone()),
            journal: Arc::new(self.store.clone()),
            model: Arc::new(model),
            clock: Arc::new(self.clock.clone()),
            model_timeout: Duration::from_secs(30),
        };
        while let Some(delivery) = self.queue.receive() {
            let message = TaskMessage::from_body(&delivery.body).unwrap();
            runner.run(&message, self.clock.now().plus(Duration::from_mins(1))).await.unwrap();
            self.queue.acknowledge(&delivery.receipt);
        }
    }

    async fn wrote_nothing(&self) -> bool {
        let agents = self.get("/v1/agents").await.body["data"].as_array().unwrap().len();
        let tasks = self.get("/v1/tasks").await.body["data"].as_array().unwrap().len();
        agents + tasks + self.queue.sent().len() == 0
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"))
}

/// The value with ids and times replaced, so that whole bodies can be compared.
fn redacted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                *field = match name.as_str() {
                    "id" | "agent_id" | "request_id" => json!(format!("[{name}]")),
                    name if name.ends_with("_at") => json!("[time]"),
                    _ => redacted(field.take()),
                };
            }
            value
        }
        Value::Array(entries) => entries.iter_mut().map(|entry| redacted(entry.take())).collect(),
        _ => value,
    }
}

#[tokio::test]
async fn an_agent_is_created_and_read_back() {
    let platform = Platform::new();
    let body = json!({
        "name": "clerk", "instructions": "Be brief.", "max_output_tokens": 100, "timeout_seconds": 60,
        "models": [{ "provider": "openai", "model": "gpt-6.1-terra" }],
    });
    let created = platform.post("/v1/agents", body.to_string()).await;
    let expected = json!({
        "id": "[id]", "version": 1, "name": "clerk", "instructions": "Be brief.", "created_at": "[time]",
        "max_output_tokens": 100, "timeout_seconds": 60,
        "models": [{ "provider": "openai", "model": "gpt-6.1-terra" }],
    });
    assert_eq!((created.status, redacted(created.body.clone())), (StatusCode::CREATED, expected));
    assert_eq!(created.body["created_at"], "2026-11-18T11:06:40.000Z");
    let location = created.headers["location"].to_str().unwrap();
    assert_eq!(location, format!("/v1/agents/{}", created.body["id"].as_str().unwrap()));
    let read = platform.get(location).await;
    assert_eq!((read.status, read.body), (StatusCode::OK, created.body));
}

#[tokio::test]
async fn a_task_goes_from_submission_to_its_answer() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let accepted = platform.post("/v1/tasks", json!({ "agent_id": agent, "input": "hello" }).to_string()).await;
    let queued = json!({
        "id": "[id]", "status": "queued", "agent_id": "[agent_id]", "agent_version": 1, "input": "hello",
        "attempts": 0, "created_at": "[time]", "updated_at": "[time]", "deadline_at": "[time]",
    });
    assert_eq!((accepted.status, redacted(accepted.body)), (StatusCode::ACCEPTED, queued));
    platform.drain(ScriptedModel::default()).await;
    let read = platform.get(accepted.headers["location"].to_str().unwrap()).await;
    let completed = json!({
        "id": "[id]", "status": "completed", "agent_id": "[agent_id]", "agent_version": 1, "input": "hello",
        "output": "hello", "stop_reason": "end_turn", "attempts": 1,
        "usage": {
            "input_tokens": 11, "output_tokens": 7, "cache_read_tokens": 5, "cache_write_tokens": 3,
            "reasoning_tokens": 2,
        },
        "created_at": "[time]", "updated_at": "[time]", "deadline_at": "[time]", "finished_at": "[time]",
    });
    assert_eq!((read.status, redacted(read.body)), (StatusCode::OK, completed));
}

#[tokio::test]
async fn a_failed_task_says_why() {
    use shared::ports::model::ModelErrorKind;
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let task = platform.submit(&agent, "hello").await;
    platform.drain(ScriptedModel::new([shared::testing::Reply::Fail(ModelErrorKind::Authentication)])).await;
    let read = platform.get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap())).await;
    assert_eq!(read.body["status"], "failed");
    let error = json!({
        "code": "model_authentication", "dead_lettered": false, "provider": "anthropic",
        "message": "anthropic refuses the key: check the provider's key in Secrets Manager",
    });
    assert_eq!(read.body["error"], error);
}

#[tokio::test]
async fn lists_page_through_everything_once() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let mut submitted = Vec::new();
    for number in 0..5 {
        platform.clock.advance(Duration::from_secs(1));
        submitted.insert(0, platform.submit(&agent, &format!("task {number}")).await["id"].clone());
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tasks?limit=2".to_owned();
    loop {
        let page = platform.get(&path).await.body;
        seen.extend(page["data"].as_array().unwrap().iter().map(|task| task["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/tasks?limit=2&cursor={}", cursor.replace('#', "%23"));
    }
    assert_eq!(seen, submitted);
    let completed = platform.get("/v1/tasks?status=completed").await.body;
    assert_eq!(completed, json!({ "data": [], "next_cursor": null }));
    let of_agent = platform.get(&format!("/v1/tasks?agent_id={agent}&status=queued")).await.body;
    assert_eq!(of_agent["data"].as_array().unwrap().len(), 5);
    let agents = platform.get("/v1/agents").await.body;
    assert_eq!((agents["data"][0]["id"].as_str(), &agents["next_cursor"]), (Some(agent.as_str()), &Value::Null));
}

#[tokio::test]
async fn the_same_submission_twice_is_one_task() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let submit = async |input: &str| {
        let body = json!({ "agent_id": agent, "input": input }).to_string();
        let request = request("POST", "/v1/tasks").header("content-type", "application/json");
        platform.clock.advance(Duration::from_secs(1));
        platform.send(request.header("idempotency-key", "order 7").body(body.into()).unwrap()).await
    };
    let (first, second, other) = (submit("hello").await, submit("hello").await, submit("good bye").await);
    assert_eq!((second.status, second.body), (StatusCode::ACCEPTED, first.body));
    assert_eq!(
        (other.status, &other.body["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("idempotency_key_reused"))
    );
    assert_eq!(platform.queue.sent().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_that_breaks_its_rule_is_refused_by_name() {
    let platform = Platform::new();
    let body = json!({ "agent_id": platform.create_agent().await, "input": "hello" }).to_string();
    for key in ["", "é", &"x".repeat(256)] {
        let request = request("POST", "/v1/tasks").header("content-type", "application/json");
        let answer = platform.send(request.header("idempotency-key", key).body(body.clone().into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
        assert_eq!(answer.body["errors"][0]["parameter"], "Idempotency-Key", "{}", answer.body);
    }
}

#[tokio::test]
async fn a_refusal_is_small_however_large_the_request() {
    let platform = Platform::new();
    let answer = platform.post("/v1/agents", format!(r#"{{"{}":1}}"#, "x".repeat(100_000))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.to_string().len() < 1_000, "{}", answer.body);
}

#[tokio::test]
async fn a_body_that_breaks_rules_is_refused_with_each_place() {
    let long = "x".repeat(65);
    let model = r#"[{"provider":"anthropic","model":"m"}]"#;
    let table = [
        ("/v1/agents", "{}".to_owned(), vec!["/name", "/models"]),
        ("/v1/agents", r#"{"name":7}"#.to_owned(), vec!["/name"]),
        ("/v1/agents", format!(r#"{{"name":"{long}","models":{model}}}"#), vec!["/name"]),
        ("/v1/agents", format!(r#"{{"name":" ","models":{model},"nmae":"x"}}"#), vec!["/nmae"]),
        ("/v1/agents", format!(r#"{{"name":"\u0007","models":{model}}}"#), vec!["/name"]),
        ("/v1/agents", r#"{"name":"x","models":[]}"#.to_owned(), vec!["/models"]),
        (
            "/v1/agents",
            r#"{"name":"x","models":[{"provider":"acme","model":"m"}]}"#.to_owned(),
            vec!["/models/0/provider"],
        ),
        ("/v1/agents", r#"{"name":"x","models":[{"provider":"openai"}]}"#.to_owned(), vec!["/models/0/model"]),
        (
            "/v1/agents",
            r#"{"name":"x","models":[{"provider":"openai","model":"m","t":1}]}"#.to_owned(),
            vec!["/models/0/t"],
        ),
        ("/v1/agents", format!(r#"{{"name":"x","models":{model},"max_output_tokens":0}}"#), vec!["/max_output_tokens"]),
        ("/v1/agents", format!(r#"{{"name":"x","models":{model},"timeout_seconds":9}}"#), vec!["/timeout_seconds"]),
        ("/v1/agents", format!(r#"{{"name":"x","name":"y","models":{model}}}"#), vec![""]),
        ("/v1/agents", r#"["x"]"#.to_owned(), vec![""]),
        ("/v1/agents", r#"{"name":"x","models":[["openai","m"]]}"#.to_owned(), vec!["/models/0"]),
        (
            "/v1/agents",
            r#"{"name":"","models":[{}],"max_output_tokens":0,"timeout_seconds":0}"#.to_owned(),
            EVERY.to_vec(),
        ),
        ("/v1/tasks", "{}".to_owned(), vec!["/agent_id", "/input"]),
        ("/v1/tasks", r#"{"agent_id":"agt_1","input":""}"#.to_owned(), vec!["/agent_id", "/input"]),
        ("/v1/tasks", format!(r#"{{"agent_id":"{UNKNOWN_AGENT}","input":"x"}}"#), vec!["/agent_id"]),
        ("/v1/tasks", format!(r#"{{"agent_id":"{UNKNOWN_AGENT}","input":"{}"}}"#, "x".repeat(131_073)), vec!["/input"]),
    ];
    let platform = Platform::new();
    for (path, body, pointers) in table {
        let shown = body.chars().take(100).collect::<String>();
        let answer = platform.post(path, body).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("validation_failed"))
        );
        let found: Vec<_> = answer.body["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
        assert_eq!(found, pointers, "{shown}");
    }
    assert!(platform.wrote_nothing().await);
}

/// Every place of an agent that can be wrong.
const EVERY: [&str; 5] = ["/name", "/models/0/provider", "/models/0/model", "/max_output_tokens", "/timeout_seconds"];

const UNKNOWN_AGENT: &str = "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
const UNKNOWN_TASK: &str = "/v1/tasks/tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";

#[tokio::test]
async fn a_query_that_breaks_rules_is_refused_by_name() {
    let platform = Platform::new();
    let table = [
        ("/v1/tasks?limit=0", "limit"),
        ("/v1/tasks?limit=101", "limit"),
        ("/v1/tasks?limit=two", "limit"),
        ("/v1/tasks?limit=1&limit=2", "limit"),
        ("/v1/tasks?cursor=nonsense", "cursor"),
        ("/v1/agents?cursor=nonsense", "cursor"),
        ("/v1/tasks?status=done", "status"),
        ("/v1/tasks?agent_id=7", "agent_id"),
        ("/v1/tasks?state=queued", "state"),
        ("/v1/tasks?/name=1", "/name"),
        ("/v1/tasks?=1", ""),
        (&format!("{UNKNOWN_TASK}?wait=26"), "wait"),
        (&format!("{UNKNOWN_TASK}?wait=-1"), "wait"),
    ];
    for (path, parameter) in table {
        let answer = platform.get(path).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{path}");
    }
}

#[tokio::test]
async fn each_broken_envelope_has_its_own_status() {
    let platform = Platform::new();
    let plain =
        |body: &'static str| request("POST", "/v1/tasks").header("content-type", "text/plain").body(body.into());
    let bare = request("POST", "/v1/tasks").body("{}".into());
    let large = format!(r#"{{"input":"{}"}}"#, "x".repeat(1_024 * 1_024));
    let table = [
        (platform.post("/v1/tasks", "{").await, 400, "invalid_request"),
        (platform.post("/v1/tasks", "").await, 400, "invalid_request"),
        (platform.post("/v1/tasks", "{} {}").await, 400, "invalid_request"),
        (platform.post("/v1/tasks", r#"{"agent_id":1, nonsense"#).await, 400, "invalid_request"),
        (platform.post("/v1/tasks", "[nonsense").await, 400, "invalid_request"),
        (platform.post("/v1/tasks", r#"{"input":"\ud800"}"#).await, 400, "invalid_request"),
        (platform.post("/v1/tasks", "[".repeat(100_000)).await, 400, "invalid_request"),
        (platform.post("/v1/tasks", vec![b'"', 0xff, b'"']).await, 400, "invalid_request"),
        (platform.send(plain("{}").unwrap()).await, 415, "unsupported_media_type"),
        (platform.send(bare.unwrap()).await, 415, "unsupported_media_type"),
        (platform.post("/v1/tasks", large).await, 413, "payload_too_large"),
        (platform.get(UNKNOWN_TASK).await, 404, "not_found"),
        (platform.get("/v1/tasks/7").await, 404, "not_found"),
        (platform.get("/v1/tasks/tsk_%ff").await, 404, "not_found"),
        (platform.get(&format!("/v1/agents/{UNKNOWN_AGENT}")).await, 404, "not_found"),
        (platform.get("/v1/agents/agt_1").await, 404, "not_found"),
        (platform.get("/v2").await, 404, "not_found"),
        (platform.get("/v1/nothing").await, 404, "not_found"),
        (platform.post("/healthz", "").await, 405, "method_not_allowed"),
        (platform.send(request("DELETE", "/v1/tasks").body(Body::empty()).unwrap()).await, 405, "method_not_allowed"),
    ];
    for (answer, status, code) in table {
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (status, &json!(code)), "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["request_id"].as_str(), answer.headers["x-request-id"].to_str().ok());
    }
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn without_the_key_every_v1_route_is_closed() {
    let platform = Platform::new();
    let credentials = [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong"),
        Some("Bearer k3y2"),
        Some("Bearer k3"),
        Some("Basic k3y"),
        Some("k3y"),
    ];
    let routes =
        [("GET", "/v1/agents"), ("POST", "/v1/agents"), ("GET", UNKNOWN_TASK), ("POST", "/v1/tasks"), ("GET", "/v1/x")];
    for (method, path) in routes {
        for credential in credentials {
            let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
            let request = credential.into_iter().fold(request, |request, value| request.header("authorization", value));
            let answer = platform.send(request.body(AGENT.into()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} {credential:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert!(platform.wrote_nothing().await);
    let health = platform.send(Request::get("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((health.status, health.body), (StatusCode::OK, json!("ok")));
}

#[tokio::test]
async fn a_dependency_that_is_down_is_a_retryable_503() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    faults.die_at(1, When::Before);
    let answer = platform.get("/v1/agents").await;
    assert_eq!((answer.status, &answer.body["retryable"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(true)));
    assert!(answer.headers.contains_key("retry-after"));
    let shown = answer.body.to_string();
    assert!(!shown.contains("plan"), "{shown}");
    platform.secrets.remove("api-key");
    let answer = platform.get("/v1/agents").await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("internal")));
}

#[tokio::test]
async fn a_request_id_is_echoed_if_it_is_fit_for_a_log() {
    let platform = Platform::new();
    let id_for = async |given: &str| {
        let request = Request::get("/healthz").header("x-request-id", given).body(Body::empty()).unwrap();
        platform.send(request).await.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id_for("abc-123").await, "abc-123");
    for unfit in ["", "has space", &"x".repeat(129)] {
        assert_ne!(id_for(unfit).await, unfit);
    }
}

/// The files under `events/`, for local invokes, are what API Gateway sends.
#[tokio::test]
async fn every_sample_event_reaches_its_route() {
    let platform = Platform::new();
    let table = [
        (include_str!("../../../events/api-healthz.json"), StatusCode::OK),
        (include_str!("../../../events/api-submit-task.json"), StatusCode::UNAUTHORIZED),
    ];
    for (event, status) in table {
        let event: lambda_http::request::LambdaRequest = serde_json::from_str(event).unwrap();
        let request = lambda_http::Request::from(event).map(|body| Body::from(body.to_vec()));
        assert_eq!(platform.send(request).await.status, status);
    }
}
