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

#[tokio::test(start_paused = true)]
async fn what_did_not_begin_in_time_is_not_tried_and_can_be_sent_again() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let task = |number: u32| json!({ "agent_id": agent, "input": "x", "idempotency_key": format!("k{number}") });
    let tasks: Vec<Value> = (0..30).map(task).collect();
    let (_, none) = platform.store.content();
    let time_passes = async {
        while platform.store.content().1 == none {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(10)).await;
    };
    let (cut, ()) = tokio::join!(submit(&platform, &tasks), time_passes);
    assert_eq!(cut.status, StatusCode::OK, "{}", cut.body);
    let outcomes = cut.body["data"].as_array().unwrap();
    let (tried, left): (Vec<_>, Vec<_>) = outcomes
        .iter()
        .partition(|outcome| outcome["error"].is_null());
    assert_eq!(outcomes.len(), 30);
    assert!((1..30).contains(&tried.len()), "{}", tried.len());
    for outcome in left {
        let error = &outcome["error"];
        let said = (&error["status"], &error["code"]);
        assert_eq!(said, (&json!(503), &json!("not_tried")));
    }
    assert_eq!(platform.queue.sent().len(), tried.len());
    let tried: Vec<Value> = tried.into_iter().cloned().collect();
    platform.clock.advance(Duration::from_secs(1));
    let whole = submit(&platform, &tasks).await;
    let outcomes = whole.body["data"].as_array().unwrap();
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "queued"));
    assert_eq!(
        outcomes[..tried.len()],
        tried,
        "the first are the same tasks"
    );
    assert_eq!(platform.queue.sent().len(), 30);
}
