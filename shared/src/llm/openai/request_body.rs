//! A request as the Responses API wants it.
//!
//! A model gets its own items back unchanged, with their encrypted reasoning. Another model gets
//! the neutral form without reasoning, because encrypted reasoning belongs to one model, and the
//! provider refuses an item without its reasoning.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::strict::{is_strict, response_schema};
use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelRef, ModelRequest, OutputSchema, Provider,
    Thousandths, ToolDefinition, Transfer, UserPart,
};
use crate::llm::transcript::{CallResult, Said, Turn, UniqueIn, tool_name, turns};
use crate::policy::models::may_reason;
use crate::policy::schemas::accepted;

/// The fewest tokens that the provider lets an answer have.
const MIN_OUTPUT_TOKENS: u32 = 16;

/// The longest id of a call that the provider takes.
const MAX_CALL_ID_BYTES: usize = 64;

#[derive(Serialize)]
pub(in crate::llm) struct RequestBody<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    prompt_cache_key: String,
    store: bool,
    stream: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Original(Cow<'a, Value>),
    Neutral(Neutral<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Neutral<'a> {
    Message {
        #[serde(flatten)]
        speaker: Speaker<'a>,
    },
    FunctionCall {
        call_id: Cow<'a, str>,
        name: Cow<'a, str>,
        arguments: &'a str,
    },
    FunctionCallOutput {
        call_id: Cow<'a, str>,
        output: Cow<'a, str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Speaker<'a> {
    User {
        content: Vec<Part<'a>>,
    },
    Assistant {
        content: &'a str,
        /// Whether the text is the final answer or a comment before it. Without the phase, the
        /// provider's models give worse answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<&'a str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText {
        text: &'a str,
    },
    InputImage {
        detail: &'static str,
        image_url: Cow<'a, str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Cow<'a, Value>,
    strict: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "json_schema")]
struct Format<'a> {
    name: &'a str,
    schema: Value,
    strict: bool,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
}

impl<'a> From<&'a ModelRequest> for RequestBody<'a> {
    fn from(request: &'a ModelRequest) -> Self {
        let (model, settings, prompt) = (
            request.model(),
            &request.chain.first().settings,
            &*request.prompt,
        );
        Self {
            model: model.name(),
            instructions: &prompt.instructions,
            input: input(&prompt.messages, model),
            tools: prompt.tools.iter().map(Tool::from).collect(),
            tool_choice: prompt.forbids_tools().then_some("none"),
            text: prompt.output_schema.as_ref().map(Text::from),
            reasoning: settings.reasoning_effort.map(|effort| Reasoning {
                effort: effort.as_str(),
            }),
            temperature: settings.temperature.map(Thousandths::as_f64),
            top_p: settings.top_p.map(Thousandths::as_f64),
            max_output_tokens: prompt.max_output_tokens.max(MIN_OUTPUT_TOKENS),
            include: if may_reason(model) {
                &["reasoning.encrypted_content"]
            } else {
                &[]
            },
            prompt_cache_key: cache_key(request),
            store: false,
            stream: settings.transfer == Transfer::Stream,
        }
    }
}

/// The key by which the provider finds a machine with the beginning of the prompt in its cache. It
/// shows neither the tenant nor the agent.
fn cache_key(request: &ModelRequest) -> String {
    let mut hash = Sha256::new()
        .chain_update(request.caller.tenant.as_str())
        .chain_update([0]);
    hash.update(&request.prompt.instructions);
    for tool in &request.prompt.tools {
        hash.update([0]);
        hash.update(tool.name.as_str());
        hash.update(&tool.description);
        hash.update(tool.input_schema.as_value().to_string());
    }
    if let Some(output) = &request.prompt.output_schema {
        hash.update([0, 0]);
        hash.update(output.name.as_str());
        hash.update(output.schema.as_value().to_string());
    }
    hex(&hash.finalize())
}

/// The first 128 bits in hexadecimal.
fn hex(digest: &[u8]) -> String {
    format!(
        "{:032x}",
        u128::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
    )
}

fn input<'a>(messages: &'a [Message], model: &ModelRef) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    // The ids that are sent unchanged, although they may be too long.
    let mut unchanged = HashSet::new();
    for turn in turns(messages, model, UniqueIn::Conversation) {
        match turn {
            Turn::User(parts) => items.push(user(parts)),
            Turn::Assistant(parts) => items.extend(assistant(&parts, model, &mut unchanged)),
            Turn::Results(results) => {
                items.extend(results.into_iter().map(|result| output(result, &unchanged)));
            }
        }
    }
    items
}

