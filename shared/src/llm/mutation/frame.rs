//! Mutations of one event of a stream.

use serde_json::{Map, Value, json};

use super::{Body, Choices, Frame, Mutated, Touch};
use crate::domain::Provider;

/// What the loss of an event may change.
pub(super) fn touch_of(provider: Provider, frame: &Frame) -> Touch {
    let data = &frame.data;
    let kind = data
        .get("type")
        .and_then(Value::as_str)
        .or(frame.name.as_deref())
        .unwrap_or_default();
    match provider {
        Provider::Anthropic => match kind {
            "content_block_start" | "content_block_delta" => Touch::Content,
            "message_delta" => Touch::Ending,
            _ => Touch::Nothing,
        },
        Provider::OpenAi if kind == "response.completed" || kind == "response.output_item.done" => {
            Touch::Content
        }
        Provider::OpenAi => Touch::Nothing,
        Provider::OpenAiCompatible => {
            let choice = data.pointer("/choices/0");
            let says = |key: &str| {
                choice
                    .and_then(|choice| choice.get(key)?.as_object())
                    .is_some_and(says_something)
            };
            let is_last = choice
                .and_then(|choice| choice.get("finish_reason"))
                .is_some_and(|reason| !reason.is_null());
            if says("delta") || says("message") {
                Touch::Content
            } else if is_last {
                Touch::Ending
            } else {
                Touch::Nothing
            }
        }
    }
}

fn says_something(delta: &Map<String, Value>) -> bool {
    let is_empty = |value: &Value| *value == Value::Null || *value == "" || *value == json!([]);
    delta
        .iter()
        .any(|(name, value)| name != "role" && !is_empty(value))
}

/// Drops, doubles, reorders or splits one event.
pub(super) fn mutate_frames(
    provider: Provider,
    mut frames: Vec<Frame>,
    choices: &mut Choices<'_>,
) -> Mutated {
    let place = choices.below(frames.len());
    let touch_at = |frames: &[Frame], at: usize| {
        frames
            .get(at)
            .map_or(Touch::Nothing, |frame| touch_of(provider, frame))
    };
    let mut touch = touch_at(&frames, place);
    let what = match choices.below(4) {
        0 if !frames.is_empty() => {
            frames.remove(place);
            "drop"
        }
        1 => {
            if let Some(frame) = frames.get(place).cloned() {
                frames.insert(place, frame);
            }
            "double"
        }
        2 => {
            let other = choices.below(frames.len());
            // The two events also change their order with the events between them.
            let (first, last) = (place.min(other), place.max(other));
            touch = (first..=last)
                .map(|at| touch_at(&frames, at))
                .max()
                .unwrap_or(touch);
            if first != last {
                frames.swap(first, last);
            }
            "reorder"
        }
        _ => {
            if let Some((left, right)) = frames.get(place).and_then(|frame| split(frame, choices)) {
                frames.splice(place..=place, [left, right]);
            }
            touch = Touch::Nothing;
            "split"
        }
    };
    Mutated {
        bytes: Body::Stream(frames).bytes(),
        what: format!("event {place}: {what}"),
        touch,
    }
}

/// The fields of a delta whose text is appended to the earlier deltas' text.
const TEXTS: [&str; 6] = [
    "/delta/text",
    "/delta/thinking",
    "/delta/partial_json",
    "/choices/0/delta/content",
    "/choices/0/delta/reasoning_content",
    "/choices/0/delta/tool_calls/0/function/arguments",
];

/// Splits the text of an event between two events. An emoji is cut in its middle.
fn split(frame: &Frame, choices: &mut Choices<'_>) -> Option<(Frame, Frame)> {
    let is_delta = |text: &&&str| {
        frame
            .data
            .pointer(text)
            .and_then(Value::as_str)
            .is_some_and(|text| text.len() > 1)
    };
    let pointer = TEXTS.iter().find(is_delta)?;
    let has_others = frame
        .data
        .pointer("/choices/0/finish_reason")
        .is_some_and(|reason| !reason.is_null());
    // Without an index, a second delta with a name is another call.
    let is_call = pointer.contains("tool_calls");
    if has_others
        || is_call
            && frame
                .data
                .pointer("/choices/0/delta/tool_calls/0/function/name")
                .is_some()
    {
        return None;
    }
    let text = frame.data.pointer(pointer)?.as_str()?;
    let (left, right) = if let Some((left, right)) = text.split_once('😀') {
        (format!("{left}\u{E001}"), format!("\u{E002}{right}"))
    } else {
        let (left, right) =
            text.split_at(text.floor_char_boundary(1 + choices.below(text.len() - 1)));
        (left.to_owned(), right.to_owned())
    };
    let with = |text: String| {
        let mut frame = frame.clone();
        if let Some(field) = frame.data.pointer_mut(pointer) {
            *field = text.into();
        }
        frame
    };
    Some((with(left), with(right)))
}
