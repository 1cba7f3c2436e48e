//! The dialect against recordings: what OpenAI's own client sends, and what servers answer.
//!
//! The answers have the shapes of exchanges recorded by others: vLLM and Ollama as in the notes of
//! ask-openai.nvim, llama.cpp likewise, `OpenRouter` as in the tests of pydantic-ai.

mod failures;
mod servers;

use serde_json::{Value, json};

use super::*;
use crate::domain::{
    AssistantContent, Message, ModelAnswer, ModelChoice, ModelRef, ModelRequest, ModelSettings,
    Prompt, Provider, ReasoningEffort, StopReason, Thousandths, ToolCall, Transfer, Usage,
};
use crate::llm::decoding::{decode, decode_whole};
use crate::llm::tests::transcripts::{
    INPUT, body, call, cuts, model, model_request, output_schema, part, picture_message, prompt,
    results, tools,
};
use crate::ports::{ModelError, ModelErrorKind};

const VLLM: &str = include_str!("../../fixtures/chat_stream_vllm.sse");
const OLLAMA: &str = include_str!("../../fixtures/chat_stream_ollama.sse");
const LLAMA_CPP: &str = include_str!("../../fixtures/chat_stream_llama_cpp.sse");
const OPEN_ROUTER: &str = include_str!("../../fixtures/chat_stream_openrouter.sse");

/// The answer in [`VLLM`], whole.
const WHOLE: &str = include_str!("../../fixtures/chat_response.json");

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

fn qwen() -> ModelRef {
    model(Provider::OpenAiCompatible, "qwen3-coder")
}

fn stream(text: &str) -> Result<ModelAnswer, Box<ModelError>> {
    decode(&qwen(), [text.as_bytes()])
}

fn whole(answer: &Value) -> Result<ModelAnswer, Box<ModelError>> {
    decode_whole(&qwen(), answer.to_string().as_bytes())
}

/// A stream of these chunks.
fn chunks(chunks: &[Value]) -> String {
    chunks
        .iter()
        .flat_map(|chunk| ["data: ".to_owned(), chunk.to_string(), "\n\n".to_owned()])
        .collect()
}

