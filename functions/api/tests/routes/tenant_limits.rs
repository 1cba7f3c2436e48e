//! How many agents and keys a tenant may have.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::Scope;

use crate::platform::{AGENT, Answer, Platform, check_refused, send, send_as};

const ACME: &str = "/v1/tenants/acme";

fn limits(agents: &Value, keys: &Value) -> Value {
    json!({ "limits": { "max_agents": agents, "max_keys": keys } })
}

#[track_caller]
fn check_full(refused: &Answer, detail: &str) {
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    assert_eq!(refused.body["code"], "limit_reached");
    assert_eq!(refused.body["detail"], detail);
}

#[tokio::test]
async fn a_tenant_has_at_most_as_many_agents_as_the_operator_says() {
    let platform = Platform::new();
    let body = json!({ "id": "acme", "limits": { "max_agents": 2 } });
    let created = send(&platform, "POST", "/v1/tenants", body).await;
    assert_eq!(created.body["limits"]["max_agents"], 2);
    let scopes = [Scope::AgentsRead, Scope::AgentsWrite];
    let (_, token) = platform.create_key("acme", &scopes).await;
    let create = async || send_as(&platform, &token, "POST", "/v1/agents", AGENT).await;
    let first = create().await;
    for status in [first.status, create().await.status] {
        assert_eq!(status, StatusCode::CREATED);
    }
    let full = "the tenant has 2 agents, and its max_agents is 2; archive one first";
    check_full(&create().await, full);
    let listed = send_as(&platform, &token, "GET", "/v1/agents", "").await;
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 2);
    let counts = async || platform.get(ACME).await.body["counts"].take();
    assert_eq!(counts().await, json!({ "agents": 2, "keys": 1 }));
    let path = format!("/v1/agents/{}", first.body["id"].as_str().unwrap());
    for _ in 0..2 {
        let archived = send_as(&platform, &token, "DELETE", &path, "").await;
        assert_eq!(archived.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(counts().await["agents"], 1);
    assert_eq!(create().await.status, StatusCode::CREATED);
    check_full(&create().await, full);

    let changed = send(&platform, "PATCH", ACME, limits(&json!(1), &Value::Null)).await;
    assert_eq!(changed.body["limits"]["max_agents"], 1);
    platform.clock.advance(Duration::from_secs(30));
    let full = "the tenant has 2 agents, and its max_agents is 1; archive one first";
    check_full(&create().await, full);
    send(&platform, "PATCH", ACME, limits(&Value::Null, &Value::Null)).await;
    platform.clock.advance(Duration::from_secs(30));
    assert_eq!(create().await.status, StatusCode::CREATED);
    // The deployment's own tenant has agents of its own, and more than others may have.
    assert_eq!(
        platform.post("/v1/agents", AGENT).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_key_counts_until_it_is_revoked() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    send(&platform, "PATCH", ACME, limits(&Value::Null, &json!(2))).await;
    let (_, token) = platform.create_key("acme", &[Scope::Keys]).await;
    let new = json!({ "name": "k", "scopes": ["keys"], "expires_at": "2026-11-18T11:07:40Z" });
    let own = new.to_string();
    let first = send_as(&platform, &token, "POST", "/v1/keys", &own).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    platform.clock.advance(Duration::from_mins(2));
    let new = json!({ "name": "k", "scopes": ["keys"] });
    let full =
        "the tenant has 2 keys that are not revoked, and its max_keys is 2; revoke one first";
    let own = new.to_string();
    let refusals = [
        send_as(&platform, &token, "POST", "/v1/keys", &own).await,
        send(&platform, "POST", "/v1/tenants/acme/keys", new).await,
    ];
    for refused in refusals {
        check_full(&refused, full);
    }
    let path = format!("/v1/keys/{}", first.body["id"].as_str().unwrap());
    for _ in 0..2 {
        let revoked = send_as(&platform, &token, "DELETE", &path, "").await;
        assert_eq!(revoked.status, StatusCode::OK);
    }
    assert_eq!(platform.get(ACME).await.body["counts"]["keys"], 1);
    let again = send_as(&platform, &token, "POST", "/v1/keys", &own).await;
    assert_eq!(again.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_limit_is_a_whole_number_in_its_range() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let table = [
        ("max_agents", json!(0)),
        ("max_agents", json!(100_001)),
        ("max_keys", json!(0)),
        ("max_keys", json!(1_001)),
    ];
    let malformed = [json!(-1), json!(1.5), json!("7"), json!(true), json!([1])];
    let malformed = malformed
        .into_iter()
        .flat_map(|value| [("max_agents", value.clone()), ("max_keys", value)]);
    for (field, value) in table.into_iter().chain(malformed) {
        let case = format!("{field}: {value}");
        let limits = json!({ "limits": { field: value } });
        let mut new = limits.clone();
        new["id"] = "other".into();
        let place = format!("/limits/{field}");
        for (method, path, body) in [("PATCH", ACME, limits), ("POST", "/v1/tenants", new)] {
            let refused = send(&platform, method, path, body).await;
            check_refused(&refused, &[(&place, "")], &case);
        }
    }
    let unknown = json!({ "limits": { "max_tasks": 1 } });
    let refused = send(&platform, "PATCH", ACME, unknown).await;
    check_refused(&refused, &[("/limits/max_tasks", "")], "an unknown limit");
    let found = platform.get(ACME).await.body;
    let limits = found["limits"].as_object().unwrap();
    assert!(limits.values().all(Value::is_null), "{limits:?}");
    let other = platform.get("/v1/tenants/other").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_change_of_one_limit_keeps_the_others() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let change = async |limits: Value| {
        let body = json!({ "limits": limits });
        let mut changed = send(&platform, "PATCH", ACME, body).await;
        changed.body["limits"].take()
    };
    let table = [
        (json!({ "max_agents": 5 }), json!([null, 5, null])),
        (json!({ "max_keys": 7.0 }), json!([null, 5, 7])),
        (json!({ "requests_per_minute": 9 }), json!([9, 5, 7])),
        (json!({ "max_agents": null }), json!([9, null, 7])),
        (json!({}), json!([9, null, 7])),
    ];
    for (body, expected) in table {
        let shown = change(body.clone()).await;
        let names = ["requests_per_minute", "max_agents", "max_keys"];
        let shown: Vec<&Value> = names.iter().map(|name| &shown[name]).collect();
        assert_eq!(json!(shown), expected, "{body}");
    }
}
