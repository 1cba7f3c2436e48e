//! `/v1/tasks`.

mod batch;
mod bulk;
mod execute;
mod inline;
mod lists;
mod submission;

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use futures::future::join_all;
use serde_json::{Value, json};
use shared::domain::{
    CacheMode, CacheUse, Cost, ModelAnswer, Origin, Spend, Usage, Wait, WaitReason,
};
use shared::ports::{ModelErrorKind, Recovery, TaskStore};
use shared::testing::{Reply, ScriptedModel, samples};

use crate::platform::{MOST_WAITS, Platform, UNKNOWN_AGENT, check_refused, redacted, request};

/// The members that every new task has; those in `set` are added or replace them.
fn shown(set: Value) -> Value {
    let mut task = json!({
        "id": "[id]", "status": "queued", "agent_id": "[agent_id]", "agent_version": 1, "input": "hello", "metadata": {},
        "limits": {
            "max_output_tokens": 4_096, "timeout_seconds": 1_800, "max_cost_micro_usd": null, "max_steps": 100,
            "max_tool_calls": 200, "max_blocked_calls": 5, "max_tokens": null, "input_timeout_seconds": 86_400, "on_limit": "pause",
        },
        "steps": 0, "hops": 0, "history_first": 0, "history": [{ "at": "[time]", "event": "submitted" }],
        "attempts": 0, "model_attempts": 0, "cost_micro_usd": 0, "unpriced_calls": 0, "spent": Usage::default(),
        "created_at": "[time]", "updated_at": "[time]", "deadline_at": "[time]",
    });
    task.as_object_mut()
        .unwrap()
        .extend(set.as_object().unwrap().clone());
    task
}

/// The task after its agent's model did what the script says.
async fn after(platform: &Platform, agent: &str, script: impl IntoIterator<Item = Reply>) -> Value {
    let task = platform.submit(agent, "hello").await;
    platform.drain(ScriptedModel::new(script)).await;
    let read = platform
        .get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap()))
        .await;
    assert_eq!(read.status, StatusCode::OK);
    read.body
}

#[tokio::test]
async fn a_task_goes_from_submission_to_its_answer() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let accepted = platform
        .post(
            "/v1/tasks",
            json!({ "agent_id": agent, "input": "hello" }).to_string(),
        )
        .await;
    assert_eq!(
        (accepted.status, redacted(accepted.body)),
        (StatusCode::ACCEPTED, shown(json!({})))
    );
    platform.drain(ScriptedModel::default()).await;
    let read = platform
        .get(accepted.headers["location"].to_str().unwrap())
        .await;
    let usage = json!({
        "input_tokens": 11, "output_tokens": 7, "cache_read_tokens": 5, "cache_write_tokens": 3, "reasoning_tokens": 2,
    });
    let completed = shown(json!({
        "status": "completed", "output": "hello", "stop_reason": "end_turn", "usage": usage, "attempts": 1,
        "model": { "provider": "anthropic", "model": "claude-sonnet-5-5" }, "origin": "provider", "model_attempts": 1, "spent": usage, "finished_at": "[time]",
        "steps": 1, "history": [
            { "at": "[time]", "event": "submitted" }, { "at": "[time]", "event": "claimed", "worker": "[worker]" },
            { "at": "[time]", "event": "completed" },
        ],
    }));
    assert_eq!(
        (read.status, redacted(read.body)),
        (StatusCode::OK, completed)
    );
}

#[tokio::test]
async fn a_completed_task_shows_what_all_of_it_cost() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let cost = Cost {
        micro_usd: 12,
        unpriced_calls: 1,
    };
    let answer = ModelAnswer {
        content: vec![samples::said("Let me see.")],
        origin: Origin::Stale { age_seconds: 7 },
        spend: Spend {
            attempts: 2,
            usage: Usage {
                input_tokens: 20,
                ..Usage::default()
            },
            cost,
        },
        ..samples::answer("")
    };
    let task = after(&platform, &agent, [Reply::Answer(answer)]).await;
    assert_eq!(
        (&task["output"], &task["stop_reason"]),
        (&json!("Let me see."), &json!("end_turn"))
    );
    assert_eq!(
        (&task["origin"], &task["degraded"]),
        (&json!("stale"), &json!(true))
    );
    assert_eq!(
        (&task["cost_micro_usd"], &task["unpriced_calls"]),
        (&json!(12), &json!(1))
    );
    assert_eq!(
        (&task["attempts"], &task["model_attempts"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        (
            &task["spent"]["input_tokens"],
            &task["usage"]["input_tokens"]
        ),
        (&json!(20), &json!(11))
    );
}

#[tokio::test]
async fn a_failed_task_says_why_and_names_each_attempt() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let task = after(
        &platform,
        &agent,
        [Reply::Fail(ModelErrorKind::Authentication)],
    )
    .await;
    assert_eq!(task["status"], "failed");
    let attempt = json!({
        "provider": "anthropic", "model": "claude-sonnet-5-5", "code": "model_authentication", "status": null,
        "request_id": null,
    });
    let error = json!({
        "code": "model_authentication", "dead_lettered": false, "attempts": [attempt],
        "message": "anthropic claude-sonnet-5-5 refuses the key: check the key in the secret that AnthropicKeySecret names, \
                    that its account may use the model, and AnthropicBaseUrl",
    });
    assert_eq!(task["error"], error);
}

