//! The steps of a task's journal in responses.

use std::ops::Not;

use serde::Serialize;
use shared::domain::{
    ModelAnswer, ModelRef, Origin, Step, StepKind, StopReason, ToolCall, ToolRunner, Usage,
};
use utoipa::ToSchema;

use super::response::ModelResponse;
use crate::delivery::{LongText, LongTexts};
use crate::openapi::{long_texts, values};
use crate::time::rfc3339;

/// The most bytes of a tool's text in a list of steps.
const MAX_TOOL_TEXT_BYTES: usize = 256 * 1_024;

/// The most tool calls of an answer in a response: as many as a task may have.
const MAX_CALLS: usize = 1_000;

/// How much of a step is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A list has other steps too, so a tool's text is cut.
    Entry,
    /// As much as a response may have.
    Alone,
    /// Everything.
    Whole,
}

/// One step of a task.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(crate) struct StepResponse {
    number: u32,
    fence: u64,
    #[schema(value_type = values::Time)]
    started_at: String,
    #[schema(value_type = values::Time)]
    finished_at: String,
    #[serde(flatten)]
    kind: KindResponse,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StepKind)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KindResponse {
    ModelCall(Box<ModelCallResponse>),
    ToolCall(Box<ToolCallResponse>),
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelCall)]
struct ModelCallResponse {
    requested_model: ModelResponse,
    model: ModelResponse,
    served_model: String,
    #[schema(value_type = values::StopReason)]
    stop_reason: StopReason,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::text)]
    text: LongText,
    tool_calls: Vec<CallResponse>,
    #[serde(skip_serializing_if = "Not::not")]
    tool_calls_truncated: bool,
    #[schema(value_type = values::Usage)]
    usage: Usage,
    cost_micro_usd: u64,
    model_attempts: u32,
    #[schema(value_type = values::Origin)]
    origin: &'static str,
    request_id: Option<String>,
}

/// A tool call as a part of a model's answer.
#[derive(Serialize, ToSchema)]
#[schema(as = StepCall)]
struct CallResponse {
    #[serde(flatten)]
    #[schema(schema_with = long_texts::id)]
    id: LongText,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::name)]
    name: LongText,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::arguments)]
    arguments: LongText,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ToolCall)]
struct ToolCallResponse {
    #[serde(flatten)]
    #[schema(schema_with = long_texts::call_id)]
    call_id: LongText,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::name)]
    name: LongText,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::arguments)]
    arguments: LongText,
    #[schema(value_type = values::ToolRunner)]
    by: ToolRunner,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::text)]
    text: LongText,
    is_error: bool,
    /// Whether the rules of the tool forbade the call.
    is_blocked: bool,
    /// The host that sent the result. Models get it as data of that host.
    #[schema(max_length = 253)]
    source: Option<String>,
}

impl StepResponse {
    pub(crate) fn of(step: &Step, extent: Extent) -> Self {
        Self {
            number: step.number,
            fence: step.fence,
            started_at: rfc3339(step.started_at),
            finished_at: rfc3339(step.finished_at),
            kind: match &step.kind {
                StepKind::ModelCall { requested, answer } => {
                    KindResponse::ModelCall(Box::new(model_call(requested, answer, extent)))
                }
                StepKind::ToolCall {
                    call,
                    by,
                    text,
                    is_error,
                    is_blocked,
                    source,
                } => KindResponse::ToolCall(Box::new(ToolCallResponse {
                    call_id: LongText::new("call_id", call.id.as_str()),
                    name: LongText::new("name", call.name.as_str()),
                    arguments: LongText::new("arguments", call.arguments.as_str()),
                    by: *by,
                    text: match extent {
                        Extent::Entry => {
                            LongText::new("text", text.as_str()).at_most(MAX_TOOL_TEXT_BYTES)
                        }
                        Extent::Alone | Extent::Whole => LongText::new("text", text.as_str()),
                    },
                    is_error: *is_error,
                    is_blocked: *is_blocked,
                    source: source.clone(),
                })),
            },
        }
    }
}

impl From<&ToolCall> for CallResponse {
    fn from(
        ToolCall {
            id,
            name,
            arguments,
        }: &ToolCall,
    ) -> Self {
        Self {
            id: LongText::new("id", id.as_str()),
            name: LongText::new("name", name.as_str()),
            arguments: LongText::new("arguments", arguments.as_str()),
        }
    }
}

impl LongTexts for StepResponse {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        match &mut self.kind {
            KindResponse::ModelCall(call) => {
                let calls = call.tool_calls.iter_mut();
                let of_calls =
                    calls.flat_map(|call| [&mut call.id, &mut call.name, &mut call.arguments]);
                of_calls.chain([&mut call.text]).collect()
            }
            KindResponse::ToolCall(call) => {
                vec![
                    &mut call.call_id,
                    &mut call.name,
                    &mut call.arguments,
                    &mut call.text,
                ]
            }
        }
    }
}

fn model_call(requested: &ModelRef, answer: &ModelAnswer, extent: Extent) -> ModelCallResponse {
    let most_calls = match extent {
        Extent::Entry | Extent::Alone => MAX_CALLS,
        Extent::Whole => usize::MAX,
    };
    ModelCallResponse {
        requested_model: requested.into(),
        model: (&answer.model).into(),
        served_model: answer.served_model.clone(),
        stop_reason: answer.stop_reason,
        text: LongText::new("text", answer.text()),
        tool_calls: answer
            .tool_calls()
            .take(most_calls)
            .map(CallResponse::from)
            .collect(),
        tool_calls_truncated: answer.tool_calls().nth(most_calls).is_some(),
        usage: answer.usage,
        cost_micro_usd: answer.spend.cost.micro_usd,
        model_attempts: answer.spend.attempts,
        origin: Origin::as_str(answer.origin),
        request_id: answer.request_id.clone(),
    }
}
