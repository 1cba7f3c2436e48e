//! `POST /v1/agents/execute`: an agent by its id, or inline.

use axum::body::Body;
use axum::http::Request;
use shared::domain::Scope;

use super::*;
use crate::platform::{AGENT, Answer};

const EXECUTE: &str = "/v1/agents/execute";

/// A submission with an inline agent that has these members beside those of every agent.
fn inline(set: Value) -> Value {
    let mut agent: Value = serde_json::from_str(AGENT).unwrap();
    let members = agent.as_object_mut().unwrap();
    members.extend(set.as_object().unwrap().clone());
    json!({ "agent": agent, "input": "hello" })
}

/// The response to a submission that does not wait.
async fn send(platform: &Platform, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let fixed = [
        ("content-type", "application/json"),
        ("prefer", "respond-async"),
    ];
    let headers = [&fixed, headers].concat();
    let sent = ("POST", EXECUTE);
    platform.send_typed(sent, &headers, body.to_string()).await
}

/// The id of the agent of an accepted task.
async fn agent_of(platform: &Platform, body: &Value) -> String {
    let answer = send(platform, body, &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    answer.body["agent_id"].as_str().unwrap().to_owned()
}

async fn send_as(platform: &Platform, token: &str, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("prefer", "respond-async");
    let body = Body::from(body.to_string());
    platform.send(request.body(body).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn an_inline_agent_works_on_its_task() {
    let platform = Platform::new();
    let work = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        platform.drain(ScriptedModel::default()).await;
    };
    let body = inline(json!({ "name": "once" }));
    let (answer, ()) = futures::join!(platform.post(EXECUTE, body.to_string()), work);
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["output"], "hello");
    let path = format!("/v1/agents/{}", answer.body["agent_id"].as_str().unwrap());
    let read = platform.get(&path).await;
    assert_eq!(
        (&read.body["name"], &read.body["version"]),
        (&json!("once"), &json!(1))
    );
    let versions = platform.get(&format!("{path}/versions")).await.body;
    assert_eq!(versions["data"].as_array().unwrap().len(), 1);
    let listed = platform.get("/v1/agents").await.body;
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn an_agent_is_the_same_if_its_definition_is_the_same() {
    let platform = Platform::new();
    let first = agent_of(&platform, &inline(json!({}))).await;
    let mut again = inline(json!({ "enabled": true, "max_steps": 100 }));
    again["input"] = json!("hello again");
    assert_eq!(
        agent_of(&platform, &again).await,
        first,
        "defaults are the same"
    );
    let other = agent_of(&platform, &inline(json!({ "max_steps": 99 }))).await;
    assert_ne!(other, first);
    platform.create_tenant("acme").await;
    let scopes = [Scope::TasksSubmit, Scope::AgentsWrite];
    let (_, token) = platform.create_key("acme", &scopes).await;
    let theirs = send_as(&platform, &token, EXECUTE, &inline(json!({}))).await;
    assert_eq!(theirs.status, StatusCode::ACCEPTED);
    assert_ne!(theirs.body["agent_id"], json!(first));
}

#[tokio::test]
async fn a_definition_needs_the_scope_to_write_agents_and_an_id_does_not() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let (_, submits) = platform.create_key("acme", &[Scope::TasksSubmit]).await;
    let before = platform.store.content();
    let body = inline(json!({ "models": [] }));
    let refused = send_as(&platform, &submits, EXECUTE, &body).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (StatusCode::FORBIDDEN, &json!("missing_scope"))
    );
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("agents:write"), "{detail}");
    assert_eq!(platform.store.content(), before);
    let scopes = [Scope::TasksSubmit, Scope::AgentsWrite];
    let (_, writes) = platform.create_key("acme", &scopes).await;
    let accepted = send_as(&platform, &writes, EXECUTE, &inline(json!({}))).await;
    let by_id = json!({ "agent_id": accepted.body["agent_id"], "input": "hello again" });
    for path in [EXECUTE, "/v1/tasks"] {
        let accepted = send_as(&platform, &submits, path, &by_id).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    }
}

