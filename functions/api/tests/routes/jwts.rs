//! JWTs over HTTP.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::testing::samples;

use crate::logs::hear;
use crate::platform::{Platform, send_as, with_token};

#[tokio::test]
async fn a_jwt_opens_the_api_of_its_tenant_but_manages_nothing() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    platform.create_tenant("acme").await;
    let path = format!("/v1/agents/{agent}");
    let found = send_as(&platform, "eyJdefault", "GET", &path, "").await;
    assert_eq!(found.status, StatusCode::OK);
    let hidden = send_as(&platform, "eyJacme", "GET", &path, "").await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    for (method, path, scope) in [
        ("GET", "/v1/keys", "keys"),
        ("GET", "/v1/tenants", "operator"),
    ] {
        let refused = send_as(&platform, "eyJdefault", method, path, "").await;
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
        "eyJforged",
        "eyJnobody",
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
    let unknown = with_token(&platform, "eyJunreadable").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.body["retryable"], true);
    let detail = unknown.body["detail"].as_str().unwrap();
    assert!(detail.starts_with("no JWT can be checked"), "{detail}");
}

#[tokio::test]
async fn the_log_says_who_sent_a_jwt_and_not_the_jwt() {
    let platform = Platform::new();
    let (heard, _guard) = hear();
    with_token(&platform, "eyJdefault").await;
    with_token(&platform, "eyJforged").await;
    let text = heard.text();
    assert!(!text.contains("eyJ"), "{text}");
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
