//! JWTs over HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::testing::samples;

use crate::logs::hear;
use crate::platform::{Platform, send, send_as, with_token};

#[tokio::test]
async fn a_jwt_opens_the_api_of_its_tenant_but_manages_nothing() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    platform.create_tenant("acme").await;
    let path = format!("/v1/agents/{agent}");
    let found = send_as(&platform, "jwt.default.signed", "GET", &path, "").await;
    assert_eq!(found.status, StatusCode::OK);
    let hidden = send_as(&platform, "jwt.acme.signed", "GET", &path, "").await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    for (method, path, scope) in [
        ("GET", "/v1/keys", "keys"),
        ("GET", "/v1/tenants", "operator"),
    ] {
        let refused = send_as(&platform, "jwt.default.signed", method, path, "").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("the scope {scope},")), "{detail}");
    }
}

#[tokio::test]
async fn a_refused_jwt_gets_the_401_of_a_refused_key() {
    let platform = Platform::new();
    let mut bodies = Vec::new();
    for token in [
        "jwt.forged.signed",
        "jwt.nobody.signed",
        &samples::token().expose(),
        "wrong",
    ] {
        let mut answer = with_token(&platform, token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
        answer.body.as_object_mut().unwrap().remove("request_id");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let unknown = with_token(&platform, "jwt.unreadable.signed").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.body["retryable"], true);
    let detail = unknown.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("no JWT can be checked"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_task_learns_of_a_suspension() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let jwt = "jwt.acme.signed";
    let agent = json!({ "name": "a", "models": [{ "provider": "anthropic", "model": "claude-sonnet-5-5" }] });
    let agent = send_as(&platform, jwt, "POST", "/v1/agents", agent).await;
    let task = json!({ "agent_id": agent.body["id"], "input": "hello" });
    let task = send_as(&platform, jwt, "POST", "/v1/tasks", task).await;
    assert_eq!(task.status, StatusCode::ACCEPTED, "{}", task.body);
    let suspended = json!({ "status": "suspended" });
    send(&platform, "PATCH", "/v1/tenants/acme", suspended).await;
    platform.clock.advance(Duration::from_secs(10));
    let path = format!("/v1/tasks/{}", task.body["id"].as_str().unwrap());
    let known = send_as(&platform, jwt, "GET", &path, "").await;
    assert_eq!(known.status, StatusCode::OK, "known for 30 s");
    let waits = send_as(&platform, jwt, "GET", &format!("{path}?wait=25"), "").await;
    assert_eq!(
        (waits.status, &waits.body["code"]),
        (StatusCode::FORBIDDEN, &json!("tenant_suspended"))
    );
}

#[tokio::test]
async fn the_log_says_who_sent_a_jwt_and_not_the_jwt() {
    let platform = Platform::new();
    let (heard, _guard) = hear();
    with_token(&platform, "jwt.default.signed").await;
    with_token(&platform, "jwt.forged.signed").await;
    let text = heard.text();
    assert!(!text.contains(".signed"), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| {
        lines
            .iter()
            .find(|line| line["message"] == message)
            .unwrap()
    };
    let handled = of("request handled");
    assert_eq!(handled["caller_subject"], "user-7");
    assert_eq!(handled["tenant_id"], "default");
    assert_eq!(of("API key or JWT refused")["reason"], json!("signature"));
}
