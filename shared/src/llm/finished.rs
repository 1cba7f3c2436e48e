//! The last pass over a complete answer, the same for every dialect.
//!
//! Halves of characters are joined. A call whose arguments are several JSON values is split into
//! one call for each value, if the values can be separated. Each call gets an id of its own; a call
//! that was sent twice becomes one call. An empty answer is refused, unless the model has had
//! results of tools: models do end such a turn without a word.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value, json};
use uuid::Uuid;

use super::dialect::{Answer, Fault, Part};
use super::halves;
use crate::domain::{AssistantContent, Message, Prompt, StopReason, ToolCall};

/// Whether a model may end its turn without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It has had the results of tools.
    Allowed,
    /// It had to produce an answer.
    Refused,
}

impl From<&Prompt> for Silence {
    fn from(prompt: &Prompt) -> Self {
        let has_results = prompt
            .messages
            .iter()
            .any(|message| matches!(message, Message::ToolResults(_)));
        if has_results {
            Self::Allowed
        } else {
            Self::Refused
        }
    }
}

/// Joins the marked half characters in an answer.
pub(super) fn join_halves(answer: &mut Answer) {
    for part in &mut answer.content {
        part.original.iter_mut().for_each(halves::join_all);
        match &mut part.content {
            AssistantContent::Text(text) | AssistantContent::Reasoning(text) => halves::join(text),
            AssistantContent::ToolCall(ToolCall {
                id,
                name,
                arguments,
            }) => {
                [id, name, arguments].into_iter().for_each(halves::join);
            }
            AssistantContent::Opaque => {}
        }
    }
}

/// The answer with its calls separated. Fails if it is empty and must not be.
pub(super) fn settled(answer: Answer, silence: Silence) -> Result<Answer, Fault> {
    let mut calls = Calls::default();
    for part in answer.content {
        calls.take(part);
    }
    let answer = Answer {
        content: calls.parts,
        ..answer
    };
    if silence == Silence::Refused && is_silent(&answer) {
        return Err(Fault::Inconsistent(
            "the answer has neither text nor tool calls",
        ));
    }
    Ok(answer)
}

/// Whether an answer that claims to be whole says nothing. That a cut or declined one says nothing
/// has its own meaning.
fn is_silent(answer: &Answer) -> bool {
    let is_paused = match answer.stop_reason {
        StopReason::MaxTokens | StopReason::ContextWindow | StopReason::Refusal => return false,
        StopReason::Paused => true,
        StopReason::EndTurn | StopReason::ToolUse | StopReason::Other => false,
    };
    !answer.content.iter().any(|part| match &part.content {
        AssistantContent::Text(text) => !text.trim().is_empty(),
        AssistantContent::ToolCall(_) => true,
        AssistantContent::Reasoning(_) => false,
        // The provider's own tools are at work.
        AssistantContent::Opaque => is_paused,
    })
}

/// The parts of an answer, and where the calls among them are.
#[derive(Default)]
struct Calls {
    parts: Vec<Part>,
    places: HashMap<String, usize>,
}

impl Calls {
    fn take(&mut self, part: Part) {
        let AssistantContent::ToolCall(call) = part.content else {
            return self.parts.push(part);
        };
        let mut original = part.original;
        let mut id = Some(call.id);
        for arguments in versions(call.arguments) {
            let id = id.take().unwrap_or_default();
            self.add(
                ToolCall {
                    id,
                    name: call.name.clone(),
                    arguments,
                },
                original.take(),
            );
        }
    }

    /// Adds a call. It gets a new id if it has no id, or the id of another call.
    fn add(&mut self, mut call: ToolCall, mut original: Option<Value>) {
        if let Some(earlier) = self
            .places
            .get(&call.id)
            .and_then(|place| self.parts.get(*place))
        {
            match &earlier.content {
                AssistantContent::ToolCall(earlier) if is_same(earlier, &call) => return,
                AssistantContent::ToolCall(_)
                | AssistantContent::Text(_)
                | AssistantContent::Reasoning(_)
                | AssistantContent::Opaque => call.id.clear(),
            }
        }
        if call.id.is_empty() {
            call.id = format!("call_{}", Uuid::now_v7().simple());
        }
        if let Some(original) = &mut original {
            align(original, &call);
        }
        self.places.insert(call.id.clone(), self.parts.len());
        self.parts.push(Part {
            content: AssistantContent::ToolCall(call),
            original,
        });
    }
}

