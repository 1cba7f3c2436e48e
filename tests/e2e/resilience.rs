//! Providers in trouble, and what the platform makes of it: deployed, with executors that share
//! nothing but tables.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use tests::Platform;
use tests::platform::unique;
use tests::unreliable::Fate;

/// A model of the unreliable provider that no other test uses.
fn own_model(kind: &str) -> String {
    unique(kind).replace(' ', "-")
}

/// The tasks as they ended. Few requests are under way at once: the local AWS is one process, and
/// the executors need it too.
async fn submit_all(platform: &Platform, agent: &str, prompts: &[String]) -> Vec<Value> {
    let submitted = stream::iter(prompts)
        .map(|prompt| platform.submit(agent, prompt))
        .buffered(10);
    let tasks: Vec<String> = submitted.collect().await;
    stream::iter(&tasks)
        .map(|task| platform.ended(task))
        .buffered(5)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_tasks_complete_although_three_calls_in_ten_meet_trouble() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("wobbly"));
    let agent = platform.agent("openai_compatible", &model).await;
    let prompts: Vec<String> = (0..500)
        .map(|number| unique(&format!("[ok] {number}")))
        .collect();
    let ended = submit_all(&platform, &agent, &prompts).await;
    let stuck: Vec<&Value> = ended
        .iter()
        .filter(|task| task["status"] != "completed")
        .collect();
    assert!(stuck.is_empty(), "{stuck:?}");
    let requests = provider.requests_by_prompt(&model);
    let calls: usize = requests.values().map(Vec::len).sum();
    assert!(
        (501..=800).contains(&calls),
        "{calls} calls for 500 answers"
    );
    for (earlier, later) in requests
        .values()
        .flat_map(|requests| requests.iter().zip(requests.iter().skip(1)))
    {
        assert!(
            !earlier.fate.is_answered(),
            "an answer was paid twice: {later:?}"
        );
        if let Fate::RateLimited(seconds) = earlier.fate {
            let waited = later.at.duration_since(earlier.at);
            assert!(
                waited >= Duration::from_secs(seconds),
                "{earlier:?} requests again after {waited:?}"
            );
        }
    }
    let attempts: u64 = ended
        .iter()
        .filter_map(|task| task["model_attempts"].as_u64())
        .sum();
    assert_eq!(
        attempts, calls as u64,
        "every call is in its task's account"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_tasks_complete_with_three_in_ten_calls_failing() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("faulty"));
    let agent = platform.agent("openai_compatible", &model).await;
    provider.fail_next(&model, Fate::RateLimited(86_400));
    let prompts: Vec<String> = (0..300)
        .map(|number| unique(&format!("[ok] {number}")))
        .collect();
    let ended = submit_all(&platform, &agent, &prompts).await;
    let failed: Vec<&Value> = ended
        .iter()
        .filter(|task| task["status"] != "completed")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let requests = provider.requests_by_prompt(&model);
    let calls: usize = requests.values().map(Vec::len).sum();
    assert!(
        (301..=480).contains(&calls),
        "{calls} calls for 300 answers: at most 1.6 a step"
    );
    for fate in Fate::FAILURES {
        assert!(
            requests
                .values()
                .flatten()
                .any(|requests| requests.fate == fate),
            "no request met {fate:?}"
        );
    }
    for (earlier, later) in requests
        .values()
        .flat_map(|requests| requests.iter().zip(requests.iter().skip(1)))
    {
        assert!(
            !earlier.fate.is_answered(),
            "an answer was paid twice: {later:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_way_the_first_model_is_dead_the_second_one_answers() {
    let platform = Platform::deployed().await;
    let provider = platform.unreliable();
    let dead_in = async |fate: Fate| {
        let model = own_model("sturdy");
        provider.fail(&model, fate);
        let chain = json!([
            { "provider": "openai_compatible", "model": model },
            { "provider": "anthropic", "model": "claude-sonnet-5-5" },
        ]);
        let agent = platform.agent_of(json!({ "models": chain })).await;
        let prompts: Vec<String> = (0..12)
            .map(|number| unique(&format!("[ok] {number}")))
            .collect();
        for task in submit_all(&platform, &agent, &prompts).await {
            let end = (&task["status"], &task["model"]["provider"]);
            assert_eq!(
                end,
                (&json!("completed"), &json!("anthropic")),
                "{fate:?}: {task}"
            );
        }
    };
    let fates = Fate::FAILURES
        .into_iter()
        .chain([Fate::RateLimited(86_400), Fate::Cut]);
    stream::iter(fates).for_each_concurrent(3, dead_in).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_named_to_one_of_a_hundred_and_fifty_tasks_parks_that_task_alone() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("sturdy"));
    let agent = platform.agent("openai_compatible", &model).await;
    let prompts: Vec<String> = (0..150)
        .map(|number| unique(&format!("[ok] {number}")))
        .collect();
    provider.fail_next(&model, Fate::RateLimited(86_400));
    let ended = submit_all(&platform, &agent, &prompts).await;
    assert!(
        ended.iter().all(|task| task["status"] == "completed"),
        "{ended:?}"
    );
    let was_parked = |task: &&Value| {
        task["history"]
            .as_array()
            .unwrap()
            .iter()
            .any(|change| change["event"] == "parked")
    };
    let parked: Vec<&Value> = ended.iter().filter(was_parked).collect();
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!(provider.requests_to(&model).len(), 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_provider_in_outage_are_answered_elsewhere() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("sturdy"));
    provider.break_down(&model);
    let chain = json!([
        { "provider": "openai_compatible", "model": model }, { "provider": "anthropic", "model": "claude-sonnet-5-5" },
    ]);
    let agent = platform.agent_of(json!({ "models": chain })).await;
    let prompts: Vec<String> = (0..100)
        .map(|number| unique(&format!("[ok] {number}")))
        .collect();
    let ended = submit_all(&platform, &agent, &prompts).await;
    assert!(
        ended.iter().all(|task| task["status"] == "completed"),
        "{ended:?}"
    );
    assert!(
        ended
            .iter()
            .all(|task| task["model"]["provider"] == "anthropic"),
        "{:?}",
        ended[0]
    );
    // Each of the five executors may fail five times in a row, with what its tasks had under way by
    // then.
    let calls = provider.requests_to(&model).len();
    assert!(
        (5..=100).contains(&calls),
        "{calls} calls to a provider that is down"
    );
    platform
        .until(
            async || {
                !platform
                    .log_lines("executor", "circuit is open")
                    .await
                    .is_empty()
            },
            "it opens",
        )
        .await;

    provider.recover(&model);
    let back = async || {
        let task = platform.submit(&agent, &unique("[ok]")).await;
        platform.ended(&task).await["model"]["provider"] == "openai_compatible"
    };
    platform
        .until(back, "the provider is requests again once it has recovered")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_at_the_same_time_is_asked_once() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("sturdy"));
    let models = json!([{ "provider": "openai_compatible", "model": model }]);
    let agent = platform
        .agent_of(json!({ "models": models, "cache": { "mode": "on" } }))
        .await;
    let prompts = vec![unique("[ok]"); 100];
    let ended = submit_all(&platform, &agent, &prompts).await;
    assert!(
        ended.iter().all(|task| task["output"] == "canary answer"),
        "{ended:?}"
    );
    assert_eq!(provider.requests_to(&model).len(), 1);
    let fresh = platform
        .submit_body(&json!({ "agent_id": agent, "input": prompts[0], "cache": "refresh" }))
        .await;
    assert_eq!(platform.ended(&fresh).await["status"], "completed");
    assert_eq!(provider.requests_to(&model).len(), 2);
}

