//! Tasks of several steps: tools, the client's own tools, cancel, retry, and what is shown of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use tests::Platform;
use tests::platform::unique;

async fn agent(platform: &Platform, provider: &str, model: &str) -> String {
    let question = json!({ "type": "object", "properties": { "question": { "type": "string" } } });
    let fields = json!({
        "models": [{ "provider": provider, "model": model }],
        "builtin_tools": [{ "name": "calculator" }, { "name": "current_time" }],
        "tools": [{ "name": "ask_human", "description": "Asks a person.", "input_schema": question }],
    });
    platform.agent_of(fields).await
}

async fn post(
    platform: &Platform,
    task: &str,
    what: &str,
    body: Option<&Value>,
) -> (StatusCode, Value) {
    platform
        .call(Method::POST, &format!("/v1/tasks/{task}/{what}"), body)
        .await
}

#[tokio::test]
async fn a_task_goes_through_its_tools_to_an_answer_with_each_provider() {
    let platform = Platform::deployed().await;
    for (provider, model) in [
        ("anthropic", "claude-sonnet-5-5"),
        ("openai", "gpt-6.1-terra"),
    ] {
        let task = platform
            .submit(
                &agent(&platform, provider, model).await,
                &unique("[five-steps]"),
            )
            .await;
        let ended = platform.ended(&task).await;
        assert_eq!(
            (&ended["status"], &ended["output"]),
            (&json!("completed"), &json!("canary answer")),
            "{ended}"
        );
        assert_eq!(
            (&ended["model_attempts"], &ended["steps"]),
            (&json!(3), &json!(5)),
            "{ended}"
        );
        let (status, page) = platform
            .call(Method::GET, &format!("/v1/tasks/{task}/steps"), None)
            .await;
        let steps = page["data"].as_array().unwrap();
        let kinds: Vec<&Value> = steps.iter().map(|step| &step["kind"]).collect();
        let expected = [
            "model_call",
            "tool_call",
            "model_call",
            "tool_call",
            "model_call",
        ];
        assert_eq!(
            (status, json!(kinds)),
            (StatusCode::OK, json!(expected)),
            "{page}"
        );
        assert_eq!(
            (&steps[1]["text"], &steps[1]["by"]),
            (&json!("42"), &json!("platform")),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_task_waits_for_its_client_and_goes_on_with_the_answer() {
    let platform = Platform::deployed().await;
    let agent = agent(&platform, "anthropic", "claude-sonnet-5-5").await;
    let prompt = unique("[ask]");
    let task = platform.submit(&agent, &prompt).await;
    let asking = platform.ended(&task).await;
    assert_eq!(asking["status"], "input_required", "{asking}");
    let call = &asking["input_required"]["calls"][0];
    assert_eq!(call["name"], "ask_human", "{asking}");
    let (status, refused) = post(&platform, &task, "input", Some(&json!({ "results": [] }))).await;
    assert_eq!(
        (status, &refused["code"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("validation_failed")
        ),
        "{refused}"
    );
    let results = json!({ "results": [{ "call_id": call["call_id"], "text": "Yes, really." }] });
    for _ in 0..2 {
        let (status, answered) = post(&platform, &task, "input", Some(&results)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answered}");
    }
    assert_eq!(platform.ended(&task).await["status"], "completed");
    let requests = platform.model_requests(&prompt).await;
    assert_eq!(requests.len(), 2);
    assert!(
        requests[1]["body"]["messages"]
            .to_string()
            .contains("Yes, really.")
    );
}

#[tokio::test]
async fn a_cancel_reaches_a_model_call_that_is_open() {
    let platform = Platform::deployed().await;
    let agent = agent(&platform, "anthropic", "claude-sonnet-5-5").await;
    let task = platform.submit(&agent, &unique("[silent]")).await;
    platform.until_status(&task, "running").await;
    let begun = std::time::Instant::now();
    assert_eq!(
        post(&platform, &task, "cancel", None).await.0,
        StatusCode::OK
    );
    let ended = platform.ended(&task).await;
    assert_eq!(ended["status"], "canceled", "{ended}");
    assert!(begun.elapsed().as_secs() < 6, "{:?}", begun.elapsed());
    let events: Vec<&Value> = ended["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["event"])
        .collect();
    assert_eq!(
        json!(events),
        json!(["submitted", "claimed", "cancel_requested", "canceled"])
    );
    assert_eq!(
        post(&platform, &task, "resume", None).await.0,
        StatusCode::CONFLICT
    );
}

#[tokio::test]
async fn a_failed_task_is_retried_from_its_last_step() {
    let platform = Platform::deployed().await;
    let agent = agent(&platform, "anthropic", "claude-sonnet-5-5").await;
    let body =
        json!({ "agent_id": agent, "input": unique("[five-steps]"), "limits": { "max_steps": 3 } });
    let task = platform.submit_body(&body).await;
    let paused = platform.ended(&task).await;
    assert_eq!(
        (&paused["status"], &paused["paused"]["limit"]),
        (&json!("paused"), &json!("max_steps")),
        "{paused}"
    );
    assert_eq!(
        post(&platform, &task, "cancel", None).await.0,
        StatusCode::OK
    );
    let more = json!({ "limits": { "max_steps": 9 } });
    assert_eq!(
        post(&platform, &task, "retry", Some(&more)).await.0,
        StatusCode::ACCEPTED
    );
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["model_attempts"]),
        (&json!("completed"), &json!(3)),
        "{ended}"
    );
}

/// The deployed test stack has invocations of 20 s. 10 s are reserved for recording, and a step
/// takes 3 s.
#[tokio::test]
async fn a_task_longer_than_an_invocation_goes_on_in_the_next() {
    let platform = Platform::deployed().await;
    let prompt = unique("[long]");
    let task = platform
        .submit(
            &agent(&platform, "anthropic", "claude-sonnet-5-5").await,
            &prompt,
        )
        .await;
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["steps"]),
        (&json!("completed"), &json!(5)),
        "{ended}"
    );
    assert!(
        ended["hops"].as_u64().is_some_and(|hops| hops >= 1),
        "{ended}"
    );
    assert_eq!(platform.model_requests(&prompt).await.len(), 3);
    platform.logged("executor", "task handed over", &task).await;
}