fn is_same(earlier: &ToolCall, call: &ToolCall) -> bool {
    let parsed = |call: &ToolCall| serde_json::from_str::<Value>(&call.arguments).ok();
    earlier.name == call.name
        && (earlier.arguments == call.arguments
            || parsed(earlier).is_some_and(|value| Some(value) == parsed(call)))
}

/// Gives the provider's own block of a call the id and the arguments of the call.
fn align(original: &mut Value, call: &ToolCall) {
    let Value::Object(block) = original else {
        return;
    };
    let fields: Vec<(&str, &str)> = match block.get("type").and_then(Value::as_str) {
        Some("function_call") => vec![("call_id", &call.id), ("arguments", &call.arguments)],
        Some("tool_use") => vec![("id", &call.id)],
        Some(_) | None => Vec::new(),
    };
    let is_input = |value: &Value| value.is_object();
    if block.contains_key("input") && !block.get("input").is_some_and(is_input) {
        // The provider takes nothing but an object.
        let input = serde_json::from_str(&call.arguments).ok().filter(is_input);
        block.insert(
            "input".to_owned(),
            input.unwrap_or_else(|| json!({ "arguments": call.arguments })),
        );
    }
    for (field, text) in fields {
        if block.get(field).and_then(Value::as_str) != Some(text) {
            block.insert(field.to_owned(), text.into());
        }
    }
}

/// More calls than any server writes into the arguments of one.
const MAX_VERSIONS: usize = 64;

