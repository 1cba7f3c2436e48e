//! What servers send that is not by the book, in every dialect where it can occur, and what is made
//! of it.

use serde_json::{Value, json};

use super::stand_in::{PATIENT, Reply, Then, VENDORS, Vendor};
use crate::domain::{Message, ModelAnswer, ModelRequest, Provider, StopReason, ToolResult, Usage};
use crate::ports::{ModelError, ModelErrorKind};

const TEXT: &str = "There are three files, “Ü”.";

/// Each vendor's stream up to where the reason to stop and the usage are known, without the blank
/// line behind it.
pub(super) fn complete(vendor: &Vendor) -> &'static str {
    let end = match vendor.provider {
        Provider::Anthropic => vendor.stream.rfind("event: message_stop"),
        Provider::OpenAi => None,
        Provider::OpenAiCompatible => vendor.stream.rfind("data: [DONE]"),
    };
    vendor.stream[..end.unwrap_or(vendor.stream.len())].trim_end()
}

fn labelled(content_type: &str, body: &str) -> Reply {
    Reply::new(200, &[("content-type", content_type)], body)
}

pub(super) fn stream_of(events: &[Value]) -> String {
    events
        .iter()
        .flat_map(|event| ["data: ".to_owned(), event.to_string(), "\n\n".to_owned()])
        .collect()
}

/// What the vendor's client makes of these events.
pub(super) async fn events(vendor: &Vendor, events: &[Value]) -> Result<ModelAnswer, ModelError> {
    vendor
        .reply(Reply::stream(&[stream_of(events)], Then::End))
        .await
}

pub(super) fn vendor(provider: Provider) -> Vendor {
    VENDORS
        .into_iter()
        .find(|vendor| vendor.provider == provider)
        .unwrap()
}

/// A stream of each vendor's events with a text in two deltas and this usage; in JSON, because
/// halves are no text.
fn said(provider: Provider, pieces: [&str; 2], usage: &str) -> String {
    let [left, right] = pieces;
    let events = match provider {
        Provider::Anthropic => vec![
            r#"{"type":"message_start","message":{"content":[]}}"#.to_owned(),
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":null}}"#.to_owned(),
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{left}"}}}}"#),
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{right}"}}}}"#),
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#),
            r#"{"type":"message_stop"}"#.to_owned(),
        ],
        Provider::OpenAi => vec![
            format!(r#"{{"type":"response.output_text.delta","delta":"{left}"}}"#),
            format!(
                r#"{{"type":"response.completed","response":{{"status":"completed","output":[
                {{"type":"message","content":[{{"type":"output_text","text":"{left}{right}"}}]}}],"usage":{usage}}}}}"#
            )
            .replace('\n', ""),
        ],
        Provider::OpenAiCompatible => vec![
            format!(r#"{{"choices":[{{"delta":{{"content":"{left}"}}}}]}}"#),
            format!(r#"{{"choices":[{{"delta":{{"content":"{right}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#),
            "[DONE]".to_owned(),
        ],
    };
    events
        .iter()
        .flat_map(|event| ["data: ".to_owned(), event.clone(), "\n\n".to_owned()])
        .collect()
}

