//! For tests: conversations, and what every provider must make of them.
//!
//! A conversation that one provider's model began is continued by another's: for any conversation,
//! the request is in the form that its provider takes, with every result next to its call and
//! everything in order.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelChain, ModelChoice, ModelRef, ModelRequest,
    Original, OutputSchema, Prompt, Provider, ToolCall, ToolDefinition, ToolName, ToolResult,
    UserPart,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::chat::Chat;
use crate::llm::dialect::Dialect;
use crate::llm::openai::OpenAi;
use crate::testing::samples;

/// The instructions of the recorded requests.
pub(in crate::llm) const INSTRUCTIONS: &str = "You are a clerk. canary-instructions";

/// The input of the recorded requests.
pub(in crate::llm) const INPUT: &str = "How many files are there, “Ü”?\n\"canary-input\" \\";

pub(in crate::llm) fn model(provider: Provider, name: &str) -> ModelRef {
    ModelRef::new(provider, name).unwrap()
}

/// A request of `prompt` to one model.
pub(in crate::llm) fn model_request(
    choice: impl Into<ModelChoice>,
    prompt: Prompt,
) -> ModelRequest {
    ModelRequest {
        chain: ModelChain::only(choice.into()),
        prompt: Arc::new(prompt),
        ..samples::model_request("")
    }
}

/// The prompt that the recorded requests have in common.
pub(in crate::llm) fn prompt(messages: Vec<Message>) -> Prompt {
    Prompt {
        instructions: INSTRUCTIONS.to_owned(),
        messages,
        max_output_tokens: 1_024,
        ..samples::prompt("")
    }
}

/// The tools of the recorded requests: one that fits a strict schema and one that doesn't.
pub(in crate::llm) fn tools() -> Vec<ToolDefinition> {
    let city = json!({"type": "string", "description": "A city."});
    let closed = json!({
        "type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": false,
    });
    let open =
        json!({"type": "object", "properties": {"depth": {"type": "integer", "minimum": 1}}});
    vec![
        tool("weather", "The weather in a city.", closed),
        tool("list", "", open),
    ]
}

fn tool(name: &str, description: &str, input_schema: Value) -> ToolDefinition {
    ToolDefinition {
        name: ToolName::new(name.to_owned()).unwrap(),
        description: description.to_owned(),
        input_schema: serde_json::from_value(input_schema).unwrap(),
    }
}

/// The form of answers in the recorded requests.
pub(in crate::llm) fn output_schema() -> OutputSchema {
    let schema = json!({
        "type": "object",
        "properties": {"files": {"type": "integer"}},
        "required": ["files"],
        "additionalProperties": false,
    });
    let name = ToolName::new("count".to_owned()).unwrap();
    OutputSchema {
        name,
        schema: serde_json::from_value(schema).unwrap(),
    }
}

/// A user's turn with images of both kinds.
pub(in crate::llm) fn picture_message() -> Message {
    Message::User(vec![
        UserPart::Text("Compare the weather.".to_owned()),
        UserPart::ImageUrl("https://example.com/map.png".to_owned()),
        UserPart::Image {
            media_type: "image/png".to_owned(),
            base64: "iVBORw0KGgo=".to_owned(),
        },
    ])
}

/// What came of the calls of the recorded requests.
pub(in crate::llm) fn results() -> Message {
    let result = |id: &str, text: &str, is_error| ToolResult {
        call_id: id.to_owned(),
        text: text.to_owned(),
        is_error,
    };
    Message::ToolResults(vec![
        result("call_1", "Rain.", false),
        result("call_2", "no such city", true),
    ])
}

/// A part of a model's turn, with its provider's block.
pub(in crate::llm) fn part(
    content: AssistantContent,
    original: Option<(&ModelRef, Value)>,
) -> AssistantPart {
    let original = original.map(|(model, block)| Original {
        model: model.clone(),
        block,
    });
    AssistantPart { content, original }
}

/// A call of a tool for the weather.
pub(in crate::llm) fn call(id: &str, city: &str) -> AssistantContent {
    let arguments = format!("{{\"city\": \"{city}\"}}");
    AssistantContent::ToolCall(ToolCall {
        id: id.to_owned(),
        name: "weather".to_owned(),
        arguments,
    })
}

