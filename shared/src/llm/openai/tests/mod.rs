//! The dialect against recordings: what the provider's own client sends, and what the provider
//! answers.

mod requests;

use serde_json::{Value, json};

use super::*;
use crate::domain::Prompt;
use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelAnswer, ModelChoice, ModelRef, ModelRequest,
    ModelSettings, Original, Provider, ReasoningEffort, StopReason, Thousandths, ToolCall,
    Transfer, Usage,
};
use crate::llm::decoding::{decode, decode_whole};
use crate::llm::tests::transcripts::{
    INPUT, body, call, cuts, model, model_request, output_schema, part, picture_message, prompt,
    results, tools,
};
use crate::ports::ModelError;

/// A whole answer of text alone.
const TEXT_ANSWER: &str = include_str!("../../fixtures/openai_response.json");

/// Reasoning, text and two calls, in the shape of the exchanges that pydantic-ai's tests recorded
/// in July 2026: the reasoning is encrypted anew each time it is sent, and the events of parallel
/// items are interleaved.
const STREAM: &str = include_str!("../../fixtures/openai_stream.sse");

fn luna() -> ModelRef {
    model(Provider::OpenAi, "gpt-6-luna")
}

/// The model's turn of the recorded requests.
fn turn() -> Message {
    let luna = luna();
    let reasoning = json!({
        "id": "rs_1", "type": "reasoning", "encrypted_content": "gAAAAA-sealed",
        "summary": [{"type": "summary_text", "text": "Both cities."}],
    });
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "phase": "commentary",
        "content": [{"type": "output_text", "text": "I look it up.", "annotations": []}],
    });
    let called = |number: u32, city: &str| {
        let content = call(&format!("call_{number}"), city);
        let AssistantContent::ToolCall(call) = &content else {
            unreachable!()
        };
        let block = json!({
            "id": format!("fc_{number}"), "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": call.arguments,
        });
        part(content, Some((&luna, block)))
    };
    Message::Assistant(vec![
        part(
            AssistantContent::Reasoning("Both cities.".to_owned()),
            Some((&luna, reasoning)),
        ),
        part(
            AssistantContent::Text("I look it up.".to_owned()),
            Some((&luna, message)),
        ),
        called(1, "Oslo"),
        called(2, "Rome"),
    ])
}

/// What [`STREAM`] says.
fn streamed() -> ModelAnswer {
    let response: Value = last_response();
    let original = |place: usize| {
        Some(Original {
            model: luna(),
            block: response["output"][place].clone(),
        })
    };
    let called = |place: usize, city: &str| {
        let arguments = format!("{{\"city\":\"{city}\"}}");
        let call = ToolCall {
            id: format!("call_{}", place - 2),
            name: "weather".to_owned(),
            arguments,
        };
        AssistantPart {
            content: AssistantContent::ToolCall(call),
            original: original(place),
        }
    };
    let usage = Usage {
        input_tokens: 4_320,
        output_tokens: 157,
        cache_read_tokens: 4_000,
        cache_write_tokens: 300,
        reasoning_tokens: 41,
    };
    let reasoning = AssistantContent::Reasoning("Two cities.\n\nAsk for both.".to_owned());
    let mut expected = decode_whole(&luna(), TEXT_ANSWER.as_bytes()).unwrap();
    expected.content = vec![
        AssistantPart {
            content: reasoning,
            original: original(0),
        },
        AssistantPart {
            content: AssistantContent::Text("I look both up, “Ü”.".to_owned()),
            original: original(1),
        },
        called(2, "Oslo"),
        called(3, "Rome"),
    ];
    expected.stop_reason = StopReason::ToolUse;
    (expected.usage, expected.spend.usage) = (usage, usage);
    expected
}

/// The response in the last event of [`STREAM`].
fn last_response() -> Value {
    let data = STREAM
        .lines()
        .rfind(|line| line.starts_with("data: "))
        .unwrap();
    serde_json::from_str::<Value>(&data["data: ".len()..]).unwrap()["response"].take()
}

/// [`STREAM`] up to its last event, and then this one.
fn stream_ending_in(event: &Value) -> String {
    let cut = STREAM.rfind("event: ").unwrap();
    format!("{}data: {event}\n\n", &STREAM[..cut])
}

fn stream(text: &str) -> Result<ModelAnswer, Box<ModelError>> {
    decode(&luna(), [text.as_bytes()])
}

#[test]
fn an_answer_is_the_same_whole_and_streamed() {
    assert_eq!(stream(STREAM).unwrap(), streamed());
    assert_eq!(
        decode_whole(&luna(), last_response().to_string().as_bytes()).unwrap(),
        streamed()
    );
}

