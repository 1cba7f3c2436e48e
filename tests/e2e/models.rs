//! Both providers' protocols, when all is well and when it is not.

use serde_json::json;

use tests::Platform;
use tests::platform::unique;

async fn check_answer(provider: &str, model: &str, path: &str) {
    let platform = Platform::deployed().await;
    let agent = platform.agent(provider, model).await;
    let prompt = unique("[ok]");
    let task = platform.submit(&agent, &prompt).await;
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("completed"), &json!("canary answer")),
        "{ended}"
    );
    assert_eq!(
        (
            &ended["usage"]["input_tokens"],
            &ended["usage"]["output_tokens"]
        ),
        (&json!(9), &json!(3))
    );
    let requests = platform.model_requests(&prompt).await;
    let requests: Vec<_> = requests
        .iter()
        .map(|request| (&request["path"], &request["body"]["model"]))
        .collect();
    assert_eq!(requests, [(&json!(path), &json!(model))]);
    assert_eq!(platform.steps(&task).await, [(1, 1)]);
}

#[tokio::test]
async fn an_anthropic_agent_answers() {
    check_answer("anthropic", "claude-sonnet-5-5", "/v1/messages").await;
}

#[tokio::test]
async fn an_openai_agent_answers() {
    check_answer("openai", "gpt-6.1-terra", "/v1/responses").await;
}

/// The task's whole way is in the logs, and nothing of what it says.
#[tokio::test]
async fn logs_tell_where_a_task_went_and_not_what_it_said() {
    let platform = Platform::deployed().await;
    let (canary, agent) = (unique("[ok] canary"), platform.claude().await);
    let task = platform.submit(&agent, &canary).await;
    platform.ended(&task).await;
    let accepted = platform.logged("api", "task accepted", &task).await;
    assert_eq!(
        (&accepted["agent_id"], &accepted["tenant_id"]),
        (&json!(agent), &json!("default")),
        "{accepted}"
    );
    let answered = platform.logged("executor", "model answered", &task).await;
    assert_eq!(
        (&answered["agent_id"], &answered["output_tokens"]),
        (&json!(agent), &json!(3)),
        "{answered}"
    );
    let ended = platform.logged("executor", "task ended", &task).await;
    assert!(
        ended["function_request_id"].is_string() && ended["duration_ms"].is_u64(),
        "{ended}"
    );
    for function in ["api", "executor", "cleanup"] {
        let log = platform.log(function).await;
        for secret in [canary.as_str(), "canary answer", platform.api_key()] {
            assert!(!log.contains(secret), "{function} logs {secret}");
        }
    }
}

#[tokio::test]
async fn a_cut_answer_says_so() {
    let platform = Platform::deployed().await;
    let task = platform
        .submit(&platform.claude().await, &unique("[truncated]"))
        .await;
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["stop_reason"]),
        (&json!("completed"), &json!("max_tokens")),
        "{ended}"
    );
}

#[tokio::test]
async fn a_failing_provider_fails_the_task_with_a_reason_and_a_log_line() {
    let platform = Platform::deployed().await;
    // Models of their own, whose circuits no other test needs closed.
    let agents = [("anthropic", "claude-opus-5-5"), ("openai", "gpt-6-sol")];
    let table = [
        ("[rate-limited]", "model_rate_limited", Some(429)),
        ("[server-error]", "model_unavailable", Some(500)),
        ("[overloaded]", "model_unavailable", Some(529)),
        // None is sent: the deployment names no secret.
        ("[bad-key]", "model_key_unavailable", Some(401)),
        ("[malformed]", "model_bad_answer", Some(200)),
        ("[disconnect]", "model_unavailable", None),
    ];
    for (provider, model) in agents {
        let agent = platform.impatient_agent(provider, model).await;
        for (prompt, code, status) in table {
            let task = platform.submit(&agent, &unique(prompt)).await;
            let ended = platform.ended(&task).await;
            let error = &ended["error"];
            assert_eq!(
                (&ended["status"], &error["code"]),
                (&json!("failed"), &json!(code)),
                "{provider} {ended}"
            );
            let attempts = error["attempts"].as_array().unwrap();
            assert_eq!(
                (attempts.len(), attempts[0]["status"].as_u64()),
                (1, status),
                "{provider} {prompt} {ended}"
            );
            let line = platform
                .logged("executor", "model call failed", &task)
                .await;
            assert_eq!(
                (&line["level"], &line["provider"]),
                (&json!("WARN"), &json!(provider)),
                "{line}"
            );
            assert_eq!(line["provider_status"].as_u64(), status, "{line}");
            if provider == "openai" && status.is_some() {
                assert!(
                    line["provider_request_id"]
                        .as_str()
                        .is_some_and(|id| id.starts_with("req-")),
                    "{line}"
                );
            }
            assert!(
                !line.to_string().contains(prompt),
                "the prompt is in the log: {line}"
            );
        }
    }
}

#[tokio::test]
async fn a_silent_provider_fails_the_task_in_time() {
    let platform = Platform::deployed().await;
    let agent = platform.impatient_agent("anthropic", "claude-opus-5").await;
    let task = platform.submit(&agent, &unique("[silent]")).await;
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["error"]["code"]),
        (&json!("failed"), &json!("model_timeout")),
        "{ended}"
    );
}