/// Where a stream is cut: at every event, and at many places inside.
pub(in crate::llm) fn cuts(stream: &str) -> impl Iterator<Item = usize> {
    (0..stream.len()).filter(|cut| cut % 19 == 0 || stream.as_bytes()[..*cut].ends_with(b"\n\n"))
}

const ASKED: [(Provider, &str); 5] = [
    (Provider::Anthropic, "claude-sonnet-5-5"),
    (Provider::OpenAi, "gpt-6-luna"),
    (Provider::OpenAi, "gpt-6.1-terra"),
    (Provider::OpenAiCompatible, "qwen3-coder"),
    (Provider::OpenAiCompatible, "gpt-oss:20b"),
];

fn any_model() -> impl Strategy<Value = ModelRef> {
    prop::sample::select(ASKED.to_vec()).prop_map(|(provider, name)| model(provider, name))
}

/// The block in which the provider had the part.
fn block(model: &ModelRef, content: &AssistantContent) -> Option<Value> {
    match (model.provider(), content) {
        (Provider::OpenAi, AssistantContent::Text(text)) => Some(json!({
            "type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary",
            "content": [{"type": "output_text", "text": text}],
        })),
        (Provider::OpenAi, AssistantContent::ToolCall(call)) => Some(json!({
            "type": "function_call", "id": "fc_1", "call_id": call.id, "name": call.name, "arguments": call.arguments,
        })),
        (Provider::OpenAi, AssistantContent::Reasoning(_)) => Some(
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}),
        ),
        (Provider::Anthropic, AssistantContent::Reasoning(text)) => {
            Some(json!({"type": "thinking", "thinking": text, "signature": "sealed"}))
        }
        (Provider::OpenAiCompatible, AssistantContent::Reasoning(text)) => {
            Some(json!({"reasoning_content": text}))
        }
        (_, AssistantContent::Opaque) => Some(json!({"type": "invented_later"})),
        (Provider::Anthropic | Provider::OpenAiCompatible, _) => None,
    }
}

