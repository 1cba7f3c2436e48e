//! Aliases of versions, and which version a task runs.

use super::*;
use crate::platform::UNKNOWN_AGENT;

/// An agent of two versions.
async fn agent_of_two(platform: &Platform) -> String {
    let id = platform.create_agent().await;
    let path = format!("/v1/agents/{id}");
    let changed = platform.patch(&path, r#"{"name":"writer"}"#).await;
    assert_eq!(changed.body["version"], 2);
    id
}

#[tokio::test]
async fn an_alias_is_set_read_moved_and_removed() {
    let platform = Platform::new();
    let aliases = format!("/v1/agents/{}/aliases", agent_of_two(&platform).await);
    let prod = format!("{aliases}/prod");
    for (version, status) in [(2, 201), (1, 200), (1, 200)] {
        let set = platform
            .put(&prod, json!({ "version": version }).to_string())
            .await;
        let expected = json!({ "name": "prod", "version": version });
        assert_eq!((set.status.as_u16(), &set.body), (status, &expected));
        assert_eq!(platform.get(&prod).await.body, expected);
    }
    platform
        .put(&format!("{aliases}/Next_1-x"), r#"{"version":2}"#)
        .await;
    let listed = platform.get(&aliases).await.body;
    let expected = json!({
        "data": [{ "name": "Next_1-x", "version": 2 }, { "name": "prod", "version": 1 }],
        "next_cursor": null,
    });
    assert_eq!(listed, expected);
    assert_eq!(platform.delete(&prod).await.status, StatusCode::NO_CONTENT);
    assert_eq!(platform.delete(&prod).await.status, StatusCode::NOT_FOUND);
    assert_eq!(platform.get(&prod).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_alias_that_breaks_rules_is_refused_at_its_place() {
    let platform = Platform::new();
    let aliases = format!("/v1/agents/{}/aliases", agent_of_two(&platform).await);
    let prod = format!("{aliases}/prod");
    for (body, pointer, detail) in [
        (json!({ "version": 3 }), "/version", "1 to 2"),
        (json!({ "version": 0 }), "/version", "1 to 2"),
        (
            json!({ "version": -1 }),
            "/version",
            "must be a whole number",
        ),
        (
            json!({ "version": "1" }),
            "/version",
            "must be a whole number",
        ),
        (json!({ "version": null }), "/version", "is required"),
        (json!({}), "/version", "is required"),
        (
            json!({ "version": 1, "weight": 1 }),
            "/weight",
            "unknown field",
        ),
        (json!([1]), "", "must be an object"),
    ] {
        let answer = platform.put(&prod, body.to_string()).await;
        check_refused(&answer, &[(pointer, detail)], &body.to_string());
    }
    for name in ["a%20b", "a.b", "%C3%A9", &"x".repeat(65)] {
        let path = format!("{aliases}/{name}");
        let answer = platform.put(&path, r#"{"version":1}"#).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        assert_eq!(answer.body["errors"][0]["parameter"], "name", "{name}");
    }
    assert_eq!(platform.get(&aliases).await.body["data"], json!([]));
    let unknown = format!("/v1/agents/{UNKNOWN_AGENT}/aliases");
    for answer in [
        platform.get(&unknown).await,
        platform
            .put(&format!("{unknown}/a"), r#"{"version":1}"#)
            .await,
        platform.delete(&format!("{unknown}/a")).await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    for number in 0..20 {
        platform
            .put(&format!("{aliases}/a{number}"), r#"{"version":1}"#)
            .await;
    }
    let one_more = platform.put(&prod, r#"{"version":1}"#).await;
    assert_eq!(
        (one_more.status, &one_more.body["code"]),
        (StatusCode::CONFLICT, &json!("conflict"))
    );
}

#[tokio::test]
async fn a_task_runs_the_version_that_its_submission_names() {
    let platform = Platform::new();
    let id = agent_of_two(&platform).await;
    platform
        .put(&format!("/v1/agents/{id}/aliases/prod"), r#"{"version":1}"#)
        .await;
    let submit = async |set: Value| {
        let mut body = json!({ "agent_id": id, "input": "hello" });
        body.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        platform.post("/v1/tasks", body.to_string()).await
    };
    for (set, version) in [
        (json!({}), 2),
        (json!({ "alias": null, "agent_version": null }), 2),
        (json!({ "agent_version": 1 }), 1),
        (json!({ "agent_version": 2 }), 2),
        (json!({ "alias": "prod" }), 1),
    ] {
        let accepted = submit(set.clone()).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{set}");
        assert_eq!(accepted.body["agent_version"], version, "{set}");
    }
    let sent = platform.queue.sent().len();
    for (set, pointer, detail) in [
        (
            json!({ "agent_version": 3 }),
            "/agent_version",
            "has no version 3",
        ),
        (
            json!({ "agent_version": 0 }),
            "/agent_version",
            "has no version 0",
        ),
        (
            json!({ "agent_version": "1" }),
            "/agent_version",
            "must be a whole number",
        ),
        (json!({ "alias": "next" }), "/alias", "has no alias next"),
        (json!({ "alias": "a b" }), "/alias", "1 to 64 characters"),
        (json!({ "alias": 1 }), "/alias", "must be a text"),
        (
            json!({ "alias": "prod", "agent_version": 1 }),
            "/alias",
            "beside agent_version",
        ),
    ] {
        let refused = submit(set.clone()).await;
        check_refused(&refused, &[(pointer, detail)], &set.to_string());
    }
    assert_eq!(platform.queue.sent().len(), sent);
}

#[tokio::test]
async fn the_models_that_have_a_price_are_listed_with_what_is_known_of_them() {
    let platform = Platform::without_compatible_server();
    let answer = platform.get("/v1/models").await;
    assert_eq!(answer.status, StatusCode::OK);
    let models = answer.body["data"].as_array().unwrap();
    let of = |name: &str| {
        let model = models.iter().find(|model| model["model"] == name);
        model.unwrap().clone()
    };
    assert_eq!(
        of("claude-opus-5-5"),
        json!({
            "provider": "anthropic", "model": "claude-opus-5-5", "available": true,
            "micro_usd_per_million_tokens":
                { "input": 4_000_000, "cache_read": 200_000, "cache_write": 5_000_000, "output": 20_000_000 },
            "long_prompt": null, "context_window": 1_000_000, "max_output_tokens": 128_000,
            "reasoning_efforts": ["low", "medium", "high", "xhigh", "max"], "sampling": "refused",
        })
    );
    let long = &of("gpt-6.1-terra")["long_prompt"];
    assert!(
        long["over_input_tokens"].as_u64().unwrap() > 100_000,
        "{long}"
    );
    assert!(
        long["micro_usd_per_million_tokens"]["input"].is_u64(),
        "{long}"
    );
    assert_eq!(
        answer.body["providers"],
        json!([
            { "provider": "anthropic", "available": true },
            { "provider": "openai", "available": true },
            { "provider": "openai_compatible", "available": false },
        ])
    );
    // What is listed can be had.
    for model in models {
        let agent = of_model(json!({ "provider": model["provider"], "model": model["model"] }));
        let created = platform.post("/v1/agents", agent.to_string()).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    }
    let refused = platform.get("/v1/models?provider=openai").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}
