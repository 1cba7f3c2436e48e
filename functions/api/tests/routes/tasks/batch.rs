//! `POST /v1/tasks/batch`: several submissions in one request.

use super::*;
use crate::platform::Answer;

async fn submit(platform: &Platform, tasks: &[Value]) -> Answer {
    let body = json!({ "tasks": tasks }).to_string();
    platform.post("/v1/tasks/batch", body).await
}

#[tokio::test]
async fn each_submission_has_its_own_outcome() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let task = |input: &str, key: &str| json!({ "agent_id": agent, "input": input, "idempotency_key": key });
    let tasks = [
        task("one", "k1"),
        json!({ "agent_id": UNKNOWN_AGENT, "input": "two" }),
        task("three", "k3"),
        json!({ "agent_id": agent, "input": "four", "not_before": "2001-01-31T12:00:00Z" }),
    ];
    let first = submit(&platform, &tasks).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let outcomes = first.body["data"].as_array().unwrap();
    assert_eq!(outcomes.len(), 4);
    for place in [0, 2] {
        assert_eq!(outcomes[place]["status"], "queued", "{place}");
    }
    let refused = &outcomes[1]["error"];
    assert_eq!(
        (
            &refused["status"],
            &refused["code"],
            &refused["errors"][0]["pointer"]
        ),
        (
            &json!(422),
            &json!("validation_failed"),
            &json!("/agent_id")
        )
    );
    assert_eq!(outcomes[3]["error"]["errors"][0]["pointer"], "/not_before");
    assert_eq!(platform.queue.sent().len(), 2);
    platform.clock.advance(Duration::from_secs(1));
    let second = submit(&platform, &tasks).await;
    assert_eq!(second.body, first.body);
    assert_eq!(platform.queue.sent().len(), 2);
}

#[tokio::test]
async fn a_batch_that_breaks_a_rule_submits_nothing() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let task = |set: Value| {
        let mut task = json!({ "agent_id": agent, "input": "x" });
        task.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        task
    };
    let valid = || task(json!({}));
    let keyed = |key: &str| task(json!({ "idempotency_key": key }));
    let many: Vec<Value> = (0..101).map(|_| valid()).collect();
    let table = [
        (vec![], ("/tasks", "must have 1 to 100 entries, has 0")),
        (many, ("/tasks", "must have 1 to 100 entries, has 101")),
        (
            vec![keyed("k1"), valid(), keyed("k1")],
            (
                "/tasks/2/idempotency_key",
                "must differ from that of /tasks/0",
            ),
        ),
        (
            vec![valid(), task(json!({ "input": "" }))],
            ("/tasks/1/input", "must not be empty"),
        ),
        (
            vec![keyed("é")],
            ("/tasks/0/idempotency_key", "printable ASCII"),
        ),
        (
            vec![valid(), json!({ "agent": agent })],
            ("/tasks/1/agent", "unknown field"),
        ),
    ];
    for (tasks, expected) in table {
        let refused = submit(&platform, &tasks).await;
        check_refused(&refused, &[expected], expected.1);
    }
    assert_eq!(platform.get("/v1/tasks").await.body["data"], json!([]));
    assert_eq!(platform.queue.sent(), []);
}
