//! The requests to Anthropic, and what is decoded from its responses.

mod failures;
mod requests;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stand_in::{ANTHROPIC, PATIENT, Received, Reply, Server, Then, call_model};
use super::streams::{check_cut_everywhere, read};
use crate::domain::{
    ApiVersion, AssistantContent, AssistantPart, Message, ModelAnswer, ModelChain, ModelRef,
    ModelRequest, Original, OutputSchema, Prompt, Provider, ReasoningEffort, StopReason,
    Thousandths, ToolCall, ToolDefinition, ToolName, ToolResult, Usage, UserPart,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::dialect::Dialect;
use crate::ports::{ModelError, ModelErrorKind};
use crate::testing::samples::said;

/// Shaped like streams that were recorded by users of the API, spaces and all, and like those in
/// the tests of the provider's own client.
const TOOLS_STREAM: &str = include_str!("../../fixtures/anthropic_tools_stream.txt");

/// The provider's whole answer with `value` at `pointer`.
fn answer_with(pointer: &str, value: Value) -> Reply {
    let mut answer: Value = serde_json::from_str(ANTHROPIC.whole).unwrap();
    *answer.pointer_mut(pointer).unwrap() = value;
    Reply::ok(&answer.to_string())
}

async fn reply(reply: Reply) -> Result<ModelAnswer, ModelError> {
    ANTHROPIC.reply(reply).await
}

async fn stream(events: &[Value]) -> Result<ModelAnswer, ModelError> {
    let event = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    reply(Reply::stream(
        &[events.iter().map(event).collect::<String>()],
        Then::End,
    ))
    .await
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}})
}

fn block(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop() -> Value {
    json!({"type": "message_stop"})
}

/// A part with the provider's own block.
fn with_block(content: AssistantContent, block: Value) -> AssistantPart {
    AssistantPart {
        content,
        original: Some(Original {
            model: ANTHROPIC.request().model().clone(),
            block,
        }),
    }
}

fn call(id: &str, name: &str, arguments: &str) -> AssistantPart {
    let call = ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    AssistantPart {
        content: AssistantContent::ToolCall(call),
        original: None,
    }
}

fn result(id: &str, text: &str, is_error: bool) -> ToolResult {
    ToolResult {
        call_id: id.to_owned(),
        text: text.to_owned(),
        is_error,
    }
}

#[tokio::test]
async fn an_answer_keeps_the_blocks_that_the_provider_wants_back() {
    let answer = reply(Reply::ok(ANTHROPIC.whole)).await.unwrap();
    let thinking = json!({"type": "thinking", "thinking": "The drawer has three files.", "signature": "EuYBCkQYAiJA"});
    let expected = [
        with_block(
            AssistantContent::Reasoning("The drawer has three files.".to_owned()),
            thinking,
        ),
        said("There are "),
        with_block(
            AssistantContent::Reasoning(String::new()),
            json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3"}),
        ),
        said("three files, “Ü”."),
    ];
    assert_eq!(answer.content, expected);
    let usage = Usage {
        input_tokens: 4_320,
        output_tokens: 57,
        cache_read_tokens: 4_000,
        cache_write_tokens: 300,
        reasoning_tokens: 41,
    };
    assert_eq!(
        (answer.usage, answer.served_model.as_str()),
        (usage, "claude-sonnet-5-5-20260901")
    );
    let odd = [
        json!({"type": "text", "text": "“Ü”", "citations": [{"type": "page_location", "cited_text": "x"}]}),
        json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code_execution", "tool_id": "s"}}),
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}),
        json!({"type": "invented_later", "text": [1]}),
    ];
    for block in odd {
        let answer = reply(answer_with("/content/0", block.clone()))
            .await
            .unwrap();
        assert_eq!(answer.content[0].original.as_ref().unwrap().block, block);
        let request =
            with_prompt(|prompt| prompt.messages.push(Message::Assistant(answer.content)));
        assert_eq!(body(&request)["messages"][1]["content"][0], block);
    }
}

#[tokio::test]
async fn the_pieces_of_a_stream_make_up_the_blocks() {
    let citation = json!({"type": "char_location", "cited_text": "x"});
    let answer = stream(&[
        json!({"type": "invented_later", "index": "x"}),
        start(),
        block(0, &json!({"type": "text", "text": "a"})),
        delta(0, &json!({"type": "text_delta", "text": "b"})),
        delta(0, &json!({"type": "citations_delta", "citation": citation})),
        delta(0, &json!({"type": "citations_delta", "citation": citation})),
        block(
            1,
            &json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        delta(
            1,
            &json!({"type": "input_json_delta", "partial_json": "{\"query\": "}),
        ),
        delta(1, &json!({"type": "input_json_delta"})),
        delta(
            1,
            &json!({"type": "input_json_delta", "partial_json": "1}"}),
        ),
        block(3, &json!({"type": "tool_use", "id": "t", "name": "f"})),
        block(
            4,
            &json!({"type": "tool_use", "id": "u", "name": "f", "input": {"whole": true}}),
        ),
        block(5, &json!({"type": "invented_later"})),
        delta(5, &json!({"type": "invented_delta", "x": 1})),
        block(6, &json!({"type": "text", "text": ""})),
        stop(),
    ])
    .await
    .unwrap();
    let text = json!({"type": "text", "text": "ab", "citations": [citation, citation]});
    let search =
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": 1}});
    let expected = [
        with_block(AssistantContent::Text("ab".to_owned()), text),
        with_block(AssistantContent::Opaque, search),
        call("t", "f", "{}"),
        call("u", "f", r#"{"whole":true}"#),
        AssistantPart {
            content: AssistantContent::Opaque,
            original: None,
        },
    ];
    assert_eq!(
        (answer.content.as_slice(), answer.stop_reason),
        (&expected[..], StopReason::Other)
    );
}

#[tokio::test]
async fn a_cut_tool_call_keeps_what_the_model_wrote() {
    let answer = stream(&[
        start(),
        block(0, &json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "toolset_name": "x"})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"query\": \"canary"})),
        json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 7}}),
        stop(),
    ])
    .await
    .unwrap();
    assert_eq!(
        (answer.content, answer.stop_reason),
        (
            vec![call("t", "f", "{\"query\": \"canary")],
            StopReason::MaxTokens
        )
    );
}

