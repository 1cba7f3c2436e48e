//! What Anthropic is asked, and what is made of its answers.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stand_in::{ANTHROPIC, PATIENT, Received, Reply, Server, Then, ask};
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
/// the tests of the vendor's own client.
const TOOLS_STREAM: &str = include_str!("../fixtures/anthropic_tools_stream.txt");

/// What the `anthropic` Python package 2.12.0 sends for the same question, without the headers that
/// name the package.
const SDK_REQUEST: &str = include_str!("../fixtures/anthropic_request.json");
const SDK_REQUEST_LEAST: &str = include_str!("../fixtures/anthropic_request_least.json");
const SDK_REQUEST_TOOLS: &str = include_str!("../fixtures/anthropic_request_tools.json");

/// The vendor's whole answer with `value` at `pointer`.
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

/// A part with the vendor's own block.
fn kept(content: AssistantContent, block: Value) -> AssistantPart {
    AssistantPart {
        content,
        original: Some(Original {
            model: ANTHROPIC.question().model().clone(),
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

/// The question with another prompt.
fn with_prompt(change: impl FnOnce(&mut Prompt)) -> ModelRequest {
    let mut request = ANTHROPIC.question();
    change(Arc::make_mut(&mut request.prompt));
    request
}

fn body(request: &ModelRequest) -> Value {
    serde_json::to_value(Anthropic::question(request)).unwrap()
}

async fn check_request(request: &ModelRequest, expected: &str) {
    let server = Server::start(ANTHROPIC.streamed()).await;
    ask(ANTHROPIC.client(server.access(), PATIENT).as_ref(), request)
        .await
        .unwrap();
    assert_eq!(
        server.requests(),
        [serde_json::from_str::<Received>(expected).unwrap()]
    );
}

#[tokio::test]
async fn the_request_is_that_of_the_vendors_own_client() {
    check_request(&ANTHROPIC.question(), SDK_REQUEST).await;
    let mut choice = ANTHROPIC.question_for_whole().chain.first().clone();
    choice.settings.api_version = ApiVersion::Anthropic20230601;
    choice.settings.temperature = Some(Thousandths(700));
    choice.settings.top_p = Some(Thousandths(250));
    check_request(
        &with_prompt(|prompt| prompt.instructions.clear()).to_only(&choice),
        SDK_REQUEST_LEAST,
    )
    .await;
}

#[tokio::test]
async fn a_turn_with_tools_goes_there_and_back_as_in_the_vendors_own_client() {
    let answer = reply(Reply::stream(&[TOOLS_STREAM], Then::End))
        .await
        .unwrap();
    let thinking = json!({"type": "thinking", "thinking": "", "signature": "CAQS/wMKEAgRGAI4"});
    let expected = [
        kept(AssistantContent::Reasoning(String::new()), thinking),
        said("I'll look into both."),
        call("toolu_01NRLabsLyVHZPKx", "count_files", r#"{"drawer": 7}"#),
        call("toolu_01VqG2jCdyjoB9HM", "list_drawers", "{}"),
    ];
    assert_eq!(
        (answer.content.as_slice(), answer.stop_reason),
        (&expected[..], StopReason::ToolUse)
    );
    let usage = Usage {
        input_tokens: 377,
        output_tokens: 65,
        ..Usage::default()
    };
    assert_eq!(answer.usage, usage);

    let schema = |schema: Value| serde_json::from_value(schema).unwrap();
    let tool = |name: &str, description: &str| ToolDefinition {
        name: ToolName::new(name.to_owned()).unwrap(),
        description: description.to_owned(),
        input_schema: schema(
            json!({"type": "object", "properties": {"drawer": {"type": "integer"}}}),
        ),
    };
    let mut request = with_prompt(|prompt| {
        prompt.tools = vec![
            tool("count_files", "Counts the files in a drawer."),
            tool("list_drawers", ""),
        ];
        prompt.output_schema = Some(OutputSchema {
            name: ToolName::new("count".to_owned()).unwrap(),
            schema: schema(
                json!({"type": "object", "properties": {"files": {"type": "integer"}},
                                  "required": ["files"], "additionalProperties": false}),
            ),
        });
        let Some(Message::User(parts)) = prompt.messages.first_mut() else {
            panic!()
        };
        parts.push(UserPart::ImageUrl(
            "https://example.com/canary.png".to_owned(),
        ));
        parts.push(UserPart::Image {
            media_type: "image/png".to_owned(),
            base64: "iVBORw0KGgo=".to_owned(),
        });
        prompt.messages.push(Message::Assistant(answer.content));
        prompt.messages.push(Message::ToolResults(vec![
            result("toolu_01NRLabsLyVHZPKx", "3", false),
            result("toolu_01VqG2jCdyjoB9HM", "the drawer is locked", true),
        ]));
    });
    let mut choice = request.chain.first().clone();
    choice.settings.reasoning_effort = Some(ReasoningEffort::Low);
    request = request.to_only(&choice);
    check_request(&request, SDK_REQUEST_TOOLS).await;
}

#[tokio::test]
async fn an_answer_keeps_the_blocks_that_the_vendor_wants_back() {
    let answer = reply(Reply::ok(ANTHROPIC.whole)).await.unwrap();
    let thinking = json!({"type": "thinking", "thinking": "The drawer has three files.", "signature": "EuYBCkQYAiJA"});
    let expected = [
        kept(
            AssistantContent::Reasoning("The drawer has three files.".to_owned()),
            thinking,
        ),
        said("There are "),
        kept(
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
        kept(AssistantContent::Text("ab".to_owned()), text),
        kept(AssistantContent::Opaque, search),
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
async fn what_is_no_message_is_a_bad_answer() {
    let replies = [
        answer_with("/content", json!(7)),
        answer_with("/content/1", json!({"text": "canary-answer"})),
        answer_with("/content/1/text", json!(["canary-answer"])),
    ];
    for bad in replies {
        assert_eq!(
            reply(bad).await.unwrap_err().kind,
            ModelErrorKind::BadAnswer
        );
    }
    let text = || block(0, &json!({"type": "text", "text": ""}));
    let streams = [
        vec![stop()],
        vec![
            start(),
            text(),
            block(0, &json!({"type": "text", "text": "x"})),
            stop(),
        ],
        vec![
            start(),
            delta(0, &json!({"type": "text_delta", "text": "canary"})),
            stop(),
        ],
        vec![
            start(),
            text(),
            delta(0, &json!({"type": "text_delta", "text": 7})),
            stop(),
        ],
        vec![
            start(),
            block(0, &json!({"type": "text", "text": 7})),
            delta(0, &json!({"type": "text_delta", "text": "x"})),
        ],
        vec![
            start(),
            block(0, &json!({"type": "tool_use", "id": "canary"})),
            stop(),
        ],
    ];
    for events in streams {
        let error = stream(&events).await.unwrap_err();
        assert_eq!(
            (&error.kind, error.status),
            (&ModelErrorKind::BadAnswer, Some(200)),
            "{events:?}"
        );
    }
    let no_json = Reply::stream(&["event: message_start\ndata: canary\n\n"], Then::End);
    assert_eq!(
        reply(no_json).await.unwrap_err().kind,
        ModelErrorKind::BadAnswer
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
        ("claude-sonnet-5-5", ANTHROPIC.question().model().clone())
    );
}

#[tokio::test]
async fn an_error_in_a_stream_is_told_by_its_name_and_its_tokens_count() {
    let errors = [
        ("overloaded_error", "", ModelErrorKind::Unavailable),
        ("api_error", "", ModelErrorKind::Unavailable),
        ("timeout_error", "", ModelErrorKind::Unavailable),
        ("invented_later", "", ModelErrorKind::Unavailable),
        ("rate_limit_error", "", ModelErrorKind::RateLimited),
        (
            "rate_limit_error",
            "enforced_spend_limit_reached",
            ModelErrorKind::QuotaExhausted,
        ),
        ("billing_error", "", ModelErrorKind::QuotaExhausted),
        ("authentication_error", "", ModelErrorKind::Authentication),
        ("permission_error", "", ModelErrorKind::Authentication),
        ("invalid_request_error", "", ModelErrorKind::Rejected),
        ("not_found_error", "", ModelErrorKind::Rejected),
        ("request_too_large", "", ModelErrorKind::ContextTooLong),
    ];
    for (r#type, code, kind) in errors {
        let error = json!({"type": r#type, "message": "canary", "details": {"error_code": code}});
        let error = json!({"type": "error", "error": error, "request_id": "req_1"});
        let text = block(0, &json!({"type": "text", "text": ""}));
        let piece = delta(
            0,
            &json!({"type": "text_delta", "text": "nine bytes and some more"}),
        );
        let failed = stream(&[start(), text, piece, error.clone()])
            .await
            .unwrap_err();
        assert_eq!((&failed.kind, failed.status), (&kind, Some(200)), "{type}");
        assert_eq!(
            failed.spend.usage,
            Usage {
                input_tokens: 9,
                output_tokens: 6,
                ..Usage::default()
            }
        );
        assert!(
            failed
                .source
                .unwrap()
                .to_string()
                .starts_with(&format!("the provider calls it {type}"))
        );
        assert_eq!(
            reply(Reply::ok(&error.to_string())).await.unwrap_err().kind,
            kind
        );
    }
    let unreadable = Reply::stream(&["event: error\ndata: canary\n\n"], Then::End);
    assert_eq!(
        reply(unreadable).await.unwrap_err().kind,
        ModelErrorKind::Unavailable
    );
}

#[tokio::test]
async fn errors_that_share_a_status_are_told_apart() {
    let retry = ModelErrorKind::RateLimited;
    let unavailable = ModelErrorKind::Unavailable;
    let too_long =
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, canary";
    let used_up = "You have reached your specified workspace API usage limits. canary";
    let errors = [
        (
            400,
            "invalid_request_error",
            "",
            "canary: bad",
            ModelErrorKind::Rejected,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "prompt is too long: 210000 > canary",
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            "",
            too_long,
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "canary prompt is too long",
            ModelErrorKind::Rejected,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "Your credit balance is too low: canary",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "",
            used_up,
            ModelErrorKind::QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "organization_on_hold",
            "canary",
            ModelErrorKind::Authentication,
        ),
        (
            402,
            "billing_error",
            "linked_organization_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            404,
            "not_found_error",
            "",
            "model: canary",
            ModelErrorKind::Rejected,
        ),
        (
            413,
            "request_too_large",
            "",
            "canary",
            ModelErrorKind::ContextTooLong,
        ),
        (429, "rate_limit_error", "", "canary", retry.clone()),
        (429, "rate_limit_error", "ramp_limit_exceeded", "", retry),
        (
            429,
            "rate_limit_error",
            "enforced_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            429,
            "rate_limit_error",
            "contract_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (504, "timeout_error", "", "canary", unavailable.clone()),
        (529, "overloaded_error", "", "canary", unavailable),
    ];
    for (status, r#type, code, message, kind) in errors {
        let error = json!({"type": r#type, "message": message, "details": {"error_code": code}});
        let body = json!({"type": "error", "error": error, "request_id": "req_1"}).to_string();
        let headers = [("request-id", "req_1"), ("x-should-retry", "true")];
        let failed = reply(Reply::new(status, &headers, &body))
            .await
            .unwrap_err();
        assert_eq!(
            (&failed.kind, failed.status),
            (&kind, Some(status)),
            "{type} {code}"
        );
        assert_eq!(failed.request_id.as_deref(), Some("req_1"));
        assert_eq!(
            failed.should_retry,
            (kind != ModelErrorKind::QuotaExhausted).then_some(true)
        );
        assert!(
            failed
                .source
                .unwrap()
                .to_string()
                .starts_with(&format!("the provider calls it {type}"))
        );
    }
}

#[test]
fn what_another_model_said_goes_in_neutral_form() {
    let other = |name: &str, provider| ModelRef::new(provider, name).unwrap();
    let by = |model: ModelRef, content: AssistantContent| AssistantPart {
        content,
        original: Some(Original {
            model,
            block: json!({"type": "x"}),
        }),
    };
    let mut tool_call = call("call|1", "über", "{\"cut\": ");
    tool_call.original = by(
        other("gpt-6-luna", Provider::OpenAi),
        AssistantContent::Opaque,
    )
    .original;
    let parts = vec![
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Reasoning("hm".to_owned()),
        ),
        by(
            other("claude-opus-5-5", Provider::Anthropic),
            AssistantContent::Reasoning("hm".to_owned()),
        ),
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Opaque,
        ),
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Text("I'll look.".to_owned()),
        ),
        by(
            other("claude-opus-5-5", Provider::Anthropic),
            AssistantContent::Opaque,
        ),
        said(""),
        tool_call,
    ];
    let only_reasoning = parts[..1].to_vec();
    let request = with_prompt(|prompt| {
        prompt.messages.push(Message::Assistant(parts));
        prompt
            .messages
            .push(Message::ToolResults(vec![result("call|1", "", false)]));
        prompt.messages.push(Message::Assistant(only_reasoning));
        prompt.messages.push(Message::user("Go on."));
    });
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "text", "text": "I'll look."},
            {"type": "x"},
            {"type": "tool_use", "id": "hex_63616c6c7c31", "name": "_ber", "input": {"arguments": "{\"cut\": "}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "hex_63616c6c7c31", "content": "(no output)"}]},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]);
    assert_eq!(
        body(&request)["messages"].as_array().unwrap()[1..],
        expected.as_array().unwrap()[..]
    );
}

#[test]
fn the_prefix_of_tools_is_cached_even_without_instructions() {
    let tool = |name: &str| ToolDefinition {
        name: ToolName::new(name.to_owned()).unwrap(),
        description: String::new(),
        input_schema: serde_json::from_value(json!({"type": "object"})).unwrap(),
    };
    let request = with_prompt(|prompt| {
        prompt.instructions.clear();
        prompt.tools = vec![tool("a"), tool("b")];
    });
    let cached = json!({"type": "ephemeral"});
    let body = body(&request);
    assert_eq!(
        (
            &body["tools"][0]["cache_control"],
            &body["tools"][1]["cache_control"]
        ),
        (&Value::Null, &cached)
    );
    assert_eq!(
        (&body["cache_control"], &body["system"]),
        (&cached, &Value::Null)
    );
}

#[test]
fn a_form_that_the_vendor_refuses_is_brought_into_its_subset_or_asked_for_in_words() {
    let asked = |instructions: &str, schema: Value| {
        let request = with_prompt(|prompt| {
            instructions.clone_into(&mut prompt.instructions);
            let name = ToolName::new("answer".to_owned()).unwrap();
            prompt.output_schema = Some(OutputSchema {
                name,
                schema: serde_json::from_value(schema).unwrap(),
            });
        });
        let body = body(&request);
        (
            body["system"].clone(),
            body["output_config"]["format"].clone(),
        )
    };
    let open = json!({"type": "object", "properties": {"x": {"type": "string", "minLength": 1}}, "required": ["x"]});
    let closed = json!({
        "type": "object", "properties": {"x": {"type": "string", "description": "{\"minLength\":1}"}},
        "required": ["x"], "additionalProperties": false,
    });
    let (system, format) = asked("Be brief.", open);
    assert_eq!(
        (&system[0]["text"], format),
        (
            &json!("Be brief."),
            json!({"type": "json_schema", "schema": closed})
        )
    );

    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    for (instructions, start) in [
        ("Be brief.", "Be brief.\n\nAnswer with"),
        ("", "Answer with"),
    ] {
        let (system, format) = asked(instructions, map.clone());
        let text = system[0]["text"].as_str().unwrap();
        assert!(
            text.starts_with(start) && text.ends_with(&map.to_string()),
            "{text}"
        );
        assert_eq!(format, Value::Null);
    }
}

#[test]
fn effort_is_set_in_the_models_own_way() {
    let asked = |model: &str, effort| {
        let mut choice = ANTHROPIC.question().chain.first().clone();
        choice.model = ModelRef::new(Provider::Anthropic, model).unwrap();
        choice.settings.reasoning_effort = effort;
        let request = ModelRequest {
            chain: ModelChain::only(choice),
            ..ANTHROPIC.question()
        };
        (
            body(&request)["thinking"].clone(),
            body(&request)["output_config"].clone(),
        )
    };
    for (effort, name) in [
        (ReasoningEffort::Low, "low"),
        (ReasoningEffort::Medium, "medium"),
        (ReasoningEffort::High, "high"),
        (ReasoningEffort::Xhigh, "xhigh"),
        (ReasoningEffort::Max, "max"),
    ] {
        assert_eq!(
            asked("claude-opus-5-5", Some(effort)),
            (Value::Null, json!({"effort": name}))
        );
    }
    assert_eq!(asked("claude-opus-5-5", None), (Value::Null, Value::Null));
    let none = Some(ReasoningEffort::None);
    assert_eq!(
        asked("claude-haiku-5-5", none),
        (json!({"type": "disabled"}), Value::Null)
    );
    assert_eq!(
        asked("claude-sonnet-5-5", none),
        (json!({"type": "between_tools"}), Value::Null)
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
    fn a_garbled_stream_uses_no_more_than_it_says(at in 0..TOOLS_STREAM.len(), byte: u8) {
        let mut stream = TOOLS_STREAM.as_bytes().to_vec();
        stream[at] = byte;
        let (usage, _answer) = read::<Anthropic>(&stream);
        prop_assert!(usage.input_tokens <= 977 && usage.output_tokens <= 1_000);
    }
}
