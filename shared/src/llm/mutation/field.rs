//! Mutations of one field of a body.

use serde_json::{Value, json};

use super::framing::mutate_bytes;
use super::{Body, Choices, Mutated, Touch};
use crate::domain::Provider;

/// Fields that are no part of the answer, wherever they are.
const HARMLESS: [&str; 35] = [
    "annotations",
    "audio",
    "background",
    "completed_at",
    "content_index",
    "cost",
    "created",
    "created_at",
    "instructions",
    "item_id",
    "logprobs",
    "max_output_tokens",
    "metadata",
    "model",
    "native_finish_reason",
    "object",
    "obfuscation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_logprobs",
    "provider",
    "role",
    "sequence_number",
    "service_tier",
    "stop_sequence",
    "store",
    "system_fingerprint",
    "temperature",
    "timings",
    "tool_choice",
    "top_p",
    "truncation",
    "usage",
    "user",
];

const ENDINGS: [&str; 4] = [
    "finish_reason",
    "incomplete_details",
    "status",
    "stop_reason",
];

/// What a change at a path touches at most.
fn touch_at(path: &[Step]) -> Touch {
    let has = |names: &[&str]| {
        path.iter()
            .any(|step| matches!(step, Step::Field(name) if names.contains(&name.as_str())))
    };
    if has(&HARMLESS) {
        Touch::Nothing
    } else if has(&ENDINGS) {
        Touch::Ending
    } else {
        Touch::Content
    }
}

/// A step on the way to a field.
#[derive(Debug, Clone)]
enum Step {
    Field(String),
    Element(usize),
}

/// The paths of all fields and elements.
fn paths(value: &Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    if !path.is_empty() {
        found.push(path.clone());
    }
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (Step::Field(name.clone()), value))
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(at, value)| (Step::Element(at), value))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (step, child) in children {
        path.push(step);
        paths(child, path, found);
        path.pop();
    }
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Element(at) => value.get_mut(*at),
    })
}

/// Drops, doubles, retypes or reorders one field of the body.
pub(super) fn mutate_field(
    provider: Provider,
    body: &mut Body,
    choices: &mut Choices<'_>,
) -> Mutated {
    let mut values = body.values();
    let place = choices.below(values.len());
    let count = values.len();
    let Some(event) = values.get_mut(place) else {
        return mutate_bytes(body.bytes(), choices);
    };
    let mut found = Vec::new();
    paths(event, &mut Vec::new(), &mut found);
    let Some(path) = found.get(choices.below(found.len())).cloned() else {
        return mutate_bytes(body.bytes(), choices);
    };
    // The last event of this API repeats all that the events before it say.
    let is_repeated =
        provider == Provider::OpenAi && place + 1 < count && event.get("item").is_none();
    let mut touch = touch_at(&path);
    if is_repeated && event.pointer("/response/output/0").is_none() {
        touch = Touch::Nothing;
    }
    let what = change(event, &path, choices);
    Mutated {
        bytes: body.bytes(),
        what: format!("event {place}: {what} {path:?}"),
        touch,
    }
}

/// Changes what is at the path; says how.
fn change(event: &mut Value, path: &[Step], choices: &mut Choices<'_>) -> &'static str {
    let Some((last, parents)) = path.split_last() else {
        return "nothing";
    };
    let kind = choices.below(4);
    let value = choices.below(RETYPED);
    match (at(event, parents), last) {
        (Some(Value::Object(fields)), Step::Field(name)) if kind == 0 => {
            fields.remove(name);
            "drop"
        }
        (Some(Value::Array(elements)), Step::Element(at)) if kind == 0 => {
            elements.remove(*at);
            "drop"
        }
        (Some(Value::Array(elements)), Step::Element(at)) if kind == 1 => {
            if let Some(element) = elements.get(*at).cloned() {
                elements.insert(*at, element);
            }
            "double"
        }
        (Some(Value::Array(elements)), Step::Element(_)) if kind == 2 => {
            elements.reverse();
            "reorder"
        }
        (Some(parent), last) => {
            if let Some(child) = at(parent, std::slice::from_ref(last)) {
                *child = retyped(child, value);
            }
            "retype"
        }
        (None, _) => "nothing",
    }
}

/// How many ways there are to retype a value.
const RETYPED: usize = 9;

/// The value in another type; where there is a sensible one, with the same meaning.
fn retyped(value: &Value, way: usize) -> Value {
    match (value, way) {
        (_, 0 | 1) => Value::Null,
        (Value::Number(number), 2) => number.as_f64().map_or(Value::Null, |number| json!(number)),
        (Value::Number(number), 3) => number.to_string().into(),
        (Value::Number(_), 4) => json!(-1),
        (Value::Object(_), 2 | 3) => value.to_string().into(),
        (Value::String(text), 2) => value_in(text),
        (_, 5) => json!({}),
        (_, 6) => json!([]),
        (_, 7) => json!(true),
        (Value::String(_), 3 | 4) => "".into(),
        (_, _) => json!(7.5),
    }
}

fn value_in(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
