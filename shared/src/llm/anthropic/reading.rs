//! What Anthropic answers, whole or event by event.
//!
//! Blocks are kept as they come. The neutral form is made of them at the end, and a block that has more than the neutral
//! form keeps, or whose form may not change, is kept beside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use super::super::dialect::{Answer, Fault, Part, Progress, Reading};
use super::super::failure::Complaint;
use super::super::sse::Event;
use super::kind_despite_success;
use crate::domain::{AssistantContent, StopReason, ToolCall, Usage};

/// The usual length of a token in English text.
const BYTES_PER_TOKEN: u64 = 4;

/// An answer as far as it has arrived.
#[derive(Default)]
pub(in crate::llm) struct Received {
    stage: Stage,
    model: Option<String>,
    blocks: BTreeMap<u64, Block>,
    stop_reason: Option<String>,
    usage: UsageReport,
    /// The output whose tokens the vendor has not counted yet.
    uncounted_bytes: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Within,
    Done,
}

/// A content block.
#[derive(Default)]
struct Block {
    fields: Map<String, Value>,
    /// The pieces of its `input`, which is JSON only when it is whole.
    input: String,
    /// Whether there was a piece that can't be put into its place.
    is_broken: bool,
}

#[derive(Deserialize)]
struct Message {
    error: Option<IgnoredAny>,
    model: Option<String>,
    content: Option<Vec<Map<String, Value>>>,
    stop_reason: Option<String>,
    usage: Option<UsageReport>,
}

#[derive(Deserialize)]
struct MessageStart {
    message: Message,
}

#[derive(Deserialize)]
struct BlockStart {
    index: u64,
    content_block: Map<String, Value>,
}

#[derive(Deserialize)]
struct BlockDelta {
    index: u64,
    delta: Delta,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    InputJson {
        #[serde(default)]
        partial_json: String,
    },
    #[serde(rename = "citations_delta")]
    Citations { citation: Value },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Ending,
    usage: Option<UsageReport>,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Unlike our [`Usage`], the vendor's `input_tokens` leaves out what went through the cache.
#[derive(Clone, Copy, Default, Deserialize)]
struct UsageReport {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Reading for Received {
    fn event(&mut self, event: &Event) -> Result<Progress, Fault> {
        match event.name.as_str() {
            "message_start" => {
                let MessageStart { message } = data(event)?;
                self.stage = Stage::Within;
                self.take(message)?;
            }
            "content_block_start" => {
                let BlockStart { index, content_block } = data(event)?;
                self.begin(index, content_block)?;
            }
            "content_block_delta" => {
                let BlockDelta { index, delta } = data(event)?;
                let block =
                    self.blocks.get_mut(&index).ok_or(Fault::Senseless("a block goes on that has not begun"))?;
                self.uncounted_bytes = self.uncounted_bytes.saturating_add(block.add(delta)?);
            }
            "message_delta" => {
                let MessageDelta { delta, usage } = data(event)?;
                self.stop_reason = delta.stop_reason.or_else(|| self.stop_reason.take());
                self.count(usage);
            }
            "message_stop" if self.stage == Stage::Before => return Err(Fault::Senseless("an end without a start")),
            "message_stop" => {
                self.stage = Stage::Done;
                return Ok(Progress::Done);
            }
            "error" => return Err(complaint(event.data.as_bytes())),
            _ => {}
        }
        Ok(Progress::More)
    }

    fn whole(&mut self, body: &[u8]) -> Result<(), Fault> {
        let message: Message = serde_json::from_slice(body)?;
        if message.error.is_some() {
            return Err(complaint(body));
        }
        if message.content.is_none() {
            return Err(Fault::Senseless("a message without content"));
        }
        self.stage = Stage::Done;
        self.take(message)
    }

    /// The vendor counts the output at its end. Before that, it is estimated by what has come.
    fn usage(&self) -> Usage {
        let usage = Usage::from(self.usage);
        let estimate = self.uncounted_bytes.div_ceil(BYTES_PER_TOKEN);
        Usage { output_tokens: usage.output_tokens.max(estimate), ..usage }
    }

    fn finish(self) -> Result<Answer, Fault> {
        if self.stage != Stage::Done {
            return Err(Fault::Unfinished);
        }
        let mut content = Vec::new();
        for block in self.blocks.into_values() {
            content.extend(block.into_part()?);
        }
        Ok(Answer { content, stop_reason: stop_reason(self.stop_reason.as_deref()), served_model: self.model })
    }
}

impl Received {
    fn take(&mut self, message: Message) -> Result<(), Fault> {
        self.model = message.model;
        self.stop_reason = message.stop_reason;
        self.count(message.usage);
        (0..).zip(message.content.unwrap_or_default()).try_for_each(|(index, fields)| self.begin(index, fields))
    }

    fn begin(&mut self, index: u64, fields: Map<String, Value>) -> Result<(), Fault> {
        let earlier = self.blocks.insert(index, Block { fields, ..Block::default() });
        if earlier.is_some() { Err(Fault::Senseless("a block begins twice")) } else { Ok(()) }
    }

