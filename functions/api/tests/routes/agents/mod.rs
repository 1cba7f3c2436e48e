//! `/v1/agents`.

mod aliases;
mod cache;
mod changes;
mod refusals;
mod tools;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::platform::{Platform, check_refused, redacted};

/// The members that every agent has, and these instead of the defaults.
fn shown(set: Value) -> Value {
    let mut agent = json!({
        "id": "[id]", "version": 1, "enabled": true, "name": "clerk", "instructions": "", "created_at": "[time]",
        "models": [shown_model("anthropic", "claude-sonnet-5-5", json!({}))], "tools": [],
        "output_schema": null,
        "retry": { "max_attempts": 3, "max_seconds": 60, "outage": "wait" }, "cache": null,
        "max_output_tokens": 4096, "timeout_seconds": 1800, "max_cost_micro_usd": null,
        "max_steps": 100, "max_tool_calls": 200, "max_blocked_calls": 5, "max_tokens": null, "input_timeout_seconds": 86_400, "on_limit": "pause",
    });
    agent
        .as_object_mut()
        .unwrap()
        .extend(set.as_object().unwrap().clone());
    agent
}

fn shown_model(provider: &str, model: &str, set: Value) -> Value {
    let mut shown = json!({
        "provider": provider, "model": model, "temperature": null, "top_p": null, "reasoning_effort": null,
        "api_version": null, "stream": true, "output_limit_field": null,
    });
    shown
        .as_object_mut()
        .unwrap()
        .extend(set.as_object().unwrap().clone());
    shown
}

/// The tool `http_request` for one host, and these members instead of the defaults.
fn shown_http(set: Value) -> Value {
    let mut shown = json!({
        "kind": "builtin", "name": "http_request", "hosts": ["api.example.com"], "allow_http": false, "methods": ["GET"],
        "max_response_bytes": 262_144, "timeout_seconds": 20,
    });
    shown
        .as_object_mut()
        .unwrap()
        .extend(set.as_object().unwrap().clone());
    shown
}

/// An agent of one known model, with these members added.
fn body(set: Value) -> Value {
    let mut agent = json!({ "name": "clerk", "models": [{ "provider": "anthropic", "model": "claude-sonnet-5-5" }] });
    agent
        .as_object_mut()
        .unwrap()
        .extend(set.as_object().unwrap().clone());
    agent
}

fn of_model(model: Value) -> Value {
    body(json!({ "models": [model] }))
}

#[tokio::test]
async fn an_agent_is_created_and_read_back_with_everything_that_it_was_given() {
    let platform = Platform::new();
    let schema =
        json!({ "type": "object", "properties": { "x": { "type": "string" } }, "required": ["x"] });
    let settings = json!({ "temperature": 0.7, "api_version": "2023-06-01", "stream": false });
    let given = json!({
        "instructions": "Be brief.", "max_output_tokens": 100, "timeout_seconds": 60,
        "max_steps": 7, "max_tool_calls": 0, "max_blocked_calls": 2, "max_tokens": 9, "input_timeout_seconds": 60, "on_limit": "fail",
        "retry": { "max_attempts": 5, "max_seconds": 90, "outage": "fail" },
        "cache": { "mode": "on", "ttl_seconds": 60, "stale_seconds": 600 },
        "tools": [{ "name": "look_up", "description": "Looks up.", "input_schema": schema }],
        "output_schema": { "name": "answer", "schema": schema }, "max_cost_micro_usd": 5_000_000,
    });
    let mut request = body(given.clone());
    request["builtin_tools"] = json!([{ "name": "current_time" }, { "name": "http_request", "hosts": ["API.example.com"] }]);
    request["models"] = json!([
        { "provider": "openai", "model": "gpt-6.1-terra", "top_p": 1, "temperature": 2, "reasoning_effort": "none" },
        { "provider": "anthropic", "model": "claude-haiku-4-5", "temperature": 0.7, "api_version": "2023-06-01", "stream": false },
    ]);
    let mut expected = shown(given);
    expected["models"] = json!([
        shown_model(
            "openai",
            "gpt-6.1-terra",
            json!({ "top_p": 1.0, "temperature": 2.0, "reasoning_effort": "none" })
        ),
        shown_model("anthropic", "claude-haiku-4-5", settings),
    ]);
    expected["tools"] = json!([
        { "kind": "client", "name": "look_up", "description": "Looks up.", "input_schema": schema },
        { "kind": "builtin", "name": "current_time" },
        shown_http(json!({})),
    ]);
    let created = platform.post("/v1/agents", request.to_string()).await;
    assert_eq!(
        (created.status, redacted(created.body.clone())),
        (StatusCode::CREATED, expected)
    );
    assert_eq!(created.body["created_at"], "2026-11-18T11:06:40.000Z");
    let location = created.headers["location"].to_str().unwrap();
    assert_eq!(
        location,
        format!("/v1/agents/{}", created.body["id"].as_str().unwrap())
    );
    let read = platform.get(location).await;
    assert_eq!(
        (read.status, read.body),
        (StatusCode::OK, created.body.clone())
    );
    let mut listed = created.body;
    listed
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["tools", "output_schema"].contains(&name.as_str()));
    assert_eq!(
        platform.get("/v1/agents").await.body["data"],
        json!([listed])
    );
}

