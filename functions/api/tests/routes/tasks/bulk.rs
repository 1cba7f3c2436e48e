//! `POST /v1/tasks/cancel` and `POST /v1/tasks/retry`: many tasks by a filter.

use super::*;
use crate::platform::Answer;

async fn change(platform: &Platform, what: &str, body: Value) -> Answer {
    platform
        .post(&format!("/v1/tasks/{what}"), body.to_string())
        .await
}

/// The ids of the entries, and whether each was changed.
fn changed(answer: &Answer) -> Vec<(&str, bool)> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let entries = answer.body["data"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            (
                entry["id"].as_str().unwrap(),
                entry["changed"].as_bool().unwrap(),
            )
        })
        .collect()
}

/// Three queued tasks, newest first.
async fn three(platform: &Platform, agent: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        platform.clock.advance(Duration::from_secs(1));
        let task = platform.submit(agent, "hello").await;
        ids.insert(0, task["id"].as_str().unwrap().to_owned());
    }
    ids
}

#[tokio::test]
async fn all_tasks_of_a_filter_are_canceled_page_by_page() {
    let platform = Platform::new();
    let (agent, other) = (platform.create_agent().await, platform.create_agent().await);
    let ids = three(&platform, &agent).await;
    let spared = platform.submit(&other, "hello").await;
    let body = |set: Value| {
        let mut body = json!({ "filter": { "agent_id": agent }, "limit": 2 });
        body.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        body
    };
    let rehearsed = change(&platform, "cancel", body(json!({ "dry_run": true }))).await;
    assert_eq!(changed(&rehearsed), [(&*ids[0], false), (&*ids[1], false)]);
    assert_eq!(rehearsed.body["data"][0]["status"], "queued");

    let first = change(&platform, "cancel", body(json!({}))).await;
    assert_eq!(changed(&first), [(&*ids[0], true), (&*ids[1], true)]);
    assert_eq!(first.body["data"][0]["status"], "canceled");
    let next = body(json!({ "cursor": first.body["next_cursor"] }));
    let second = change(&platform, "cancel", next).await;
    assert_eq!(changed(&second), [(&*ids[2], true)]);
    assert_eq!(second.body["next_cursor"], Value::Null);
    let repeated = change(&platform, "cancel", body(json!({}))).await;
    assert_eq!(changed(&repeated), []);

    let spared = format!("/v1/tasks/{}", spared["id"].as_str().unwrap());
    assert_eq!(platform.get(&spared).await.body["status"], "queued");
}

#[tokio::test]
async fn failed_tasks_are_retried_and_canceled_ones_only_by_name() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let failed = after(
        &platform,
        &agent,
        [Reply::Fail(ModelErrorKind::Authentication)],
    )
    .await;
    let canceled = platform.submit(&agent, "hello").await;
    let id = |task: &Value| task["id"].as_str().unwrap().to_owned();
    let cancel = format!("/v1/tasks/{}/cancel", id(&canceled));
    platform.post(&cancel, "").await;
    let filter = json!({ "filter": { "agent_id": agent } });
    let retried = change(&platform, "retry", filter.clone()).await;
    assert_eq!(changed(&retried), [(&*id(&failed), true)]);
    assert_eq!(changed(&change(&platform, "retry", filter).await), []);
    let named = json!({ "filter": { "status": ["canceled"] } });
    let retried = change(&platform, "retry", named).await;
    assert_eq!(changed(&retried), [(&*id(&canceled), true)]);
}

#[tokio::test]
async fn a_change_of_many_that_breaks_a_rule_changes_nothing() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let ids = three(&platform, &agent).await;
    for (what, body, pointer, reason) in [
        ("cancel", json!({}), "/filter", "is required"),
        (
            "cancel",
            json!({ "filter": {} }),
            "/filter",
            "must name at least one",
        ),
        (
            "cancel",
            json!({ "filter": { "agent": agent } }),
            "/filter/agent",
            "unknown field",
        ),
        (
            "cancel",
            json!({ "filter": { "status": ["queued", "failed"] } }),
            "/filter/status",
            "must be of queued, running, waiting, input_required, paused, not failed",
        ),
        (
            "retry",
            json!({ "filter": { "status": ["completed"] } }),
            "/filter/status",
            "must be of failed, timed_out, canceled, not completed",
        ),
        (
            "cancel",
            json!({ "filter": { "metadata": { "a": "1", "b": "2" } } }),
            "/filter/metadata",
            "must have one pair",
        ),
        (
            "cancel",
            json!({ "filter": { "status": ["queued"] }, "limit": 101 }),
            "/limit",
            "must be 1 to 100",
        ),
    ] {
        let refused = change(&platform, what, body.clone()).await;
        check_refused(&refused, &[(pointer, reason)], &body.to_string());
    }
    let cursor = json!({ "filter": { "status": ["queued"] }, "cursor": "made up" });
    let refused = change(&platform, "cancel", cursor).await;
    check_refused(&refused, &[("/cursor", "must be a next_cursor")], "cursor");
    let task = platform.get(&format!("/v1/tasks/{}", ids[0])).await;
    assert_eq!(task.body["status"], "queued");
}