#[tokio::test]
async fn a_cap_on_cost_stops_a_task_before_the_call_that_could_pass_it() {
    let platform = Platform::deployed().await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let (prompt, other) = (unique("[ok]"), unique("[ok]"));
    let capped = |on_limit: &str| json!({ "models": models, "max_cost_micro_usd": 100, "on_limit": on_limit });
    let agent = platform.agent_of(capped("fail")).await;
    let task = platform
        .ended(&platform.submit(&agent, &prompt).await)
        .await;
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("failed"), &json!("budget_exhausted")),
        "{task}"
    );
    let agent = platform.agent_of(capped("pause")).await;
    let task = platform.ended(&platform.submit(&agent, &other).await).await;
    assert_eq!(
        (&task["status"], &task["paused"]["limit"]),
        (&json!("paused"), &json!("budget")),
        "{task}"
    );
    assert_eq!(platform.model_requests(&prompt).await, Vec::<Value>::new());
    let resume = format!("/v1/tasks/{}/resume", task["id"].as_str().unwrap());
    let more = json!({ "limits": { "max_cost_micro_usd": 10_000_000 } });
    assert_eq!(
        platform.call(Method::POST, &resume, Some(&more)).await.0,
        StatusCode::ACCEPTED
    );
    platform
        .until_status(task["id"].as_str().unwrap(), "completed")
        .await;
    let agent = platform
        .agent_of(json!({ "models": models, "max_cost_micro_usd": 10_000_000 }))
        .await;
    let task = platform
        .ended(&platform.submit(&agent, &prompt).await)
        .await;
    assert_eq!(task["status"], "completed", "{task}");
    assert!(
        task["cost_micro_usd"].as_u64().is_some_and(|cost| cost > 0),
        "{task}"
    );
}

#[tokio::test]
async fn an_unreachable_model_parks_the_task_until_it_is_back() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), own_model("sturdy"));
    provider.break_down(&model);
    let task = platform
        .submit(
            &platform.agent("openai_compatible", &model).await,
            &unique("[ok]"),
        )
        .await;
    platform.until_status(&task, "waiting").await;
    provider.recover(&model);
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["attempts"]),
        (&json!("completed"), &json!(1)),
        "{ended}"
    );
}
