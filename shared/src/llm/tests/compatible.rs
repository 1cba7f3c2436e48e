//! What servers send of tool calls and items that is not by the book, and what is made of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::deviations::{events, stand_in};
use super::stand_in::Reply;
use crate::domain::{AssistantContent, ModelAnswer, Provider, StopReason};
use crate::ports::ModelErrorKind;

#[tokio::test]
async fn a_message_that_closes_a_stream_replaces_its_deltas() {
    let chat = stand_in(Provider::OpenAiCompatible);
    let delta =
        |delta: Value| json!({"object": "chat.completion.chunk", "choices": [{"delta": delta}]});
    let call = |arguments: &str| json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}]);
    let message = json!({"content": "Oslo is cold.", "reasoning_content": "hm", "tool_calls": call("{\"x\":1}")});
    let answer = events(&chat, &[
        delta(json!({"reasoning_content": "hm", "content": "Oslo is "})),
        delta(json!({"content": "cold."})),
        delta(json!({"tool_calls": call("{\"x\"")})),
        delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
        json!({"object": "chat.completion", "choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 5}}),
    ])
    .await
    .unwrap();
    assert_eq!(
        (
            answer.text().as_str(),
            answer.usage.output_tokens,
            answer.content.len()
        ),
        ("Oslo is cold.", 5, 3)
    );
    assert_eq!(calls(&answer), [("a", "f", "{\"x\":1}")]);
    // One that only closes it takes nothing away.
    let closing = json!({"choices": [{"message": {"content": "", "tool_calls": []}, "finish_reason": "stop"}]});
    assert_eq!(
        events(&chat, &[delta(json!({"content": "x"})), closing])
            .await
            .unwrap()
            .text(),
        "x"
    );
}

fn calls(answer: &ModelAnswer) -> Vec<(&str, &str, &str)> {
    answer
        .tool_calls()
        .map(|call| {
            (
                call.id.as_str(),
                call.name.as_str(),
                call.arguments.as_str(),
            )
        })
        .collect()
}

/// Arguments of calls.
const A: &str = "{\"word\":\"x\"}";
const B: &str = "{\"word\":\"y\"}";

fn function(name: &str, arguments: &str) -> Value {
    json!({"name": name, "arguments": arguments})
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"delta": delta}]})
}

/// A delta with one call.
fn one(call: &Value) -> Value {
    delta(&json!({"tool_calls": [call]}))
}

fn end() -> Value {
    json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
}

/// Deltas, and the calls that they make: name and arguments.
type Streamed = (Vec<Value>, Vec<(&'static str, &'static str)>);

/// Calls that are repeated, mirrored, or have odd indexes, ids and arguments.
fn odd_calls() -> Vec<Streamed> {
    let call = || json!({"index": 0, "id": "a", "function": function("f", A)});
    let mirrored = || delta(&json!({"tool_calls": [call()], "function_call": function("f", A)}));
    let empty_first = || one(&json!({"index": 0, "id": "a", "function": function("f", "{}")}));
    let rest = |index: Value| one(&json!({"index": index, "function": {"arguments": A}}));
    let nulls = [
        delta(&json!(null)),
        delta(&json!({"content": null, "tool_calls": null})),
        json!({"choices": null}),
    ];
    vec![
        (vec![empty_first(), rest(json!(0))], vec![("f", A)]),
        (vec![empty_first(), rest(json!("0"))], vec![("f", A)]),
        (vec![empty_first(), rest(json!(0.0))], vec![("f", A)]),
        (vec![empty_first(), rest(json!(-1))], vec![("f", A)]),
        (vec![empty_first(), rest(json!(null))], vec![("f", A)]),
        (vec![mirrored()], vec![("f", A)]),
        (vec![mirrored(), mirrored()], vec![("f", A)]),
        (
            vec![
                one(&call()),
                delta(&json!({"function_call": function("f", A)})),
            ],
            vec![("f", A)],
        ),
        (
            vec![delta(&json!({"function_call": function("f", A)}))],
            vec![("f", A)],
        ),
        (vec![one(&call()), one(&call())], vec![("f", A)]),
        (
            vec![one(
                &json!({"id": 7, "function": {"name": "f", "arguments": {"word": "x"}}}),
            )],
            vec![("f", A)],
        ),
        (
            vec![one(
                &json!({"id": null, "index": {}, "function": {"name": "f", "arguments": []}}),
            )],
            vec![("f", "{}")],
        ),
        (
            [vec![one(&call())], nulls.to_vec()].concat(),
            vec![("f", A)],
        ),
    ]
}

/// Calls that only what they say tells apart.
fn alike_calls() -> Vec<Streamed> {
    let bare = |name: &str, arguments: &str| one(&json!({"function": function(name, arguments)}));
    let first = |name: &str, arguments: &str| {
        one(&json!({"index": 0, "function": function(name, arguments)}))
    };
    let same_id = |arguments: &str| one(&json!({"id": "a", "function": function("f", arguments)}));
    let both =
        json!({"tool_calls": [{"function": function("f", A)}, {"function": function("f", B)}]});
    vec![
        (vec![bare("f", A), bare("f", B)], vec![("f", A), ("f", B)]),
        (vec![bare("f", A), bare("g", A)], vec![("f", A), ("g", A)]),
        (vec![bare("f", A), bare("f", A)], vec![("f", A)]),
        (vec![delta(&both)], vec![("f", A), ("f", B)]),
        (
            vec![bare("f", "{\"word\""), bare("f", ":\"x\"}")],
            vec![("f", A)],
        ),
        (vec![first("f", A), first("g", B)], vec![("f", A), ("g", B)]),
        (vec![same_id(A), same_id(B)], vec![("f", A), ("f", B)]),
    ]
}