#[tokio::test]
async fn what_is_left_out_has_its_default() {
    let platform = Platform::new();
    let unlisted = json!({ "provider": "openai", "model": "gpt-7", "allow_unlisted": true });
    let compatible = json!({
        "provider": "openai_compatible", "model": "llama", "temperature": 1.5, "top_p": 0.001,
        "output_limit_field": "max_completion_tokens",
    });
    let table = [
        (body(json!({})), shown(json!({}))),
        (
            body(json!({ "cache": { "mode": "off" } })),
            shown(json!({ "cache": { "mode": "off" } })),
        ),
        (
            body(json!({ "cache": { "mode": "on" } })),
            shown(json!({ "cache": { "mode": "on", "ttl_seconds": 3600, "stale_seconds": 0 } })),
        ),
        (
            body(json!({ "retry": {}, "cache": null, "tools": [] })),
            shown(json!({})),
        ),
        (
            body(json!({ "tools": [
                { "kind": "builtin", "name": "http_request", "hosts": ["api.example.com"], "allow_http": true, "methods": ["POST", "GET"],
                  "paths": ["/v1/orders", "/"], "credentials": ["orders", "0-9"], "max_response_bytes": 2_097_152,
                  "timeout_seconds": 1 },
                { "kind": "builtin", "name": "calculator", "max_calls": 3, "max_result_bytes": 2_048 },
                { "kind": "client", "name": "ask", "description": "Asks.", "input_schema": { "type": "object" },
                  "max_calls": 1_000 },
            ] })),
            shown(json!({ "tools": [
                shown_http(json!({
                    "allow_http": true, "methods": ["POST", "GET"], "paths": ["/v1/orders", "/"],
                    "credentials": ["orders", "0-9"], "max_response_bytes": 2_097_152, "timeout_seconds": 1,
                })),
                { "kind": "builtin", "name": "calculator", "max_calls": 3, "max_result_bytes": 2_048 },
                { "kind": "client", "name": "ask", "description": "Asks.", "input_schema": { "type": "object" },
                  "max_calls": 1_000 },
            ] })),
        ),
        (
            of_model(unlisted),
            shown(json!({ "models": [shown_model("openai", "gpt-7", json!({}))] })),
        ),
        (
            of_model(compatible),
            shown(json!({ "models": [
                shown_model("openai_compatible", "llama", json!({
                    "temperature": 1.5, "top_p": 0.001, "output_limit_field": "max_completion_tokens",
                })),
            ] })),
        ),
    ];
    for (request, expected) in table {
        let created = platform.post("/v1/agents", request.to_string()).await;
        assert_eq!(
            (created.status, redacted(created.body)),
            (StatusCode::CREATED, expected),
            "{request}"
        );
    }
}

#[tokio::test]
async fn the_same_member_twice_is_refused() {
    let platform = Platform::new();
    let model = r#"[{"provider":"anthropic","model":"claude-sonnet-5-5"}]"#;
    let answer = platform
        .post(
            "/v1/agents",
            format!(r#"{{"name":"x","name":"y","models":{model}}}"#),
        )
        .await;
    check_refused(&answer, &[("/name", "must occur only once")], "name twice");
}

#[tokio::test]
async fn a_refusal_is_small_however_much_is_wrong() {
    let platform = Platform::new();
    let schema: Value = (0..2_000)
        .map(|number| (format!("p{number}"), json!(7)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let tools =
        json!([{ "name": "t", "input_schema": { "type": "object", "properties": schema } }]);
    let answer = platform
        .post("/v1/agents", body(json!({ "tools": tools })).to_string())
        .await;
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 100);
}
