//! What clients do with tasks once they are submitted: cancel, retry, resume, answer, redrive, and
//! read the journal.

mod journal;
mod limits;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shared::domain::ToolCall;
use shared::ports::{ModelErrorKind, TaskStore};
use shared::testing::{Reply, ScriptedModel, samples};

use crate::platform::{Answer, Platform, UNKNOWN_TASK, check_refused, redacted, request};

/// An agent with a tool of the platform's and one of its client's.
const AGENT: &str = r#"{
    "name": "clerk", "models": [{"provider": "anthropic", "model": "claude-sonnet-5-5"}], "max_steps": 20,
    "builtin_tools": [{"name": "calculator"}],
    "tools": [{"name": "ask_human", "description": "Asks.", "input_schema": {"type": "object"}}]
}"#;

pub(crate) fn calling(calls: impl IntoIterator<Item = ToolCall>) -> Reply {
    Reply::Answer(samples::answer_calling(calls))
}

pub(crate) fn ask_human(id: &str) -> ToolCall {
    samples::tool_call(id, "ask_human", "{}")
}

/// The path of a task that was worked on by this script.
pub(crate) async fn task(platform: &Platform, script: impl IntoIterator<Item = Reply>) -> String {
    let agent = platform.post("/v1/agents", AGENT).await;
    assert_eq!(agent.status, StatusCode::CREATED, "{}", agent.body);
    let task = platform
        .submit(agent.body["id"].as_str().unwrap(), "hello")
        .await;
    platform.drain(ScriptedModel::new(script)).await;
    format!("/v1/tasks/{}", task["id"].as_str().unwrap())
}

/// Posts without a body.
async fn order(platform: &Platform, path: String) -> Answer {
    platform
        .send(request("POST", &path).body(Body::empty()).unwrap())
        .await
}

