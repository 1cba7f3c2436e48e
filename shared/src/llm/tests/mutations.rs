//! What every decoder makes of recorded exchanges with which something went wrong.
//!
//! A mutation changes one field, event or byte. No mutation panics. What comes of it is an answer
//! or an error that is worth another try, and the answer is right in this sense:
//!
//! - A mutation of nothing that the answer is made of gives the recorded content and stop reason.
//! - A mutation of the reason to stop gives the recorded content. The stop reason is the recorded
//!   one or unknown.
//! - A mutation of content, or of any byte, gives the recorded text and calls, or the text and
//!   calls that a simple oracle reads in the mutated body: the deltas that are left, joined. No
//!   protocol lets a client notice that a delta is missing or changed, so this part of the test
//!   shows only that the decoder adds nothing, merges no calls and repeats none.
//!
//! Usage may become unknown. Ids of calls may become ours. Of 20,800 mutations, about 72 % give the
//! recorded answer, 8 % what is left of it, and 20 % an error.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::domain::{AssistantContent, ModelAnswer, ModelRef, Provider, StopReason};
use crate::llm::decoding::{decode, decode_whole};
use crate::llm::mutation::{Choices, Mutated, Recorded, Touch, recorded};
use crate::ports::{ModelError, ModelErrorKind};

/// Of each recorded exchange.
const MUTATIONS: u64 = 1_300;

/// Another seed gives other mutations.
const SEED: u64 = 0x0BAD_A5E5;

/// What an answer says: text, and each call's name and arguments.
#[derive(Debug, Clone, Default, PartialEq)]
struct Said {
    text: String,
    calls: Vec<(String, Value)>,
}

/// What came of the mutations.
#[derive(Debug, Default)]
struct Summary {
    mutations: u32,
    recorded: u32,
    by_oracle: u32,
    errors: u32,
    wrong: Vec<String>,
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn said(answer: &ModelAnswer) -> Said {
    let calls = answer
        .tool_calls()
        .map(|call| (call.name.clone(), arguments(&call.arguments)))
        .collect();
    Said {
        text: answer.text(),
        calls,
    }
}

fn decoded(exchange: &Recorded, bytes: &[u8]) -> Result<ModelAnswer, Box<ModelError>> {
    let model = ModelRef::new(exchange.provider, "m").unwrap();
    if exchange.is_stream() {
        decode(&model, [bytes])
    } else {
        decode_whole(&model, bytes)
    }
}

fn reasoning(answer: &ModelAnswer) -> Vec<&AssistantContent> {
    let parts = answer.content.iter().map(|part| &part.content);
    parts
        .filter(|content| matches!(content, AssistantContent::Reasoning(_)))
        .collect()
}

fn check_provider(provider: Provider) {
    let mut summary = Summary::default();
    for exchange in recorded()
        .into_iter()
        .filter(|exchange| exchange.provider == provider)
    {
        let expected = decoded(&exchange, &exchange.bytes())
            .unwrap_or_else(|error| panic!("{}: {error:?}", exchange.name));
        for number in 0..MUTATIONS {
            let mut random = fastrand::Rng::with_seed(SEED ^ number << 20);
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(48).collect();
            let mutated = exchange.mutated(&mut Choices::new(&bytes));
            let case = format!(
                "{} with seed {SEED:#x}, mutation {number}: {}",
                exchange.name, mutated.what
            );
            let outcome = decoded(&exchange, &mutated.bytes);
            summary.mutations += 1;
            match outcome {
                Ok(answer) => {
                    let is_recorded = said(&answer) == said(&expected)
                        && answer.stop_reason == expected.stop_reason;
                    *(if is_recorded {
                        &mut summary.recorded
                    } else {
                        &mut summary.by_oracle
                    }) += 1;
                    if let Some(wrong) = wrong(&expected, &answer, &mutated, provider) {
                        let body = String::from_utf8_lossy(&mutated.bytes).into_owned();
                        summary.wrong.push(format!("{case}\ngot {wrong}\n{body}"));
                    }
                }
                Err(error) => {
                    summary.errors += 1;
                    if !is_worth_another_try(&error) {
                        summary.wrong.push(format!("{case}\ngot {error:?}"));
                    }
                }
            }
        }
    }
    check_summary(provider, &summary);
}

#[expect(
    clippy::print_stdout,
    reason = "the shares of answers kept and lost are for people to read"
)]
fn check_summary(provider: Provider, summary: &Summary) {
    let Summary {
        mutations,
        recorded,
        by_oracle,
        errors,
        wrong,
    } = summary;
    println!(
        "{provider:?}: of {mutations} mutations, {recorded} gave the recorded answer, {by_oracle} what was left of it, \
         {errors} an error; {} were wrong",
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{}",
        wrong
            .iter()
            .take(25)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n\n")
    );
    assert!(recorded * 2 > *mutations, "most answers are kept");
}

