//! The request body of Anthropic Messages.
//!
//! Blocks that came from the provider go back to it as they were. Its reasoning goes back to the
//! very model that wrote it, because another one refuses it, and is left out elsewhere. What
//! another provider's model said goes in neutral form, with ids and names brought into the form
//! that this provider takes. No tool is sent as strict, so that only the form of the answer counts
//! towards the provider's limits on strict schemas.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::schema_subset::{in_words, within_subset};
use crate::domain::{
    AssistantContent, ModelRef, ModelRequest, Prompt, Provider, ReasoningEffort, Thousandths,
    ToolCall, ToolDefinition, Transfer, UserPart,
};
use crate::llm::transcript::{CallResult, Said, Turn as Spoken, UniqueIn, tool_name, turns};
use crate::policy::models::thinks_between_tools;
use crate::policy::schemas::{accepted, modern};

/// Marks the end of a prefix that the provider caches if it is long enough for the model.
const CACHED: CacheControl = CacheControl {
    r#type: "ephemeral",
};

/// The body of a request.
#[derive(Serialize)]
pub(in crate::llm) struct RequestBody<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<SystemText<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    /// Marks the conversation's end as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct ToolChoice {
    r#type: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    r#type: &'static str,
}

#[derive(Serialize)]
struct SystemText<'a> {
    r#type: &'static str,
    text: Cow<'a, str>,
    cache_control: CacheControl,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: Cow<'a, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
}

#[derive(Serialize)]
struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

#[derive(Serialize)]
struct Format {
    r#type: &'static str,
    schema: Value,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    /// As it came from the provider.
    Original(Cow<'a, Value>),
    Ours(Ours<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Ours<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: ImageSource<'a>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Value,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ImageSource<'a> {
    Url { url: &'a str },
    Base64 { media_type: &'a str, data: &'a str },
}

impl<'a> From<&'a ModelRequest> for RequestBody<'a> {
    fn from(request: &'a ModelRequest) -> Self {
        let (choice, prompt) = (request.chain.first(), request.prompt.as_ref());
        let settings = choice.settings;
        let schema = prompt
            .output_schema
            .as_ref()
            .map(|output| output.schema.as_value());
        let enforced = schema.and_then(|schema| within_subset(&modern(schema)));
        let described = schema.filter(|_| enforced.is_none());
        let system = system(&prompt.instructions, described);
        Self {
            model: choice.model.name(),
            max_tokens: prompt.max_output_tokens,
            messages: turns(&prompt.messages, &choice.model, UniqueIn::Conversation)
                .into_iter()
                .filter_map(|spoken| turn(spoken, &choice.model))
                .collect(),
            tools: tools(prompt, system.is_empty()),
            system,
            tool_choice: prompt
                .forbids_tools()
                .then_some(ToolChoice { r#type: "none" }),
            thinking: settings
                .reasoning_effort
                .and_then(|effort| thinking(effort, &choice.model)),
            output_config: output_config(settings.reasoning_effort, enforced),
            temperature: settings.temperature.map(Thousandths::as_f64),
            top_p: settings.top_p.map(Thousandths::as_f64),
            cache_control: is_worth_caching(prompt).then_some(CACHED),
            stream: (settings.transfer == Transfer::Stream).then_some(true),
        }
    }
}

/// Whether a later request is likely to begin with this conversation. To write it into the cache
/// costs extra.
fn is_worth_caching(prompt: &Prompt) -> bool {
    !prompt.tools.is_empty() || prompt.messages.len() > 1
}

/// The instructions, and the schema of the answer in words if the provider can't enforce it.
fn system<'a>(instructions: &'a str, described: Option<&Value>) -> Vec<SystemText<'a>> {
    let text: Cow<'_, str> = match described {
        Some(schema) if instructions.is_empty() => in_words(schema).into(),
        Some(schema) => format!("{instructions}\n\n{}", in_words(schema)).into(),
        None => instructions.into(),
    };
    let text = SystemText {
        r#type: "text",
        text,
        cache_control: CACHED,
    };
    if text.text.is_empty() {
        Vec::new()
    } else {
        vec![text]
    }
}

/// The tools. The provider puts them before the system text, so the mark of that text covers them.
/// Without a system text, the last tool gets the mark.
fn tools(prompt: &Prompt, marks_last: bool) -> Vec<Tool<'_>> {
    let mut tools: Vec<Tool<'_>> = prompt.tools.iter().map(tool).collect();
    if marks_last && let Some(last) = tools.last_mut() {
        last.cache_control = Some(CACHED);
    }
    tools
}

fn tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool {
        name: tool.name.as_str(),
        description: &tool.description,
        input_schema: accepted(tool.input_schema.as_value(), Provider::Anthropic),
        cache_control: None,
    }
}