/// A chunk with this delta and this reason to finish.
fn chunk(delta: &Value, reason: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

fn calls(answer: &ModelAnswer) -> Vec<(&str, &str)> {
    answer
        .tool_calls()
        .map(|call| (call.id.as_str(), call.arguments.as_str()))
        .collect()
}

/// That the request is the body which the `openai` Python package 3.54.0 sends for the same.
#[track_caller]
fn check_request(request: &ModelRequest, recorded: &str) {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    assert_eq!(body::<Chat>(request), recorded["body"]);
    assert_eq!(Chat::PATH, recorded["path"]);
}

#[test]
fn the_request_is_that_of_the_providers_own_client() {
    let plain = prompt(vec![Message::user(INPUT)]);
    check_request(
        &model_request(qwen(), plain.clone()),
        include_str!("../../fixtures/chat_request.json"),
    );

    let settings = ModelSettings {
        transfer: Transfer::Whole,
        ..ModelSettings::default()
    };
    let bare = Prompt {
        instructions: String::new(),
        ..plain.clone()
    };
    let request = model_request(
        ModelChoice {
            model: qwen(),
            settings,
        },
        bare,
    );
    check_request(
        &request,
        include_str!("../../fixtures/chat_request_whole.json"),
    );

    let settings = ModelSettings {
        temperature: Some(Thousandths(700)),
        top_p: Some(Thousandths(950)),
        reasoning_effort: Some(ReasoningEffort::None),
        ..ModelSettings::default()
    };
    let structured = Prompt {
        output_schema: Some(output_schema()),
        ..plain
    };
    let request = model_request(
        ModelChoice {
            model: qwen(),
            settings,
        },
        structured,
    );
    check_request(
        &request,
        include_str!("../../fixtures/chat_request_settings.json"),
    );
}

/// The model's turn of the recorded request.
fn turn() -> Message {
    let reasoning = json!({"reasoning_content": "Both cities."});
    Message::Assistant(vec![
        part(
            AssistantContent::Reasoning("Both cities.".to_owned()),
            Some((&qwen(), reasoning)),
        ),
        part(AssistantContent::Text("I look it up.".to_owned()), None),
        part(call("call_1", "Oslo"), None),
        part(call("call_2", "Rome"), None),
    ])
}

#[test]
fn reasoning_goes_back_to_its_model_while_its_tools_are_at_work() {
    let prompt = |messages| Prompt {
        tools: tools(),
        ..prompt(messages)
    };
    let at_work = vec![picture_message(), turn(), results()];
    check_request(
        &model_request(qwen(), prompt(at_work.clone())),
        include_str!("../../fixtures/chat_request_tools.json"),
    );

    let reasoning = |request: &ModelRequest| {
        body::<Chat>(request)["messages"][2]
            .get("reasoning_content")
            .cloned()
    };
    let other = model(Provider::OpenAiCompatible, "gpt-oss:20b");
    assert_eq!(
        reasoning(&model_request(other, prompt(at_work.clone()))),
        None
    );
    let done = [at_work, vec![Message::user("Thanks.")]].concat();
    assert_eq!(reasoning(&model_request(qwen(), prompt(done))), None);
}

#[test]
fn arguments_are_always_sent_as_an_object() {
    for (written, expected) in [
        (r#"{"a": 1}"#, r#"{"a": 1}"#),
        ("", "{}"),
        (" \n", "{}"),
        ("{\"a", r#"{"unparsed":"{\"a"}"#),
        ("[1]", r#"{"unparsed":"[1]"}"#),
    ] {
        let call = ToolCall {
            id: "c".to_owned(),
            name: "n".to_owned(),
            arguments: written.to_owned(),
        };
        let messages = vec![
            Message::user("a"),
            Message::Assistant(vec![part(AssistantContent::ToolCall(call), None)]),
        ];
        let sent = body::<Chat>(&model_request(qwen(), prompt(messages)));
        assert_eq!(
            sent["messages"][2]["tool_calls"][0]["function"]["arguments"],
            expected
        );
    }
}

#[test]
fn an_answer_is_the_same_whole_and_streamed() {
    let answer = stream(VLLM).unwrap();
    let reasoning = json!({"reasoning_content": "Two cities. Ask for both."});
    let called = |id: &str, city: &str| {
        let arguments = format!("{{\"city\":\"{city}\"}}");
        let call = ToolCall {
            id: id.to_owned(),
            name: "weather".to_owned(),
            arguments,
        };
        part(AssistantContent::ToolCall(call), None)
    };
    let content = vec![
        part(
            AssistantContent::Reasoning("Two cities. Ask for both.".to_owned()),
            Some((&qwen(), reasoning)),
        ),
        part(
            AssistantContent::Text("I look both up, “Ü”.".to_owned()),
            None,
        ),
        called("call_0", "Oslo"),
        called("call_1", "Rome"),
    ];
    let usage = Usage {
        input_tokens: 4_320,
        output_tokens: 157,
        cache_read_tokens: 4_000,
        cache_write_tokens: 0,
        reasoning_tokens: 41,
    };
    assert_eq!(
        (&answer.content, answer.stop_reason, answer.usage),
        (&content, StopReason::ToolUse, usage)
    );
    assert_eq!(decode_whole(&qwen(), WHOLE.as_bytes()).unwrap(), answer);
}

#[test]
fn parallel_calls_with_the_same_index_are_distinguished() {
    let answer = stream(OLLAMA).unwrap();
    let expected = [
        ("call_hk81", "{\"city\":\"Oslo\"}"),
        ("call_rk2x", "{\"city\":\"Rome\"}"),
    ];
    assert_eq!(
        (calls(&answer).as_slice(), answer.stop_reason),
        (&expected[..], StopReason::ToolUse)
    );
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (186, 40)
    );
}

#[test]
fn a_stream_may_end_without_done_once_it_has_a_reason() {
    let answer = stream(LLAMA_CPP).unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.stop_reason),
        ("Hello.", StopReason::EndTurn)
    );
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (85, 24)
    );
}

