//! The platform in memory behind its routes.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use api::{Api, Auth, DeploymentKey, router};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::app::{
    Agents, JwtCheck, KeyPorts, Keys, PresentTenants, ProviderReports, Readiness, RequestRates,
    Room, Runner, Tasks, Tenants, UsageReports, Waits, WorkTimes,
};
use shared::domain::{CacheRules, Provider};
use shared::ports::{Clock, Dependency, TaskMessage, TaskStore};
use shared::testing::{
    Faults, ManualClock, MemoryCircuits, MemoryIssuer, MemoryKeys, MemoryQueue,
    MemoryRequestCounts, MemorySecrets, MemorySlots, MemoryStore, MemoryTenants, MemoryUsage,
    ScriptedModel, ScriptedTools, samples,
};
use tower::ServiceExt;

use crate::openapi;

pub(crate) const KEY: &str = "k3y";

/// How often clients may wait at once.
pub(crate) const MOST_WAITS: u32 = 2;

pub(crate) const AGENT: &str =
    r#"{"name":"clerk","models":[{"provider":"anthropic","model":"claude-sonnet-5-5"}]}"#;

/// An id that no agent has.
pub(crate) const UNKNOWN_AGENT: &str = "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
/// The path of no task.
pub(crate) const UNKNOWN_TASK: &str = "/v1/tasks/tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";

pub(crate) struct Platform {
    pub(crate) router: Router,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) clock: ManualClock,
    pub(crate) secrets: MemorySecrets,
    pub(crate) keys: MemoryKeys,
    pub(crate) usage: MemoryUsage,
    pub(crate) circuits: MemoryCircuits,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// The web page that may use the API.
pub(crate) const ORIGIN: &str = "https://console.example.com";

impl Platform {
    pub(crate) fn new() -> Self {
        Self::failing(&Faults::default())
    }

    pub(crate) fn failing(faults: &Faults) -> Self {
        Self::having(faults, &Provider::ALL)
    }

    pub(crate) fn without_compatible_server() -> Self {
        Self::having(&Faults::default(), &[Provider::Anthropic, Provider::OpenAi])
    }

    fn having(faults: &Faults, providers: &[Provider]) -> Self {
        let (store, queue, secrets) = (
            MemoryStore::default(),
            MemoryQueue::default(),
            MemorySecrets::default(),
        );
        secrets.set("api-key", KEY);
        secrets.set("pepper", "pepper");
        let clock = ManualClock::at(samples::START);
        let failing = || Arc::new(store.with_faults(faults.clone()));
        let time = || Arc::new(clock.clone());
        let tasks = Tasks {
            agents: failing(),
            store: failing(),
            journal: failing(),
            queue: Arc::new(queue.clone()),
            providers: providers.to_vec(),
            clock: time(),
        };
        let (keys, usage) = (MemoryKeys::default(), MemoryUsage::default());
        let circuits = MemoryCircuits::default();
        let (auth, use_cases, tenants) = access(faults, &keys, &secrets, &clock);
        let key = &auth.deployment_key;
        let dependencies = dependencies(failing(), queue.with_faults(faults.clone()), key);
        let router = router(Api {
            agents: Agents {
                store: failing(),
                retention: failing(),
                providers: providers.to_vec(),
                clock: time(),
            },
            waits: Waits::new(
                tasks.clone(),
                Arc::new(MemorySlots::default()),
                NonZeroU32::new(MOST_WAITS),
            ),
            tasks,
            readiness: Arc::new(Readiness::new(dependencies, time())),
            keys: use_cases,
            tenants,
            providers: ProviderReports::new(
                Arc::new(circuits.with_faults(faults.clone())),
                providers.to_vec(),
                time(),
            ),
            usage: UsageReports::new(Arc::new(usage.with_faults(faults.clone()))),
            auth,
            version: "v1",
            runbook_url: "https://wiki.example/runbook".to_owned(),
            origins: ORIGIN.parse().unwrap(),
        });
        Self {
            router,
            store,
            queue,
            clock,
            secrets,
            keys,
            usage,
            circuits,
        }
    }

    /// Sends a request, and checks that the OpenAPI document allows the response.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (sent, body) = request.into_parts();
        let sent_body = body.collect().await.unwrap().to_bytes();
        let request = Request::from_parts(sent.clone(), Body::from(sent_body.clone()));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        openapi::check(&sent, &sent_body, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(
            request("POST", path)
                .header("content-type", "application/json")
                .body(body.into())
                .unwrap(),
        )
        .await
    }

