//! Agents that are changed, disabled and archived.

use super::*;
use shared::testing::ScriptedModel;

use crate::platform::{AGENT, UNKNOWN_AGENT};

const UNKNOWN: &str = "/v1/agents/agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";

async fn created(platform: &Platform, body: &str) -> (String, Value) {
    let answer = platform.post("/v1/agents", body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let path = format!("/v1/agents/{}", answer.body["id"].as_str().unwrap());
    (path, answer.body)
}

/// The agent with these members instead, in this version.
fn with(agent: &Value, version: u32, set: Value) -> Value {
    let mut agent = agent.clone();
    let members = agent.as_object_mut().unwrap();
    members.insert("version".to_owned(), json!(version));
    members.extend(set.as_object().unwrap().clone());
    agent
}

fn tag(agent: &Value) -> String {
    format!("\"{}-{}\"", agent["id"].as_str().unwrap(), agent["version"])
}

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

#[tokio::test]
async fn a_patch_makes_the_next_version_and_leaves_the_rest() {
    let platform = Platform::new();
    let schema = json!({ "type": "object", "properties": { "z": {}, "a": {} } });
    let request = body(json!({
        "instructions": "Be brief.", "retry": { "max_attempts": 5, "max_seconds": 90 },
        "cache": { "mode": "on", "ttl_seconds": 60 }, "max_cost_micro_usd": 5_000_000,
        "output_schema": { "name": "answer", "schema": schema },
        "builtin_tools": [{ "name": "http_request", "hosts": ["api.example.com"] }],
    }));
    let (path, first) = created(&platform, &request.to_string()).await;
    let ask = json!({ "kind": "client", "name": "ask", "description": "", "input_schema": { "type": "object" } });
    let table = [
        (json!({ "name": "writer" }), json!({ "name": "writer" })),
        (
            json!({ "retry": { "max_attempts": 2 } }),
            json!({ "retry": { "max_attempts": 2, "max_seconds": 90, "outage": "wait" } }),
        ),
        (
            json!({ "retry": null, "max_cost_micro_usd": null, "cache": { "mode": "off" } }),
            json!({
                "retry": { "max_attempts": 3, "max_seconds": 60, "outage": "wait" },
                "max_cost_micro_usd": null, "cache": { "mode": "off" },
            }),
        ),
        (
            json!({ "output_schema": { "schema": { "properties": { "z": null, "b": {} } } } }),
            json!({ "output_schema": { "name": "answer", "schema":
                { "type": "object", "properties": { "a": {}, "b": {} } } } }),
        ),
        (
            json!({ "tools": [shown_http(json!({})), { "name": "ask", "input_schema": { "type": "object" } }] }),
            json!({ "tools": [shown_http(json!({})), ask] }),
        ),
        // As a client of an earlier version has it: the list of the platform's tools is one of its own.
        (
            json!({ "builtin_tools": [{ "name": "calculator" }] }),
            json!({ "tools": [ask, { "kind": "builtin", "name": "calculator" }] }),
        ),
        (
            json!({ "instructions": null, "builtin_tools": [], "output_schema": null }),
            json!({ "instructions": "", "tools": [ask], "output_schema": null }),
        ),
    ];
    let mut expected = first.clone();
    for (version, (patch, set)) in (2..).zip(table) {
        let answer = platform.patch(&path, patch.to_string()).await;
        expected = with(&expected, version, set);
        assert_eq!(
            (answer.status, &answer.body),
            (StatusCode::OK, &expected),
            "{patch}"
        );
        assert_eq!(answer.headers["etag"], tag(&expected).as_str());
        assert_eq!(platform.get(&path).await.body, expected);
    }
    let mut version = first;
    version.as_object_mut().unwrap().remove("enabled");
    let old = platform.get(&format!("{path}/versions/1")).await;
    assert_eq!((old.status, old.body), (StatusCode::OK, version));
}

#[tokio::test]
async fn a_patch_of_nothing_makes_no_version() {
    let platform = Platform::new();
    let model = json!({ "provider": "openai", "model": "gpt-7", "allow_unlisted": true });
    let (path, agent) = created(&platform, &of_model(model).to_string()).await;
    for patch in [
        json!({}),
        json!({ "name": "clerk", "enabled": true }),
        json!({ "max_tokens": null, "retry": {}, "enabled": null }),
        json!({ "models": agent["models"], "tools": [] }),
    ] {
        let answer = platform.patch(&path, patch.to_string()).await;
        assert_eq!(
            (answer.status, answer.body),
            (StatusCode::OK, agent.clone()),
            "{patch}"
        );
    }
    // A model that was taken once needs no second permission.
    let renamed = platform.patch(&path, r#"{"name":"writer"}"#).await;
    let renamed_agent = with(&agent, 2, json!({ "name": "writer" }));
    assert_eq!(renamed.body, renamed_agent);
    // But a chain that the patch names is a new one.
    let chain = json!({ "name": "clerk", "models": agent["models"] });
    let answer = platform.patch(&path, chain.to_string()).await;
    let rule = [("/models/0/model", "set allow_unlisted")];
    check_refused(&answer, &rule, "the chain is a new one");
    platform.patch(&path, r#"{"enabled":false}"#).await;
    let nothing = platform.patch(&path, "{}").await;
    assert_eq!(nothing.body["enabled"], false, "it stays");
}

#[tokio::test]
async fn the_order_of_a_schema_counts() {
    let platform = Platform::new();
    let tools = |properties: &str| {
        format!(
            r#"{{"tools":[{{"name":"t","input_schema":{{"type":"object","properties":{properties}}}}}]}}"#
        )
    };
    let (path, _) = created(&platform, AGENT).await;
    for (version, properties) in [
        (2, r#"{"b":{},"a":{}}"#),
        (3, r#"{"a":{},"b":{}}"#),
        (3, r#"{"a":{},"b":{}}"#),
    ] {
        let answer = platform.patch(&path, tools(properties)).await;
        assert_eq!(answer.body["version"], version, "{properties}");
        let shown = answer.body["tools"][0]["input_schema"]["properties"].to_string();
        assert_eq!(shown, properties);
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_patch_that_breaks_rules_is_refused_with_its_places() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let table: &[(Value, &[(&str, &str)])] = &[
        (json!({ "name": 7 }), &[("/name", "must be a text, not")]),
        (json!({ "name": null }), &[("/name", "is required")]),
        (json!({ "models": null }), &[("/models", "is required")]),
        (
            json!({ "models": {} }),
            &[("/models", "must be a list, not")],
        ),
        (
            json!({ "models": [null] }),
            &[("/models/0", "must be an object, not")],
        ),
        (
            json!({ "retry": 3 }),
            &[("/retry", "must be an object, not")],
        ),
        (
            json!({ "retry": { "max_attempts": "3" } }),
            &[("/retry/max_attempts", "must be a whole number")],
        ),
        (
            json!({ "cache": { "mode": null, "ttl_seconds": 1 } }),
            &[("/cache/mode", "is required")],
        ),
        (
            json!({ "max_steps": 1.5 }),
            &[("/max_steps", "must be a whole number")],
        ),
        (
            json!({ "max_steps": -1 }),
            &[("/max_steps", "must be a whole number")],
        ),
        (json!({ "max_steps": 0 }), &[("/max_steps", "1 to 1000")]),
        (
            json!({ "enabled": "no" }),
            &[("/enabled", "must be true or false")],
        ),
        (json!({ "version": 2 }), &[("/version", "unknown field")]),
        (json!({ "id": "x" }), &[("/id", "unknown field")]),
        (json!({ "nmae": "x" }), &[("/nmae", "unknown field")]),
        (
            json!({ "retry": { "attempts": null } }),
            &[("/retry/attempts", "unknown field")],
        ),
        (json!([{ "name": "x" }]), &[("", "must be an object, not")]),
        (json!(null), &[("", "must be an object, not")]),
        (
            json!({ "name": "", "max_steps": 0 }),
            &[("/name", "1 to 64"), ("/max_steps", "1 to 1000")],
        ),
        (
            json!({ "models": [{ "provider": "openai", "model": "gpt-9" }], "max_output_tokens": 128_000 }),
            &[("/models/0/model", "set allow_unlisted")],
        ),
        (
            json!({ "models": [{ "provider": "anthropic", "model": "claude-haiku-4-5" }], "max_output_tokens": 100_000 }),
            &[("/max_output_tokens", "at most 64000")],
        ),
    ];
    for (patch, expected) in table {
        let answer = platform.patch(&path, patch.to_string()).await;
        check_refused(&answer, expected, &patch.to_string());
    }
    let twice = platform.patch(&path, r#"{"name":"x","name":"y"}"#).await;
    check_refused(&twice, &[("/name", "must occur only once")], "name twice");
    assert_eq!(platform.get(&path).await.body, agent);
}

#[tokio::test]
async fn each_broken_patch_has_its_own_status() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let typed = |kind: &'static str| [("content-type", kind)];
    let gzip = [MERGE, ("content-encoding", "gzip")];
    for (answer, status) in [
        (platform.patch(&path, "{").await, 400),
        (platform.patch(&path, "").await, 400),
        (platform.patch(UNKNOWN, "{}").await, 404),
        (platform.patch("/v1/agents/agt_1", "{}").await, 404),
        (
            platform
                .patch(&path, format!("{{}}{}", " ".repeat(1_024 * 1_024)))
                .await,
            413,
        ),
        (
            platform
                .send_typed(("PATCH", &path), &typed("text/plain"), "{}")
                .await,
            415,
        ),
        (platform.send_typed(("PATCH", &path), &[], "{}").await, 415),
        (
            platform.send_typed(("PATCH", &path), &gzip, "{}").await,
            415,
        ),
        (platform.patch(&format!("{path}?force=1"), "{}").await, 422),
        (
            platform
                .send_typed(
                    ("PATCH", &path),
                    &typed("application/json; charset=utf-8"),
                    "{}",
                )
                .await,
            200,
        ),
    ] {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
    assert_eq!(platform.get(&path).await.body, agent);
}

#[tokio::test]
async fn if_match_lets_only_the_named_version_be_changed() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let (_, other) = created(&platform, AGENT).await;
    let rename = async |condition: &str, name: &str| {
        let body = json!({ "name": name }).to_string();
        let headers = [MERGE, ("if-match", condition)];
        platform.send_typed(("PATCH", &path), &headers, body).await
    };
    let own = tag(&agent);
    for condition in [
        tag(&other),
        format!("W/{own}"),
        own.trim_matches('"').to_owned(),
        format!("{}, \"x\"", tag(&with(&agent, 2, json!({})))),
        String::new(),
    ] {
        let answer = rename(&condition, "lost").await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (
                StatusCode::PRECONDITION_FAILED,
                &json!("precondition_failed")
            ),
            "{condition}"
        );
    }
    assert_eq!(platform.get(&path).await.body, agent);
    for (condition, name) in [
        (own.clone(), "one"),
        (
            format!("\"x\", {}", tag(&with(&agent, 2, json!({})))),
            "two",
        ),
        ("*".to_owned(), "three"),
    ] {
        let answer = rename(&condition, name).await;
        assert_eq!(answer.status, StatusCode::OK, "{condition}");
        assert_eq!(answer.body["name"], name);
    }
    assert_eq!(
        rename(&own, "late").await.status,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(platform.get(&path).await.body["version"], 4);
}

#[tokio::test]
async fn a_representation_that_the_client_has_is_not_sent_again() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let get = async |path: &str, condition: &str| {
        let headers = [("if-none-match", condition)];
        platform.send_typed(("GET", path), &headers, "").await
    };
    let (own, version) = (tag(&agent), format!("{path}/versions/1"));
    for had in [own.clone(), format!("\"x\", W/{own}"), "*".to_owned()] {
        for path in [&path, &version] {
            let answer = get(path, &had).await;
            assert_eq!(
                (answer.status, answer.body),
                (StatusCode::NOT_MODIFIED, json!("")),
                "{path} {had}"
            );
            assert_eq!(answer.headers["etag"], own.as_str());
        }
    }
    assert_eq!(get(&path, "\"x\"").await.status, StatusCode::OK);
    platform.patch(&path, r#"{"enabled":false}"#).await;
    let disabled = get(&path, &own).await;
    assert_eq!(disabled.status, StatusCode::OK, "it looks different");
    let tag = disabled.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(get(&path, &tag).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&version, &own).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn the_versions_of_an_agent_are_listed_newest_first() {
    let platform = Platform::new();
    let (path, _) = created(&platform, AGENT).await;
    for name in ["two", "three"] {
        platform
            .patch(&path, json!({ "name": name }).to_string())
            .await;
    }
    let list = async |query: &str| platform.get(&format!("{path}/versions{query}")).await;
    let names = |body: &Value| {
        let entries = body["data"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = list("?limit=2").await;
    assert_eq!(names(&first.body), ["three", "two"]);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = list(&format!("?limit=2&cursor={cursor}")).await;
    assert_eq!(names(&rest.body), ["clerk"]);
    assert_eq!(rest.body["next_cursor"], json!(null));
    for (path, status) in [
        (format!("{path}/versions/0"), 404),
        (format!("{path}/versions/4"), 404),
        (format!("{path}/versions/x"), 404),
        (format!("{path}/versions?cursor=x"), 422),
        (format!("{path}/versions?limit=0"), 422),
        (format!("{path}/versions/1?x=1"), 422),
        (format!("{UNKNOWN}/versions"), 404),
        (format!("{UNKNOWN}/versions/1"), 404),
    ] {
        assert_eq!(platform.get(&path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_disabled_agent_refuses_tasks_and_says_so() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let disabled = platform.patch(&path, r#"{"enabled":false}"#).await;
    let expected = with(&agent, 1, json!({ "enabled": false }));
    assert_eq!((disabled.status, disabled.body), (StatusCode::OK, expected));
    let listed = platform.get("/v1/agents").await.body;
    assert_eq!(listed["data"][0]["enabled"], false);
    let submission = json!({ "agent_id": agent["id"], "input": "hello" }).to_string();
    let refused = platform.post("/v1/tasks", submission.clone()).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (StatusCode::CONFLICT, &json!("agent_disabled"))
    );
    assert!(platform.queue.sent().is_empty());
    platform.patch(&path, r#"{"enabled":true}"#).await;
    let accepted = platform.post("/v1/tasks", submission).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let off = body(json!({ "enabled": false })).to_string();
    let (_, born_disabled) = created(&platform, &off).await;
    assert_eq!(born_disabled["enabled"], false);
}

#[tokio::test]
async fn a_task_of_a_disabled_agent_says_what_it_waits_for() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let id = agent["id"].as_str().unwrap();
    let task = platform.submit(id, "hello").await;
    platform.patch(&path, r#"{"enabled":false}"#).await;
    let runner = platform.runner(ScriptedModel::default());
    assert!(platform.work(&runner).await);
    let task = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let shown = platform.get(&task).await.body;
    assert_eq!(
        (&shown["status"], &shown["waiting"]["reason"]),
        (&json!("waiting"), &json!("agent_disabled"))
    );
    let last = shown["history"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["event"], &last["reason"]),
        (&json!("parked"), &json!("agent_disabled"))
    );
}

#[tokio::test]
async fn an_archived_agent_is_gone_but_for_its_versions() {
    let platform = Platform::new();
    let (path, agent) = created(&platform, AGENT).await;
    let id = agent["id"].as_str().unwrap();
    let task = platform.submit(id, "hello").await;
    for _ in 0..2 {
        let archived = platform.delete(&path).await;
        assert_eq!(
            (archived.status, archived.body),
            (StatusCode::NO_CONTENT, json!(""))
        );
    }
    assert_eq!(platform.get("/v1/agents").await.body["data"], json!([]));
    let body = r#"{"version":1}"#;
    for (answer, status) in [
        (platform.get(&path).await, 404),
        (platform.patch(&path, "{}").await, 404),
        (platform.get(&format!("{path}/aliases")).await, 404),
        (platform.put(&format!("{path}/aliases/a"), body).await, 404),
        (platform.get(&format!("{path}/versions/1")).await, 200),
        (platform.get(&format!("{path}/versions")).await, 200),
        (platform.delete(UNKNOWN).await, 404),
        (platform.delete("/v1/agents/agt_1").await, 404),
        (platform.delete(&format!("{path}?force=1")).await, 422),
    ] {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
    let submission = json!({ "agent_id": id, "input": "hello" }).to_string();
    let refused = platform.post("/v1/tasks", submission).await;
    check_refused(&refused, &[("/agent_id", "not found")], "archived");
    platform.drain(ScriptedModel::default()).await;
    let task = platform
        .get(&format!("/v1/tasks/{}", task["id"].as_str().unwrap()))
        .await;
    assert_eq!(task.body["status"], "completed");
    let unknown = format!("agent {UNKNOWN_AGENT} not found");
    assert_eq!(platform.get(UNKNOWN).await.body["detail"], unknown);
}
