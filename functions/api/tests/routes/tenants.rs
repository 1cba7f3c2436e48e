//! Tenants over HTTP, for the operator.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::Scope;
use shared::testing::samples;

use crate::platform::{Answer, Platform, request, send, with_token};

async fn delete(platform: &Platform, path: &str) -> Answer {
    let request = request("DELETE", path).body(Body::empty());
    platform.send(request.unwrap()).await
}

#[tokio::test]
async fn a_deleted_tenants_key_gets_the_401_of_an_unknown_key() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let (_, token) = platform.create_key("acme", &[Scope::AgentsRead]).await;
    assert_eq!(with_token(&platform, &token).await.status, StatusCode::OK);
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let deleted = delete(&platform, "/v1/tenants/acme").await;
        assert_eq!(deleted.status, StatusCode::ACCEPTED);
        assert_eq!(deleted.body["status"], "deleting");
        bodies.push(deleted.body);
        platform.clock.advance(Duration::from_secs(30));
    }
    assert_eq!(bodies[0], bodies[1]);
    let mut found = platform.get("/v1/tenants/acme").await.body;
    let counts = found.as_object_mut().unwrap().remove("counts");
    assert_eq!((&found, counts), (&bodies[0], Some(Value::Null)));
    let listed = platform.get("/v1/tenants").await;
    assert_eq!(listed.body["data"], json!([bodies[0]]));
    let [mut refused, mut unknown] = [
        with_token(&platform, &token).await,
        with_token(&platform, &samples::token().expose()).await,
    ];
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    for answer in [&mut refused, &mut unknown] {
        answer.body.as_object_mut().unwrap().remove("request_id");
    }
    assert_eq!(refused.body, unknown.body);
}

#[tokio::test]
async fn a_deleted_tenant_can_not_be_changed_nor_created_again() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    delete(&platform, "/v1/tenants/acme").await;
    let key = json!({ "name": "k", "scopes": ["tasks:read"] });
    let refusals = [
        send(&platform, "POST", "/v1/tenants", json!({ "id": "acme" })).await,
        send(
            &platform,
            "PATCH",
            "/v1/tenants/acme",
            json!({ "status": "active" }),
        )
        .await,
        send(&platform, "POST", "/v1/tenants/acme/keys", key).await,
    ];
    for refused in refusals {
        assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
        assert_eq!(refused.body["code"], "conflict");
        assert_eq!(
            refused.body["detail"],
            "tenant acme was deleted, and the id of a deleted tenant is never used again"
        );
    }
    let renewed = platform.post("/v1/keys/renew-seals", "").await;
    assert_eq!(renewed.body["renewed"], 0);
}

#[tokio::test]
async fn the_deployments_own_tenant_and_unknown_ones_are_not_deleted() {
    let platform = Platform::new();
    let own = delete(&platform, "/v1/tenants/default").await;
    assert_eq!(own.status, StatusCode::CONFLICT);
    assert_eq!(
        own.body["detail"],
        "tenant default is the deployment's own and cannot be deleted"
    );
    let unknown = delete(&platform, "/v1/tenants/nobody").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    for status in ["deleting", "deleted", "gone"] {
        platform.create_tenant(status).await;
        let path = format!("/v1/tenants/{status}");
        let refused = send(&platform, "PATCH", &path, json!({ "status": status })).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let broken = &refused.body["errors"][0];
        assert_eq!(broken["pointer"], "/status");
        assert_eq!(broken["detail"], "must be active or suspended");
    }
}

#[tokio::test]
async fn the_operator_says_what_happens_to_a_suspended_tenants_tasks() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let change = async |body| send(&platform, "PATCH", "/v1/tenants/acme", body).await;
    let refused = change(json!({ "suspended_tasks": "cancel" })).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let broken = &refused.body["errors"][0];
    assert_eq!(broken["pointer"], "/suspended_tasks");
    for (named, reason) in [
        (json!("drop"), "must be wait or cancel"),
        (Value::Null, "must not be null"),
    ] {
        let refused = change(json!({ "status": "suspended", "suspended_tasks": named })).await;
        assert_eq!(refused.body["errors"][0]["detail"], reason);
    }
    let table = [
        (json!({ "status": "active" }), Value::Null),
        (json!({ "status": "suspended" }), json!("wait")),
        (json!({ "suspended_tasks": "cancel" }), json!("cancel")),
        (json!({ "status": "suspended" }), json!("cancel")),
        (json!({ "status": "active" }), Value::Null),
        (
            json!({ "status": "suspended", "suspended_tasks": "cancel" }),
            json!("cancel"),
        ),
        (json!({ "suspended_tasks": "wait" }), json!("wait")),
    ];
    for (body, expected) in table {
        let changed = change(body.clone()).await;
        assert_eq!(changed.status, StatusCode::OK, "{body}: {}", changed.body);
        assert_eq!(changed.body["suspended_tasks"], expected, "{body}");
    }
}
