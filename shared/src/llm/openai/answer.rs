//! What the Responses API answers: an object with a status and items.

use serde::Deserialize;
use serde_json::Value;

use super::kind_despite_success;
use crate::domain::{AssistantContent, StopReason, ToolCall, Usage};
use crate::llm::dialect::{Answer, Fault, Part};
use crate::llm::failure::Complaint;
use crate::ports::ModelErrorKind;

#[derive(Default, Deserialize)]
pub(super) struct Response {
    model: Option<String>,
    status: Option<Status>,
    error: Option<Value>,
    incomplete_details: Option<IncompleteDetails>,
    output: Option<Vec<Value>>,
    usage: Option<UsageReport>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Completed,
    Incomplete,
    Failed,
    Cancelled,
    Queued,
    InProgress,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct IncompleteDetails {
    reason: Option<IncompleteReason>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IncompleteReason {
    MaxOutputTokens,
    ContentFilter,
    MaxMessages,
    Steered,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        content: Vec<Piece>,
    },
    FunctionCall {
        call_id: String,
        name: String,
        arguments: String,
        status: Option<Status>,
    },
    Reasoning {
        summary: Option<Vec<Thought>>,
        content: Option<Vec<Thought>>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece {
    OutputText {
        text: Option<String>,
    },
    /// The model declines, in its own words.
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Thought {
    text: Option<String>,
}

impl Response {
    /// One that consists of an error.
    pub(super) fn failed(error: Value) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// With these items if it has none of its own.
    pub(super) fn with_items(mut self, items: Vec<Value>) -> Self {
        self.output = self.output.filter(|output| !output.is_empty()).or(Some(items));
        self
    }

    /// What it says that it used.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(Usage::from)
    }

    /// The answer; or what it means that there is none.
    pub(super) fn into_answer(self) -> Result<Answer, Fault> {
        let declined = self.check()?;
        let items = self.output.unwrap_or_default().into_iter();
        let items = items.map(|block| Ok((Item::deserialize(&block)?, block))).collect::<Result<Vec<_>, Fault>>()?;
        let is_refusal = items.iter().any(|(item, _)| item.is_refusal());
        let content: Vec<Part> = items.into_iter().filter_map(|(item, block)| item.into_part(block)).collect();
        let wants_tools = content.iter().any(|part| matches!(part.content, AssistantContent::ToolCall(_)));
        let stop_reason = match self.status {
            _ if declined || is_refusal => StopReason::Refusal,
            Some(Status::Incomplete) => cut_reason(self.incomplete_details),
            _ if wants_tools => StopReason::ToolUse,
            Some(Status::Completed) => StopReason::EndTurn,
            _ => StopReason::Other,
        };
        Ok(Answer { content, stop_reason, served_model: self.model })
    }
}

impl Response {
    /// Whether the vendor's filter declined to answer; or what it means that there is no answer.
    fn check(&self) -> Result<bool, Fault> {
        if let Some(error) = &self.error {
            let complaint = Complaint::from_error(error);
            return kind_despite_success(&complaint).map_or(Ok(true), |kind| Err(Fault::Complaint(kind, complaint)));
        }
        match self.status {
            Some(Status::Failed | Status::Cancelled) => {
                Err(Fault::Complaint(ModelErrorKind::Unavailable, Complaint::default()))
            }
            // Only answers that were asked for in the background can be unfinished.
            Some(Status::Queued | Status::InProgress) => Err(Fault::Senseless("the response is not finished")),
            _ if self.output.is_none() => Err(Fault::Senseless("the response has no output")),
            Some(Status::Completed | Status::Incomplete | Status::Unknown) | None => Ok(false),
        }
    }
}

fn cut_reason(details: Option<IncompleteDetails>) -> StopReason {
    match details.and_then(|details| details.reason) {
        Some(IncompleteReason::MaxOutputTokens) => StopReason::MaxTokens,
        Some(IncompleteReason::ContentFilter) => StopReason::Refusal,
        Some(IncompleteReason::MaxMessages | IncompleteReason::Steered | IncompleteReason::Unknown) | None => {
            StopReason::Other
        }
    }
}

impl Item {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Message { content } => content.iter().any(|piece| matches!(piece, Piece::Refusal { .. })),
            Self::FunctionCall { .. } | Self::Reasoning { .. } | Self::Unknown => false,
        }
    }

    /// The item, and its block for the vendor. A call that was cut is none: it must neither run nor be sent back.
    fn into_part(self, block: Value) -> Option<Part> {
        let content = match self {
            Self::Message { content } => AssistantContent::Text(content.into_iter().map(Piece::into_text).collect()),
            Self::FunctionCall { status: Some(Status::Incomplete | Status::InProgress), .. } => return None,
            Self::FunctionCall { call_id, name, arguments, status: _ } => {
                AssistantContent::ToolCall(ToolCall { id: call_id, name, arguments })
            }
            Self::Reasoning { summary, content } => {
                let thoughts = content.filter(|content| !content.is_empty()).or(summary);
                let texts: Vec<String> = thoughts.into_iter().flatten().filter_map(|thought| thought.text).collect();
                AssistantContent::Reasoning(texts.join("\n\n"))
            }
            Self::Unknown => AssistantContent::Opaque,
        };
        Some(Part { content, original: Some(block) })
    }
}

impl Piece {
    fn into_text(self) -> String {
        match self {
            Self::OutputText { text } => text.unwrap_or_default(),
            Self::Refusal { refusal } => refusal,
            Self::Unknown => String::new(),
        }
    }
}

/// As in our [`Usage`], the vendor's `input_tokens` and `output_tokens` are totals.
#[derive(Deserialize)]
pub(super) struct UsageReport {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<&UsageReport> for Usage {
    fn from(report: &UsageReport) -> Self {
        let (input, output) = (report.input_tokens_details.as_ref(), report.output_tokens_details.as_ref());
        Self {
            input_tokens: report.input_tokens.unwrap_or(0),
            output_tokens: report.output_tokens.unwrap_or(0),
            cache_read_tokens: input.and_then(|input| input.cached_tokens).unwrap_or(0),
            cache_write_tokens: input.and_then(|input| input.cache_write_tokens).unwrap_or(0),
            reasoning_tokens: output.and_then(|output| output.reasoning_tokens).unwrap_or(0),
        }
    }
}