fn user(parts: Vec<&UserPart>) -> Item<'_> {
    let content = parts.into_iter().map(Part::from).collect();
    Item::Neutral(Neutral::Message {
        speaker: Speaker::User { content },
    })
}

/// A model's turn, without reasoning at its end: the provider refuses reasoning without an item
/// after it.
fn assistant<'a>(
    parts: &[Said<'a>],
    model: &ModelRef,
    unchanged: &mut HashSet<Cow<'a, str>>,
) -> Vec<Item<'a>> {
    let is_said = |said: &Said<'_>| !matches!(said.part.content, AssistantContent::Reasoning(_));
    let end = parts.iter().rposition(is_said).map_or(0, |last| last + 1);
    let mut items = Vec::new();
    for said in parts.iter().take(end) {
        match &said.part.original {
            Some(original) if original.model == *model => {
                if let AssistantContent::ToolCall(call) = &said.part.content {
                    unchanged.insert(said.id(call));
                }
                items.push(Item::Original(said.block(original, "call_id")));
            }
            Some(_) | None => items.extend(neutral(said).map(Item::Neutral)),
        }
    }
    items
}

fn neutral<'a>(said: &Said<'a>) -> Option<Neutral<'a>> {
    match &said.part.content {
        AssistantContent::Text(text) => Some(Neutral::Message {
            speaker: Speaker::Assistant {
                content: text,
                phase: phase(said.part),
            },
        }),
        AssistantContent::ToolCall(call) => Some(Neutral::FunctionCall {
            call_id: call_id(said.id(call)),
            name: tool_name(&call.name),
            arguments: if call.arguments.trim().is_empty() {
                "{}"
            } else {
                &call.arguments
            },
        }),
        AssistantContent::Reasoning(_) | AssistantContent::Opaque => None,
    }
}

fn phase(part: &AssistantPart) -> Option<&str> {
    let original = part
        .original
        .as_ref()
        .filter(|original| original.model.provider() == Provider::OpenAi)?;
    original.block.get("phase")?.as_str()
}

fn output<'a>(result: CallResult<'a>, unchanged: &HashSet<Cow<'a, str>>) -> Item<'a> {
    let CallResult {
        call_id: id,
        text,
        is_error,
    } = result;
    let call_id = if unchanged.contains(&id) {
        id
    } else {
        call_id(id)
    };
    let output = if is_error {
        format!("Error: {text}").into()
    } else {
        text.into()
    };
    Item::Neutral(Neutral::FunctionCallOutput { call_id, output })
}

/// The id, or a shorter one in its place: other servers have longer ids than this provider accepts.
fn call_id(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.len() <= MAX_CALL_ID_BYTES {
        return id;
    }
    format!("call_{}", hex(&Sha256::digest(id.as_bytes()))).into()
}

impl<'a> From<&'a UserPart> for Part<'a> {
    fn from(part: &'a UserPart) -> Self {
        let image = |image_url| Self::InputImage {
            detail: "auto",
            image_url,
        };
        match part {
            UserPart::Text(text) => Self::InputText { text },
            UserPart::ImageUrl(url) => image(url.as_str().into()),
            UserPart::Image { media_type, base64 } => {
                image(format!("data:{media_type};base64,{base64}").into())
            }
        }
    }
}

impl<'a> From<&'a ToolDefinition> for Tool<'a> {
    fn from(tool: &'a ToolDefinition) -> Self {
        let parameters = accepted(tool.input_schema.as_value(), Provider::OpenAi);
        let strict = is_strict(&parameters);
        Self {
            name: tool.name.as_str(),
            description: &tool.description,
            parameters,
            strict,
        }
    }
}

impl<'a> From<&'a OutputSchema> for Text<'a> {
    fn from(output: &'a OutputSchema) -> Self {
        let (schema, strict) = response_schema(output.schema.as_value());
        Self {
            format: Format {
                name: output.name.as_str(),
                schema,
                strict,
            },
        }
    }
}