#[tokio::test]
async fn streamed_calls_are_distinguished_and_made_once() {
    let chat = stand_in(Provider::OpenAiCompatible);
    for (pieces, expected) in odd_calls().into_iter().chain(alike_calls()) {
        let answer = events(&chat, &[pieces.clone(), vec![end()]].concat())
            .await
            .unwrap();
        let made: Vec<_> = answer
            .tool_calls()
            .map(|call| (call.name.as_str(), call.arguments.as_str()))
            .collect();
        assert_eq!(made, expected, "{pieces:?}");
        let ids: BTreeSet<_> = answer.tool_calls().map(|call| &call.id).collect();
        assert_eq!(ids.len(), expected.len(), "{pieces:?}");
    }
}

#[tokio::test]
async fn a_call_that_lost_its_name_or_its_arguments_is_a_bad_answer() {
    let chat = stand_in(Provider::OpenAiCompatible);
    for lost in [
        json!({"id": "a", "function": {"arguments": A}}),
        json!({"id": "a", "function": {"name": "f", "arguments": 7}}),
    ] {
        let error = events(&chat, &[one(&lost), end()]).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::BadAnswer);
    }
}

#[tokio::test]
async fn anthropics_api_by_other_servers_is_understood() {
    let anthropic = stand_in(Provider::Anthropic);
    let start =
        json!({"type": "message_start", "message": {"id": "m", "content": [], "usage": null}});
    let block = |index: Value, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let input = |index: Value, more: Value| json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": more}});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let text = json!({"type": "text", "text": null});
    let tool = |id: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let piece = json!({"type": "content_block_delta", "index": "0", "delta": {"text": "x"}});
    let null = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": null}});
    let answer = events(
        &anthropic,
        &[
            start.clone(),
            start.clone(),
            block(json!(0), text.clone()),
            null,
            piece,
            block(json!(0), text),
            stop(0),
            block(json!(1), tool(json!(null))),
            input(json!(1), json!("{}")),
            input(json!(1.0), json!("{\"x\":1}")),
            stop(1),
            block(json!(1), tool(json!("b"))),
            input(json!(null), json!({"x": 2})),
            stop(1),
            block(json!(null), tool(json!(7))),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
            json!({"type": "message_stop"}),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.stop_reason),
        ("x", StopReason::ToolUse)
    );
    let made: Vec<_> = calls(&answer)
        .into_iter()
        .map(|(_, name, arguments)| (name, arguments))
        .collect();
    assert_eq!(made, [("f", "{\"x\":1}"), ("f", "{\"x\":2}"), ("f", "{}")]);
    assert!(calls(&answer)[0].0.starts_with("call_"));
    assert_eq!((calls(&answer)[1].0, calls(&answer)[2].0), ("b", "7"));
    let other = json!({"type": "message_start", "message": {"id": "n", "content": []}});
    let again = [
        start,
        block(json!(0), json!({"type": "text", "text": "x"})),
        other,
    ];
    assert_eq!(
        events(&anthropic, &again).await.unwrap_err().kind,
        ModelErrorKind::BadAnswer
    );
}

#[tokio::test]
async fn items_of_other_servers_are_understood() {
    let openai = stand_in(Provider::OpenAi);
    let items = json!([
        {"type": "message", "content": "Oslo"},
        {"type": "message", "content": null},
        {"type": "message", "content": [{"type": "text", "text": " is cold."}, {"type": "output_text", "text": null}]},
        {"type": "function_call", "name": "f", "arguments": {"x": 1}},
        {"type": "function_call", "call_id": null, "name": "f", "arguments": "{}{\"x\":2}", "status": "in_progress"},
        {"type": "function_call", "call_id": "c", "name": "f"},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"x\":3}"},
    ]);
    let response = json!({"status": "completed", "output": items});
    let done = |(index, item): (usize, &Value)| json!({"type": "response.output_item.done", "output_index": index.to_string(), "item": item});
    let pieces: Vec<Value> = items
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(done)
        .collect();
    let last = |response: Value| json!({"type": "response.completed", "response": response});
    let whole = openai.reply(Reply::ok(&response.to_string())).await;
    let by_items = events(
        &openai,
        &[pieces.clone(), vec![last(json!({"status": "completed"}))]].concat(),
    )
    .await;
    let by_nothing = events(&openai, &[pieces, vec![last(json!(null))]].concat()).await;
    for answer in [
        whole,
        events(&openai, &[last(response)]).await,
        by_items,
        by_nothing,
    ] {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.stop_reason),
            ("Oslo is cold.", StopReason::ToolUse)
        );
        let made: Vec<_> = calls(&answer)
            .into_iter()
            .map(|(_, _, arguments)| arguments)
            .collect();
        assert_eq!(made, ["{\"x\":1}", "{\"x\":2}", "{}", "{}", "{\"x\":3}"]);
        for part in answer
            .content
            .iter()
            .filter(|part| matches!(part.content, AssistantContent::ToolCall(_)))
        {
            let block = &part.original.as_ref().unwrap().block;
            assert!(
                block["call_id"].is_string() && block["arguments"].is_string(),
                "{block}"
            );
        }
    }
}

#[tokio::test]
async fn an_item_that_began_and_got_lost_is_noticed() {
    let openai = stand_in(Provider::OpenAi);
    let added = json!({"type": "response.output_item.added", "output_index": 1, "item": {}});
    let item = json!({"type": "message", "content": "x"});
    let done = json!({"type": "response.output_item.done", "output_index": 0, "item": item});
    let last =
        json!({"type": "response.completed", "response": {"status": "completed", "output": []}});
    assert_eq!(
        events(&openai, &[added, done, last])
            .await
            .unwrap_err()
            .kind,
        ModelErrorKind::BadAnswer
    );
}