#[test]
fn an_answer_of_text_is_read_whole() {
    let answer = decode_whole(&luna(), TEXT_ANSWER.as_bytes()).unwrap();
    assert_eq!(answer.text(), "There are three files, “Ü”.");
    assert_eq!(
        (answer.stop_reason, answer.served_model.as_str()),
        (StopReason::EndTurn, "gpt-6-luna-2026-08-20")
    );
    let usage = Usage {
        input_tokens: 4_320,
        output_tokens: 57,
        cache_read_tokens: 4_000,
        cache_write_tokens: 300,
        reasoning_tokens: 41,
    };
    assert_eq!((answer.usage, answer.spend.usage), (usage, usage));
}

#[test]
fn a_stream_that_is_cut_anywhere_is_no_answer_and_counts_what_was_written() {
    let mut written = 0;
    for cut in cuts(STREAM).filter(|cut| *cut < STREAM.len() - 2) {
        let error = decode(&luna(), [&STREAM.as_bytes()[..cut]]).unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unavailable, "{cut}");
        assert!(error.spend.usage.output_tokens >= written, "{cut}");
        written = error.spend.usage.output_tokens;
    }
    assert!(written > 20, "{written}");
}

#[test]
fn a_last_event_without_items_takes_those_before_it() {
    for output in [json!([]), json!(null)] {
        let mut response = last_response();
        response["output"] = output;
        let event = json!({"type": "response.completed", "response": response});
        assert_eq!(stream(&stream_ending_in(&event)).unwrap(), streamed());
    }
}

#[test]
fn what_is_new_in_a_stream_is_let_pass() {
    let news = "event: response.invented\ndata: {\"type\":\"response.invented\",\"item\":7,\"delta\":[1]}\n\n\
                data: {\"no_type\":1}\n\n: comment\n\n";
    let answer = stream(&format!("{news}{STREAM}data: [DONE]\n\n")).unwrap();
    assert_eq!(answer, streamed());
}

#[test]
fn an_item_of_an_unknown_type_is_sent_back() {
    let mut response = last_response();
    let item = json!({"type": "invented_later", "id": "x_1", "content": 7});
    response["output"]
        .as_array_mut()
        .unwrap()
        .insert(1, item.clone());
    let answer = decode_whole(&luna(), response.to_string().as_bytes()).unwrap();
    assert_eq!(
        answer.content[1],
        part(AssistantContent::Opaque, Some((&luna(), item.clone())))
    );
    let messages = vec![
        Message::user("a"),
        Message::Assistant(answer.content),
        Message::user("b"),
    ];
    let input = body::<OpenAi>(&model_request(luna(), prompt(messages)))["input"].take();
    assert_eq!(input[2], item);
}

/// The response of [`STREAM`] with values put in fields, whole.
fn with(changes: &[(&str, Value)]) -> Result<ModelAnswer, Box<ModelError>> {
    let mut response = last_response();
    for (field, value) in changes {
        response[*field] = value.clone();
    }
    decode_whole(&luna(), response.to_string().as_bytes())
}

#[test]
fn every_reason_to_be_cut_has_a_name() {
    let reasons = [
        (
            json!({"reason": "max_output_tokens"}),
            StopReason::MaxTokens,
        ),
        (json!({"reason": "content_filter"}), StopReason::Refusal),
        (json!({"reason": "max_messages"}), StopReason::Other),
        (json!({"reason": "steered"}), StopReason::Other),
        (json!({"reason": "invented_later"}), StopReason::Other),
        (json!({"reason": null}), StopReason::Other),
        (json!(null), StopReason::Other),
    ];
    for (details, expected) in reasons {
        let changes = [
            ("status", json!("incomplete")),
            ("incomplete_details", details.clone()),
        ];
        assert_eq!(with(&changes).unwrap().stop_reason, expected, "{details}");
    }
    for status in [json!("invented_later"), json!(null)] {
        let output =
            json!([{"type": "message", "content": [{"type": "output_text", "text": "x"}]}]);
        assert_eq!(
            with(&[("status", status), ("output", output)])
                .unwrap()
                .stop_reason,
            StopReason::Other
        );
    }
}

#[test]
fn a_call_that_was_cut_is_left_out() {
    let mut output = last_response()["output"].take();
    output[3]["status"] = json!("incomplete");
    output[3]["arguments"] = json!("{\"ci");
    let details = json!({"reason": "max_output_tokens"});
    let answer = with(&[
        ("status", json!("incomplete")),
        ("incomplete_details", details),
        ("output", output),
    ])
    .unwrap();
    assert_eq!(
        answer
            .tool_calls()
            .map(|call| call.id.as_str())
            .collect::<Vec<_>>(),
        ["call_0"]
    );
}

