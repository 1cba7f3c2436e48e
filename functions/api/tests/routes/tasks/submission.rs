//! `POST /v1/tasks`: what is refused, and what is submitted once.

use super::*;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_submission_that_breaks_rules_is_refused_with_each_place() {
    let platform = Platform::new();
    let with = |set: Value| {
        let mut body = json!({ "agent_id": UNKNOWN_AGENT, "input": "x" });
        body.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        body
    };
    let table: [(Value, &[_]); 17] = [
        (
            json!({}),
            &[("/agent_id", "is required"), ("/input", "is required")],
        ),
        (
            json!({ "agent_id": "agt_1", "input": "" }),
            &[("/agent_id", "of the form agt_"), ("/input", "empty")],
        ),
        (with(json!({})), &[("/agent_id", "not found")]),
        (
            with(json!({ "input": "x".repeat(131_073) })),
            &[("/input", "at most 131072 bytes")],
        ),
        (
            with(json!({ "cache": "on" })),
            &[("/cache", "must be default, bypass, refresh or off")],
        ),
        (
            with(json!({ "cache": false })),
            &[("/cache", "must be a text, not false")],
        ),
        (
            with(json!({ "max_age_seconds": 2_592_001 })),
            &[("/max_age_seconds", "must be 0 to 2592000")],
        ),
        (
            with(json!({ "max_age_seconds": -1 })),
            &[(
                "/max_age_seconds",
                "must be a whole number, 0 or more, not -1",
            )],
        ),
        (
            with(json!({ "ttl": 1 })),
            &[(
                "/ttl",
                "unknown field; known fields: agent_id, agent_version, alias, input, cache, max_age_seconds, limits, metadata, not_before",
            )],
        ),
        (
            with(json!({ "metadata": { "order": 7 } })),
            &[("/metadata/order", "must be a text, not 7")],
        ),
        (
            with(json!({ "metadata": { "order": "x".repeat(513), "a b": "" } })),
            &[
                ("/metadata", "must have keys of 1 to 64 characters"),
                (
                    "/metadata/order",
                    "must have at most 512 characters, has 513",
                ),
            ],
        ),
        (
            with(json!({ "metadata": ["order"] })),
            &[("/metadata", "must be an object, not a list")],
        ),
        (
            with(json!({ "not_before": "tomorrow" })),
            &[("/not_before", "must be a time such as")],
        ),
        (
            with(json!({ "not_before": "2001-01-31T12:00:00Z" })),
            &[("/not_before", "must not be in the past")],
        ),
        (
            with(json!({ "not_before": "9001-01-31T12:00:00Z" })),
            &[("/not_before", "must be at most 30 days from now")],
        ),
        (
            with(json!({ "limits": { "max_steps": "1" } })),
            &[(
                "/limits/max_steps",
                "must be a whole number, 0 or more, not a text",
            )],
        ),
        (
            with(json!({ "limits": { "steps": 1 } })),
            &[("/limits/steps", "unknown field")],
        ),
    ];
    for (body, expected) in table {
        let answer = platform.post("/v1/tasks", body.to_string()).await;
        check_refused(
            &answer,
            expected,
            &body.to_string().chars().take(200).collect::<String>(),
        );
    }
    let twice = platform
        .post("/v1/tasks", r#"{"input":"a","input":"b"}"#)
        .await;
    check_refused(&twice, &[("/input", "must occur only once")], "twice");
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn the_same_submission_twice_is_one_task() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let submit = async |input: &str| {
        let body = json!({ "agent_id": agent, "input": input }).to_string();
        let request = request("POST", "/v1/tasks").header("content-type", "application/json");
        platform.clock.advance(Duration::from_secs(1));
        platform
            .send(
                request
                    .header("idempotency-key", "order 7")
                    .body(body.into())
                    .unwrap(),
            )
            .await
    };
    let (first, second, other) = (
        submit("hello").await,
        submit("hello").await,
        submit("good bye").await,
    );
    assert_eq!(
        (second.status, second.body),
        (StatusCode::ACCEPTED, first.body)
    );
    assert_eq!(
        (other.status, &other.body["code"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("idempotency_key_reused")
        )
    );
    assert_eq!(platform.queue.sent().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_that_breaks_its_rule_is_refused_by_name() {
    let platform = Platform::new();
    let body = json!({ "agent_id": platform.create_agent().await, "input": "hello" }).to_string();
    for key in ["", "é", &"x".repeat(256)] {
        let request = request("POST", "/v1/tasks").header("content-type", "application/json");
        let answer = platform
            .send(
                request
                    .header("idempotency-key", key)
                    .body(body.clone().into())
                    .unwrap(),
            )
            .await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
        assert_eq!(
            answer.body["errors"][0]["parameter"], "Idempotency-Key",
            "{}",
            answer.body
        );
    }
}
