//! JWTs of an issuer that the test starts, against the deployed API.

use std::sync::LazyLock;

use axum::http::Uri;
use axum::{Json, Router};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::config::Environment;
use shared::jwt::signing::SigningKey;
use tests::Platform;
use tests::platform::unique;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate("first"));

/// Starts the issuer where the deployment's `JwtIssuer` says that it is. Returns its name.
async fn start_issuer() -> String {
    let issuer = Environment::process().required("ISSUER_URL").unwrap();
    let address = issuer.trim_start_matches("http://");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let name = issuer.clone();
    let respond = move |uri: Uri| {
        let body = match uri.path() {
            "/keys" => json!({ "keys": [KEY.public()] }),
            _ => json!({ "issuer": name, "jwks_uri": format!("{name}/keys") }),
        };
        std::future::ready(Json(body))
    };
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(respond)).await });
    issuer
}

fn claims(issuer: &str, tenant: &str, scope: &str) -> Value {
    json!({
        "iss": issuer, "aud": "agents", "sub": "user-7", "tenant": tenant, "scope": scope,
        "exp": 4_102_444_800_u64,
    })
}

#[tokio::test]
async fn a_jwt_submits_a_task_of_its_tenant_and_nothing_more() {
    let platform = Platform::deployed().await;
    let agent = platform.claude().await;
    let issuer = start_issuer().await;
    let scopes = "openid tasks:submit tasks:read keys operator";
    let submits = claims(&issuer, "default", scopes);
    let token = KEY.sign(&submits);
    let body = json!({ "agent_id": agent, "input": unique("[ok]") });
    let (status, task) = platform
        .call_with_key(Method::POST, "/v1/tasks", Some(&body), &token)
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    assert_eq!(task["submitted_by"], Value::Null);
    let id = task["id"].as_str().unwrap();
    assert_eq!(platform.ended(id).await["status"], "completed");
    let other = KEY.sign(&claims(&issuer, "nobody", scopes));
    let forged = SigningKey::generate("first").sign(&submits);
    for (path, token, expected) in [
        ("/v1/tasks", &token, StatusCode::OK),
        ("/v1/agents", &token, StatusCode::FORBIDDEN),
        ("/v1/keys", &token, StatusCode::FORBIDDEN),
        ("/v1/tenants", &token, StatusCode::FORBIDDEN),
        ("/v1/tasks", &other, StatusCode::UNAUTHORIZED),
        ("/v1/tasks", &forged, StatusCode::UNAUTHORIZED),
    ] {
        let (status, body) = platform.call_with_key(Method::GET, path, None, token).await;
        assert_eq!(status, expected, "{path}: {body}");
    }
}
