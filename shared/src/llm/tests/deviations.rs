//! What servers send that is not by the book, in every dialect where it can occur, and what is made
//! of it.

use serde_json::{Value, json};

use super::stand_in::{PATIENT, Reply, STAND_INS, StandIn, Then};
use crate::domain::{Message, ModelAnswer, ModelRequest, Provider, StopReason, ToolResult, Usage};
use crate::ports::{ModelError, ModelErrorKind};

const TEXT: &str = "There are three files, “Ü”.";

/// Each provider's stream up to where the reason to stop and the usage are known, without the blank
/// line behind it.
pub(super) fn complete(stand_in: &StandIn) -> &'static str {
    let end = match stand_in.provider {
        Provider::Anthropic => stand_in.stream.rfind("event: message_stop"),
        Provider::OpenAi => None,
        Provider::OpenAiCompatible => stand_in.stream.rfind("data: [DONE]"),
    };
    stand_in.stream[..end.unwrap_or(stand_in.stream.len())].trim_end()
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

/// What the provider's client makes of these events.
pub(super) async fn events(
    stand_in: &StandIn,
    events: &[Value],
) -> Result<ModelAnswer, ModelError> {
    stand_in
        .reply(Reply::stream(&[stream_of(events)], Then::End))
        .await
}

pub(super) fn stand_in(provider: Provider) -> StandIn {
    STAND_INS
        .into_iter()
        .find(|stand_in| stand_in.provider == provider)
        .unwrap()
}