#[tokio::test]
async fn each_broken_rule_is_named_and_nothing_is_written() {
    let platform = Platform::new();
    let with = |member: &str, value: Value| {
        let mut body = inline(json!({}));
        body[member] = value;
        body
    };
    let model = json!({ "provider": "anthropic", "model": "claude-0" });
    let table: [(Value, &[(&str, &str)]); 9] = [
        (
            json!({}),
            &[
                ("/agent_id", "or an agent is required"),
                ("/input", "is required"),
            ],
        ),
        (
            json!({ "agent_id": UNKNOWN_AGENT, "input": "hello" }),
            &[("/agent_id", "not found")],
        ),
        (
            with("agent_id", json!(UNKNOWN_AGENT)),
            &[("/agent_id", "must not be given beside agent")],
        ),
        (
            with("limits", json!({ "max_steps": 0 })),
            &[("/limits/max_steps", "must be")],
        ),
        (with("agent", json!([])), &[("/agent", "must be an object")]),
        (
            with("agent", json!({ "models": [] })),
            &[
                ("/agent/name", "is required"),
                ("/agent/models", "must have 1 to 5"),
            ],
        ),
        (
            inline(json!({ "enabled": false })),
            &[("/agent/enabled", "must not be false")],
        ),
        (
            inline(json!({ "tool": 1 })),
            &[("/agent/tool", "unknown field")],
        ),
        (
            inline(json!({ "models": [model] })),
            &[("/agent/models/0/model", "")],
        ),
    ];
    let before = platform.store.content();
    for (body, expected) in table {
        let refused = send(&platform, &body, &[]).await;
        check_refused(&refused, expected, &body.to_string());
        assert_eq!(platform.store.content(), before, "{body}");
    }
    assert_eq!(platform.queue.sent(), []);
}

#[tokio::test]
async fn an_inline_agent_has_no_version_and_no_alias() {
    let platform = Platform::new();
    let before = platform.store.content();
    for (member, value) in [("agent_version", json!(1)), ("alias", json!("prod"))] {
        let mut body = inline(json!({}));
        body[member] = value;
        let refused = send(&platform, &body, &[]).await;
        let pointer = format!("/{member}");
        let expected = [(pointer.as_str(), "must not be given beside agent")];
        check_refused(&refused, &expected, member);
        assert_eq!(platform.store.content(), before, "{member}");
    }
}

#[tokio::test]
async fn an_inline_agent_cannot_be_changed() {
    let platform = Platform::new();
    let agent = agent_of(&platform, &inline(json!({}))).await;
    let before = platform.store.content();
    for (status, code, id) in [
        (409, "conflict", agent.as_str()),
        (404, "not_found", "agt_07070707-0707-8707-8707-070707070707"),
    ] {
        let path = format!("/v1/agents/{id}");
        let alias = format!("{path}/aliases/prod");
        for answer in [
            platform.patch(&path, r#"{"name":"x"}"#).await,
            platform.patch(&path, r#"{"enabled":false}"#).await,
            platform.delete(&path).await,
            platform.delete(&format!("/v1/cache?agent_id={id}")).await,
            platform.put(&alias, r#"{"version":1}"#).await,
            platform.delete(&alias).await,
        ] {
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (status, &json!(code)),
                "{}",
                answer.body
            );
        }
    }
    assert_eq!(platform.store.content(), before);
    let aliases = platform.get(&format!("/v1/agents/{agent}/aliases")).await;
    assert_eq!(aliases.body["data"], json!([]));
}

#[tokio::test]
async fn a_repeated_submission_returns_the_first_task_of_the_same_definition() {
    let platform = Platform::new();
    let key = [("idempotency-key", "k1")];
    let first = send(&platform, &inline(json!({})), &key).await;
    let again = send(&platform, &inline(json!({})), &key).await;
    assert_eq!(
        (again.status, &again.body["id"]),
        (first.status, &first.body["id"])
    );
    let by_id = json!({ "agent_id": first.body["agent_id"], "input": "hello" });
    let again = send(&platform, &by_id, &key).await;
    assert_eq!(again.body["id"], first.body["id"]);
    let other = send(&platform, &inline(json!({ "name": "other" })), &key).await;
    assert_eq!(
        (other.status, &other.body["code"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("idempotency_key_reused")
        )
    );
}
