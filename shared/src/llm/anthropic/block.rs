//! A content block, assembled from the deltas of a stream.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::{AssistantContent, ToolCall};
use crate::llm::dialect::{Fault, Part};
use crate::llm::lenient::{self, Lookup, Named};

/// The part of a content block that has arrived.
#[derive(Default)]
pub(super) struct Block {
    pub(super) index: u64,
    /// The fields with which it began in a stream, to recognise it if it begins twice.
    start: Map<String, Value>,
    fields: Map<String, Value>,
    /// The deltas of its `input`, which is JSON only when it is complete.
    input: String,
    /// Whether a delta could not be applied.
    is_broken: bool,
    is_stopped: bool,
}

/// A delta of a block. Its fields decide what it is, because servers leave its type out.
#[derive(Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    r#type: Named<DeltaType>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<Value>,
    citation: Option<Value>,
    /// In the delta of a message.
    #[serde(default, deserialize_with = "lenient::name")]
    pub(super) stop_reason: Option<String>,
}

/// A type of delta that this version knows.
struct DeltaType;

impl Lookup for DeltaType {
    fn of(name: &str) -> Option<Self> {
        let known = [
            "text_delta",
            "thinking_delta",
            "signature_delta",
            "input_json_delta",
            "citations_delta",
        ];
        known.contains(&name).then_some(Self)
    }
}

impl Delta {
    /// Whether this version knows it.
    const fn is_known(&self) -> bool {
        matches!(self.r#type, Named::Known(DeltaType))
            || self.has_content()
            || self.signature.is_some()
    }

    const fn has_content(&self) -> bool {
        self.text.is_some()
            || self.thinking.is_some()
            || self.partial_json.is_some()
            || self.citation.is_some()
    }
}

impl Block {
    /// A block that arrived complete.
    pub(super) fn whole(index: u64, fields: Map<String, Value>) -> Self {
        Self {
            index,
            fields,
            ..Self::default()
        }
    }

    /// A block that begins in a stream.
    pub(super) fn begun(index: u64, fields: Map<String, Value>) -> Self {
        Self {
            index,
            start: fields.clone(),
            fields,
            ..Self::default()
        }
    }

    /// Whether the block began with these fields.
    pub(super) fn has_begun_with(&self, fields: &Map<String, Value>) -> bool {
        self.start == *fields
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(super) const fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Applies a delta, and returns its length in bytes.
    pub(super) fn add(&mut self, delta: Delta) -> Result<u64, Fault> {
        self.is_broken |= !delta.is_known();
        let mut bytes = 0;
        for (field, text) in [("text", delta.text), ("thinking", delta.thinking)] {
            if let Some(text) = text {
                bytes += self.append(field, &text)?;
            }
        }
        if let Some(signature) = delta.signature {
            self.fields.insert("signature".to_owned(), signature.into());
        }
        match delta.partial_json {
            Some(Value::String(more)) => {
                bytes += more.len();
                self.input.push_str(&more);
            }
            // A complete input after incomplete deltas of it.
            Some(Value::Object(_)) if !self.input.is_empty() && !lenient::is_json(&self.input) => {
                return Err(Fault::Inconsistent("a tool's input is whole and in deltas"));
            }
            Some(Value::Object(input)) => {
                self.input = Value::Object(input).to_string();
                bytes += self.input.len();
            }
            Some(Value::Array(list)) if list.is_empty() => {}
            Some(Value::Null) | None => {}
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
                return Err(Fault::Inconsistent("a delta of a tool's input is no text"));
            }
        }
        if let Some(citation) = delta.citation {
            match self.fields.get_mut("citations") {
                Some(Value::Array(citations)) => citations.push(citation),
                _ => drop(
                    self.fields
                        .insert("citations".to_owned(), vec![citation].into()),
                ),
            }
        }
        Ok(bytes as u64)
    }

    fn append(&mut self, field: &str, more: &str) -> Result<usize, Fault> {
        match self
            .fields
            .entry(field)
            .or_insert_with(|| Value::String(String::new()))
        {
            Value::String(text) => text.push_str(more),
            empty @ Value::Null => *empty = more.into(),
            _ => return Err(Fault::Inconsistent("a text begins as something else")),
        }
        Ok(more.len())
    }

    /// The block in neutral form; `None` if it is empty.
    pub(super) fn into_part(mut self) -> Result<Option<Part>, Fault> {
        if !self.input.is_empty() {
            match serde_json::from_str(&self.input) {
                Ok(input) => drop(self.fields.insert("input".to_owned(), input)),
                Err(_) => self.is_broken = true,
            }
        }
        let kind = self
            .fields
            .get("type")
            .and_then(Value::as_str)
            .ok_or(Fault::Inconsistent("a block has no type"))?;
        let content = match kind {
            "text" => AssistantContent::Text(self.text("text")?.to_owned()),
            "thinking" => AssistantContent::Reasoning(self.text("thinking")?.to_owned()),
            "redacted_thinking" => AssistantContent::Reasoning(String::new()),
            "tool_use" => AssistantContent::ToolCall(self.tool_call()?),
            _ => AssistantContent::Opaque,
        };
        let is_needed = match &content {
            AssistantContent::Text(_) => self.has_more_than(&["type", "text"]),
            AssistantContent::ToolCall(_) => self.has_more_than(&["type", "id", "name", "input"]),
            AssistantContent::Reasoning(_) | AssistantContent::Opaque => true,
        };
        let original = (is_needed && !self.is_broken).then_some(Value::Object(self.fields));
        let is_empty = matches!(&content, AssistantContent::Text(text) if text.is_empty())
            && original.is_none();
        Ok((!is_empty).then_some(Part { content, original }))
    }

    fn tool_call(&self) -> Result<ToolCall, Fault> {
        let arguments = match self.fields.get("input") {
            _ if !self.input.is_empty() => self.input.clone(),
            Some(Value::String(input)) => input.clone(),
            Some(input @ Value::Object(_)) => input.to_string(),
            Some(Value::Array(list)) if list.is_empty() => "{}".to_owned(),
            Some(Value::Null) | None => "{}".to_owned(),
            Some(Value::Array(_) | Value::Bool(_) | Value::Number(_)) => {
                return Err(Fault::Inconsistent(
                    "a tool's input is neither text nor an object",
                ));
            }
        };
        let name = self.text("name")?.to_owned();
        if name.is_empty() {
            return Err(Fault::Inconsistent("a tool call has no name"));
        }
        let id = match self.fields.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            // The call gets a new id later.
            Some(_) | None => String::new(),
        };
        Ok(ToolCall {
            id,
            name,
            arguments,
        })
    }

    /// A text of the block; missing or `null` is empty.
    fn text(&self, field: &str) -> Result<&str, Fault> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Null) | None => Ok(""),
            Some(_) => Err(Fault::Inconsistent("a text of a block is something else")),
        }
    }

    /// Whether a field has content that the neutral form lacks.
    fn has_more_than(&self, neutral: &[&str]) -> bool {
        let is_default = |field: &str, value: &Value| match field {
            "caller" => value.get("type").and_then(Value::as_str) == Some("direct"),
            _ => value.is_null(),
        };
        self.fields
            .iter()
            .any(|(field, value)| !neutral.contains(&field.as_str()) && !is_default(field, value))
    }
}