#[track_caller]
fn check(answer: &Answer, status: u16, field: &str, value: &str) {
    assert_eq!(
        (answer.status.as_u16(), &answer.body[field]),
        (status, &json!(value)),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn only_a_task_that_has_ended_is_deleted_and_then_it_is_unknown() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let queued = platform.submit(&agent, "hello").await;
    let path = format!("/v1/tasks/{}", queued["id"].as_str().unwrap());
    let delete = async || {
        let request = request("DELETE", &path).body(Body::empty());
        platform.send(request.unwrap()).await
    };
    check(&delete().await, 409, "code", "conflict");
    order(&platform, format!("{path}/cancel")).await;
    for _ in 0..2 {
        assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
        assert_eq!(platform.get(&path).await.status, StatusCode::NOT_FOUND);
    }
}

/// Answers that break rules, to a task that waits for those of the calls a and b.
async fn check_answers_refused(platform: &Platform, input: &str) {
    let table: [(Value, &[_]); 5] = [
        (json!({}), &[("/results", "is required")]),
        (
            json!({ "results": [{}] }),
            &[
                ("/results/0/call_id", "or a step is required"),
                ("/results/0/text", "is required"),
            ],
        ),
        (
            json!({ "results": [{ "call_id": "x", "text": "" }, { "call_id": "a", "text": "" }] }),
            &[
                ("/results/0/call_id", "waits for"),
                ("/results", "for step 3, call b"),
            ],
        ),
        (
            json!({ "results": [{ "call_id": "a", "text": "", "error": true }] }),
            &[("/results/0/error", "unknown field")],
        ),
        (
            json!({ "results": [7] }),
            &[("/results/0", "must be an object, not 7")],
        ),
    ];
    for (body, expected) in table {
        check_refused(
            &platform.post(input, body.to_string()).await,
            expected,
            &body.to_string(),
        );
    }
}

#[tokio::test]
async fn input_required_task_names_its_calls_and_resumes_when_answered() {
    let platform = Platform::new();
    let path = task(&platform, [calling([ask_human("a"), ask_human("b")])]).await;
    let asking = platform.get(&path).await.body;
    let expected = json!({
        "calls": [
            { "call_id": "a", "step": 2, "name": "ask_human", "arguments": "{}" },
            { "call_id": "b", "step": 3, "name": "ask_human", "arguments": "{}" },
        ],
        "since": "[time]", "expires_at": "[time]",
    });
    assert_eq!(
        (
            &asking["status"],
            redacted(asking["input_required"].clone())
        ),
        (&json!("input_required"), expected)
    );
    let input = format!("{path}/input");
    check_answers_refused(&platform, &input).await;
    let answers = json!({ "results": [
        { "call_id": "b", "text": "no", "is_error": true }, { "call_id": "a", "text": "yes" },
    ] });
    for _ in 0..2 {
        check(
            &platform.post(&input, answers.to_string()).await,
            202,
            "status",
            "queued",
        );
    }
    let other =
        json!({ "results": [{ "call_id": "a", "text": "no" }, { "call_id": "b", "text": "no" }] });
    check(
        &platform.post(&input, other.to_string()).await,
        409,
        "code",
        "conflict",
    );
    platform.drain(ScriptedModel::default()).await;
    assert_eq!(platform.get(&path).await.body["status"], "completed");
    check(
        &platform.post(&input, r#"{"results":[]}"#).await,
        409,
        "code",
        "conflict",
    );
    check(
        &platform.post(&input, answers.to_string()).await,
        202,
        "status",
        "completed",
    );
}

#[tokio::test]
async fn calls_that_share_an_id_are_answered_by_their_steps() {
    let platform = Platform::new();
    let path = task(
        &platform,
        [calling([ask_human("call_a"), ask_human("call_a")])],
    )
    .await;
    let input = format!("{path}/input");
    let one = platform
        .post(&input, r#"{"results":[{"call_id":"call_a","text":"yes"}]}"#)
        .await;
    let missing = "for step 3; name the step in each result, as 2 calls have the id call_a";
    check_refused(&one, &[("/results", missing)], "one result");
    let by_step = json!({ "results": [{ "step": 3, "text": "no" }, { "step": 2, "text": "yes" }] })
        .to_string();
    for _ in 0..2 {
        check(
            &platform.post(&input, by_step.as_str().to_owned()).await,
            202,
            "status",
            "queued",
        );
    }
    let steps = platform.get(&format!("{path}/steps")).await.body["data"].clone();
    assert_eq!(
        (&steps[1]["text"], &steps[2]["text"]),
        (&json!("yes"), &json!("no"))
    );
    let otherwise = platform
        .post(&input, r#"{"results":[{"step":2,"text":"no"}]}"#)
        .await;
    check(
        &otherwise,
        409,
        "detail",
        "another answer to call call_a is recorded",
    );
}

#[tokio::test]
async fn the_same_answers_at_the_same_time_are_one() {
    let platform = Platform::new();
    let path = task(&platform, [calling([ask_human("a")])]).await;
    let input = format!("{path}/input");
    let same = || platform.post(&input, r#"{"results":[{"call_id":"a","text":"yes"}]}"#);
    for answer in futures::future::join_all((0..10).map(|_| same())).await {
        check(&answer, 202, "status", "queued");
    }
}

#[tokio::test]
async fn a_cap_that_can_not_be_enforced_is_refused_wherever_it_is_set() {
    let platform = Platform::new();
    let agent = r#"{"name":"clerk","models":[{"provider":"openai_compatible","model":"llama"}]}"#;
    let agent = platform.post("/v1/agents", agent).await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let capped =
        json!({ "agent_id": agent, "input": "hello", "limits": { "max_cost_micro_usd": 5 } });
    let expected = [("/limits/max_cost_micro_usd", "has no price")];
    check_refused(
        &platform.post("/v1/tasks", capped.to_string()).await,
        &expected,
        "submit",
    );
    let id = platform.submit(&agent, "hello").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    check(
        &order(&platform, format!("/v1/tasks/{id}/cancel")).await,
        200,
        "status",
        "canceled",
    );
    let retried = platform
        .post(
            &format!("/v1/tasks/{id}/retry"),
            r#"{"limits":{"max_cost_micro_usd":5}}"#,
        )
        .await;
    check_refused(&retried, &expected, "retry");
}

#[tokio::test]
async fn a_task_is_canceled_retried_and_resumed_where_its_state_allows_it() {
    let platform = Platform::new();
    let path = task(&platform, [Reply::Fail(ModelErrorKind::Rejected)]).await;
    check(
        &order(&platform, format!("{path}/cancel")).await,
        409,
        "code",
        "conflict",
    );
    check(
        &order(&platform, format!("{path}/resume")).await,
        409,
        "code",
        "conflict",
    );
    let retried = platform
        .post(
            &format!("{path}/retry"),
            r#"{"from":"start","limits":{"max_steps":7}}"#,
        )
        .await;
    check(&retried, 202, "status", "queued");
    assert_eq!(retried.body["limits"]["max_steps"], 7);
    check(
        &order(&platform, format!("{path}/retry")).await,
        409,
        "code",
        "conflict",
    );
    for _ in 0..2 {
        check(
            &order(&platform, format!("{path}/cancel")).await,
            200,
            "status",
            "canceled",
        );
    }
    check(
        &order(&platform, format!("{path}/retry")).await,
        202,
        "status",
        "queued",
    );
    platform.drain(ScriptedModel::default()).await;
    assert_eq!(platform.get(&path).await.body["status"], "completed");
}

#[tokio::test]
async fn bodies_that_may_be_left_out_are_read_if_they_are_there() {
    let platform = Platform::new();
    let path = task(&platform, [Reply::Fail(ModelErrorKind::Rejected)]).await;
    let retry = format!("{path}/retry");
    let plain = request("POST", &retry)
        .header("content-type", "text/plain")
        .body("{}".into())
        .unwrap();
    check(
        &platform.send(plain).await,
        415,
        "code",
        "unsupported_media_type",
    );
    check(
        &platform.post(&retry, "{").await,
        400,
        "code",
        "invalid_request",
    );
    let table: [(&str, &[_]); 3] = [
        (
            r#"{"from":"here"}"#,
            &[("/from", "must be checkpoint or start")],
        ),
        (r#"{"steps":1}"#, &[("/steps", "unknown field")]),
        (
            r#"{"limits":{"max_tokens":0,"timeout_seconds":1}}"#,
            &[
                ("/limits/timeout_seconds", "10"),
                ("/limits/max_tokens", "1 to"),
            ],
        ),
    ];
    for (body, expected) in table {
        check_refused(&platform.post(&retry, body).await, expected, body);
    }
    check(&platform.post(&retry, "{}").await, 202, "status", "queued");
}

#[tokio::test]
async fn unknown_tasks_are_not_found_by_any_route() {
    let platform = Platform::new();
    for what in ["cancel", "retry", "resume"] {
        check(
            &order(&platform, format!("{UNKNOWN_TASK}/{what}")).await,
            404,
            "code",
            "not_found",
        );
    }
    let answers = r#"{"results":[]}"#;
    check(
        &platform
            .post(&format!("{UNKNOWN_TASK}/input"), answers)
            .await,
        404,
        "code",
        "not_found",
    );
    check(
        &platform.get(&format!("{UNKNOWN_TASK}/steps")).await,
        404,
        "code",
        "not_found",
    );
    let redrive = UNKNOWN_TASK.replace("tasks", "dead-letters") + "/redrive";
    check(&order(&platform, redrive).await, 404, "code", "not_found");
}

#[tokio::test]
async fn dead_lettered_tasks_are_listed_and_redriven() {
    let platform = Platform::new();
    let rejected = task(&platform, [Reply::Fail(ModelErrorKind::Rejected)]).await;
    let path = task(&platform, []).await;
    assert_eq!(platform.get(&path).await.body["status"], "completed");
    let stranded = platform
        .submit(
            platform.get(&path).await.body["agent_id"].as_str().unwrap(),
            "hello",
        )
        .await;
    let id = stranded["id"].as_str().unwrap();
    platform.dead_letter(id).await;

    let listed = platform.get("/v1/dead-letters").await.body;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(
        (&listed["data"][0]["id"], &listed["data"][0]["failure"]),
        (&json!(id), &json!("undeliverable"))
    );
    let shown = platform.get(&format!("/v1/tasks/{id}")).await.body;
    assert_eq!(shown["error"]["dead_lettered"], true, "{shown}");

    let rejected = rejected.rsplit('/').next().unwrap();
    let many = json!({ "ids": [id, rejected, "tsk_1"] }).to_string();
    let redriven = platform.post("/v1/dead-letters/redrive", many).await.body;
    let expected = json!([
        { "id": id, "redriven": true }, { "id": rejected, "redriven": false, "error": "conflict" },
        { "id": "tsk_1", "redriven": false, "error": "not_found" },
    ]);
    assert_eq!(redriven["data"], expected);
    check(
        &order(&platform, format!("/v1/dead-letters/{id}/redrive")).await,
        409,
        "code",
        "conflict",
    );
    platform.drain(ScriptedModel::default()).await;
    assert_eq!(
        platform.get(&format!("/v1/tasks/{id}")).await.body["status"],
        "completed"
    );
    assert_eq!(
        platform.get("/v1/dead-letters").await.body["data"],
        json!([])
    );
    let none = platform
        .post("/v1/dead-letters/redrive", r#"{"ids":[]}"#)
        .await;
    check_refused(&none, &[("/ids", "1 to 100 entries")], "none");
}
