//! Credentials of tools on the deployed template. No test can reach a host of the public internet,
//! so each call here ends before its request is sent; `http_request/tests` sends them over TLS.

use reqwest::Method;
use serde_json::json;
use tests::Platform;
use tests::platform::unique;

#[tokio::test]
async fn a_credential_is_read_from_the_secrets_of_the_tasks_tenant() {
    let platform = Platform::deployed().await;
    let secret = json!({ "value": "canary-credential", "hosts": ["api.other.example"] });
    let aws = tests::LocalAws::from_env().await;
    for name in [
        "agents/tools/default/elsewhere",
        "agents/tools/other/theirs",
    ] {
        aws.create_secret(name, &secret.to_string()).await;
    }
    for (credential, reason, words) in [
        (
            "elsewhere",
            "other_hosts",
            "the credential elsewhere is for other hosts",
        ),
        ("theirs", "missing", "the credential theirs does not exist"),
    ] {
        let agent = platform
            .agent_of(json!({
                "models": [{ "provider": "anthropic", "model": "claude-sonnet-5-5" }],
                "builtin_tools": [{ "name": "http_request", "hosts": ["api.example.com"], "credentials": [credential] }],
            }))
            .await;
        let task = platform.submit(&agent, &unique("[credentials]")).await;
        assert_eq!(platform.ended(&task).await["status"], "completed");
        let steps = platform
            .call(Method::GET, &format!("/v1/tasks/{task}/steps"), None)
            .await;
        let text = steps.1["data"][1]["text"].as_str().unwrap();
        assert!(text.contains(words), "{text}");
        let line = platform
            .logged("executor", "tool credential failed", &task)
            .await;
        assert_eq!(
            (&line["reason"], &line["credential"]),
            (&json!(reason), &json!(credential)),
            "{line}"
        );
    }
}