#[test]
fn a_refusal_comes_with_the_models_own_words() {
    let content = json!([{"type": "refusal", "refusal": "I can't help."}, {"type": "new"}]);
    let answer = with(&[("output", json!([{"type": "message", "content": content}]))]).unwrap();
    assert_eq!(
        (answer.stop_reason, answer.text().as_str()),
        (StopReason::Refusal, "I can't help.")
    );
}

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

#[test]
fn an_error_after_status_200_is_an_error_or_the_filters_refusal() {
    let errors = [
        ("server_error", UNAVAILABLE),
        ("vector_store_timeout", UNAVAILABLE),
        ("server_is_overloaded", UNAVAILABLE),
        ("invented_later", UNAVAILABLE),
        ("rate_limit_exceeded", ModelErrorKind::RateLimited),
        ("slow_down", ModelErrorKind::RateLimited),
        ("invalid_prompt", ModelErrorKind::Rejected),
        ("data_residency_mismatch", ModelErrorKind::Rejected),
        ("failed_to_download_image", ModelErrorKind::Rejected),
        ("image_too_large", ModelErrorKind::Rejected),
        ("context_length_exceeded", ModelErrorKind::ContextTooLong),
        ("insufficient_quota", ModelErrorKind::QuotaExhausted),
    ];
    for (code, kind) in errors {
        let error = json!({"code": code, "message": "canary-answer"});
        let failed = [("status", json!("failed")), ("error", error.clone())];
        let whole = with(&failed).unwrap_err();
        assert_eq!(
            (&whole.kind, whole.spend.usage.output_tokens),
            (&kind, 157),
            "{code}"
        );
        let mut response = last_response();
        (response["status"], response["error"]) = (json!("failed"), error);
        let events = [
            json!({"type": "response.failed", "response": response}),
            json!({"type": "error", "code": code, "message": "canary-answer", "param": null, "sequence_number": 9}),
            json!({"type": "error", "error": {"type": "x", "code": code, "message": "canary-answer", "param": null}}),
        ];
        for event in events {
            let error = stream(&stream_ending_in(&event)).unwrap_err();
            assert_eq!(error.kind, kind, "{event}");
            assert!(error.spend.usage.output_tokens > 0);
        }
    }
    let of_gateway = r#"{"error":{"type":"invalid_request_error","code":400,"message":"canary"}}"#;
    assert_eq!(
        decode_whole(&luna(), of_gateway.as_bytes())
            .unwrap_err()
            .kind,
        ModelErrorKind::Rejected
    );
    for code in [
        "bio_policy",
        "misalignment_policy_violation",
        "image_content_policy_violation",
    ] {
        let error = json!({"code": code, "message": "canary"});
        assert_eq!(
            with(&[("error", error)]).unwrap().stop_reason,
            StopReason::Refusal
        );
        let event = json!({"type": "error", "code": code, "message": "canary"});
        assert_eq!(
            stream(&stream_ending_in(&event)).unwrap().stop_reason,
            StopReason::Refusal
        );
    }
}

#[test]
fn a_response_without_an_answer_is_an_error() {
    for (status, kind) in [
        ("failed", UNAVAILABLE),
        ("cancelled", UNAVAILABLE),
        ("queued", ModelErrorKind::BadAnswer),
        ("in_progress", ModelErrorKind::BadAnswer),
    ] {
        assert_eq!(
            with(&[("status", json!(status))]).unwrap_err().kind,
            kind,
            "{status}"
        );
    }
    let outputs = [
        json!(null),
        json!("canary-answer"),
        json!(["canary-answer"]),
        json!([{"type": "message", "content": {"text": "canary-answer"}}]),
        json!([{"type": "message", "content": [{"type": "output_text", "text": ["canary-answer"]}]}]),
        json!([{"type": "function_call", "call_id": "canary-answer", "arguments": "{}"}]),
    ];
    for output in outputs {
        assert_eq!(
            with(&[("output", output.clone())]).unwrap_err().kind,
            ModelErrorKind::BadAnswer,
            "{output}"
        );
    }
    for event in [
        "{\"type\":\"response.completed\"}",
        "canary-answer",
        "{\"type\":\"response.completed\",\"resp",
    ] {
        assert_eq!(
            stream(&format!("data: {event}\n\n")).unwrap_err().kind,
            ModelErrorKind::BadAnswer,
            "{event}"
        );
    }
    assert_eq!(stream("data: [DONE]\n\n").unwrap_err().kind, UNAVAILABLE);
}
