//! `GET /v1/tasks`: filters and orders.

use shared::domain::Scope;

use super::*;
use crate::platform::AGENT;

/// Submits a task with these metadata, a second after the one before.
async fn submit(platform: &Platform, agent: &str, metadata: Value) -> String {
    platform.clock.advance(Duration::from_secs(1));
    let body = json!({ "agent_id": agent, "input": "hello", "metadata": metadata });
    let accepted = platform.post("/v1/tasks", body.to_string()).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    assert_eq!(accepted.body["metadata"], metadata);
    accepted.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_shows_what_its_filters_name_in_the_wanted_order() {
    let platform = Platform::new();
    let (agent, other) = (platform.create_agent().await, platform.create_agent().await);
    let first = submit(&platform, &agent, json!({ "order": "7:a" })).await;
    platform.drain(ScriptedModel::default()).await;
    let second = submit(&platform, &agent, json!({ "order": "8" })).await;
    let from = platform.get(&format!("/v1/tasks/{second}")).await.body["created_at"].clone();
    let from = from.as_str().unwrap();
    let third = submit(&platform, &other, json!({})).await;
    let canceled = platform
        .post(&format!("/v1/tasks/{third}/cancel"), "")
        .await;
    assert_eq!(canceled.status, StatusCode::OK);
    for (query, expected) in [
        (String::new(), vec![&third, &second, &first]),
        ("order=newest".to_owned(), vec![&third, &second, &first]),
        ("order=oldest".to_owned(), vec![&first, &second, &third]),
        ("status=completed,canceled".to_owned(), vec![&third, &first]),
        (format!("agent_id={agent}"), vec![&second, &first]),
        ("metadata=order:7:a".to_owned(), vec![&first]),
        ("metadata=order:7".to_owned(), vec![]),
        (format!("created_from={from}"), vec![&third, &second]),
        (format!("created_before={from}"), vec![&first]),
        (format!("created_before={from}&status=queued"), vec![]),
    ] {
        let list = platform.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(list.status, StatusCode::OK, "{query}: {}", list.body);
        let ids: Vec<&str> = list.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn a_list_shows_cost_and_metadata() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let id = submit(&platform, &agent, json!({ "order": "7" })).await;
    platform.drain(ScriptedModel::default()).await;
    let task = platform.get(&format!("/v1/tasks/{id}")).await.body;
    let list = platform.get("/v1/tasks").await.body;
    for field in ["cost_micro_usd", "unpriced_calls", "metadata", "attempts"] {
        assert_eq!(list["data"][0][field], task[field], "{field}");
    }
}

#[tokio::test]
async fn a_filter_that_breaks_a_rule_is_refused_by_its_parameter() {
    let platform = Platform::new();
    let time = "2026-01-31T12:00:00Z";
    for (query, parameter, reason) in [
        ("status=done", "status", "must be of queued, running"),
        ("status=", "status", "must be of queued, running"),
        (
            "status=queued,,failed",
            "status",
            "must be of queued, running",
        ),
        (
            "agent_id=agt_1",
            "agent_id",
            "must be an id of the form agt_",
        ),
        ("metadata=a%20b:c", "metadata", "must have keys of 1 to 64"),
        (
            "metadata=order",
            "metadata",
            "must be a key, a colon and a value",
        ),
        (
            "created_from=2026",
            "created_from",
            "must be a time such as",
        ),
        (
            "created_before=2026-11-18T12:06:40+01:00",
            "created_before",
            "in a URL, write + as %2B",
        ),
        ("order=up", "order", "must be newest or oldest"),
        (
            &format!("created_from={time}&created_before={time}"),
            "created_before",
            "must be later than created_from",
        ),
        (
            "status=queued&status=failed",
            "status",
            "must be given once",
        ),
    ] {
        let refused = platform.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let error = &refused.body["errors"][0];
        assert_eq!(error["parameter"], parameter, "{query}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_cursor_of_a_time_that_the_filter_excludes_is_refused() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    for _ in 0..2 {
        submit(&platform, &agent, json!({})).await;
    }
    let cursor = platform.get("/v1/tasks?limit=1").await.body["next_cursor"].clone();
    let query = format!(
        "created_before=2001-01-31T12:00:00Z&cursor={}",
        cursor.as_str().unwrap()
    );
    let refused = platform.get(&format!("/v1/tasks?{query}")).await;
    assert_eq!(
        refused.body["errors"][0]["parameter"], "cursor",
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn a_task_names_the_key_that_submitted_it() {
    let platform = Platform::new();
    platform.create_tenant("acme").await;
    let scopes = [Scope::AgentsWrite, Scope::TasksSubmit, Scope::TasksRead];
    let (key, token) = platform.create_key("acme", &scopes).await;
    let call = async |method: &str, path: &str, body: String| {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        platform.send(request.body(body.into()).unwrap()).await.body
    };
    let agent = call("POST", "/v1/agents", AGENT.to_owned()).await;
    let body = json!({ "agent_id": agent["id"], "input": "hello" }).to_string();
    let submitted = call("POST", "/v1/tasks", body).await;
    assert_eq!(submitted["submitted_by"], key);
    let path = format!("/v1/tasks/{}", submitted["id"].as_str().unwrap());
    let read = call("GET", &path, String::new()).await;
    assert_eq!(read["submitted_by"], key);
    let listed = call("GET", "/v1/tasks", String::new()).await;
    assert_eq!(listed["data"][0]["submitted_by"], key);
}
