//! Agents that are refused, and how.

use super::*;

/// A body, and the pointers that it is refused with, each with a part of its detail.
pub(super) type Refused = (Value, &'static [(&'static str, &'static str)]);

pub(super) async fn check_all_refused(table: impl IntoIterator<Item = Refused>) {
    let platform = Platform::new();
    for (body, expected) in table {
        let answer = platform.post("/v1/agents", body.to_string()).await;
        check_refused(
            &answer,
            expected,
            &body.to_string().chars().take(300).collect::<String>(),
        );
    }
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn an_agent_that_breaks_rules_is_refused_with_each_place() {
    let model = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    check_all_refused([
        (json!({}), &[("/name", "is required"), ("/models", "is required")] as &[_]),
        (json!({ "name": 7 }), &[("/name", "must be a text, not")]),
        (json!(["x"]), &[("", "must be an object, not")]),
        (json!({ "name": " ", "models": model, "nmae": "x" }), &[("/nmae", "unknown field")]),
        (body(json!({ "name": "x".repeat(65) })), &[("/name", "has 65")]),
        (body(json!({ "name": "\u{7}" })), &[("/name", "control characters")]),
        (body(json!({ "instructions": "x".repeat(32_769) })), &[("/instructions", "at most 32768 bytes")]),
        (body(json!({ "max_output_tokens": 0 })), &[("/max_output_tokens", "1 to 128000")]),
        (body(json!({ "timeout_seconds": 9 })), &[("/timeout_seconds", "10 to 86400")]),
        (body(json!({ "max_steps": 1_001 })), &[("/max_steps", "1 to 1000")]),
        (body(json!({ "max_tool_calls": 1_001 })), &[("/max_tool_calls", "0 to 1000")]),
        (body(json!({ "max_tokens": 0 })), &[("/max_tokens", "1 to 1000000000")]),
        (body(json!({ "max_blocked_calls": 0 })), &[("/max_blocked_calls", "1 to 1000")]),
        (body(json!({ "input_timeout_seconds": 59 })), &[("/input_timeout_seconds", "60 to 2592000")]),
        (body(json!({ "on_limit": "stop" })), &[("/on_limit", "must be pause or fail")]),
        (body(json!({ "max_cost_micro_usd": 0 })), &[("/max_cost_micro_usd", "1 to 1000000000")]),
        (body(json!({ "max_cost_micro_usd": 1_000_000_001 })), &[("/max_cost_micro_usd", "1 to 1000000000")]),
        (body(json!({ "retry": { "max_attempts": 0 } })), &[("/retry/max_attempts", "1 to 10")]),
        (body(json!({ "retry": { "max_attempts": 11 } })), &[("/retry/max_attempts", "1 to 10")]),
        (body(json!({ "retry": { "max_seconds": 601 } })), &[("/retry/max_seconds", "1 to 600")]),
        (body(json!({ "retry": { "outage": "Wait" } })), &[("/retry/outage", "must be wait or fail")]),
        (body(json!({ "retry": { "attempts": 1 } })), &[("/retry/attempts", "unknown field")]),
        (body(json!({ "retry": [3] })), &[("/retry", "must be an object, not")]),
        (body(json!({ "cache": {} })), &[("/cache/mode", "is required")]),
        (body(json!({ "cache": { "mode": true } })), &[("/cache/mode", "must be a text, not")]),
        (body(json!({ "cache": { "mode": "default" } })), &[("/cache/mode", "must be on or off")]),
        (body(json!({ "cache": { "mode": "on", "ttl_seconds": 0 } })), &[("/cache/ttl_seconds", "1 to 2592000")]),
        (
            body(json!({ "cache": { "mode": "on", "stale_seconds": 2_592_001 } })),
            &[("/cache/stale_seconds", "0 to 2592000")],
        ),
        (
            json!({
                "name": "", "models": [{}, { "provider": "openai", "model": "gpt-7" }], "max_output_tokens": 0,
                "timeout_seconds": 0, "tools": [{ "name": "a b" }, {}], "output_schema": {},
                "retry": { "max_attempts": 0, "max_seconds": 0, "outage": "" },
                "cache": { "ttl_seconds": 0, "mode": "" }, "max_cost_micro_usd": 0,
            }),
            &EVERY,
        ),
    ])
    .await;
}

/// Places of an agent that can be wrong, in the order in which they are named.
const EVERY: [(&str, &str); 17] = [
    ("/name", "1 to 64"),
    ("/models/0/provider", "is required"),
    ("/models/0/model", "is required"),
    ("/tools/0/name", "1 to 64 characters of"),
    ("/tools/0/input_schema", "is required"),
    ("/tools/1/name", "is required"),
    ("/tools/1/input_schema", "is required"),
    ("/output_schema/name", "is required"),
    ("/output_schema/schema", "is required"),
    ("/retry/max_attempts", "1 to 10"),
    ("/retry/max_seconds", "1 to 600"),
    ("/retry/outage", "wait or fail"),
    ("/cache/ttl_seconds", "1 to"),
    ("/cache/mode", "on or off"),
    ("/timeout_seconds", "10 to"),
    ("/max_cost_micro_usd", "1 to"),
    ("/max_output_tokens", "1 to"),
];

#[tokio::test]
async fn a_chain_that_no_provider_would_serve_is_refused() {
    let known = |name: &str| json!({ "provider": "anthropic", "model": name });
    let chain = |models: Value| body(json!({ "models": models }));
    let with = |model: &str, set: Value| {
        let mut model = json!({ "provider": if model.starts_with("claude") { "anthropic" } else { "openai" }, "model": model });
        model
            .as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        of_model(model)
    };
    let opus = known("claude-opus-5-5");
    let six: Vec<_> = (0..6)
        .map(|number| json!({ "provider": "openai_compatible", "model": format!("m{number}") }))
        .collect();
    check_all_refused([
        (chain(json!([])), &[("/models", "must have 1 to 5 entries, has 0")] as &[_]),
        (chain(json!(six)), &[("/models", "must have 1 to 5 entries, has 6")]),
        (chain(json!([opus, known("claude-opus-5"), opus])), &[("/models/2", "twice")]),
        (chain(json!([["openai", "m"]])), &[("/models/0", "must be an object, not")]),
        (
            of_model(json!({ "provider": "acme", "model": "m" })),
            &[("/models/0/provider", "must be anthropic, openai or")],
        ),
        (of_model(json!({ "provider": "openai", "model": "a b" })), &[("/models/0/model", "without spaces")]),
        (of_model(json!({ "provider": "openai", "model": "m", "t": 1 })), &[("/models/0/t", "unknown field")]),
        (chain(json!([opus, known("claude-nova-7")])), &[("/models/1/model", "set allow_unlisted")]),
        (with("gpt-5.9", json!({})), &[("/models/0/model", "set allow_unlisted")]),
        (with("gpt-5.9", json!({ "allow_unlisted": false })), &[("/models/0/model", "set allow_unlisted")]),
        (
            body(
                json!({ "max_cost_micro_usd": 9, "models": [opus, { "provider": "openai_compatible", "model": "m" }] }),
            ),
            &[("/models/1/model", "without one max_cost_micro_usd can't be enforced")],
        ),
        (with("claude-opus-5-5", json!({ "temperature": 1 })), &[("/models/0/temperature", "not taken by this model")]),
        (with("claude-haiku-4-5", json!({ "top_p": 1 })), &[("/models/0/top_p", "select api_version 2023-06-01")]),
        (
            with("claude-haiku-4-5", json!({ "temperature": 1.5, "api_version": "2023-06-01" })),
            &[("/models/0/temperature", "must be 0 to 1 for anthropic")],
        ),
        (
            with("gpt-6.1-terra", json!({ "temperature": 0, "top_p": 0.5 })),
            &[("/models/0/temperature", "reasoning_effort none"), ("/models/0/top_p", "reasoning_effort none")],
        ),
        (with("gpt-6.1-sol", json!({ "reasoning_effort": "none" })), &[("/models/0/reasoning_effort", "low, medium")]),
        (
            with("gpt-6.1-sol", json!({ "reasoning_effort": "ultra" })),
            &[("/models/0/reasoning_effort", "must be none")],
        ),
        (with("gpt-6.1-sol", json!({ "api_version": "2023-06-01" })), &[("/models/0/api_version", "anthropic only")]),
        (with("claude-opus-5", json!({ "api_version": "2024-01-01" })), &[("/models/0/api_version", "2023-06-01")]),
        (with("gpt-6.1-sol", json!({ "top_p": 1.001 })), &[("/models/0/top_p", "must be 0 to 1 with")]),
        (with("gpt-6.1-sol", json!({ "temperature": -1 })), &[("/models/0/temperature", "must be 0 to 2 with")]),
        (with("gpt-6.1-sol", json!({ "temperature": 0.0005 })), &[("/models/0/temperature", "at most 3 decimals")]),
        (with("gpt-6.1-sol", json!({ "temperature": "0.5" })), &[("/models/0/temperature", "must be a number, not")]),
    ])
    .await;
}

#[tokio::test]
async fn an_effort_or_a_field_that_a_model_does_not_take_is_refused() {
    let with = |provider: &str, model: &str, set: Value| {
        let mut model = json!({ "provider": provider, "model": model });
        model
            .as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        of_model(model)
    };
    check_all_refused([
        (
            with(
                "openai",
                "gpt-6.1-sol",
                json!({ "reasoning_effort": "minimal" }),
            ),
            &[(
                "/models/0/reasoning_effort",
                "must be low, medium, high, xhigh or max for this model",
            )] as &[_],
        ),
        (
            with(
                "anthropic",
                "claude-opus-4-6",
                json!({ "reasoning_effort": "xhigh" }),
            ),
            &[(
                "/models/0/reasoning_effort",
                "must be none, low, medium, high or max",
            )],
        ),
        (
            with(
                "openai",
                "gpt-6.1-sol",
                json!({ "output_limit_field": "max_tokens" }),
            ),
            &[("/models/0/output_limit_field", "openai_compatible only")],
        ),
        (
            with(
                "openai",
                "gpt-6.1-sol",
                json!({ "output_limit_field": "limit" }),
            ),
            &[(
                "/models/0/output_limit_field",
                "must be max_tokens or max_completion_tokens",
            )],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_model_of_a_server_that_the_deployment_does_not_have_is_refused() {
    let platform = Platform::without_compatible_server();
    let known = json!({ "provider": "anthropic", "model": "claude-opus-5-5" });
    let request =
        body(json!({ "models": [known, { "provider": "openai_compatible", "model": "llama" }] }));
    let answer = platform.post("/v1/agents", request.to_string()).await;
    check_refused(
        &answer,
        &[(
            "/models/1/provider",
            "the deployment's OpenAiCompatibleBaseUrl names no server",
        )],
        "",
    );
    assert!(platform.wrote_nothing().await);
    platform.create_agent().await;
}

#[tokio::test]
async fn a_tool_or_a_form_that_no_provider_would_take_is_refused() {
    let plain = json!({ "type": "object" });
    let tool = |name: &str, schema: &Value| json!({ "name": name, "description": "d", "input_schema": schema });
    let tools = |tools: Value| body(json!({ "tools": tools }));
    let of_schema = |schema: Value| tools(json!([tool("t", &schema)]));
    let large = json!({ "type": "object", "title": "x".repeat(32_700) });
    let named = |count: usize, schema: &Value| {
        (0..count)
            .map(|number| tool(&format!("t{number}"), schema))
            .collect()
    };
    let long = "x".repeat(65);
    check_all_refused([
        (tools(named(65, &plain)), &[("/tools", "must have at most 64 client tools, has 65")] as &[_]),
        (tools(named(5, &large)), &[("/tools", "at most 131072 bytes")]),
        (tools(json!([tool("a", &plain), tool("b", &plain), tool("a", &plain)])), &[("/tools/2/name", "another tool")]),
        (tools(json!([tool("", &plain)])), &[("/tools/0/name", "1 to 64 characters")]),
        (tools(json!([tool("look up", &plain)])), &[("/tools/0/name", "1 to 64 characters")]),
        (tools(json!([tool("größe", &plain)])), &[("/tools/0/name", "1 to 64 characters")]),
        (tools(json!([tool(&long, &plain)])), &[("/tools/0/name", "1 to 64 characters")]),
        (
            tools(json!([{ "name": "t", "description": "x".repeat(16_385), "input_schema": plain }])),
            &[("/tools/0/description", "at most 16384 bytes, has 16385")],
        ),
        (
            tools(json!([{ "name": "t", "input_schema": plain, "strict": true }])),
            &[("/tools/0/strict", "unknown field")],
        ),
        (tools(json!([{ "name": "t", "input_schema": null }])), &[("/tools/0/input_schema", "is required")]),
        (of_schema(json!(true)), &[("/tools/0/input_schema", "must be an object")]),
        (of_schema(json!({})), &[("/tools/0/input_schema/type", "must be object")]),
        (of_schema(json!({ "type": "array" })), &[("/tools/0/input_schema/type", "must be object")]),
        (
            of_schema(json!({ "type": "object", "title": "x".repeat(32_768) })),
            &[("/tools/0/input_schema", "at most 32768 bytes")],
        ),
        (
            of_schema(json!({ "type": "object", "properties": { "x": { "type": "strnig" }, "a/b": 7 } })),
            &[
                ("/tools/0/input_schema/properties/x/type", "array, boolean, integer"),
                ("/tools/0/input_schema/properties/a~1b", "must be a schema"),
            ],
        ),
        (
            of_schema(json!({ "type": "object", "properties": { "x": { "$ref": "https://example.com/s.json" } } })),
            &[("/tools/0/input_schema/properties/x/$ref", "must point into the schema itself")],
        ),
        (body(json!({ "output_schema": { "name": "a.b", "schema": plain } })), &[("/output_schema/name", "1 to 64")]),
        (
            body(json!({ "output_schema": { "name": "a", "schema": { "type": "object", "required": "x" } } })),
            &[("/output_schema/schema/required", "different texts")],
        ),
        (
            body(json!({ "output_schema": { "name": "a", "schema": { "type": "string" } } })),
            &[("/output_schema/schema/type", "must be object")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_providers_refusal_names_the_place_and_the_provider() {
    let odd = json!({ "type": "object", "properties": { "limit": {}, "filter[id]": { "type": "string" }, "a/b": {} } });
    let tool = |name: &str, schema: &Value| json!({ "name": name, "input_schema": schema });
    let tools = json!([tool("a", &json!({ "type": "object" })), tool("b", &odd)]);
    let haiku = json!({ "provider": "anthropic", "model": "claude-haiku-4-5" });
    let terra = json!({ "provider": "openai", "model": "gpt-6.1-terra" });
    check_all_refused([
        (
            body(json!({ "tools": tools, "models": [terra, haiku] })),
            &[
                (
                    "/tools/1/input_schema/properties/filter[id]",
                    "anthropic refuses other names",
                ),
                (
                    "/tools/1/input_schema/properties/a~1b",
                    "anthropic refuses other names",
                ),
            ] as &[_],
        ),
        (
            body(json!({ "max_output_tokens": 64_001, "models": [terra, haiku] })),
            &[(
                "/max_output_tokens",
                "must be at most 64000, which is the limit of anthropic/claude-haiku-4-5",
            )],
        ),
        (
            body(json!({ "max_output_tokens": 128_001 })),
            &[("/max_output_tokens", "1 to 128000")],
        ),
    ])
    .await;
    let platform = Platform::new();
    let old = json!({
        "$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
        "properties": { "x": { "minimum": 0, "exclusiveMinimum": true } }, "anyOf": [{ "required": ["x"] }],
    });
    let long = json!({ "name": "d", "description": "x".repeat(16_384), "input_schema": { "type": "object" } });
    for accepted in [
        body(json!({ "tools": tools, "models": [terra] })),
        body(json!({ "tools": [tool("c", &old), long] })),
        body(json!({ "max_output_tokens": 128_000, "models": [terra] })),
        body(json!({ "max_output_tokens": 64_000, "models": [terra, haiku] })),
    ] {
        let answer = platform.post("/v1/agents", accepted.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
}

#[tokio::test]
async fn the_order_of_properties_stays() {
    let platform = Platform::new();
    let schema = r#"{"type":"object","properties":{"reasoning":{"type":"string","enum":["z","a"]},"answer":{"type":"string"}},"required":["reasoning","answer"]}"#;
    let model = r#"[{"provider":"anthropic","model":"claude-sonnet-5-5"}]"#;
    let tool = format!(r#"[{{"name":"t","input_schema":{schema}}}]"#);
    let form = format!(r#"{{"name":"f","schema":{schema}}}"#);
    let body = format!(r#"{{"name":"x","models":{model},"tools":{tool},"output_schema":{form}}}"#);
    let created = platform.post("/v1/agents", body).await;
    let read = platform
        .get(created.headers["location"].to_str().unwrap())
        .await;
    for answer in [created, read] {
        assert_eq!(answer.body["tools"][0]["input_schema"].to_string(), schema);
        assert_eq!(answer.body["output_schema"]["schema"].to_string(), schema);
    }
}
