//! Who gets what: every route with every scope, and every route with the ids of another tenant.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::domain::Scope;

use crate::platform::{AGENT, Answer, Platform};

/// A route under `/v1`: its method, its path, a body that it accepts, and the scope that it needs.
pub(crate) struct Route(
    &'static str,
    &'static str,
    pub(crate) &'static str,
    pub(crate) Scope,
);

pub(crate) const ROUTES: [Route; 53] = [
    Route("POST", "/v1/agents", AGENT, Scope::AgentsWrite),
    Route("GET", "/v1/agents/{agent}", "", Scope::AgentsRead),
    Route("GET", "/v1/agents", "", Scope::AgentsRead),
    Route(
        "PATCH",
        "/v1/agents/{agent}",
        r#"{"name":"x"}"#,
        Scope::AgentsWrite,
    ),
    Route("DELETE", "/v1/agents/{agent}", "", Scope::AgentsWrite),
    Route("GET", "/v1/agents/{agent}/versions", "", Scope::AgentsRead),
    Route(
        "GET",
        "/v1/agents/{agent}/versions/1",
        "",
        Scope::AgentsRead,
    ),
    Route("GET", "/v1/agents/{agent}/aliases", "", Scope::AgentsRead),
    Route(
        "GET",
        "/v1/agents/{agent}/aliases/live",
        "",
        Scope::AgentsRead,
    ),
    Route(
        "PUT",
        "/v1/agents/{agent}/aliases/live",
        r#"{"version":1}"#,
        Scope::AgentsWrite,
    ),
    Route(
        "DELETE",
        "/v1/agents/{agent}/aliases/live",
        "",
        Scope::AgentsWrite,
    ),
    Route(
        "POST",
        "/v1/agents/{agent}/execute",
        r#"{"input":"hello"}"#,
        Scope::TasksSubmit,
    ),
    Route(
        "DELETE",
        "/v1/cache?agent_id={agent}",
        "",
        Scope::AgentsWrite,
    ),
    Route("GET", "/v1/models", "", Scope::AgentsRead),
    Route("GET", "/v1/providers", "", Scope::AgentsRead),
    Route("POST", "/v1/tasks", SUBMISSION, Scope::TasksSubmit),
    Route("POST", "/v1/agents/execute", SUBMISSION, Scope::TasksSubmit),
    Route("GET", "/v1/tasks/{task}", "", Scope::TasksRead),
    Route("DELETE", "/v1/tasks/{task}", "", Scope::TasksSubmit),
    Route(
        "POST",
        "/v1/tasks/batch",
        r#"{"tasks":[{"agent_id":"{agent}","input":"hello"}]}"#,
        Scope::TasksSubmit,
    ),
    Route(
        "POST",
        "/v1/tasks/cancel",
        r#"{"filter":{"agent_id":"{agent}"}}"#,
        Scope::TasksSubmit,
    ),
    Route(
        "POST",
        "/v1/tasks/retry",
        r#"{"filter":{"agent_id":"{agent}"}}"#,
        Scope::TasksSubmit,
    ),
    Route("GET", "/v1/tasks", "", Scope::TasksRead),
    Route("GET", "/v1/tasks/{task}/history", "", Scope::TasksRead),
    Route("GET", "/v1/tasks/{task}/output", "", Scope::TasksRead),
    Route("GET", "/v1/tasks/{task}/steps/1/text", "", Scope::TasksRead),
    Route(
        "GET",
        "/v1/tasks/{task}/steps/1/arguments",
        "",
        Scope::TasksRead,
    ),
    Route("GET", "/v1/tasks/{task}/steps", "", Scope::TasksRead),
    Route("GET", "/v1/tasks/{task}/steps/1", "", Scope::TasksRead),
    Route("GET", "/v1/tasks/{task}/steps/1/json", "", Scope::TasksRead),
    Route("POST", "/v1/tasks/{task}/cancel", "", Scope::TasksSubmit),
    Route(
        "POST",
        "/v1/tasks/{task}/input",
        r#"{"results":[{"step":1,"text":"x"}]}"#,
        Scope::TasksSubmit,
    ),
    Route("POST", "/v1/tasks/{task}/resume", "", Scope::TasksSubmit),
    Route("POST", "/v1/tasks/{task}/retry", "", Scope::TasksSubmit),
    Route("GET", "/v1/dead-letters", "", Scope::DeadLetters),
    Route(
        "POST",
        "/v1/dead-letters/{task}/redrive",
        "",
        Scope::DeadLetters,
    ),
    Route(
        "POST",
        "/v1/dead-letters/redrive",
        r#"{"ids":["{task}"]}"#,
        Scope::DeadLetters,
    ),
    Route("POST", "/v1/keys", NEW_KEY, Scope::Keys),
    Route("GET", "/v1/keys", "", Scope::Keys),
    Route("GET", "/v1/keys/{key}", "", Scope::Keys),
    Route("GET", "/v1/keys/{key}/usage", "", Scope::Keys),
    Route("GET", "/v1/usage", "", Scope::TasksRead),
    Route("GET", "/v1/tenants/{tenant}/usage", "", Scope::Operator),
    Route("PATCH", "/v1/keys/{key}", r#"{"name":"x"}"#, Scope::Keys),
    Route("POST", "/v1/keys/{key}/rotate", "", Scope::Keys),
    Route("DELETE", "/v1/keys/{key}", "", Scope::Keys),
    Route("POST", "/v1/keys/renew-seals", "", Scope::Operator),
    Route("POST", "/v1/tenants", r#"{"id":"new"}"#, Scope::Operator),
    Route("GET", "/v1/tenants", "", Scope::Operator),
    Route("GET", "/v1/tenants/{tenant}", "", Scope::Operator),
    Route(
        "PATCH",
        "/v1/tenants/{tenant}",
        r#"{"status":"suspended"}"#,
        Scope::Operator,
    ),
    Route("DELETE", "/v1/tenants/{tenant}", "", Scope::Operator),
    Route(
        "POST",
        "/v1/tenants/{tenant}/keys",
        NEW_KEY,
        Scope::Operator,
    ),
];

const SUBMISSION: &str = r#"{"agent_id":"{agent}","input":"hello"}"#;
const NEW_KEY: &str = r#"{"name":"k","scopes":["keys"]}"#;

/// What `{agent}` and the like stand for.
struct Ids {
    agent: String,
    task: String,
    key: String,
    tenant: String,
}

impl Ids {
    /// Ids that exist nowhere.
    fn unknown() -> Self {
        Self {
            agent: "agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".to_owned(),
            task: "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".to_owned(),
            key: "key_aaaaaaaaaaaa".to_owned(),
            tenant: "nobody".to_owned(),
        }
    }

    fn names(&self) -> [(&'static str, &str); 4] {
        [
            ("{agent}", &self.agent),
            ("{task}", &self.task),
            ("{key}", &self.key),
            ("{tenant}", &self.tenant),
        ]
    }

    fn put_into(&self, text: &str) -> String {
        self.names()
            .iter()
            .fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    /// The text with the names instead of the ids.
    fn taken_from(&self, text: &str) -> String {
        self.names()
            .iter()
            .fold(text.to_owned(), |text, (name, id)| text.replace(id, name))
    }
}

impl Route {
    async fn call(&self, platform: &Platform, ids: &Ids, token: &str) -> Answer {
        let Self(method, path, body, _) = self;
        let mut request = Request::builder()
            .method(*method)
            .uri(ids.put_into(path))
            .header("authorization", format!("Bearer {token}"));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let body = Body::from(ids.put_into(body));
        platform.send(request.body(body).unwrap()).await
    }
}

/// A platform with the tenant `acme`, and one of everything in it.
async fn furnished() -> (Platform, Ids) {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let all = Scope::ALL.into_iter();
    let scopes: Vec<Scope> = all.filter(|scope| *scope != Scope::Operator).collect();
    let (_, token) = platform.create_key("acme", &scopes).await;
    // A key with more scopes than the caller's could not be changed.
    let (key, _) = platform.create_key("acme", &[Scope::Keys]).await;
    let mut ids = Ids {
        key,
        tenant: "acme".to_owned(),
        ..Ids::unknown()
    };
    let agent = ROUTES[0].call(&platform, &ids, &token).await;
    agent.body["id"]
        .as_str()
        .unwrap()
        .clone_into(&mut ids.agent);
    let submit = ROUTES.iter().find(|route| route.2 == SUBMISSION).unwrap();
    let task = submit.call(&platform, &ids, &token).await;
    task.body["id"].as_str().unwrap().clone_into(&mut ids.task);
    (platform, ids)
}

#[tokio::test(start_paused = true)]
async fn each_route_needs_its_scope_and_no_other() {
    for route in &ROUTES {
        let (platform, ids) = furnished().await;
        let Route(method, path, _, needed) = route;
        let others = Scope::ALL.into_iter();
        let others: Vec<Scope> = others.filter(|scope| scope != needed).collect();
        let before = platform.everything().await;
        let token = platform.create_key_of_scopes("acme", &others).await;
        let refused = route.call(&platform, &ids, &token).await;
        let code = refused.body["code"].as_str().unwrap();
        assert_eq!(
            (refused.status, code),
            (StatusCode::FORBIDDEN, "missing_scope"),
            "{method} {path}"
        );
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(needed.as_str()), "{detail}");
        let challenge = refused.headers["www-authenticate"].to_str().unwrap();
        assert_eq!(
            challenge,
            format!("Bearer error=\"insufficient_scope\", scope=\"{needed}\"")
        );
        assert_eq!(platform.everything().await, before, "{method} {path}");
        let token = platform.create_key_of_scopes("acme", &[*needed]).await;
        let allowed = route.call(&platform, &ids, &token).await;
        assert!(
            !["missing_scope", "unauthorized"]
                .contains(&allowed.body["code"].as_str().unwrap_or("")),
            "{method} {path}: {}",
            allowed.body
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_tenants_id_is_like_an_unknown_id() {
    let of_a_tenant = |route: &&Route| route.3 != Scope::Operator;
    for route in ROUTES.iter().filter(of_a_tenant) {
        let Route(method, path, body, needed) = route;
        if !path.contains('{') && !body.contains('{') {
            continue;
        }
        let (platform, theirs) = furnished().await;
        platform.create_tenant("other").await;
        let token = platform.create_key_of_scopes("other", &[*needed]).await;
        let before = platform.everything().await;
        let mut answers = Vec::new();
        for ids in [&theirs, &Ids::unknown()] {
            let mut answer = route.call(&platform, ids, &token).await;
            answer.headers.remove("x-request-id");
            let mut shown = answer.body.clone();
            if let Some(fields) = shown.as_object_mut() {
                fields.remove("request_id");
            }
            let shown = ids.taken_from(&shown.to_string());
            answers.push((answer.status, format!("{:?}", answer.headers), shown));
        }
        if !["/v1/agents", "/v1/keys"].contains(path) {
            assert_eq!(answers[0], answers[1], "{method} {path}");
        }
        assert!(!answers[0].2.contains("acme"), "{method} {path}");
        if *method != "POST" || path.contains('{') {
            assert_eq!(platform.everything().await, before, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_list_of_a_tenant_is_its_own() {
    let (platform, _) = furnished().await;
    platform.create_tenant("other").await;
    for (path, scope) in [
        ("/v1/agents", Scope::AgentsRead),
        ("/v1/tasks", Scope::TasksRead),
        ("/v1/dead-letters", Scope::DeadLetters),
    ] {
        let token = platform.create_key_of_scopes("other", &[scope]).await;
        let route = Route("GET", path, "", scope);
        let listed = route.call(&platform, &Ids::unknown(), &token).await;
        assert_eq!(listed.body["data"], json!([]), "{path}");
    }
    let token = platform.create_key_of_scopes("other", &[Scope::Keys]).await;
    let route = Route("GET", "/v1/keys", "", Scope::Keys);
    let listed = route.call(&platform, &Ids::unknown(), &token).await;
    let names = listed.body["data"].as_array().unwrap().len();
    assert_eq!(names, 4, "{}", listed.body);
}

/// The table above has the routes of `docs/api.md`.
#[test]
fn each_documented_route_is_checked() {
    let documented = include_str!("../../../../docs/api.md").lines();
    let documented = documented.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = documented
        .map(|(route, _)| route.split('?').next().unwrap().to_owned())
        .filter(|route| route.contains(" /v1/"))
        .collect();
    let checked = ROUTES.iter().map(Route::documented);
    assert_eq!(checked.collect::<BTreeSet<_>>(), documented);
}

impl Route {
    /// The route as `docs/api.md` names it.
    pub(crate) fn documented(&self) -> String {
        let Self(method, path, ..) = self;
        let path = path.split('?').next().unwrap_or_default();
        let path = path
            .replace("/steps/1", "/steps/{number}")
            .replace("/versions/1", "/versions/{number}")
            .replace("/aliases/live", "/aliases/{name}");
        let path = ["agent", "task", "key", "tenant"]
            .iter()
            .fold(path, |path, name| {
                path.replace(&format!("{{{name}}}"), "{id}")
            });
        format!("{method} {path}")
    }
}

impl Platform {
    /// Creates a tenant as the operator.
    pub(crate) async fn create_tenant(&self, id: &str) {
        let answer = self
            .post("/v1/tenants", json!({ "id": id }).to_string())
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }

    /// Creates a key of a tenant as the operator: its id and its token.
    pub(crate) async fn create_key(&self, tenant: &str, scopes: &[Scope]) -> (String, String) {
        let body = json!({ "name": "k", "scopes": scopes }).to_string();
        let answer = self.post(&format!("/v1/tenants/{tenant}/keys"), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    /// The token of a new key with these scopes. Only the deployment's own tenant has operators.
    async fn create_key_of_scopes(&self, tenant: &str, scopes: &[Scope]) -> String {
        if !scopes.contains(&Scope::Operator) {
            return self.create_key(tenant, scopes).await.1;
        }
        let body = json!({ "name": "k", "scopes": scopes }).to_string();
        let answer = self.post("/v1/keys", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// All agents, tasks, tenants and sent messages. Keys are not in it, for the tests make some.
    async fn everything(&self) -> Value {
        let (agents, tasks) = self.store.content();
        let tenants = self.get("/v1/tenants").await.body;
        json!([agents, tasks, tenants, self.queue.sent().len()])
    }
}