prop_compose! {
    /// A model's turn and what comes after it: results if it called tools, else the user again. Ids
    /// are of the turn.
    fn any_turn()(
        model in any_model(),
        thoughts in prop::option::of("[a-z]{0,4}"),
        text in "[a-zß\"]{0,6}",
        calls in prop::collection::vec(("[a-z]{1,80}", r#"(\{"city":"x"\}|\{"ci|null||no json)"#, any::<bool>()), 0..4),
        tail in prop::sample::select(vec![None, Some(AssistantContent::Opaque), Some(AssistantContent::Reasoning("z".to_owned()))]),
    ) -> (ModelRef, Vec<AssistantContent>, Vec<bool>) {
        let mut contents: Vec<AssistantContent> = thoughts.into_iter().map(AssistantContent::Reasoning).collect();
        contents.push(AssistantContent::Text(text));
        let errors = calls.iter().map(|(_, _, is_error)| *is_error).collect();
        contents.extend(calls.into_iter().map(|(id, arguments, _)| {
            AssistantContent::ToolCall(ToolCall { id, name: "weather".to_owned(), arguments })
        }));
        contents.extend(tail);
        (model, contents, errors)
    }
}

/// Messages of any conversation, ready for a model's next turn.
fn any_conversation() -> impl Strategy<Value = Vec<Message>> {
    prop::collection::vec(any_turn(), 0..5).prop_map(|turns| {
        let mut messages = vec![picture_message()];
        for (number, (model, mut contents, errors)) in turns.into_iter().enumerate() {
            let mut results = Vec::new();
            let calls = contents.iter_mut().filter_map(|content| match content {
                AssistantContent::ToolCall(call) => Some(call),
                _ => None,
            });
            for (place, (call, is_error)) in calls.zip(errors).enumerate() {
                call.id = format!("call_{number}_{place}_{}", call.id);
                let text = format!("result {number} {place}");
                results.push(ToolResult {
                    call_id: call.id.clone(),
                    text,
                    is_error,
                });
            }
            let part = |content| {
                let block = block(&model, &content);
                part(content, block.map(|block| (&model, block)))
            };
            messages.push(Message::Assistant(contents.into_iter().map(part).collect()));
            let next = if results.is_empty() {
                Message::user("Go on.")
            } else {
                Message::ToolResults(results)
            };
            messages.push(next);
        }
        messages
    })
}

/// The results in a conversation, in order, as they are sent.
fn texts_of_results(messages: &[Message]) -> Vec<String> {
    let results = messages.iter().filter_map(|message| match message {
        Message::ToolResults(results) => Some(results),
        Message::User(_) | Message::Assistant(_) => None,
    });
    let text = |result: &ToolResult| {
        if result.is_error {
            format!("Error: {}", result.text)
        } else {
            result.text.clone()
        }
    };
    results.flatten().map(text).collect()
}

pub(in crate::llm) fn body<D: Dialect>(request: &ModelRequest) -> Value {
    serde_json::to_value(D::body(request)).unwrap()
}

fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// Reasoning is followed by what it led to, and each result comes after its call.
fn check_responses(body: &Value, results: &[String]) {
    let items = body["input"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| text_at(item, "type")).collect();
    for pair in kinds.windows(2) {
        assert!(
            pair[0] != "reasoning" || !matches!(pair[1], "reasoning" | "function_call_output"),
            "{kinds:?}"
        );
    }
    let mut open: Vec<&str> = Vec::new();
    let mut outputs = Vec::new();
    for item in items {
        match text_at(item, "type") {
            "function_call" => open.push(text_at(item, "call_id")),
            "function_call_output" => {
                assert_eq!(open.remove(0), text_at(item, "call_id"));
                outputs.push(text_at(item, "output").to_owned());
            }
            _ => assert!(
                open.is_empty() || item["type"] != "message",
                "a turn between a call and its result"
            ),
        }
    }
    assert!(open.is_empty());
    assert_eq!(outputs, results);
}

/// Each assistant's calls are answered by the tool messages right after it.
fn check_chat(body: &Value, results: &[String]) {
    let mut open: Vec<&str> = Vec::new();
    let mut outputs = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        if message["role"] == "tool" {
            assert_eq!(open.remove(0), text_at(message, "tool_call_id"));
            outputs.push(text_at(message, "content").to_owned());
            continue;
        }
        assert!(open.is_empty(), "a turn between a call and its result");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments: Value =
                serde_json::from_str(text_at(&call["function"], "arguments")).unwrap();
            assert!(arguments.is_object());
            open.push(text_at(call, "id"));
        }
    }
    assert!(open.is_empty());
    assert_eq!(outputs, results);
}

/// Each assistant's calls are answered at the start of the user's turn right after it.
fn check_messages(body: &Value, results: &[String]) {
    let mut open: Vec<&str> = Vec::new();
    let mut outputs = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        let blocks = message["content"].as_array().unwrap();
        assert!(!blocks.is_empty());
        for block in blocks {
            match text_at(block, "type") {
                "tool_use" => open.push(text_at(block, "id")),
                "tool_result" => {
                    assert_eq!(open.remove(0), text_at(block, "tool_use_id"));
                    let mark = if block["is_error"] == true {
                        "Error: "
                    } else {
                        ""
                    };
                    outputs.push(format!("{mark}{}", text_at(block, "content")));
                }
                _ => assert!(
                    open.is_empty() || message["role"] == "assistant",
                    "a turn between a call and its result"
                ),
            }
        }
    }
    assert!(open.is_empty());
    assert_eq!(outputs, results);
}

proptest! {
    #[test]
    fn any_conversation_continues_with_any_provider(messages in any_conversation()) {
        let results = texts_of_results(&messages);
        for (provider, name) in ASKED {
            let request = model_request(model(provider, name), prompt(messages.clone()));
            match provider {
                Provider::Anthropic => check_messages(&body::<Anthropic>(&request), &results),
                Provider::OpenAi => check_responses(&body::<OpenAi>(&request), &results),
                Provider::OpenAiCompatible => check_chat(&body::<Chat>(&request), &results),
            }
        }
    }
}