#[test]
fn the_details_of_a_gateways_reasoning_go_back_in_one_piece() {
    let answer = stream(OPEN_ROUTER).unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.stop_reason),
        ("2 + 2 = 4", StopReason::EndTurn)
    );
    let detail = json!({
        "type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0,
        "text": "Simple sums.", "signature": "Et0BCkgI-sealed",
    });
    let block = json!({"reasoning": "Simple sums.", "reasoning_details": [detail]});
    let reasoning = AssistantContent::Reasoning("Simple sums.".to_owned());
    assert_eq!(answer.content[0], part(reasoning, Some((&qwen(), block))));
    // It claims more reasoning than output.
    assert_eq!(
        (answer.usage.output_tokens, answer.usage.reasoning_tokens),
        (10, 10)
    );
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error_or_the_whole_answer() {
    for text in [VLLM, OLLAMA, LLAMA_CPP, OPEN_ROUTER] {
        let expected = stream(text).unwrap().content;
        let mut written = 0;
        for cut in cuts(text) {
            match decode(&qwen(), [&text.as_bytes()[..cut]]) {
                Ok(answer) => assert_eq!(answer.content, expected, "{cut}"),
                Err(error) => {
                    assert_eq!(error.kind, UNAVAILABLE, "{cut}");
                    assert!(error.spend.usage.output_tokens >= written, "{cut}");
                    written = error.spend.usage.output_tokens;
                }
            }
        }
        assert!(written > 0);
    }
}

#[test]
fn every_reason_to_finish_has_a_name() {
    let reasons = [
        ("stop", StopReason::EndTurn),
        ("eos", StopReason::EndTurn),
        ("length", StopReason::MaxTokens),
        ("content_filter", StopReason::Refusal),
        ("tool_calls", StopReason::Other),
        ("function_call", StopReason::Other),
        ("invented_later", StopReason::Other),
    ];
    for (reason, expected) in reasons {
        let answer = stream(&chunks(&[chunk(&json!({"content": "x"}), &json!(reason))])).unwrap();
        assert_eq!(
            (answer.stop_reason, answer.text().as_str()),
            (expected, "x"),
            "{reason}"
        );
    }
    for reason in [json!(null), json!("")] {
        let unsaid = chunks(&[chunk(&json!({"content": "x"}), &reason)]);
        assert_eq!(stream(&unsaid).unwrap_err().kind, UNAVAILABLE, "{reason}");
        assert_eq!(
            stream(&format!("{unsaid}data: [DONE]\n\n"))
                .unwrap()
                .stop_reason,
            StopReason::Other,
            "{reason}"
        );
    }
}

#[test]
fn calls_end_a_turn_whatever_its_reason_says() {
    for reason in ["stop", "tool_calls", "function_call", "invented_later"] {
        let delta =
            json!({"tool_calls": [{"id": "c", "function": {"name": "n", "arguments": "{}"}}]});
        let answer = stream(&chunks(&[chunk(&delta, &json!(reason))])).unwrap();
        assert_eq!(answer.stop_reason, StopReason::ToolUse, "{reason}");
    }
}

#[test]
fn a_refusal_comes_with_the_models_own_words() {
    let pieces = [
        chunk(&json!({"refusal": "I "}), &json!(null)),
        chunk(&json!({"refusal": "can't."}), &json!("stop")),
    ];
    let answer = stream(&chunks(&pieces)).unwrap();
    assert_eq!(
        (answer.stop_reason, answer.text().as_str()),
        (StopReason::Refusal, "I can't.")
    );
}

#[test]
fn a_call_that_was_cut_is_left_out() {
    let delta = json!({"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "n", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "n", "arguments": "{\"ci"}},
        {"index": 2, "id": "c", "function": {"name": "n", "arguments": ""}},
    ]});
    let answer = stream(&chunks(&[chunk(&delta, &json!("length"))])).unwrap();
    assert_eq!(
        (calls(&answer), answer.stop_reason),
        (vec![("a", "{}")], StopReason::MaxTokens)
    );
}
