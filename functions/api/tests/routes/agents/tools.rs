//! Agents that are refused for their tools, or for a key in their texts.

use shared::domain::{Agent, TenantId};
use shared::ports::AgentStore;
use shared::testing::samples;

use super::refusals::check_all_refused;
use super::*;

#[tokio::test]
async fn a_tool_of_the_platform_that_is_not_set_as_it_can_be_is_refused() {
    let tools = |tools: Value| body(json!({ "builtin_tools": tools }));
    let http = |set: Value| tools(json!([{ "name": "calculator" }, shown_http(set)]));
    let calculator = json!({ "name": "calculator", "input_schema": { "type": "object" } });
    let hosts: Vec<_> = (0..33)
        .map(|number| format!("h{number}.example.com"))
        .collect();
    check_all_refused([
        (tools(json!([{}])), &[("/builtin_tools/0/name", "is required")] as &[_]),
        (tools(json!([{ "name": "shell" }])), &[("/builtin_tools/0/name", "current_time, calculator or http_request")]),
        (tools(json!(["calculator"])), &[("/builtin_tools/0", "must be an object, not")]),
        (tools(json!([{ "name": "calculator", "digits": 3 }])), &[("/builtin_tools/0/digits", "unknown field")]),
        (
            tools(json!([{ "name": "current_time", "hosts": ["api.example.com"], "timeout_seconds": 1 }])),
            &[
                ("/builtin_tools/0/hosts", "is not for current_time"),
                ("/builtin_tools/0/timeout_seconds", "is not for current_time"),
            ],
        ),
        (
            tools(json!([{ "name": "calculator" }, { "name": "calculator" }])),
            &[("/builtin_tools/1/name", "another tool")],
        ),
        (
            body(json!({ "builtin_tools": [{ "name": "calculator" }], "tools": [calculator] })),
            &[("/builtin_tools/0/name", "must not be the name of another tool")],
        ),
        (tools(json!(vec![json!({ "name": "calculator" }); 9])), &[("/builtin_tools", "0 to 8 entries, has 9")]),
        (tools(json!([{ "name": "http_request" }])), &[("/builtin_tools/0/hosts", "is required")]),
        (http(json!({ "hosts": [] })), &[("/builtin_tools/1/hosts", "1 to 32 entries, has 0")]),
        (http(json!({ "hosts": hosts })), &[("/builtin_tools/1/hosts", "1 to 32 entries, has 33")]),
        (
            http(json!({ "hosts": ["a.example.com", "*", "127.0.0.1"] })),
            &[("/builtin_tools/1/hosts/1", "a host name"), ("/builtin_tools/1/hosts/2", "an IP address")],
        ),
        (
            http(json!({ "hosts": ["a.example.com", "A.example.com"] })),
            &[("/builtin_tools/1/hosts/1", "must not be there twice")],
        ),
        (http(json!({ "allow_http": "yes" })), &[("/builtin_tools/1/allow_http", "must be true or false, not")]),
        (http(json!({ "methods": [] })), &[("/builtin_tools/1/methods", "1 to 6 entries")]),
        (http(json!({ "methods": ["GET", "get"] })), &[("/builtin_tools/1/methods/1", "GET, HEAD, POST")]),
        (
            http(json!({ "methods": ["GET", "GET"], "max_response_bytes": 1, "timeout_seconds": 121 })),
            &[
                ("/builtin_tools/1/methods/1", "must not be there twice"),
                ("/builtin_tools/1/max_response_bytes", "1024 to 2097152"),
                ("/builtin_tools/1/timeout_seconds", "1 to 120"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_tool_with_what_its_kind_does_not_have_is_refused() {
    let tools = |tools: Value| body(json!({ "tools": tools }));
    let ask = |set: Value| {
        let mut ask = json!({ "name": "ask", "input_schema": { "type": "object" } });
        ask.as_object_mut()
            .unwrap()
            .extend(set.as_object().unwrap().clone());
        tools(json!([ask]))
    };
    check_all_refused([
        (ask(json!({ "kind": "shell" })), &[("/tools/0/kind", "must be client or builtin")] as &[_]),
        (
            body(json!({ "builtin_tools": [{ "kind": "client", "name": "ask" }] })),
            &[("/builtin_tools/0/kind", "must be builtin")],
        ),
        (ask(json!({ "kind": 7 })), &[("/tools/0/kind", "must be a text, not")]),
        (ask(json!({ "hosts": ["api.example.com"] })), &[("/tools/0/hosts", "is not for a client tool")]),
        (ask(json!({ "max_result_bytes": 2_048 })), &[("/tools/0/max_result_bytes", "is not for a client tool")]),
        (ask(json!({ "max_calls": 0 })), &[("/tools/0/max_calls", "1 to 1000")]),
        (
            tools(json!([{ "kind": "builtin", "name": "calculator", "description": "x", "max_result_bytes": 1 }])),
            &[("/tools/0/max_result_bytes", "2048 to 524288"), ("/tools/0/description", "is not for calculator")],
        ),
        (
            tools(json!([
                { "kind": "builtin", "name": "calculator" },
                { "name": "calculator", "input_schema": { "type": "object" } },
            ])),
            &[("/tools/1/name", "another tool")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn paths_and_credentials_that_no_request_can_have_are_refused() {
    let tools = |tools: Value| body(json!({ "builtin_tools": tools }));
    let http = |set: Value| tools(json!([{ "name": "calculator" }, shown_http(set)]));
    check_all_refused([
        (
            http(json!({ "paths": [] })),
            &[("/builtin_tools/1/paths", "1 to 32 entries")] as &[_],
        ),
        (
            http(json!({ "paths": ["/v1", "v2", "/a/../b"] })),
            &[
                ("/builtin_tools/1/paths/1", "the beginning of a path"),
                ("/builtin_tools/1/paths/2", "the beginning of a path"),
            ],
        ),
        (
            http(json!({ "credentials": "github" })),
            &[("/builtin_tools/1/credentials", "must be a list, not")],
        ),
        (
            http(json!({ "credentials": ["github", "../other/github"] })),
            &[("/builtin_tools/1/credentials/1", "a-z, 0-9 and -")],
        ),
        (
            http(json!({ "credentials": ["github", "github"] })),
            &[("/builtin_tools/1/credentials/1", "must not be there twice")],
        ),
        (
            tools(json!([{ "name": "calculator", "paths": ["/"], "credentials": ["github"] }])),
            &[
                ("/builtin_tools/0/paths", "is not for calculator"),
                ("/builtin_tools/0/credentials", "is not for calculator"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn an_agent_with_a_key_in_its_texts_is_refused_without_the_key() {
    // Joined here, so that a scanner of this file finds no key.
    let key = ["ghp", "9aB3dE5fG7hJ1kL2mN4pQ6rS8tU0vWxYz12"].join("_");
    let schema = json!({ "type": "object", "properties": { "token": { "const": key } } });
    let tool = |description: &str, schema: Value| json!({ "tools": [{ "name": "look_up", "description": description, "input_schema": schema }] });
    let text = format!("Send Authorization: Bearer {key}.");
    let platform = Platform::new();
    for (agent, field) in [
        (json!({ "instructions": text }), "/instructions"),
        (
            tool(&text, json!({ "type": "object" })),
            "/tools/0/description",
        ),
        (tool("", schema.clone()), "/tools/0/input_schema"),
        (
            json!({ "output_schema": { "name": "answer", "schema": schema } }),
            "/output_schema/schema",
        ),
    ] {
        let answer = platform.post("/v1/agents", body(agent).to_string()).await;
        check_refused(&answer, &[(field, "looks like a key of GitHub")], field);
        assert!(!answer.body.to_string().contains(&key), "{field}");
    }
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn a_patch_is_searched_for_keys_only_where_it_changes_something() {
    let platform = Platform::new();
    let key = ["ghp", "9aB3dE5fG7hJ1kL2mN4pQ6rS8tU0vWxYz12"].join("_");
    // As an earlier version took it.
    let config = samples::agent_config("clerk", &format!("Use {key}."));
    let agent = Agent::create(TenantId::home(), config, samples::START);
    AgentStore::create(&platform.store, &agent).await.unwrap();
    let path = format!("/v1/agents/{}", agent.id);
    let changed = platform.patch(&path, r#"{"max_steps":7}"#).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let with_key = json!({ "instructions": key, "max_steps": 8 });
    let answer = platform.patch(&path, with_key.to_string()).await;
    check_refused(
        &answer,
        &[("/instructions", "looks like a key of GitHub")],
        "a patch",
    );
}
