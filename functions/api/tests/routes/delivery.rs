//! Everything stored can be read: each response document, as Lambda gets it, fits into Lambda's
//! limit, and long texts are read in parts.

use std::fmt::Write;

use api::exact_paths;
use lambda_http::lambda_runtime::{Context, LambdaEvent};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Service};
use serde_json::{Value, json};
use shared::domain::{ToolCall, ToolRunner};
use shared::ports::Journal;
use shared::testing::{Reply, ScriptedModel, samples};

use crate::platform::{KEY, Platform};

/// What Lambda takes of a function
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const MAX_DOCUMENT_BYTES: usize = 6_291_556;

/// An agent with a tool of its client's.
const AGENT: &str = r#"{
    "name": "clerk", "models": [{"provider": "anthropic", "model": "claude-sonnet-5-5"}], "max_steps": 1000,
    "tools": [{"name": "ask_human", "description": "Asks.", "input_schema": {"type": "object"}}]
}"#;

/// Characters, and how many bytes each takes of the document.
const CHARACTERS: [(&str, usize); 6] = [
    ("x", 1),
    ("\n", 3),
    ("\"", 4),
    ("\\", 4),
    ("\u{1}", 7),
    ("🦀", 4),
];

/// The status and body that a client gets through Lambda, which returns the document only if it is
/// small enough.
async fn send(platform: &Platform, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    send_decoded(platform, method, path, query, body).await
}

/// The same, with the path as API Gateway decoded it.
async fn send_decoded(
    platform: &Platform,
    method: &str,
    path: &str,
    query: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let headers = json!({
        "authorization": format!("Bearer {KEY}"), "content-type": "application/json", "host": "example.com",
        "x-request-id": "\"".repeat(128),
    });
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "example.com", "domainPrefix": "a", "requestId": "r",
            "routeKey": "$default", "stage": "$default", "time": "18/Nov/2026:11:06:40 +0000", "timeEpoch": 1,
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t" },
        },
        "body": body.map(Value::to_string), "isBase64Encoded": false,
    });
    let request: LambdaRequest = serde_json::from_value(event).unwrap();
    let mut lambda = Adapter::from(exact_paths(platform.router.clone()));
    let response = Service::call(&mut lambda, LambdaEvent::new(request, Context::default()))
        .await
        .unwrap();
    let document = serde_json::to_vec(&response).unwrap();
    assert!(
        document.len() <= MAX_DOCUMENT_BYTES,
        "{method} {path}: {}",
        document.len()
    );
    let document: Value = serde_json::from_slice(&document).unwrap();
    let body = serde_json::from_str(document["body"].as_str().unwrap()).unwrap();
    (
        u16::try_from(document["statusCode"].as_u64().unwrap()).unwrap(),
        body,
    )
}

async fn get(platform: &Platform, path: &str) -> Value {
    let (status, body) = send(platform, "GET", path, None).await;
    assert_eq!(
        status,
        200,
        "{path}: {}",
        body.to_string().chars().take(500).collect::<String>()
    );
    body
}

/// The text behind the path, put together from its parts.
async fn whole(platform: &Platform, path: &str) -> String {
    let (mut text, mut next) = (String::new(), path.to_owned());
    loop {
        let part = get(platform, &next).await;
        assert_eq!(part["offset"], text.len(), "{path}");
        text.push_str(part["text"].as_str().unwrap());
        let Some(offset) = part["next_offset"].as_u64() else {
            assert_eq!(part["total_bytes"], text.len(), "{path}");
            return text;
        };
        next = format!("{path}?offset={offset}");
    }
}

/// All entries of the list behind the path.
async fn list(platform: &Platform, path: &str) -> Vec<Value> {
    let (mut entries, mut next) = (Vec::new(), format!("{path}?limit=100"));
    loop {
        let mut page = get(platform, &next).await;
        entries.append(page["data"].as_array_mut().unwrap());
        let Some(cursor) = page["next_cursor"].as_str() else {
            return entries;
        };
        next = format!("{path}?limit=100&cursor={cursor}");
    }
}

/// The path of a task that was worked on by this script.
async fn task(platform: &Platform, reply: Reply) -> String {
    let agent = platform.post("/v1/agents", AGENT).await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let task = platform.submit(&agent, &"\u{1}".repeat(131_072)).await;
    platform.drain(ScriptedModel::new([reply])).await;
    format!("/v1/tasks/{}", task["id"].as_str().unwrap())
}

fn ask_human(id: &str, said: &str) -> ToolCall {
    samples::tool_call(id, "ask_human", &json!({ "said": said }).to_string())
}