#[tokio::test]
async fn a_parked_task_says_what_it_waits_for_and_until_when() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let wait = Wait {
        until: samples::after(90),
        reason: WaitReason::RateLimit,
    };
    let task = after(
        &platform,
        &agent,
        [Reply::FailUntil(
            ModelErrorKind::RateLimited,
            Recovery::at(wait),
        )],
    )
    .await;
    assert_eq!(
        (&task["status"], &task["attempts"]),
        (&json!("waiting"), &json!(0))
    );
    assert_eq!(
        task["waiting"],
        json!({ "reason": "rate_limit", "until": "2026-11-18T11:08:10.000Z" })
    );
    let listed = platform.get("/v1/tasks?status=waiting").await.body;
    assert_eq!(listed["data"][0]["id"], task["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_shown_before_the_wait_is_over_has_a_retry_after() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let queued = platform.submit(&agent, "hello").await;
    let path = format!("/v1/tasks/{}?wait=20", queued["id"].as_str().unwrap());
    let answers = join_all((0..=MOST_WAITS).map(|_| platform.get(&path))).await;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.headers.get("retry-after"))
        .collect();
    assert_eq!(refused, ["2"]);
    assert!(answers.iter().all(
        |answer| (answer.status, &answer.body["status"]) == (StatusCode::OK, &json!("queued"))
    ));
    let wait = Wait {
        until: samples::after(90),
        reason: WaitReason::RateLimit,
    };
    platform
        .drain(ScriptedModel::new([Reply::FailUntil(
            ModelErrorKind::RateLimited,
            Recovery::at(wait),
        )]))
        .await;
    let parked = platform.get(&path).await;
    assert_eq!(
        (&parked.body["status"], &parked.headers["retry-after"]),
        (&json!("waiting"), &HeaderValue::from(90))
    );
    let unasked = platform.get(path.trim_end_matches("?wait=20")).await;
    assert!(!unasked.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_task_says_what_it_wants_of_the_cache() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let table = [
        (json!({}), CacheMode::Default, None),
        (
            json!({ "cache": "default", "max_age_seconds": 0 }),
            CacheMode::Default,
            Some(0),
        ),
        (json!({ "cache": "bypass" }), CacheMode::Bypass, None),
        (
            json!({ "cache": "refresh", "max_age_seconds": 2_592_000 }),
            CacheMode::Refresh,
            Some(2_592_000),
        ),
        (json!({ "cache": "off" }), CacheMode::Off, None),
    ];
    for (set, mode, max_age) in table {
        let mut body = json!({ "agent_id": agent, "input": "hello" });
        body.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        let accepted = platform.post("/v1/tasks", body.to_string()).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
        let id = accepted.body["id"].as_str().unwrap().parse().unwrap();
        let task = TaskStore::task(&platform.store, &samples::tenant("default"), id)
            .await
            .unwrap()
            .unwrap();
        let expected = CacheUse {
            mode,
            max_age: max_age.map(Duration::from_secs),
        };
        assert_eq!(task.spec().cache_use, expected, "{set}");
    }
}

#[tokio::test]
async fn a_history_says_that_a_worker_was_lost() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let id = platform.submit(&agent, "hello").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (tenant, lease) = (
        samples::tenant("default"),
        samples::lease_until(samples::after(60)),
    );
    platform
        .store
        .claim(&tenant, id.parse().unwrap(), lease, samples::after(1))
        .await
        .unwrap();
    let mut running = TaskStore::task(&platform.store, &tenant, id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    running.settle_overdue(samples::after(61)).unwrap();
    platform.store.update(&running).await.unwrap();
    let history = redacted(platform.get(&format!("/v1/tasks/{id}")).await.body)["history"].clone();
    let claimed = json!({ "at": "[time]", "event": "claimed", "worker": "[worker]" });
    let lost = json!({ "at": "[time]", "event": "requeued", "lost": true });
    assert_eq!(
        history,
        json!([{ "at": "[time]", "event": "submitted" }, claimed, lost])
    );
}

/// A task's history, read in pages of so many changes.
async fn history_by(platform: &Platform, id: &str, limit: u32) -> Vec<Value> {
    let mut changes = Vec::new();
    let mut path = format!("/v1/tasks/{id}/history?limit={limit}");
    loop {
        let page = platform.get(&path).await.body;
        changes.extend(page["data"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            return changes;
        };
        path = format!("/v1/tasks/{id}/history?limit={limit}&cursor={cursor}");
    }
}

#[tokio::test]
async fn a_history_is_listed_whole_however_long_it_is() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let id = platform.submit(&agent, "hello").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut task = TaskStore::task(
        &platform.store,
        &samples::tenant("default"),
        id.parse().unwrap(),
    )
    .await
    .unwrap()
    .unwrap();
    for hop in 1..=30 {
        task.claim(samples::lease_until(samples::after(60)), samples::after(1))
            .unwrap();
        platform.store.update(&task).await.unwrap();
        task.hand_over(hop, samples::after(2)).unwrap();
        platform.store.update(&task).await.unwrap();
    }
    let shown = platform.get(&format!("/v1/tasks/{id}")).await.body;
    let (first, held) = (
        shown["history_first"].as_u64().unwrap(),
        shown["history"].as_array().unwrap(),
    );
    assert!(
        first > 0 && held.len() <= 25 && first + held.len() as u64 == 61,
        "{shown}"
    );
    for limit in [1, 7, 60, 61, 100] {
        let changes = history_by(&platform, &id, limit).await;
        let numbers: Vec<Option<u64>> = changes
            .iter()
            .map(|change| change["number"].as_u64())
            .collect();
        assert_eq!(numbers, (0..61).map(Some).collect::<Vec<_>>(), "{limit}");
        let last: Vec<Value> = changes[usize::try_from(first).unwrap()..].to_vec();
        let unnumbered = |mut change: Value| {
            change.as_object_mut().unwrap().remove("number");
            change
        };
        assert_eq!(last.into_iter().map(unnumbered).collect::<Vec<_>>(), *held);
        assert_eq!(
            (&changes[0]["event"], &changes[60]["hop"]),
            (&json!("submitted"), &json!(30))
        );
    }
    for path in [
        format!("/v1/tasks/{id}/history?cursor=x"),
        format!("/v1/tasks/{id}/history?after=1"),
    ] {
        assert_eq!(
            platform.get(&path).await.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_large_input_is_worked_on_and_shown() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let input = samples::noise(128 * 1_024, 1);
    let task = platform.submit(&agent, &input).await;
    assert_eq!(task["input"], input.as_str());
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let canceled = platform.post(&format!("{path}/cancel"), "").await.body;
    assert_eq!(
        (&canceled["status"], &canceled["input"]),
        (&json!("canceled"), &json!(input))
    );
    let retried = platform.post(&format!("{path}/retry"), "").await.body;
    assert_eq!(
        (&retried["status"], &retried["input"]),
        (&json!("queued"), &json!(input))
    );
    platform.drain(ScriptedModel::default()).await;
    let ended = platform.get(&path).await.body;
    assert_eq!(
        (&ended["output"], &ended["input"]),
        (&json!(input), &json!(input)),
        "the model repeats its input"
    );
}

#[tokio::test]
async fn lists_page_through_everything_once() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let mut submitted = Vec::new();
    for number in 0..5 {
        platform.clock.advance(Duration::from_secs(1));
        submitted.insert(
            0,
            platform.submit(&agent, &format!("task {number}")).await["id"].clone(),
        );
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tasks?limit=2".to_owned();
    loop {
        let page = platform.get(&path).await.body;
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|task| task["id"].clone()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/tasks?limit=2&cursor={}", cursor.replace('#', "%23"));
    }
    assert_eq!(seen, submitted);
    let completed = platform.get("/v1/tasks?status=completed").await.body;
    assert_eq!(completed, json!({ "data": [], "next_cursor": null }));
    let of_agent = platform
        .get(&format!("/v1/tasks?agent_id={agent}&status=queued"))
        .await
        .body;
    assert_eq!(of_agent["data"].as_array().unwrap().len(), 5);
    let agents = platform.get("/v1/agents").await.body;
    assert_eq!(
        (agents["data"][0]["id"].as_str(), &agents["next_cursor"]),
        (Some(agent.as_str()), &Value::Null)
    );
}
