//! The names of OpenTelemetry's semantic conventions, and what they are called in our code.
//!
//! Those for generative AI are in development and still move
//! (<https://github.com/open-telemetry/semantic-conventions-genai>). So the code has short names of
//! its own, and they become the conventions' on export: a span that nobody records costs nothing of
//! it, and a new version of the conventions changes this file only.

use opentelemetry::trace::SpanKind;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

/// The version of the conventions whose names these are.
pub const VERSION: &str = "1.42.0";

/// A kind of span.
struct Kind {
    /// Its name in our code.
    name: &'static str,
    /// The attribute that is appended to its name, as in `chat claude-sonnet-5-5`.
    object: Option<&'static str>,
    /// Whether it is `gen_ai.operation.name`.
    is_operation: bool,
    role: SpanKind,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "chat",
        object: Some("model"),
        is_operation: true,
        role: SpanKind::Internal,
    },
    Kind {
        name: "execute_tool",
        object: Some("tool"),
        is_operation: true,
        role: SpanKind::Internal,
    },
    Kind {
        name: "invoke_agent",
        object: Some("agent_id"),
        is_operation: true,
        role: SpanKind::Internal,
    },
    Kind {
        name: "model attempt",
        object: None,
        is_operation: false,
        role: SpanKind::Client,
    },
    Kind {
        name: "tasks process",
        object: None,
        is_operation: false,
        role: SpanKind::Consumer,
    },
];

/// Attributes: in our code, and in the conventions.
const NAMES: [(&str, &str); 18] = [
    ("agent_id", "gen_ai.agent.id"),
    ("agent_version", "gen_ai.agent.version"),
    ("task_id", "gen_ai.conversation.id"),
    ("provider", "gen_ai.provider.name"),
    ("model", "gen_ai.request.model"),
    ("max_output_tokens", "gen_ai.request.max_tokens"),
    ("served_model", "gen_ai.response.model"),
    ("first_chunk_seconds", "gen_ai.response.time_to_first_chunk"),
    ("stop_reason", "gen_ai.response.finish_reasons"),
    ("input_tokens", "gen_ai.usage.input_tokens"),
    ("output_tokens", "gen_ai.usage.output_tokens"),
    ("cache_read_tokens", "gen_ai.usage.cache_read.input_tokens"),
    (
        "cache_write_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
    ),
    ("tool", "gen_ai.tool.name"),
    ("tool_call_id", "gen_ai.tool.call.id"),
    ("message_id", "messaging.message.id"),
    ("error_type", "error.type"),
    ("status_code", "http.response.status_code"),
];

/// Attributes that are numbers, by their names in our code: unsigned ones come from
/// `tracing-opentelemetry` as text.
const NUMBERS: [&str; 15] = [
    "agent_version",
    "attempt",
    "attempts",
    "cache_read_tokens",
    "cache_write_tokens",
    "cost_micro_usd",
    "hop",
    "input_tokens",
    "max_output_tokens",
    "model_attempts",
    "output_tokens",
    "position",
    "receives",
    "status_code",
    "step",
];

/// Attributes that keep their own name beside the conventions' name: the annotations to search
/// by.
const SEARCHABLE: [&str; 2] = ["agent_id", "task_id"];

/// Gives a span the names of the conventions, and numbers where it has them as text.
pub(super) fn translate(span: &mut SpanData) {
    if let Some(kind) = KINDS.iter().find(|kind| kind.name == span.name) {
        let object = kind.object.and_then(|key| value(span, key));
        if let Some(object) = object {
            span.name = format!("{} {object}", kind.name).into();
        }
        span.span_kind = kind.role.clone();
        if kind.is_operation {
            span.attributes
                .push(KeyValue::new("gen_ai.operation.name", kind.name));
        }
    }
    let mut searchable = Vec::new();
    for attribute in &mut span.attributes {
        if NUMBERS.contains(&attribute.key.as_str())
            && let Ok(number) = attribute.value.as_str().parse::<i64>()
        {
            attribute.value = number.into();
        }
        let Some((own, name)) = NAMES.iter().find(|(own, _)| attribute.key.as_str() == *own) else {
            continue;
        };
        if SEARCHABLE.contains(own) {
            searchable.push(attribute.clone());
        }
        attribute.key = (*name).into();
    }
    span.attributes.extend(searchable);
}

fn value(span: &SpanData, key: &str) -> Option<Value> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key);
    attribute.map(|attribute| attribute.value.clone())
}