#[tokio::test]
async fn each_stop_reason_has_its_meaning() {
    let reasons = [
        (json!("end_turn"), StopReason::EndTurn),
        (json!("stop_sequence"), StopReason::EndTurn),
        (json!("max_tokens"), StopReason::MaxTokens),
        (
            json!("model_context_window_exceeded"),
            StopReason::ContextWindow,
        ),
        (json!("refusal"), StopReason::Refusal),
        (json!("tool_use"), StopReason::ToolUse),
        (json!("pause_turn"), StopReason::Paused),
        (json!("invented_later"), StopReason::Other),
        (json!(null), StopReason::Other),
    ];
    for (reason, expected) in reasons {
        let whole = reply(answer_with("/stop_reason", reason.clone()))
            .await
            .unwrap();
        let end = json!({"type": "message_delta", "delta": {"stop_reason": reason}});
        let text = block(0, &json!({"type": "text", "text": "x"}));
        let streamed = stream(&[start(), text, end, stop()]).await.unwrap();
        assert_eq!(
            (whole.stop_reason, streamed.stop_reason),
            (expected, expected),
            "{reason}"
        );
        assert_eq!(whole.text(), "There are three files, “Ü”.");
    }
}

#[tokio::test]
async fn a_message_whose_content_is_its_text_is_read() {
    let whole = reply(answer_with("/content", json!("There are three files.")))
        .await
        .unwrap();
    assert_eq!(whole.text(), "There are three files.");
    let mut begun = start();
    begun["message"]["content"] = json!("");
    begun["message"]["stop_reason"] = json!("end_turn");
    let text = block(0, &json!({"type": "text", "text": "x"}));
    let streamed = stream(&[begun, text, stop()]).await.unwrap();
    assert_eq!(
        (streamed.text().as_str(), streamed.stop_reason),
        ("x", StopReason::EndTurn)
    );
}

#[tokio::test]
async fn the_least_answer_has_text() {
    let answer = reply(Reply::ok(r#"{"content":[{"type":"text","text":"x"}]}"#))
        .await
        .unwrap();
    assert_eq!(
        (
            answer.text().as_str(),
            answer.stop_reason,
            answer.usage.input_tokens
        ),
        ("x", StopReason::Other, 0)
    );
    assert_eq!(
        (answer.served_model.as_str(), answer.model),
        ("claude-sonnet-5-5", ANTHROPIC.request().model().clone())
    );
}

#[test]
fn a_stream_cut_anywhere_is_unfinished_or_whole() {
    check_cut_everywhere::<Anthropic>(ANTHROPIC.stream);
    check_cut_everywhere::<Anthropic>(TOOLS_STREAM);
}

proptest! {
    #[test]
    fn ids_stay_different(left in "[a-z|.]{0,3}", right in "[a-z|.]{0,3}") {
        let id = |id: &str| {
            let turn = [Message::Assistant(vec![call(id, "f", "{}")]), Message::ToolResults(vec![result(id, "x", false)])];
            let mut messages = body(&with_prompt(|prompt| prompt.messages.extend(turn)))["messages"].take();
            assert_eq!(messages[1]["content"][0]["id"], messages[2]["content"][0]["tool_use_id"]);
            messages[1]["content"][0]["id"].take()
        };
        prop_assert_eq!(id(&left) == id(&right), left == right);
    }

    #[test]
    fn a_malformed_stream_uses_no_more_than_it_says(at in 0..TOOLS_STREAM.len(), byte: u8) {
        let mut stream = TOOLS_STREAM.as_bytes().to_vec();
        stream[at] = byte;
        let (usage, _answer) = read::<Anthropic>(&stream);
        prop_assert!(usage.input_tokens <= 977 && usage.output_tokens <= 1_000);
    }
}

/// The request with another prompt.
fn with_prompt(change: impl FnOnce(&mut Prompt)) -> ModelRequest {
    let mut request = ANTHROPIC.request();
    change(Arc::make_mut(&mut request.prompt));
    request
}

fn body(request: &ModelRequest) -> Value {
    serde_json::to_value(Anthropic::body(request)).unwrap()
}
