//! A request as servers with the Chat Completions API want it: what all of them know, and nothing
//! else.
//!
//! A model's reasoning, and the fields that its server adds to a call, are sent back only to that
//! model. Reasoning is sent back only in turns after the last user turn: templates drop it from
//! older turns, and some servers refuse it there.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelRef, ModelRequest, OutputLimitField,
    OutputSchema, Provider, ReasoningEffort, Thousandths, ToolCall, ToolDefinition, Transfer,
    UserPart,
};
use crate::llm::openai::response_schema;
use crate::llm::transcript::{self, CallResult, Said, Turn as Spoken, UniqueIn, tool_name};
use crate::policy::models::wants_max_completion_tokens;
use crate::policy::schemas::accepted;

#[derive(Serialize)]
pub(in crate::llm) struct RequestBody<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    /// Not `max_completion_tokens`, which is OpenAI's own name: Ollama and older servers ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    /// Only for models that refuse `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Turn<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
        #[serde(flatten)]
        reasoning: Option<&'a Map<String, Value>>,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: Cow<'a, str>,
    },
}

/// A text alone is sent in the plain form: servers without images know only this.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Call<'a> {
    id: Cow<'a, str>,
    function: Function<'a>,
    #[serde(flatten)]
    extra: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Tool<'a> {
    function: Signature<'a>,
}

#[derive(Serialize)]
struct Signature<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Cow<'a, Value>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "json_schema")]
struct ResponseFormat<'a> {
    json_schema: Named<'a>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    schema: Value,
    strict: bool,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> From<&'a ModelRequest> for RequestBody<'a> {
    fn from(request: &'a ModelRequest) -> Self {
        let (model, settings, prompt) = (
            request.model(),
            &request.chain.first().settings,
            &*request.prompt,
        );
        let system = (!prompt.instructions.is_empty()).then(|| Turn::System {
            content: &prompt.instructions,
        });
        let stream = settings.transfer == Transfer::Stream;
        let limit = Some(prompt.max_output_tokens);
        let has_new_name = match settings.output_limit_field {
            OutputLimitField::ByModel => wants_max_completion_tokens(model),
            OutputLimitField::MaxTokens => false,
            OutputLimitField::MaxCompletionTokens => true,
        };
        Self {
            model: model.name(),
            messages: system
                .into_iter()
                .chain(turns(&prompt.messages, model))
                .collect(),
            tools: prompt.tools.iter().map(Tool::from).collect(),
            tool_choice: prompt.forbids_tools().then_some("none"),
            response_format: prompt.output_schema.as_ref().map(ResponseFormat::from),
            reasoning_effort: settings.reasoning_effort.map(ReasoningEffort::as_str),
            temperature: settings.temperature.map(Thousandths::as_f64),
            top_p: settings.top_p.map(Thousandths::as_f64),
            max_tokens: limit.filter(|_| !has_new_name),
            max_completion_tokens: limit.filter(|_| has_new_name),
            stream,
            stream_options: stream.then_some(StreamOptions {
                include_usage: true,
            }),
        }
    }
}

fn turns<'a>(messages: &'a [Message], model: &ModelRef) -> Vec<Turn<'a>> {
    let spoken = transcript::turns(messages, model, UniqueIn::Turn);
    let is_user = |turn: &Spoken<'_>| matches!(turn, Spoken::User(_));
    let last_user = spoken.iter().rposition(is_user).unwrap_or_default();
    let mut turns = Vec::new();
    for (place, turn) in spoken.into_iter().enumerate() {
        match turn {
            Spoken::User(parts) => turns.push(Turn::User {
                content: content(&parts),
            }),
            Spoken::Assistant(parts) => {
                let reasoning = if place > last_user {
                    reasoning(&parts, model)
                } else {
                    None
                };
                turns.extend(assistant(&parts, model, reasoning));
            }
            Spoken::Results(results) => turns.extend(results.into_iter().map(Turn::from)),
        }
    }
    turns
}