/// Turns thinking before the answer off for the effort `none`. Some models have a mode of their own
/// for that. [`output_config`] sets all other efforts.
fn thinking(effort: ReasoningEffort, model: &ModelRef) -> Option<Thinking> {
    match effort {
        ReasoningEffort::None if thinks_between_tools(model) => Some(Thinking {
            r#type: "between_tools",
        }),
        ReasoningEffort::None => Some(Thinking { r#type: "disabled" }),
        ReasoningEffort::Minimal
        | ReasoningEffort::Low
        | ReasoningEffort::Medium
        | ReasoningEffort::High
        | ReasoningEffort::Xhigh
        | ReasoningEffort::Max => None,
    }
}

fn output_config(effort: Option<ReasoningEffort>, form: Option<Value>) -> Option<OutputConfig> {
    let effort = effort
        .filter(|effort| *effort != ReasoningEffort::None)
        .map(ReasoningEffort::as_str);
    let format = form.map(|schema| Format {
        r#type: "json_schema",
        schema,
    });
    (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format })
}

/// A turn, unless nothing of it can be sent. Turns of the same role that follow each other are
/// joined by the provider.
fn turn<'a>(spoken: Spoken<'a>, model: &ModelRef) -> Option<Turn<'a>> {
    let (role, content): (_, Vec<Block<'a>>) = match spoken {
        Spoken::User(parts) => ("user", parts.into_iter().map(said_by_user).collect()),
        Spoken::Assistant(parts) => (
            "assistant",
            parts
                .iter()
                .filter_map(|said| said_by_model(said, model))
                .collect(),
        ),
        Spoken::Results(results) => ("user", results.into_iter().map(tool_result).collect()),
    };
    (!content.is_empty()).then_some(Turn { role, content })
}

fn said_by_user(part: &UserPart) -> Block<'_> {
    let source = match part {
        UserPart::Text(text) => return Block::Ours(Ours::Text { text }),
        UserPart::ImageUrl(url) => ImageSource::Url { url },
        UserPart::Image { media_type, base64 } => ImageSource::Base64 {
            media_type,
            data: base64,
        },
    };
    Block::Ours(Ours::Image { source })
}

fn said_by_model<'a>(said: &Said<'a>, model: &ModelRef) -> Option<Block<'a>> {
    let original = said.part.original.as_ref();
    let of_provider = original.filter(|original| original.model.provider() == model.provider());
    let of_model = original.filter(|original| original.model == *model);
    let back = |original| Block::Original(said.block(original, "id"));
    match &said.part.content {
        AssistantContent::Reasoning(_) => of_model.map(back),
        AssistantContent::Opaque => of_provider.map(back),
        AssistantContent::Text(text) => {
            Some(of_provider.map_or(Block::Ours(Ours::Text { text }), back))
        }
        AssistantContent::ToolCall(call) => Some(match of_provider {
            Some(original) => {
                Block::Original(with_id(said.block(original, "id"), &token(said.id(call))))
            }
            None => tool_use(said, call),
        }),
    }
}

/// The provider's block with this id; its result has the same id.
fn with_id<'a>(block: Cow<'a, Value>, id: &str) -> Cow<'a, Value> {
    if block.get("id").and_then(Value::as_str) == Some(id) {
        return block;
    }
    let mut block = block.into_owned();
    if let Some(fields) = block.as_object_mut() {
        fields.insert("id".to_owned(), id.into());
    }
    Cow::Owned(block)
}

fn tool_use<'a>(said: &Said<'a>, call: &'a ToolCall) -> Block<'a> {
    let input = serde_json::from_str(&call.arguments)
        .ok()
        .filter(Value::is_object);
    // The provider takes only an object. The model should see the arguments that it wrote.
    let input = input.unwrap_or_else(|| json!({ "arguments": call.arguments }));
    Block::Ours(Ours::ToolUse {
        id: token(said.id(call)),
        name: tool_name(&call.name),
        input,
    })
}

fn tool_result(result: CallResult<'_>) -> Block<'_> {
    Block::Ours(Ours::ToolResult {
        tool_use_id: token(result.call_id),
        content: result.text,
        is_error: result.is_error.then_some(true),
    })
}

/// The text in the form of the provider's ids: letters, digits, `_` and `-`. Different texts stay
/// different.
fn token(text: Cow<'_, str>) -> Cow<'_, str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(allowed) {
        return text;
    }
    let mut token = "hex_".to_owned();
    for byte in text.bytes() {
        // Writing to a string can't fail.
        let _: std::fmt::Result = write!(token, "{byte:02x}");
    }
    Cow::Owned(token)
}