/// A stream of each provider's events with a text in two deltas and this usage; in JSON, because
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
    for stand_in in STAND_INS {
        let expected = stand_in.reply(stand_in.streamed()).await.unwrap();
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
            for request in [stand_in.request(), stand_in.whole_request()] {
                for body in [
                    stand_in.stream.to_owned(),
                    stand_in.whole.to_owned(),
                    format!("\u{feff}{}", stand_in.stream),
                    format!("\u{feff}{}", stand_in.whole),
                    format!(": queued\n\n{}", stand_in.stream),
                    format!("\n \r\n{}", stand_in.whole),
                ] {
                    let answer = stand_in
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
    for stand_in in STAND_INS {
        for (body, words) in bodies {
            for label in ["application/json", "text/html", "text/plain", ""] {
                for request in [stand_in.request(), stand_in.whole_request()] {
                    let error = stand_in
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
        let malformed = stand_in
            .reply(Reply::stream(
                &["event: message_start\ndata: {\"canary\n\n"],
                Then::End,
            ))
            .await;
        let error = malformed.unwrap_err();
        assert_eq!(
            error.source.unwrap().to_string(),
            "an event of the response ended inside its JSON"
        );
        assert_eq!(error.kind, ModelErrorKind::BadAnswer);
        let nothing = stand_in
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
    for stand_in in STAND_INS {
        let head =
            "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n\r\n";
        let answer = stand_in
            .reply(Reply::raw(
                &format!("{head}{}", stand_in.whole),
                Then::Close,
            ))
            .await
            .unwrap();
        assert_eq!(answer.text(), TEXT);
    }
}

/// Each provider's answer with no content, and with reasoning or a blank text alone.
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

/// The request, after the model got the results of its tools.
fn after_tools(stand_in: &StandIn) -> ModelRequest {
    let mut request = stand_in.request();
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
    for stand_in in STAND_INS {
        for body in silences(stand_in.provider) {
            let reply = Reply::ok(&body.to_string());
            let error = stand_in.reply(reply.clone()).await.unwrap_err();
            assert_eq!(
                error.source.as_ref().unwrap().to_string(),
                "the answer has neither text nor tool calls"
            );
            assert_eq!(
                (&error.kind, error.spend.usage.output_tokens),
                (&ModelErrorKind::BadAnswer, 7),
                "{body}"
            );
            let answer = stand_in
                .reply_to(&after_tools(&stand_in), reply, PATIENT)
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
    for stand_in in STAND_INS {
        let (input, output) = match stand_in.provider {
            Provider::Anthropic | Provider::OpenAi => ("input_tokens", "output_tokens"),
            Provider::OpenAiCompatible => ("prompt_tokens", "completion_tokens"),
        };
        for (count, known) in counts.iter().zip([10, 10, 10, 0, 0, 0, 0, 0]) {
            let usage = json!({input: count, output: 3, "input_tokens_details": {"cached_tokens": count},
                "prompt_tokens_details": {"cached_tokens": count}, "output_tokens_details": count});
            let stream = said(stand_in.provider, ["a", "b"], &usage.to_string());
            let answer = stand_in
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            let cached = if stand_in.provider == Provider::Anthropic {
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
            let stream = said(stand_in.provider, ["a", "b"], usage);
            let answer = stand_in
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            assert_eq!(answer.text(), "ab", "{usage}");
        }
    }
}

#[tokio::test]
async fn no_more_output_is_estimated_than_was_requested() {
    for stand_in in STAND_INS {
        let long = "x".repeat(100_000);
        let stream = said(stand_in.provider, [&long, ""], "null");
        let begun = stream.rfind("data: {").unwrap();
        let begun = if stand_in.provider == Provider::Anthropic {
            stream[..begun].rfind("data: {").unwrap()
        } else {
            begun
        };
        let error = stand_in
            .reply(Reply::stream(&[&stream[..begun]], Then::End))
            .await
            .unwrap_err();
        assert_eq!(error.spend.usage.output_tokens, 1_024);
    }
}

#[tokio::test]
async fn blank_data_is_a_keep_alive() {
    for stand_in in STAND_INS {
        let expected = stand_in.reply(stand_in.streamed()).await.unwrap();
        for blank in [
            "data: \n\n",
            "data:\n\n",
            "data\n\n",
            "event: ping\ndata: \n\n",
            "event: keepalive\ndata: canary\n\n",
        ] {
            let stream = format!(
                "{blank}{}",
                stand_in.stream.replace("\n\n", &format!("\n\n{blank}"))
            );
            assert_eq!(
                stand_in
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
    for stand_in in STAND_INS {
        for (pieces, expected) in cases {
            let stream = said(stand_in.provider, pieces, "null");
            let answer = stand_in
                .reply(Reply::stream(&[stream], Then::End))
                .await
                .unwrap();
            assert_eq!(answer.text(), expected);
        }
        let whole = stand_in.whole.replacen("There", "\\ud83dThere", 1);
        let answer = stand_in.reply(Reply::ok(&whole)).await.unwrap();
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
    for stand_in in STAND_INS {
        for reason in reasons {
            let body = match stand_in.provider {
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
            let error = stand_in
                .reply(Reply::ok(&body.to_string()))
                .await
                .unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Unavailable, "{body}");
            assert_eq!(
                error.source.unwrap().to_string(),
                "the server aborted the answer"
            );
        }
    }
}

#[tokio::test]
async fn other_providers_words_for_a_stop_are_known() {
    let reasons = [
        ("model_length", StopReason::ContextWindow),
        ("model_context_window_exceeded", StopReason::ContextWindow),
        ("MAX_TOKENS", StopReason::MaxTokens),
        ("max_tokens", StopReason::MaxTokens),
        ("SAFETY", StopReason::Refusal),
        ("RECITATION", StopReason::Refusal),
        ("sensitive", StopReason::Refusal),
    ];
    for stand_in in [
        stand_in(Provider::Anthropic),
        stand_in(Provider::OpenAiCompatible),
    ] {
        for (reason, expected) in reasons {
            let body = match stand_in.provider {
                Provider::Anthropic | Provider::OpenAi => {
                    json!({"content": [{"type": "text", "text": "x"}], "stop_reason": reason})
                }
                Provider::OpenAiCompatible => {
                    json!({"choices": [{"message": {"content": "x"}, "finish_reason": reason}]})
                }
            };
            assert_eq!(
                stand_in
                    .reply(Reply::ok(&body.to_string()))
                    .await
                    .unwrap()
                    .stop_reason,
                expected,
                "{reason}"
            );
        }
    }
    let chat = stand_in(Provider::OpenAiCompatible);
    let malformed = json!({"choices": [{"delta": {"content": ""}, "finish_reason": "MALFORMED_FUNCTION_CALL"}]});
    assert_eq!(
        events(&chat, &[malformed]).await.unwrap_err().kind,
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