#[tokio::test]
async fn an_answer_of_any_characters_is_shown_in_part_and_read_whole() {
    for (character, bytes) in [CHARACTERS[0], CHARACTERS[4], CHARACTERS[5]] {
        let platform = Platform::new();
        let text = character.repeat(7_000_000 / bytes);
        let path = task(&platform, Reply::Answer(samples::answer(&text))).await;
        let shown = get(&platform, &path).await;
        let output = shown["output"].as_str().unwrap();
        assert_eq!(
            (&shown["status"], &shown["output_truncated"]),
            (&json!("completed"), &json!(true))
        );
        assert!(
            text.starts_with(output) && output.len() > 700_000,
            "{character:?} {}",
            output.len()
        );
        assert_eq!(shown["output_bytes"], text.len());
        assert!(
            whole(&platform, &format!("{path}/output")).await == text,
            "{character:?}"
        );

        let steps = list(&platform, &format!("{path}/steps")).await;
        assert_eq!(
            (&steps[0]["text_truncated"], &steps[0]["text_bytes"]),
            (&json!(true), &json!(text.len()))
        );
        assert!(
            whole(&platform, &format!("{path}/steps/1/text")).await == text,
            "{character:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_fits_is_shown_whole() {
    let platform = Platform::new();
    let text = "x".repeat(5_000_000);
    let path = task(&platform, Reply::Answer(samples::answer(&text))).await;
    let shown = get(&platform, &path).await;
    assert!(
        shown["output"] == text
            && shown.get("output_truncated").is_none()
            && shown.get("output_bytes").is_none()
    );
}

/// 50 calls: most have large arguments, one has small ones, one has a large id.
fn large_calls() -> Vec<ToolCall> {
    let mut calls: Vec<ToolCall> = (0..50)
        .map(|number| {
            ask_human(
                &format!("call_{number}"),
                &CHARACTERS[number % 6].0.repeat(70_000),
            )
        })
        .collect();
    calls[7] = ask_human("call_7", "short");
    calls[8].id = "\"".repeat(1_000_000);
    calls
}

#[track_caller]
fn check_shown_in_part(calls: &[ToolCall], open: &[Value]) {
    assert_eq!(open.len(), 50);
    for (call, shown) in calls.iter().zip(open) {
        assert!(
            call.arguments
                .starts_with(shown["arguments"].as_str().unwrap())
        );
        let is_cut = call.arguments.len() > 100_000;
        if is_cut {
            assert_eq!(shown["arguments_truncated"], true, "{}", call.id);
            assert_eq!(shown["arguments_bytes"], call.arguments.len());
        }
    }
    assert_eq!(
        (&open[7]["arguments"], open[7].get("arguments_truncated")),
        (&json!(calls[7].arguments), None)
    );
    assert_eq!(
        (&open[8]["call_id_truncated"], &open[8]["call_id_bytes"]),
        (&json!(true), &json!(1_000_000))
    );
}

#[tokio::test]
async fn large_arguments_are_shown_cut_read_whole_and_answered() {
    let platform = Platform::new();
    let calls = large_calls();
    let path = task(
        &platform,
        Reply::Answer(samples::answer_calling(calls.clone())),
    )
    .await;
    let shown = get(&platform, &path).await;
    let open = shown["input_required"]["calls"].as_array().unwrap();
    check_shown_in_part(&calls, open);
    for (call, shown) in calls.iter().zip(open).step_by(7) {
        let arguments = format!("{path}/steps/{}/arguments", shown["step"]);
        assert!(
            whole(&platform, &arguments).await == call.arguments,
            "{}",
            call.id
        );
    }

    let results: Vec<Value> = open
        .iter()
        .map(|call| json!({ "step": call["step"], "text": "yes" }))
        .collect();
    let (status, answered) = send(
        &platform,
        "POST",
        &format!("{path}/input"),
        Some(&json!({ "results": results })),
    )
    .await;
    assert_eq!((status, &answered["status"]), (202, &json!("queued")));
    let steps = list(&platform, &format!("{path}/steps")).await;
    assert_eq!(
        (
            steps.len(),
            steps[0]["tool_calls"].as_array().unwrap().len()
        ),
        (51, 50)
    );
    for (call, step) in calls.iter().zip(&steps[1..]).step_by(17) {
        assert!(
            call.arguments
                .starts_with(step["arguments"].as_str().unwrap())
        );
        assert!(
            whole(
                &platform,
                &format!("{path}/steps/{}/arguments", step["number"])
            )
            .await
                == call.arguments
        );
    }
}

#[tokio::test]
async fn steps_of_any_size_are_listed_each_once_and_read_whole() {
    let platform = Platform::new();
    let path = task(&platform, Reply::Answer(samples::answer("done"))).await;
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let texts: Vec<String> = CHARACTERS
        .iter()
        .map(|(text, _)| text.repeat(300_000))
        .collect();
    for (number, text) in (2..).zip(&texts) {
        Journal::append(
            &platform.store,
            &samples::tool_step(id, number, ToolRunner::Platform, text),
        )
        .await
        .unwrap();
    }
    let steps = list(&platform, &format!("{path}/steps")).await;
    let numbers: Vec<&Value> = steps.iter().map(|step| &step["number"]).collect();
    assert_eq!(json!(numbers), json!([1, 2, 3, 4, 5, 6, 7]));
    for (step, text) in steps[1..].iter().zip(&texts) {
        assert_eq!(
            (&step["text_truncated"], &step["text_bytes"]),
            (&json!(true), &json!(text.len()))
        );
        assert!(whole(&platform, &format!("{path}/steps/{}/text", step["number"])).await == *text);
    }
}

#[tokio::test]
async fn answer_with_too_many_calls_lists_the_first_of_them() {
    let platform = Platform::new();
    let calls = (0..20_000).map(|number| ask_human(&format!("call_{number}"), &"\u{1}".repeat(30)));
    let path = task(&platform, Reply::Answer(samples::answer_calling(calls))).await;
    let steps = list(&platform, &format!("{path}/steps")).await;
    let shown = steps[0]["tool_calls"].as_array().unwrap();
    assert_eq!(
        (shown.len(), &steps[0]["tool_calls_truncated"]),
        (1_000, &json!(true))
    );
    assert!(
        whole(&platform, &format!("{path}/steps/20001/arguments"))
            .await
            .contains("said")
    );
}

#[tokio::test]
async fn a_list_of_agents_with_the_longest_instructions_is_delivered() {
    let platform = Platform::new();
    let instructions = "\u{1}".repeat(32 * 1_024);
    let mut body: Value = serde_json::from_str(AGENT).unwrap();
    body["instructions"] = instructions.clone().into();
    for _ in 0..100 {
        let (status, created) = send(&platform, "POST", "/v1/agents", Some(&body)).await;
        assert_eq!(
            (status, created["instructions"].as_str()),
            (201, Some(instructions.as_str()))
        );
    }
    let agents = list(&platform, "/v1/agents").await;
    assert_eq!(agents.len(), 100);
    for agent in agents {
        assert!(instructions.starts_with(agent["instructions"].as_str().unwrap()));
        assert_eq!(agent["instructions_truncated"], true);
        assert_eq!(agent["instructions_bytes"], instructions.len());
    }
}

#[tokio::test]
async fn a_part_begins_at_a_character_and_inside_the_text() {
    let platform = Platform::new();
    let path = task(&platform, Reply::Answer(samples::answer("a🦀b"))).await;
    let output = format!("{path}/output");
    let part = get(&platform, &format!("{output}?limit=4")).await;
    assert_eq!(
        part,
        json!({ "text": "a", "offset": 0, "next_offset": 1, "total_bytes": 6 })
    );
    let part = get(&platform, &format!("{output}?offset=1&limit=4")).await;
    assert_eq!(
        part,
        json!({ "text": "🦀", "offset": 1, "next_offset": 5, "total_bytes": 6 })
    );
    let part = get(&platform, &format!("{output}?offset=6")).await;
    assert_eq!(
        part,
        json!({ "text": "", "offset": 6, "next_offset": null, "total_bytes": 6 })
    );
    for (offset, detail) in [
        (2, "must not be inside a character"),
        (7, "must be at most 6"),
    ] {
        let (status, refused) =
            send(&platform, "GET", &format!("{output}?offset={offset}"), None).await;
        assert_eq!(
            (status, &refused["errors"][0]["parameter"]),
            (422, &json!("offset"))
        );
        assert!(
            refused["errors"][0]["detail"]
                .as_str()
                .unwrap()
                .contains(detail),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn missing_texts_are_404_and_a_pending_answer_is_409() {
    let platform = Platform::new();
    let path = task(
        &platform,
        Reply::Answer(samples::answer_calling([ask_human("a", "?")])),
    )
    .await;
    let mut expected = String::new();
    let mut found = String::new();
    for (what, status) in [
        ("output", 409),
        ("steps/1/text", 200),
        ("steps/2/text", 404),
        ("steps/0/text", 404),
        ("steps/1/arguments", 404),
        ("steps/2/arguments", 200),
        ("steps/3/arguments", 404),
        ("steps/4294967295/arguments", 404),
    ] {
        writeln!(expected, "{what} {status}").unwrap();
        writeln!(
            found,
            "{what} {}",
            send(&platform, "GET", &format!("{path}/{what}"), None)
                .await
                .0
        )
        .unwrap();
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn no_character_of_an_id_leads_to_another_route() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    for (method, id) in [
        ("GET", "?"),
        ("DELETE", "?"),
        ("GET", "#"),
        ("GET", "\\"),
        ("GET", "\n"),
        ("GET", "{}"),
        ("GET", "ö\u{c}\u{85}"),
        ("GET", "/../x"),
    ] {
        let path = format!("/v1/agents/{agent}{id}");
        let (status, body) = send_decoded(&platform, method, &path, "", None).await;
        assert_eq!(
            (status, body["status"].as_u64()),
            (404, Some(404)),
            "{method} {path:?}"
        );
    }
    let path = format!("/v1/agents/x?/../{agent}/execute");
    let (status, _) = send_decoded(&platform, "POST", &path, "", Some(&json!({}))).await;
    assert_eq!(status, 404);
    let listed = get(&platform, "/v1/agents?limit=1").await;
    assert_eq!(listed["data"][0]["id"], json!(agent));
}
