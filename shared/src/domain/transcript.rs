//! The messages between a user, a model and tools, in a neutral form: no provider's format.
//!
//! Some providers require their own blocks back unchanged, such as signed or encrypted reasoning.
//! Such a block stands beside the neutral form ([`Original`]). The same provider gets it back;
//! another provider gets the neutral form. So a conversation can move between providers at any
//! turn.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::ModelRef;
use super::hidden::Hidden;
use super::invalid::Invalid;
use super::schema::JsonSchema;

/// The most tools of its client that an agent may have.
pub const MAX_TOOLS: usize = 64;

/// Real descriptions of tools exceed 4 KiB: they contain manuals with examples.
const MAX_DESCRIPTION_BYTES: usize = 16 * 1_024;
const MAX_TOOLS_BYTES: usize = 128 * 1_024;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The user speaks.
    User(Vec<UserPart>),
    /// The model speaks.
    Assistant(Vec<AssistantPart>),
    /// The results of the tool calls of the turn before.
    ToolResults(Vec<ToolResult>),
}

impl Message {
    /// A user's plain text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User(vec![UserPart::Text(text.into())])
    }

    /// About how many bytes the message has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::User(parts) => parts.iter().map(UserPart::bytes).sum(),
            Self::Assistant(parts) => parts.iter().map(AssistantPart::bytes).sum(),
            Self::ToolResults(results) => results.iter().map(|result| result.text.len()).sum(),
        }
    }
}

/// A part of what the user says.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserPart {
    /// Text.
    #[debug("Text({})", Hidden(_0))]
    Text(String),
    /// An image that the provider fetches from a URL.
    #[debug("ImageUrl({})", Hidden(_0))]
    ImageUrl(String),
    /// An image itself.
    Image {
        /// Such as `image/png`.
        media_type: String,
        /// The image in base64 (RFC 4648, padded).
        #[debug("{}", Hidden(base64))]
        base64: String,
    },
}

impl UserPart {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::ImageUrl(text) | Self::Image { base64: text, .. } => {
                text.len()
            }
        }
    }
}

/// A part of what a model says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssistantPart {
    /// The content in the neutral form.
    pub content: AssistantContent,
    /// The provider's own block, if the neutral form lacks something that the provider requires
    /// back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
}

impl AssistantPart {
    fn bytes(&self) -> usize {
        let content = match &self.content {
            AssistantContent::Text(text) | AssistantContent::Reasoning(text) => text.len(),
            AssistantContent::ToolCall(call) => call.arguments.len(),
            AssistantContent::Opaque => 0,
        };
        content
            + self
                .original
                .as_ref()
                .map_or(0, |original| bytes_of(&original.block))
    }
}

/// About how many bytes the value's JSON has.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len(),
        Value::Array(entries) => entries.iter().map(bytes_of).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| name.len() + bytes_of(value))
            .sum(),
    }
}

/// The content of a part of a model's turn, in the neutral form.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssistantContent {
    /// Text, also the text of a refusal.
    #[debug("Text({})", Hidden(_0))]
    Text(String),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// The model's reasoning, as far as the provider shows it; may be empty. Never sent to another
    /// provider.
    #[debug("Reasoning({})", Hidden(_0))]
    Reasoning(String),
    /// Something that only its provider understands; it is in the part's [`Original`].
    Opaque,
}

/// A provider's own block, to be sent back unchanged.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// The model that it came from; only its provider can use it.
    pub model: ModelRef,
    /// The block.
    #[debug(skip)]
    pub block: Value,
}

/// A model's call of a tool.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Ties the result to the call.
    pub id: String,
    /// The tool's name, as the model wrote it.
    #[debug("{}", Hidden(name))]
    pub name: String,
    /// The arguments as the model wrote them. They should be a JSON object, but may be any text.
    #[debug("{}", Hidden(arguments))]
    pub arguments: String,
}

/// The result of a tool call.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call's id.
    pub call_id: String,
    /// The text that the tool returned.
    #[debug("{}", Hidden(text))]
    pub text: String,
    /// Whether the text describes an error. The model sees this too.
    pub is_error: bool,
}

/// A tool as it is described to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// Its name.
    pub name: ToolName,
    /// What it does and when to use it.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub input_schema: JsonSchema,
}

impl ToolDefinition {
    /// A tool with a description of at most 16 KiB, checked at `/description`; it may be empty.
    pub fn new(
        name: ToolName,
        description: String,
        input_schema: JsonSchema,
    ) -> Result<Self, Invalid> {
        if description.len() > MAX_DESCRIPTION_BYTES {
            let reason = format!(
                "must have at most {MAX_DESCRIPTION_BYTES} bytes, has {}",
                description.len()
            );
            return Err(Invalid::new("/description", reason));
        }
        Ok(Self {
            name,
            description,
            input_schema,
        })
    }

    /// Checks the client's tools at `/tools` together: at most [`MAX_TOOLS`], and at most 128 KiB as
    /// JSON.
    pub fn check_all(tools: &[&Self]) -> Result<(), Invalid> {
        let (count, bytes) = (tools.len(), serde_json::json!(tools).to_string().len());
        let reason = if count > MAX_TOOLS {
            format!("must have at most {MAX_TOOLS} client tools, has {count}")
        } else if bytes > MAX_TOOLS_BYTES {
            format!("must have at most {MAX_TOOLS_BYTES} bytes, has {bytes}")
        } else {
            return Ok(());
        };
        Err(Invalid::new("/tools", reason))
    }
}

/// The JSON schema that an answer must follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSchema {
    /// A name for the schema, which some providers require; by the rules of a tool's name.
    pub name: ToolName,
    /// The JSON schema of the answer's text.
    pub schema: JsonSchema,
}

/// A tool's name that every provider takes: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(String);

impl ToolName {
    /// Checks the name at `/name`.
    pub fn new(name: String) -> Result<Self, Invalid> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            return Ok(Self(name));
        }
        Err(Invalid::new(
            "/name",
            "must have 1 to 64 characters of A-Z, a-z, 0-9, _ and -",
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ToolName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0
    }
}

/// A tool call without a result, and the number of the step that its result will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCall {
    /// The step's number.
    pub number: u32,
    /// The call.
    pub call: ToolCall,
}