#[tokio::test]
async fn the_first_bytes_decide_what_a_body_is() {
    for vendor in VENDORS {
        let expected = vendor.reply(vendor.streamed()).await.unwrap();
        let expected = ModelAnswer {
            request_id: None,
            ..expected
        };
        let labels = [
            "text/plain",
            "application/octet-stream",
            "text/html; charset=utf-8",
            "application/json",
            "",
            "text/event-stream",
            "Text/Event-Stream;charset=UTF-8",
            "canary",
        ];
        for label in labels {
            for request in [vendor.question(), vendor.question_for_whole()] {
                for body in [
                    vendor.stream.to_owned(),
                    vendor.whole.to_owned(),
                    format!("\u{feff}{}", vendor.stream),
                    format!("\u{feff}{}", vendor.whole),
                    format!(": queued\n\n{}", vendor.stream),
                    format!("\n \r\n{}", vendor.whole),
                ] {
                    let answer = vendor
                        .reply_to(&request, labelled(label, &body), PATIENT)
                        .await;
                    assert_eq!(answer.unwrap(), expected, "{label} {body}");
                }
            }
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_body_that_cannot_be_read_is_a_bad_answer_that_says_what_it_is() {
    let bodies = [
        ("", "the response body is empty"),
        ("\r\n \n", "the response body is empty"),
        ("<html>canary</html>", "the response body is HTML, not JSON"),
        (
            "\n<!DOCTYPE html><title>canary",
            "the response body is HTML, not JSON",
        ),
        (
            "\u{1f}canary",
            "the response body is compressed, which was not requested",
        ),
        (
            "upstream canary",
            "the response body is neither JSON nor an event stream",
        ),
        (
            "error: canary",
            "the response body is neither JSON nor an event stream",
        ),
        (
            "{\"content\": [\"canary",
            "the response ended inside its JSON",
        ),
    ];
    for vendor in VENDORS {
        for (body, words) in bodies {
            for label in ["application/json", "text/html", "text/plain", ""] {
                for request in [vendor.question(), vendor.question_for_whole()] {
                    let error = vendor
                        .reply_to(&request, labelled(label, body), PATIENT)
                        .await
                        .unwrap_err();
                    assert_eq!(error.source.as_ref().unwrap().to_string(), words, "{label}");
                    assert_eq!(
                        (error.kind, error.status),
                        (ModelErrorKind::BadAnswer, Some(200)),
                        "{label}"
                    );
                }
            }
        }
        let garbled = vendor
            .reply(Reply::stream(
                &["event: message_start\ndata: {\"canary\n\n"],
                Then::End,
            ))
            .await;
        let error = garbled.unwrap_err();
        assert_eq!(
            error.source.unwrap().to_string(),
            "an event of the response ended inside its JSON"
        );
        assert_eq!(error.kind, ModelErrorKind::BadAnswer);
        let nothing = vendor
            .reply(labelled("text/event-stream", ""))
            .await
            .unwrap_err();
        assert_eq!(
            nothing.source.unwrap().to_string(),
            "the response body is empty"
        );
        assert_eq!(nothing.kind, ModelErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_whole_answer_is_taken_though_its_connection_broke_afterwards() {
    for vendor in VENDORS {
        let head =
            "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n\r\n";
        let answer = vendor
            .reply(Reply::raw(&format!("{head}{}", vendor.whole), Then::Close))
            .await
            .unwrap();
        assert_eq!(answer.text(), TEXT);
    }
}

/// Each vendor's answer with no content, and with reasoning or a blank text alone.
fn silences(provider: Provider) -> Vec<Value> {
    match provider {
        Provider::Anthropic => [json!([]), json!([{"type": "thinking", "thinking": "canary"}]), json!([{"type": "text", "text": "\n\n"}])]
            .map(|content| json!({"content": content, "stop_reason": "end_turn", "usage": {"output_tokens": 7}}))
            .into(),
        Provider::OpenAi => [
            json!([]),
            json!([{"type": "reasoning", "summary": [{"text": "canary"}]}]),
            json!([{"type": "message", "content": [{"type": "output_text", "text": " "}]}]),
        ]
        .map(|output| json!({"status": "completed", "output": output, "usage": {"output_tokens": 7}}))
        .into(),
        Provider::OpenAiCompatible => [
            json!({"content": ""}),
            json!({"content": null, "tool_calls": null}),
            json!({"content": " ", "reasoning_content": "canary", "tool_calls": []}),
        ]
        .map(|message| {
            json!({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"completion_tokens": 7}})
        })
        .into(),
    }
}

/// The question, after the model got the results of its tools.
fn after_tools(vendor: &Vendor) -> ModelRequest {
    let mut request = vendor.question();
    let result = ToolResult {
        call_id: "call_1".to_owned(),
        text: "done".to_owned(),
        is_error: false,
    };
    let prompt = std::sync::Arc::make_mut(&mut request.prompt);
    prompt.messages.push(Message::ToolResults(vec![result]));
    request
}

#[tokio::test]
async fn an_answer_that_says_nothing_is_a_bad_answer_unless_tools_have_just_run() {
    for vendor in VENDORS {
        for body in silences(vendor.provider) {
            let reply = Reply::ok(&body.to_string());
            let error = vendor.reply(reply.clone()).await.unwrap_err();
            assert_eq!(
                error.source.as_ref().unwrap().to_string(),
                "the answer has neither text nor tool calls"
            );
            assert_eq!(
                (&error.kind, error.spend.usage.output_tokens),
                (&ModelErrorKind::BadAnswer, 7),
                "{body}"
            );
            let answer = vendor
                .reply_to(&after_tools(&vendor), reply, PATIENT)
                .await
                .unwrap();
            assert_eq!(answer.text().trim(), "", "{body}");
        }
    }
}

#[tokio::test]
async fn odd_token_counts_are_unknown_and_never_cost_the_answer() {
    let counts = [
        json!(10),
        json!(10.0),
        json!("10"),
        json!(-1),
        json!(null),
        json!({"n": 1}),
        json!([1]),
        json!(1.5),
    ];
    for vendor in VENDORS {
        let (input, output) = match vendor.provider {
            Provider::Anthropic | Provider::OpenAi => ("input_tokens", "output_tokens"),
            Provider::OpenAiCompatible => ("prompt_tokens", "completion_tokens"),
        };
        for (count, known) in counts.iter().zip([10, 10, 10, 0, 0, 0, 0, 0]) {
            let usage = json!({input: count, output: 3, "input_tokens_details": {"cached_tokens": count},
                "prompt_tokens_details": {"cached_tokens": count}, "output_tokens_details": count});
            let stream = said(vendor.provider, ["a", "b"], &usage.to_string());
            let answer = vendor
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            let cached = if vendor.provider == Provider::Anthropic {
                0
            } else {
                known
            };
            let expected = Usage {
                input_tokens: known,
                output_tokens: 3,
                cache_read_tokens: cached,
                ..Usage::default()
            };
            assert_eq!(
                (answer.text().as_str(), answer.usage),
                ("ab", expected),
                "{count}"
            );
        }
        for usage in ["null", "7", "\"x\"", "[]", "{}"] {
            let stream = said(vendor.provider, ["a", "b"], usage);
            let answer = vendor
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            assert_eq!(answer.text(), "ab", "{usage}");
        }
    }
}

#[tokio::test]
async fn no_more_output_is_estimated_than_was_requested() {
    for vendor in VENDORS {
        let long = "x".repeat(100_000);
        let stream = said(vendor.provider, [&long, ""], "null");
        let begun = stream.rfind("data: {").unwrap();
        let begun = if vendor.provider == Provider::Anthropic {
            stream[..begun].rfind("data: {").unwrap()
        } else {
            begun
        };
        let error = vendor
            .reply(Reply::stream(&[&stream[..begun]], Then::End))
            .await
            .unwrap_err();
        assert_eq!(error.spend.usage.output_tokens, 1_024);
    }
}

#[tokio::test]
async fn blank_data_is_a_keep_alive() {
    for vendor in VENDORS {
        let expected = vendor.reply(vendor.streamed()).await.unwrap();
        for blank in [
            "data: \n\n",
            "data:\n\n",
            "data\n\n",
            "event: ping\ndata: \n\n",
            "event: keepalive\ndata: canary\n\n",
        ] {
            let stream = format!(
                "{blank}{}",
                vendor.stream.replace("\n\n", &format!("\n\n{blank}"))
            );
            assert_eq!(
                vendor
                    .reply(Reply::stream(&[stream], Then::End))
                    .await
                    .unwrap(),
                expected,
                "{blank:?}"
            );
        }
    }
}

#[tokio::test]
async fn half_characters_are_joined_or_replaced() {
    let cases = [
        (["a\\ud83d", "\\ude00b"], "a😀b"),
        (["a\\ud83d", "b"], "a\u{fffd}b"),
        (["a", "\\ude00b"], "a\u{fffd}b"),
        (["\\ud83d\\ud83d", "\\ude00\\u00fc"], "\u{fffd}😀ü"),
    ];
    for vendor in VENDORS {
        for (pieces, expected) in cases {
            let stream = said(vendor.provider, pieces, "null");
            let answer = vendor
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            assert_eq!(answer.text(), expected);
        }
        let whole = vendor.whole.replacen("There", "\\ud83dThere", 1);
        let answer = vendor.reply(Reply::ok(&whole)).await.unwrap();
        assert_eq!(answer.text(), format!("\u{fffd}{TEXT}"));
    }
}

#[tokio::test]
async fn an_answer_that_the_server_broke_off_is_unavailable() {
    let reasons = [
        "error",
        "insufficient_system_resource",
        "abort",
        "network_error",
        "ERROR",
    ];
    for vendor in VENDORS {
        for reason in reasons {
            let body = match vendor.provider {
                Provider::Anthropic => {
                    json!({"content": [{"type": "text", "text": "x"}], "stop_reason": reason})
                }
                Provider::OpenAi => {
                    json!({"output": [], "status": "incomplete", "incomplete_details": {"reason": reason}})
                }
                Provider::OpenAiCompatible => {
                    json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]})
                }
            };
            let error = vendor
                .reply(Reply::ok(&body.to_string()))
                .await
                .unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Unavailable, "{body}");
            assert_eq!(
                error.source.unwrap().to_string(),
                "the server broke off the answer"
            );
        }
    }
}

#[tokio::test]
async fn other_vendors_words_for_a_stop_are_known() {
    let reasons = [
        ("model_length", StopReason::ContextWindow),
        ("model_context_window_exceeded", StopReason::ContextWindow),
        ("MAX_TOKENS", StopReason::MaxTokens),
        ("max_tokens", StopReason::MaxTokens),
        ("SAFETY", StopReason::Refusal),
        ("RECITATION", StopReason::Refusal),
        ("sensitive", StopReason::Refusal),
    ];
    for vendor in [
        vendor(Provider::Anthropic),
        vendor(Provider::OpenAiCompatible),
    ] {
        for (reason, expected) in reasons {
            let body = match vendor.provider {
                Provider::Anthropic | Provider::OpenAi => {
                    json!({"content": [{"type": "text", "text": "x"}], "stop_reason": reason})
                }
                Provider::OpenAiCompatible => {
                    json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]})
                }
            };
            assert_eq!(
                vendor
                    .reply(Reply::ok(&body.to_string()))
                    .await
                    .unwrap()
                    .stop_reason,
                expected,
                "{reason}"
            );
        }
    }
    let chat = vendor(Provider::OpenAiCompatible);
    let garbled = json!({"choices": [{"delta": {"content": ""}, "finish_reason": "MALFORMED_FUNCTION_CALL"}]});
    assert_eq!(
        events(&chat, &[garbled]).await.unwrap_err().kind,
        ModelErrorKind::BadAnswer
    );
    let unsaid = [json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "null"}]})];
    assert_eq!(
        events(&chat, &unsaid).await.unwrap_err().kind,
        ModelErrorKind::Unavailable
    );
    let broken = json!({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "canary"}}]});
    assert_eq!(
        events(&chat, &[broken]).await.unwrap_err().kind,
        ModelErrorKind::RateLimited
    );
}