    /// A request with a body of this content type.
    pub(crate) async fn send_typed(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let request = headers
            .iter()
            .fold(request(method, path), |request, (name, value)| {
                request.header(*name, *value)
            });
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: impl Into<Body>) -> Answer {
        let merge = [("content-type", "application/merge-patch+json")];
        self.send_typed(("PATCH", path), &merge, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        let json = [("content-type", "application/json")];
        self.send_typed(("PUT", path), &json, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send_typed(("DELETE", path), &[], Body::empty()).await
    }

    pub(crate) async fn create_agent(&self) -> String {
        let answer = self.post("/v1/agents", AGENT).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn submit(&self, agent: &str, input: &str) -> Value {
        let answer = self
            .post(
                "/v1/tasks",
                json!({ "agent_id": agent, "input": input }).to_string(),
            )
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        answer.body
    }

    /// Dead-letters a task that no worker claimed.
    pub(crate) async fn dead_letter(&self, id: &str) {
        let stored = TaskStore::task(
            &self.store,
            &samples::tenant("default"),
            id.parse().unwrap(),
        )
        .await;
        let mut task = stored.unwrap().unwrap();
        for moment in [60, 180, 420, 900] {
            task.settle_overdue(samples::after(moment)).unwrap();
            self.store.update(&task).await.unwrap();
        }
        assert!(task.dead_letter(samples::after(901)));
        self.store.update(&task).await.unwrap();
    }

    /// Works on every message that waits.
    pub(crate) async fn drain(&self, model: ScriptedModel) {
        let runner = self.runner(model);
        while self.work(&runner).await {}
    }

    /// Works on one message; false if none waits.
    pub(crate) async fn work(&self, runner: &Runner) -> bool {
        let Some(delivery) = self.queue.receive() else {
            return false;
        };
        let message = TaskMessage::from_body(&delivery.body).unwrap();
        let until = self.clock.now().plus(Duration::from_mins(1));
        runner.run(&message, until).await.unwrap();
        self.queue.acknowledge(&delivery.receipt);
        true
    }

    pub(crate) fn runner(&self, model: ScriptedModel) -> Runner {
        Runner {
            usage: Arc::new(self.usage.clone()),
            queue: Arc::new(self.queue.clone()),
            agents: Arc::new(self.store.clone()),
            tasks: Arc::new(self.store.clone()),
            journal: Arc::new(self.store.clone()),
            model: Arc::new(model.on(self.clock.clone())),
            clock: Arc::new(self.clock.clone()),
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

    pub(crate) async fn wrote_nothing(&self) -> bool {
        let agents = self.get("/v1/agents").await.body["data"]
            .as_array()
            .unwrap()
            .len();
        let tasks = self.get("/v1/tasks").await.body["data"]
            .as_array()
            .unwrap()
            .len();
        agents + tasks + self.queue.sent().len() == 0
    }
}

/// What `/readyz` checks.
fn dependencies(
    store: Arc<MemoryStore>,
    queue: MemoryQueue,
    key: &DeploymentKey,
) -> Vec<(&'static str, Arc<dyn Dependency>)> {
    vec![
        ("the state table", store),
        ("the task queue", Arc::new(queue)),
        ("the API key's secret", Arc::new(key.clone())),
    ]
}

/// Who may call, and the use cases that decide it.
fn access(
    faults: &Faults,
    keys: &MemoryKeys,
    secrets: &MemorySecrets,
    clock: &ManualClock,
) -> (Auth, Keys, Tenants) {
    let time = || Arc::new(clock.clone());
    let home = samples::tenant("default");
    let tenants = Arc::new(MemoryTenants::default().with_faults(faults.clone()));
    let present = PresentTenants::new(Arc::<MemoryTenants>::clone(&tenants), home.clone());
    let ports = KeyPorts {
        keys: Arc::new(keys.with_faults(faults.clone())),
        tenants,
        secrets: Arc::new(secrets.clone()),
        pepper_secret: "pepper".to_owned(),
        home: home.clone(),
        clock: time(),
    };
    let (use_cases, tenants, check) = ports.use_cases();
    let (secrets, hour) = (Arc::new(secrets.clone()), Duration::from_hours(1));
    let counts = MemoryRequestCounts::default().with_faults(faults.clone());
    let auth = Auth {
        deployment_key: DeploymentKey::new(secrets, "api-key".to_owned(), hour, home),
        keys: Arc::new(check),
        jwts: Some(Arc::new(JwtCheck::new(
            Arc::new(MemoryIssuer),
            present,
            time(),
        ))),
        rates: RequestRates::new(Arc::new(counts), time()),
    };
    (auth, use_cases, tenants)
}

pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {KEY}"))
}

/// Sends a body with the deployment's own key.
pub(crate) async fn send(
    platform: &Platform,
    method: &str,
    path: &str,
    body: impl Display,
) -> Answer {
    send_as(platform, KEY, method, path, body).await
}

/// Sends a body with this key.
pub(crate) async fn send_as(
    platform: &Platform,
    token: &str,
    method: &str,
    path: &str,
    body: impl Display,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let body = Body::from(body.to_string());
    platform.send(request.body(body).unwrap()).await
}

/// Lists agents with this key.
pub(crate) async fn with_token(platform: &Platform, token: &str) -> Answer {
    let request = Request::get("/v1/agents").header("authorization", format!("Bearer {token}"));
    platform.send(request.body(Body::empty()).unwrap()).await
}

/// The value with ids and times replaced, so that whole bodies can be compared.
pub(crate) fn redacted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                *field = match name.as_str() {
                    "id" | "agent_id" | "request_id" => json!(format!("[{name}]")),
                    name if name.ends_with("_at") || name == "at" || name == "since" => {
                        json!("[time]")
                    }
                    "worker" => json!("[worker]"),
                    _ => redacted(field.take()),
                };
            }
            value
        }
        Value::Array(entries) => entries
            .iter_mut()
            .map(|entry| redacted(entry.take()))
            .collect(),
        _ => value,
    }
}

/// Whether the answer refuses the body for exactly these reasons, each a pointer and a part of its
/// detail.
#[track_caller]
pub(crate) fn check_refused(answer: &Answer, expected: &[(&str, &str)], what: &str) {
    let code = &answer.body["code"];
    assert_eq!(
        (answer.status, code),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("validation_failed")
        ),
        "{what}"
    );
    let errors = answer.body["errors"].as_array().unwrap();
    let matches = |(error, (pointer, detail)): (&Value, &(&str, &str))| {
        error["pointer"] == *pointer && error["detail"].as_str().unwrap().contains(detail)
    };
    assert!(
        errors.len() == expected.len() && errors.iter().zip(expected).all(matches),
        "{what}: {errors:#?}"
    );
}