    fn count(&mut self, usage: Option<UsageReport>) {
        if let Some(usage) = usage {
            self.uncounted_bytes = 0;
            self.usage = self.usage.or_more(usage);
        }
    }
}

impl Block {
    /// Adds what a delta brings, and returns its length in bytes.
    fn add(&mut self, delta: Delta) -> Result<u64, Fault> {
        let bytes = match delta {
            Delta::Text { text } => self.append("text", &text)?,
            Delta::Thinking { thinking } => self.append("thinking", &thinking)?,
            Delta::Signature { signature } => {
                self.fields.insert("signature".to_owned(), signature.into());
                0
            }
            Delta::InputJson { partial_json } => {
                self.input.push_str(&partial_json);
                partial_json.len()
            }
            Delta::Citations { citation } => {
                match self.fields.get_mut("citations") {
                    Some(Value::Array(citations)) => citations.push(citation),
                    _ => drop(self.fields.insert("citations".to_owned(), vec![citation].into())),
                }
                0
            }
            Delta::Unknown => {
                self.is_broken = true;
                0
            }
        };
        Ok(bytes as u64)
    }

    fn append(&mut self, field: &str, more: &str) -> Result<usize, Fault> {
        match self.fields.entry(field).or_insert_with(|| Value::String(String::new())) {
            Value::String(text) => text.push_str(more),
            _ => return Err(Fault::Senseless("a text begins as something else")),
        }
        Ok(more.len())
    }

    /// The block in neutral form; `None` if it is empty.
    fn into_part(mut self) -> Result<Option<Part>, Fault> {
        if !self.input.is_empty() {
            match serde_json::from_str(&self.input) {
                Ok(input) => drop(self.fields.insert("input".to_owned(), input)),
                Err(_) => self.is_broken = true,
            }
        }
        let content = match self.required("type")? {
            "text" => AssistantContent::Text(self.required("text")?.to_owned()),
            "thinking" => AssistantContent::Reasoning(self.required("thinking")?.to_owned()),
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
        let is_empty = matches!(&content, AssistantContent::Text(text) if text.is_empty()) && original.is_none();
        Ok((!is_empty).then_some(Part { content, original }))
    }

    fn tool_call(&self) -> Result<ToolCall, Fault> {
        let arguments = match self.fields.get("input") {
            _ if !self.input.is_empty() => self.input.clone(),
            Some(input) => input.to_string(),
            None => "{}".to_owned(),
        };
        Ok(ToolCall { id: self.required("id")?.to_owned(), name: self.required("name")?.to_owned(), arguments })
    }

    /// The text of a field that a block can't do without.
    fn required(&self, field: &str) -> Result<&str, Fault> {
        self.fields.get(field).and_then(Value::as_str).ok_or(Fault::Senseless("a block lacks a text"))
    }

    /// Whether there is a field that says something beyond the neutral form.
    fn has_more_than(&self, neutral: &[&str]) -> bool {
        let is_default = |field: &str, value: &Value| match field {
            "caller" => value.get("type").and_then(Value::as_str) == Some("direct"),
            _ => value.is_null(),
        };
        self.fields.iter().any(|(field, value)| !neutral.contains(&field.as_str()) && !is_default(field, value))
    }
}

impl UsageReport {
    /// Counts only grow. A count that is left out, or is nothing all of a sudden, has not changed.
    fn or_more(self, later: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(later.input_tokens),
            output_tokens: self.output_tokens.max(later.output_tokens),
            cache_creation_input_tokens: self.cache_creation_input_tokens.max(later.cache_creation_input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.max(later.cache_read_input_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
        }
    }
}

impl From<UsageReport> for Usage {
    fn from(report: UsageReport) -> Self {
        let cache_write_tokens = report.cache_creation_input_tokens.unwrap_or(0);
        let cache_read_tokens = report.cache_read_input_tokens.unwrap_or(0);
        let uncached_tokens = report.input_tokens.unwrap_or(0);
        Self {
            input_tokens: uncached_tokens.saturating_add(cache_write_tokens).saturating_add(cache_read_tokens),
            output_tokens: report.output_tokens.unwrap_or(0),
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens: report.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0),
        }
    }
}

fn stop_reason(reason: Option<&str>) -> StopReason {
    match reason {
        Some("end_turn" | "stop_sequence") => StopReason::EndTurn,
        Some("tool_use") => StopReason::ToolUse,
        Some("pause_turn") => StopReason::Paused,
        Some("max_tokens") => StopReason::MaxTokens,
        Some("model_context_window_exceeded") => StopReason::ContextWindow,
        Some("refusal") => StopReason::Refusal,
        Some(_) | None => StopReason::Other,
    }
}

fn data<T: DeserializeOwned>(event: &Event) -> Result<T, Fault> {
    Ok(serde_json::from_str(&event.data)?)
}

fn complaint(body: &[u8]) -> Fault {
    let complaint = Complaint::from_body(body);
    Fault::Complaint(kind_despite_success(&complaint), complaint)
}
