//! An item of a response: what the model said, thought or called.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::{AssistantContent, ToolCall};
use crate::llm::dialect::{Fault, Part};
use crate::llm::lenient;

/// An item, as far as this version understands it.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Message {
        content: Option<Content>,
    },
    FunctionCall(Call),
    /// Any form is accepted: the answer does not need it.
    Reasoning {
        summary: Option<Value>,
        content: Option<Value>,
    },
    #[serde(other)]
    Unknown,
}

/// The content of a message. Some servers send only a text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentPart {
    #[serde(alias = "text")]
    OutputText { text: Option<String> },
    /// The model declines, in its own words.
    Refusal { refusal: Option<String> },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
pub(super) struct Call {
    #[serde(rename = "call_id", default, deserialize_with = "lenient::name")]
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Arguments,
    #[serde(default, deserialize_with = "lenient::name")]
    status: Option<String>,
}

/// The arguments of a call. Some servers send an object instead of its text.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Arguments {
    Text(String),
    Object(Map<String, Value>),
    /// An empty list, which some servers send for none.
    List([Value; 0]),
    #[default]
    Missing,
}

impl Item {
    pub(super) fn read(block: &Value) -> Result<Self, Fault> {
        Self::deserialize(block)
            .map_err(|_| Fault::Inconsistent("an output item is not in the documented form"))
    }

    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Message {
                content: Some(Content::Parts(parts)),
            } => parts
                .iter()
                .any(|part| matches!(part, ContentPart::Refusal { refusal: Some(_) })),
            Self::Message { .. }
            | Self::FunctionCall(_)
            | Self::Reasoning { .. }
            | Self::Unknown => false,
        }
    }

    /// The item as a part of the answer, with its block for the provider. `None` for a call that
    /// was cut: it must neither run nor be sent back.
    pub(super) fn into_part(self, block: Value, response: Option<Status>) -> Option<Part> {
        let content = match self {
            Self::Message { content } => {
                AssistantContent::Text(content.map(Content::into_text).unwrap_or_default())
            }
            Self::FunctionCall(call) if call.is_cut(response) => return None,
            Self::FunctionCall(call) => AssistantContent::ToolCall(ToolCall {
                id: call.id.unwrap_or_default(),
                name: call.name,
                arguments: call.arguments.into_text(),
            }),
            Self::Reasoning { summary, content } => {
                let texts = [&content, &summary]
                    .map(|thoughts| thoughts.as_ref().map(thoughts_in).unwrap_or_default());
                let texts = texts
                    .into_iter()
                    .find(|texts| !texts.is_empty())
                    .unwrap_or_default();
                AssistantContent::Reasoning(texts.join("\n\n"))
            }
            Self::Unknown => AssistantContent::Opaque,
        };
        Some(Part {
            content,
            original: Some(block),
        })
    }
}

/// The texts of a thought, or of a list of them.
fn thoughts_in(thoughts: &Value) -> Vec<&str> {
    match thoughts {
        Value::String(text) => vec![text],
        Value::Array(thoughts) => thoughts.iter().flat_map(thoughts_in).collect(),
        Value::Object(thought) => thought
            .get("text")
            .and_then(Value::as_str)
            .into_iter()
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

impl Call {
    /// Whether the call was cut. Some servers complete a response, but leave its calls in progress.
    /// Those calls are whole if their arguments are.
    fn is_cut(&self, response: Option<Status>) -> bool {
        let objects = || {
            serde_json::Deserializer::from_str(self.arguments.text())
                .into_iter::<Map<String, Value>>()
        };
        let is_whole = || objects().all(|object| object.is_ok());
        match self.status.as_deref().and_then(Status::of) {
            Some(Status::Incomplete | Status::InProgress) => {
                response != Some(Status::Completed) || !is_whole()
            }
            Some(Status::Completed | Status::Failed | Status::Cancelled | Status::Queued)
            | None => false,
        }
    }
}

impl Arguments {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Object(_) | Self::List([]) | Self::Missing => "{}",
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Object(fields) => Value::Object(fields).to_string(),
            Self::List([]) | Self::Missing => "{}".to_owned(),
        }
    }
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(ContentPart::into_text).collect(),
        }
    }
}

impl ContentPart {
    fn into_text(self) -> String {
        match self {
            Self::OutputText { text } => text.unwrap_or_default(),
            Self::Refusal { refusal } => refusal.unwrap_or_default(),
            Self::Unknown => String::new(),
        }
    }
}

/// How far a response, or an item of it, got.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Completed,
    Incomplete,
    Failed,
    Cancelled,
    Queued,
    InProgress,
}

impl Status {
    /// The status of this name, if it is known.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "completed" => Self::Completed,
            "incomplete" => Self::Incomplete,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "queued" => Self::Queued,
            "in_progress" => Self::InProgress,
            _ => return None,
        })
    }
}
