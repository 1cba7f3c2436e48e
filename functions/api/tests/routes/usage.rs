//! What tasks cost, as clients see it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shared::domain::Scope;
use shared::testing::ScriptedModel;

use crate::platform::{Answer, Platform};

async fn with_token(
    platform: &Platform,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json");
    let body = Body::from(body.to_owned());
    platform.send(request.body(body).unwrap()).await
}

/// A platform on which the deployment's key and a key of its tenant ran a task each.
async fn used() -> (Platform, String, String) {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let body = json!({ "name": "ci", "scopes": ["tasks:submit", "tasks:read"] });
    let key = platform.post("/v1/keys", body.to_string()).await.body;
    let token = key["token"].as_str().unwrap();
    let task = json!({ "agent_id": agent, "input": "hello" }).to_string();
    let submitted = with_token(&platform, token, "POST", "/v1/tasks", &task).await;
    assert_eq!(submitted.status, StatusCode::ACCEPTED, "{}", submitted.body);
    platform.submit(&agent, "hello").await;
    platform.drain(ScriptedModel::default()).await;
    (platform, agent, key["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn usage_is_the_cost_of_the_tasks_that_were_submitted() {
    let (platform, agent, key) = used().await;
    let answer = platform.get("/v1/usage").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let spent = json!({
        "model_attempts": 2, "cost_micro_usd": 0, "unpriced_calls": 0,
        "spent": {
            "input_tokens": 22, "output_tokens": 14, "cache_read_tokens": 10, "cache_write_tokens": 6, "reasoning_tokens": 4,
        },
    });
    let mut entry = spent.clone();
    entry["group"] = json!("2026-11-18");
    let expected = json!({
        "from": "2026-10-20", "to": "2026-11-18", "group_by": "day", "data": [entry], "total": spent,
    });
    assert_eq!(answer.body, expected);
    let groups = |body: &Value| -> Vec<Value> {
        let data = body["data"].as_array().unwrap();
        data.iter().map(|entry| entry["group"].clone()).collect()
    };
    for (by, expected) in [
        ("agent", vec![json!(agent)]),
        ("key", vec![Value::Null, json!(key)]),
        ("model", vec![json!("anthropic/claude-sonnet-5-5")]),
    ] {
        let path = format!("/v1/usage?group_by={by}&from=2026-11-18&to=2026-11-18");
        assert_eq!(groups(&platform.get(&path).await.body), expected);
    }
    let of_key = platform.get(&format!("/v1/keys/{key}/usage")).await.body;
    assert_eq!(of_key["total"]["model_attempts"], 1, "{of_key}");
    let earlier = platform.get("/v1/usage?to=2026-11-17").await.body;
    assert_eq!(
        (&earlier["data"], &earlier["from"]),
        (&json!([]), &json!("2026-10-19"))
    );
}

#[tokio::test]
async fn the_operator_reads_the_usage_of_any_tenant() {
    let (platform, ..) = used().await;
    platform.create_tenant("acme").await;
    let acme = platform.get("/v1/tenants/acme/usage").await;
    assert_eq!(
        (acme.status, &acme.body["data"]),
        (StatusCode::OK, &json!([]))
    );
    let nobody = platform.get("/v1/tenants/nobody/usage").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    let (_, reader) = platform.create_key("acme", &[Scope::TasksRead]).await;
    let own = with_token(&platform, &reader, "GET", "/v1/usage", "").await;
    assert_eq!(
        (own.status, &own.body["data"]),
        (StatusCode::OK, &json!([]))
    );
}

#[tokio::test]
async fn a_report_that_breaks_a_rule_is_refused_by_its_parameter() {
    let platform = Platform::new();
    for (query, parameter) in [
        ("group_by=task", "group_by"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("from=2026-11-18T00:00:00Z", "from"),
        ("from=2026-11-02&to=2026-11-01", "from"),
        ("from=2026-01-01&to=2026-04-03", "from"),
        ("tenant_id=acme", "tenant_id"),
        ("to=2026-11-01&to=2026-11-02", "to"),
    ] {
        let refused = platform.get(&format!("/v1/usage?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(
            refused.body["errors"][0]["parameter"], parameter,
            "{}",
            refused.body
        );
    }
    let whole = platform
        .get("/v1/usage?from=2026-01-01&to=2026-04-02")
        .await;
    assert_eq!(whole.status, StatusCode::OK);
}
