//! What clients do with tasks that stopped at a limit.

use serde_json::json;
use shared::domain::BudgetScope;
use shared::ports::ModelErrorKind;
use shared::testing::{Reply, ScriptedModel, samples};

use super::{calling, check, task};
use crate::platform::{Platform, check_refused};

#[tokio::test]
async fn a_paused_task_says_at_which_limit_and_is_resumed_with_a_higher_one() {
    let platform = Platform::new();
    let calls = (0..20).map(|number| {
        samples::tool_call(&number.to_string(), "calculator", r#"{"expression":"1"}"#)
    });
    let path = task(&platform, [calling(calls)]).await;
    let paused = platform.get(&path).await.body;
    assert_eq!(
        (&paused["status"], &paused["paused"]["limit"]),
        (&json!("paused"), &json!("max_steps")),
        "{paused}"
    );
    let resume = format!("{path}/resume");
    let refused = platform
        .post(&resume, r#"{"limits":{"max_steps":0}}"#)
        .await;
    check_refused(
        &refused,
        &[("/limits/max_steps", "must be 1 to 1000")],
        "resume",
    );
    for unchanged in [
        "{}",
        r#"{"limits":{"max_steps":20}}"#,
        r#"{"limits":{"max_tokens":900}}"#,
    ] {
        let refused = platform.post(&resume, unchanged).await;
        check(&refused, 409, "code", "conflict");
        let detail = "the task stopped at its max_steps of 20, and would stop again: send limits with a higher max_steps";
        assert_eq!(refused.body["detail"], detail, "{unchanged}");
    }
    check(
        &platform
            .post(&resume, r#"{"limits":{"max_steps":30}}"#)
            .await,
        202,
        "status",
        "queued",
    );
    platform.drain(ScriptedModel::default()).await;
    assert_eq!(platform.get(&path).await.body["status"], "completed");
}

#[tokio::test]
async fn a_retry_that_its_own_cap_on_cost_would_stop_again_is_refused() {
    for (scope, status) in [(BudgetScope::Task, 409), (BudgetScope::Tenant, 202)] {
        let platform = Platform::new();
        let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
        let agent = json!({ "name": "clerk", "models": models, "max_cost_micro_usd": 50, "on_limit": "fail" });
        let agent = platform.post("/v1/agents", agent.to_string()).await.body;
        let task = platform
            .submit(agent["id"].as_str().unwrap(), "hello")
            .await;
        let refusal = Reply::Fail(ModelErrorKind::BudgetExhausted(scope));
        platform.drain(ScriptedModel::new([refusal])).await;
        let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
        let retry = format!("{path}/retry");
        let error = &platform.get(&path).await.body["error"];
        assert_eq!(error["code"], "budget_exhausted");
        let advice = error["message"].as_str().unwrap();
        let is_own = scope == BudgetScope::Task;
        assert_eq!(advice.contains("scope tasks:limits"), is_own, "{advice}");
        let refused = platform
            .post(&retry, r#"{"limits":{"max_cost_micro_usd":50}}"#)
            .await;
        assert_eq!(refused.status.as_u16(), status, "{scope}");
        if is_own {
            let detail = "the task stopped at its budget of 50, and would stop again: send limits with a higher max_cost_micro_usd";
            assert_eq!(refused.body["detail"], detail);
            let raised = platform
                .post(&retry, r#"{"limits":{"max_cost_micro_usd":51}}"#)
                .await;
            check(&raised, 202, "status", "queued");
        }
    }
}