fn is_worth_another_try(error: &ModelError) -> bool {
    matches!(
        error.kind,
        ModelErrorKind::Unavailable
            | ModelErrorKind::Timeout
            | ModelErrorKind::RateLimited
            | ModelErrorKind::BadAnswer
    )
}

/// What is wrong with an answer to a mutation, if anything is.
fn wrong(
    expected: &ModelAnswer,
    answer: &ModelAnswer,
    mutated: &Mutated,
    provider: Provider,
) -> Option<String> {
    let ids: BTreeSet<&str> = answer.tool_calls().map(|call| call.id.as_str()).collect();
    if ids.len() != answer.tool_calls().count() || ids.contains("") {
        return Some(format!("ids {ids:?}"));
    }
    let (recorded, now) = (said(expected), said(answer));
    let is_stop = answer.stop_reason == expected.stop_reason;
    let is_right = match mutated.touch {
        Touch::Nothing => now == recorded && is_stop && reasoning(expected) == reasoning(answer),
        Touch::Ending => now == recorded && (is_stop || answer.stop_reason == StopReason::Other),
        Touch::Content => {
            now == recorded || is_made_of(&now, &recorded, &read(provider, &mutated.bytes))
        }
    };
    let left = || read(provider, &mutated.bytes);
    (!is_right).then(|| {
        format!(
            "{now:?} {:?}\nnot {recorded:?}\nnor {:?}",
            answer.stop_reason,
            left()
        )
    })
}

fn is_made_of(now: &Said, recorded: &Said, oracle: &Said) -> bool {
    let is_text = now.text == recorded.text || now.text == oracle.text;
    let times = |said: &Said, call: &(String, Value)| {
        said.calls.iter().filter(|other| *other == call).count()
    };
    is_text
        && now
            .calls
            .iter()
            .all(|call| times(now, call) <= times(recorded, call).max(times(oracle, call)))
}

/// The oracle: what is left in a body, by each protocol's plain rules.
fn read(provider: Provider, bytes: &[u8]) -> Said {
    let text = String::from_utf8_lossy(bytes)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim();
    let bodies: Vec<Value> = match serde_json::from_str::<Value>(text) {
        Ok(whole) => vec![whole],
        Err(_) => text.split("\n\n").filter_map(data).collect(),
    };
    match provider {
        Provider::Anthropic => read_blocks(&bodies),
        Provider::OpenAi => read_items(&bodies),
        Provider::OpenAiCompatible => read_chunks(&bodies),
    }
}

fn data(event: &str) -> Option<Value> {
    let lines: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .collect();
    serde_json::from_str(&lines.join("\n")).ok()
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The arguments of a call, in any form.
fn arguments_of(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(Value::Array(list)) if list.is_empty() => String::new(),
        Some(value) => value.to_string(),
    }
}

