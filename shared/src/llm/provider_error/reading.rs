//! Reads all forms of an error into one.
//!
//! An error is an object, a text, a list with an error in it, or an error inside another error:
//! gateways put a provider's whole response into the message of their own error. Only the fields
//! that are named here are read.

use std::time::Duration;

use serde_json::{Map, Value};

use super::ErrorBody;
use super::wait::{from_millis, from_seconds, in_delay};

/// How deep errors are searched for errors inside them.
const MAX_DEPTH: usize = 6;

/// How many entries of a list are read.
const MAX_ENTRIES: usize = 8;

/// The most bytes of a text or of a web page that are read.
const MAX_TEXT_BYTES: usize = 4_096;

/// The fields that have a name of the error. Servers differ in which of them is the type and which
/// the code.
const NAMES: [&str; 7] = [
    "type",
    "__type",
    "error_type",
    "error_code",
    "code",
    "status",
    "reason",
];

/// The fields that hold the HTTP status. A field of a name may hold it too, and is read first.
const STATUSES: [&str; 2] = ["status_code", "statusCode"];

const TEXTS: [&str; 6] = [
    "message",
    "Message",
    "msg",
    "error_message",
    "errorMessage",
    "raw",
];

/// The fields that may have an error inside.
const INNER: [&str; 8] = [
    "details",
    "error",
    "errors",
    "detail",
    "innererror",
    "metadata",
    "fieldViolations",
    "cause",
];

impl ErrorBody {
    /// Reads the body of an error. Of a body in no known form, only the text is read.
    pub(in crate::llm) fn from_body(body: &[u8]) -> Self {
        let text = || {
            String::from_utf8_lossy(body.get(..MAX_TEXT_BYTES).unwrap_or(body))
                .trim()
                .to_owned()
        };
        match serde_json::from_slice(body) {
            Ok(error) => Self::from_error(&error),
            Err(_) => Self::from_text(text()),
        }
    }

    /// Reads an error: an object, a list, or with some servers only its message.
    pub(in crate::llm) fn from_error(error: &Value) -> Self {
        let mut error_body = Self::default();
        error_body.add(error, MAX_DEPTH);
        error_body
    }

    fn from_text(text: String) -> Self {
        let is_page = text.starts_with('<');
        Self {
            texts: vec![text],
            is_page,
            ..Self::default()
        }
    }

    fn add(&mut self, error: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match error {
            Value::String(text) => self.add_text(text, depth),
            Value::Array(entries) => entries
                .iter()
                .take(MAX_ENTRIES)
                .for_each(|entry| self.add(entry, depth)),
            Value::Object(fields) => self.add_fields(fields, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add_fields(&mut self, fields: &Map<String, Value>, depth: usize) {
        NAMES
            .iter()
            .filter_map(|name| fields.get(*name))
            .for_each(|name| self.add_name(name));
        STATUSES
            .iter()
            .filter_map(|name| fields.get(*name))
            .for_each(|status| self.add_name(status));
        self.wait = self.wait.or_else(|| wait_in(fields));
        if self.param.is_none() {
            self.param = param_in(fields);
        }
        for text in TEXTS.iter().filter_map(|name| fields.get(*name)) {
            self.add(text, depth);
        }
        for inner in INNER.iter().filter_map(|name| fields.get(*name)) {
            self.add(inner, depth);
        }
    }

    /// Takes in a name, which may be the HTTP status instead, or a sentence.
    fn add_name(&mut self, name: &Value) {
        let name = match name {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return,
        };
        match name.parse() {
            Ok(status @ 400..=599) => self.status = self.status.or(Some(status)),
            // This name says nothing, wherever it is.
            _ if name == "error" => {}
            _ if name.contains(' ') => self.texts.push(name),
            // Amazon's names come with a namespace.
            _ => self
                .names
                .push(name.rsplit('#').next().unwrap_or_default().to_owned()),
        }
    }

    /// Takes in a text, and the error that it has inside.
    fn add_text(&mut self, text: &str, depth: usize) {
        let cut = text
            .get(..text.floor_char_boundary(MAX_TEXT_BYTES))
            .unwrap_or_default();
        self.texts.push(cut.to_owned());
        let inner = text
            .find('{')
            .zip(text.rfind('}'))
            .and_then(|(start, end)| text.get(start..=end));
        if let Some(Ok(inner)) = inner.map(serde_json::from_str::<Value>) {
            self.add(&inner, depth);
        }
    }
}

/// The wait in a field of an error.
fn wait_in(fields: &Map<String, Value>) -> Option<Duration> {
    let number = |name: &str| {
        fields
            .get(name)
            .and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()))
    };
    let seconds = [
        "retry_after",
        "retry_after_seconds",
        "retryAfter",
        "retry-after",
        "estimated_time",
    ];
    let delay = || fields.get("retryDelay").and_then(in_delay);
    let millis = || number("retry_after_ms").and_then(from_millis);
    let seconds = || {
        seconds
            .iter()
            .find_map(|name| number(name))
            .and_then(from_seconds)
    };
    delay().or_else(millis).or_else(seconds)
}

/// The part of the request that a field of an error names: OpenAI's `param`, Google's `field`, or
/// the `loc` of Python's servers.
fn param_in(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let place = || {
        let parts = fields.get("loc")?.as_array()?.iter();
        let parts: Vec<String> = parts
            .map(|part| {
                part.as_str()
                    .map_or_else(|| part.to_string(), str::to_owned)
            })
            .collect();
        Some(parts.join("."))
    };
    text("param")
        .or_else(|| text("field"))
        .map(str::to_owned)
        .or_else(place)
}
