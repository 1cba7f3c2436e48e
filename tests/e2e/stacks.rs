//! Two stacks in one account and region.

use reqwest::{Method, StatusCode};
use serde_json::json;

use tests::Platform;
use tests::platform::unique;
use tests::stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_are_deployed_used_and_deleted_beside_each_other() {
    let platform = Platform::deployed().await;
    let schedules = platform.schedules().await;
    assert_eq!(schedules.len(), 1);
    let second = Stack::beside(&platform, "agents-second").await;
    assert_eq!(
        platform.schedules().await.len(),
        2,
        "each has its own watchdog"
    );

    let agent = json!({ "name": "clerk", "models": [{ "provider": "anthropic", "model": "claude-sonnet-5-5" }] });
    let (status, agent) = second.call(Method::POST, "/v1/agents", Some(&agent)).await;
    assert_eq!(status, StatusCode::CREATED, "{agent}");
    let task = json!({ "agent_id": agent["id"], "input": unique("[ok]") });
    let (status, task) = second.call(Method::POST, "/v1/tasks", Some(&task)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    platform
        .until(
            async || second.call(Method::GET, &path, None).await.1["status"] == "completed",
            "completed",
        )
        .await;

    let (status, _) = platform.call(Method::GET, &path, None).await;
    assert_eq!(
        status,
        StatusCode::NOT_FOUND,
        "what is in one is not in the other"
    );
    let (status, _) = platform
        .call_with_key(Method::GET, "/v1/agents", None, second.api_key())
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a key opens one of them");

    second.delete().await;
    assert_eq!(platform.schedules().await, schedules);
    let task = platform
        .submit(&platform.claude().await, &unique("[ok]"))
        .await;
    assert_eq!(platform.ended(&task).await["status"], "completed");
}