fn read_blocks(events: &[Value]) -> Said {
    let mut blocks: BTreeMap<u64, (Value, String, String)> = BTreeMap::new();
    for event in events {
        let is_known = ["content_block_start", "content_block_delta", "message"]
            .contains(&text_at(event, "/type"));
        if !is_known {
            continue;
        }
        let whole = event
            .get("content")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .cloned()
            .zip(0..);
        let begun = event
            .get("content_block")
            .cloned()
            .zip(event.get("index").and_then(Value::as_u64));
        for (block, index) in whole.chain(begun) {
            let text = text_at(&block, "/text").to_owned();
            blocks.entry(index).or_insert((block, text, String::new()));
        }
        let index = event
            .get("index")
            .and_then(Value::as_u64)
            .or_else(|| blocks.keys().last().copied());
        if let Some((_, text, input)) = index.and_then(|index| blocks.get_mut(&index)) {
            text.push_str(text_at(event, "/delta/text"));
            input.push_str(&arguments_of(event.pointer("/delta/partial_json")));
        }
    }
    let mut said = Said::default();
    for (block, text, input) in blocks.into_values() {
        match text_at(&block, "/type") {
            "text" => said.text += &text,
            "tool_use" => {
                let input = if input.is_empty() {
                    arguments_of(block.get("input"))
                } else {
                    input
                };
                said.calls
                    .push((text_at(&block, "/name").to_owned(), call_arguments(&input)));
            }
            _ => {}
        }
    }
    said
}

fn call_arguments(text: &str) -> Value {
    arguments(if text.is_empty() { "{}" } else { text })
}

fn read_items(events: &[Value]) -> Said {
    let last = events.iter().rev().find_map(|event| {
        let output = event
            .pointer("/response/output")
            .or_else(|| event.get("output"))?
            .as_array()?;
        (!output.is_empty()).then(|| output.clone())
    });
    let done = || {
        events
            .iter()
            .filter(|event| text_at(event, "/type").ends_with("item.done"))
    };
    let items = last.unwrap_or_else(|| {
        done()
            .filter_map(|event| event.get("item").cloned())
            .collect()
    });
    let mut said = Said::default();
    for item in items {
        match text_at(&item, "/type") {
            "message" => {
                said.text += text_at(&item, "/content");
                for piece in item
                    .get("content")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    if text_at(piece, "/type") == "output_text" {
                        said.text += text_at(piece, "/text");
                    }
                }
            }
            "function_call" => {
                let text = arguments_of(item.get("arguments"));
                said.calls
                    .push((text_at(&item, "/name").to_owned(), call_arguments(&text)));
            }
            _ => {}
        }
    }
    said
}

fn content_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(|part| text_at(part, "/text")).collect(),
        _ => String::new(),
    }
}

fn read_chunks(events: &[Value]) -> Said {
    let mut said = Said::default();
    let mut calls: Vec<(Option<u64>, String, String)> = Vec::new();
    for choice in events
        .iter()
        .filter_map(|event| event.get("choices").and_then(Value::as_array))
        .flatten()
    {
        let message = choice.get("message").filter(|message| !message.is_null());
        if message.is_some_and(|message| !content_text(message.get("content")).is_empty()) {
            said.text.clear();
        }
        if message.is_some_and(|message| message.pointer("/tool_calls/0").is_some()) {
            calls.clear();
        }
        let Some(delta) = message.or_else(|| choice.get("delta")) else {
            continue;
        };
        said.text += &content_text(delta.get("content"));
        said.text += text_at(delta, "/refusal");
        for call in delta
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let (name, more) = (
                text_at(call, "/function/name"),
                arguments_of(call.pointer("/function/arguments")),
            );
            let index = call.get("index").and_then(Value::as_u64);
            match calls
                .iter_mut()
                .rfind(|(known, ..)| index.is_none() || *known == index)
            {
                Some((_, known, text)) if name.is_empty() || known.is_empty() => {
                    known.push_str(name);
                    text.push_str(&more);
                }
                Some(_) | None => calls.push((index, name.to_owned(), more)),
            }
        }
    }
    said.calls = calls
        .into_iter()
        .map(|(_, name, text)| (name, call_arguments(&text)))
        .collect();
    said
}

#[test]
fn mutated_anthropic_exchanges_give_the_answer_or_an_error() {
    check_provider(Provider::Anthropic);
}

#[test]
fn mutated_responses_exchanges_give_the_answer_or_an_error() {
    check_provider(Provider::OpenAi);
}

#[test]
fn mutated_chat_exchanges_give_the_answer_or_an_error() {
    check_provider(Provider::OpenAiCompatible);
}