/// The arguments of a call. Servers send an empty object before the real ones, all of them again,
/// or those of another call, so that several JSON values come in a row. What is no JSON is left to
/// the caller of the tool.
fn versions(arguments: String) -> Vec<String> {
    let arguments = match halves::marked(&arguments) {
        Some(mut marked) => {
            halves::join(&mut marked);
            marked
        }
        None => arguments,
    };
    if arguments.trim().is_empty() {
        return vec!["{}".to_owned()];
    }
    if serde_json::from_str::<IgnoredAny>(&arguments).is_ok() {
        return vec![arguments];
    }
    let mut versions: Vec<String> = Vec::new();
    let mut values = Deserializer::from_str(&arguments).into_iter::<Value>();
    let mut start = values.byte_offset();
    while let Some(value) = values.next() {
        let end = values.byte_offset();
        let text = arguments.get(start..end).unwrap_or_default().trim();
        match value {
            Ok(Value::Object(fields)) if fields.is_empty() => {}
            Ok(Value::Object(_)) if versions.iter().any(|version| version == text) => {}
            Ok(Value::Object(_)) if versions.len() < MAX_VERSIONS => versions.push(text.to_owned()),
            Ok(_) | Err(_) => return vec![arguments],
        }
        start = end;
    }
    if versions.is_empty() {
        vec!["{}".to_owned()]
    } else {
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, arguments: &str) -> Part {
        let call = ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        };
        Part {
            content: AssistantContent::ToolCall(call),
            original: None,
        }
    }

    fn answer(stop_reason: StopReason, content: Vec<Part>) -> Answer {
        Answer {
            content,
            stop_reason,
            served_model: None,
        }
    }

    /// The ids and arguments of the calls; ids of ours are cut to their start.
    fn calls(content: Vec<Part>) -> Vec<(String, String)> {
        let answer = settled(answer(StopReason::ToolUse, content), Silence::Refused)
            .ok()
            .unwrap();
        let calls = answer
            .content
            .into_iter()
            .filter_map(|part| match part.content {
                AssistantContent::ToolCall(call) => {
                    Some((call.id[..call.id.len().min(5)].to_owned(), call.arguments))
                }
                AssistantContent::Text(_)
                | AssistantContent::Reasoning(_)
                | AssistantContent::Opaque => None,
            });
        calls.collect()
    }

    #[track_caller]
    fn check(content: Vec<Part>, expected: &[(&str, &str)]) {
        let calls = calls(content);
        assert_eq!(
            calls
                .iter()
                .map(|(id, text)| (id.as_str(), text.as_str()))
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn an_empty_object_before_the_arguments_is_dropped() {
        check(vec![call("a", r#"{}{"x":1}"#)], &[("a", r#"{"x":1}"#)]);
        check(vec![call("a", r#" {} {"x":1} {}"#)], &[("a", r#"{"x":1}"#)]);
        check(vec![call("a", "{}{}")], &[("a", "{}")]);
        check(vec![call("a", " ")], &[("a", "{}")]);
        check(vec![call("a", "{}")], &[("a", "{}")]);
    }

    #[test]
    fn arguments_that_are_no_row_of_objects_stay_as_they_are() {
        for arguments in [r#"{"x":1"#, r#"{}{"x""#, "{} x", "[1]", "1 2", "no json"] {
            check(vec![call("a", arguments)], &[("a", arguments)]);
        }
    }

    #[test]
    fn a_call_that_comes_twice_is_one_and_two_with_one_id_are_two() {
        check(
            vec![call("a", r#"{"x":1}"#), call("a", r#"{ "x": 1 }"#)],
            &[("a", r#"{"x":1}"#)],
        );
        check(vec![call("a", r#"{"x":1}{"x":1}"#)], &[("a", r#"{"x":1}"#)]);
        let two = [("a", r#"{"x":1}"#), ("call_", r#"{"x":2}"#)];
        check(vec![call("a", r#"{"x":1}"#), call("a", r#"{"x":2}"#)], &two);
        check(vec![call("a", r#"{"x":1}{"x":2}"#)], &two);
        check(
            vec![call("", "{}"), call("", "{}")],
            &[("call_", "{}"), ("call_", "{}")],
        );
    }

    #[test]
    fn half_characters_in_arguments_are_replaced() {
        check(
            vec![call("a", r#"{"x":"\ud83d"}"#)],
            &[("a", "{\"x\":\"\u{fffd}\"}")],
        );
        check(
            vec![call("a", r#"{"x":"\ud83d\ude00"}"#)],
            &[("a", r#"{"x":"\ud83d\ude00"}"#)],
        );
    }

    #[test]
    fn the_providers_block_has_the_id_and_the_arguments_of_the_call() {
        for (block, expected) in [
            (
                json!({"type": "function_call", "arguments": {}}),
                json!({"type": "function_call", "arguments": "{}"}),
            ),
            (json!({"type": "tool_use"}), json!({"type": "tool_use"})),
            (json!({"sealed": 1}), json!({"sealed": 1})),
        ] {
            let part = Part {
                original: Some(block),
                ..call("", "{}")
            };
            let answer = settled(answer(StopReason::ToolUse, vec![part]), Silence::Refused)
                .ok()
                .unwrap();
            let [
                Part {
                    content: AssistantContent::ToolCall(call),
                    original: Some(block),
                },
            ] = &answer.content[..]
            else {
                panic!()
            };
            let mut expected = expected;
            match expected["type"].as_str() {
                Some("function_call") => expected["call_id"] = json!(call.id),
                Some("tool_use") => expected["id"] = json!(call.id),
                _ => {}
            }
            assert_eq!(block, &expected);
        }
    }

    #[test]
    fn an_answer_that_says_nothing_is_refused_unless_it_may_or_is_cut() {
        let part = |content| Part {
            content,
            original: None,
        };
        let blank = || part(AssistantContent::Text(" \n".to_owned()));
        let thought = || part(AssistantContent::Reasoning("hm".to_owned()));
        let opaque = || part(AssistantContent::Opaque);
        for reason in [
            StopReason::EndTurn,
            StopReason::Other,
            StopReason::ToolUse,
            StopReason::Paused,
        ] {
            for content in [vec![], vec![blank()], vec![thought(), blank()]] {
                assert!(
                    settled(answer(reason, content), Silence::Refused).is_err(),
                    "{reason:?}"
                );
            }
            assert!(settled(answer(reason, vec![thought()]), Silence::Allowed).is_ok());
            let is_paused = reason == StopReason::Paused;
            assert_eq!(
                settled(answer(reason, vec![opaque()]), Silence::Refused).is_ok(),
                is_paused
            );
        }
        for reason in [
            StopReason::MaxTokens,
            StopReason::ContextWindow,
            StopReason::Refusal,
        ] {
            assert!(
                settled(answer(reason, vec![]), Silence::Refused).is_ok(),
                "{reason:?}"
            );
        }
    }
}