fn content<'a>(parts: &[&'a UserPart]) -> Content<'a> {
    match parts {
        [UserPart::Text(text)] => Content::Text(text),
        parts => Content::Parts(parts.iter().map(|part| Part::from(*part)).collect()),
    }
}

/// The fields that the model's server added to the part.
fn original<'a>(part: &'a AssistantPart, model: &ModelRef) -> Option<&'a Map<String, Value>> {
    part.original
        .as_ref()
        .filter(|original| original.model == *model)?
        .block
        .as_object()
}

fn reasoning<'a>(parts: &[Said<'a>], model: &ModelRef) -> Option<&'a Map<String, Value>> {
    let mut reasoning = parts
        .iter()
        .filter(|said| matches!(said.part.content, AssistantContent::Reasoning(_)));
    reasoning.find_map(|said| original(said.part, model))
}

fn assistant<'a>(
    parts: &[Said<'a>],
    model: &ModelRef,
    reasoning: Option<&'a Map<String, Value>>,
) -> Option<Turn<'a>> {
    let (mut text, mut tool_calls) = (String::new(), Vec::new());
    for said in parts {
        match &said.part.content {
            AssistantContent::Text(more) => text.push_str(more),
            AssistantContent::ToolCall(call) => {
                tool_calls.push(Call::new(said, call, original(said.part, model)));
            }
            AssistantContent::Reasoning(_) | AssistantContent::Opaque => {}
        }
    }
    let content = (!text.is_empty()).then_some(text);
    (content.is_some() || !tool_calls.is_empty()).then_some(Turn::Assistant {
        content,
        tool_calls,
        reasoning,
    })
}

impl<'a> Call<'a> {
    fn new(said: &Said<'a>, call: &'a ToolCall, extra: Option<&'a Map<String, Value>>) -> Self {
        let function = Function {
            name: tool_name(&call.name),
            arguments: arguments(&call.arguments),
        };
        Self {
            id: said.id(call),
            function,
            extra,
        }
    }
}

/// The arguments as an object. Servers parse them for their templates, and fail at other texts.
fn arguments(written: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(written) {
        Ok(_) => written.into(),
        Err(_) if written.trim().is_empty() => "{}".into(),
        Err(_) => json!({ "unparsed": written }).to_string().into(),
    }
}

impl<'a> From<CallResult<'a>> for Turn<'a> {
    fn from(result: CallResult<'a>) -> Self {
        let CallResult {
            call_id,
            text,
            is_error,
        } = result;
        let content = if is_error {
            format!("Error: {text}").into()
        } else {
            text.into()
        };
        Self::Tool {
            tool_call_id: call_id,
            content,
        }
    }
}

impl<'a> From<&'a UserPart> for Part<'a> {
    fn from(part: &'a UserPart) -> Self {
        let image = |url| Self::ImageUrl {
            image_url: ImageUrl { url },
        };
        match part {
            UserPart::Text(text) => Self::Text { text },
            UserPart::ImageUrl(url) => image(url.as_str().into()),
            UserPart::Image { media_type, base64 } => {
                image(format!("data:{media_type};base64,{base64}").into())
            }
        }
    }
}

impl<'a> From<&'a ToolDefinition> for Tool<'a> {
    fn from(tool: &'a ToolDefinition) -> Self {
        let parameters = accepted(tool.input_schema.as_value(), Provider::OpenAiCompatible);
        Self {
            function: Signature {
                name: tool.name.as_str(),
                description: &tool.description,
                parameters,
            },
        }
    }
}

impl<'a> From<&'a OutputSchema> for ResponseFormat<'a> {
    fn from(output: &'a OutputSchema) -> Self {
        let (schema, strict) = response_schema(output.schema.as_value());
        Self {
            json_schema: Named {
                name: output.name.as_str(),
                schema,
                strict,
            },
        }
    }
}
