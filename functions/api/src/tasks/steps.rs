//! How a task's journal looks.

use std::ops::Not;

use serde::Serialize;
use shared::domain::{ModelAnswer, ModelRef, Origin, Step, StepKind, StopReason, ToolCall, ToolRunner, Usage};

use super::response::ModelResponse;
use crate::time::rfc3339;

/// How much of a tool's text is shown: every page must fit into a Lambda response, with every character escaped.
const MAX_TEXT_BYTES: usize = 256 * 1_024;

/// One step of a task.
#[derive(Serialize)]
pub(crate) struct StepResponse {
    number: u32,
    fence: u64,
    started_at: String,
    finished_at: String,
    #[serde(flatten)]
    kind: KindResponse,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KindResponse {
    ModelCall(Box<ModelCallResponse>),
    ToolCall(ToolCallResponse),
}

#[derive(Serialize)]
struct ModelCallResponse {
    requested_model: ModelResponse,
    model: ModelResponse,
    served_model: String,
    stop_reason: StopReason,
    text: String,
    tool_calls: Vec<ToolCall>,
    usage: Usage,
    cost_micro_usd: u64,
    model_attempts: u32,
    origin: &'static str,
    request_id: Option<String>,
}

#[derive(Serialize)]
struct ToolCallResponse {
    call_id: String,
    name: String,
    arguments: String,
    by: ToolRunner,
    text: String,
    #[serde(skip_serializing_if = "Not::not")]
    text_truncated: bool,
    is_error: bool,
}

impl From<&Step> for StepResponse {
    fn from(step: &Step) -> Self {
        Self {
            number: step.number,
            fence: step.fence,
            started_at: rfc3339(step.started_at),
            finished_at: rfc3339(step.finished_at),
            kind: match &step.kind {
                StepKind::ModelCall { requested, answer } => {
                    KindResponse::ModelCall(Box::new(model_call(requested, answer)))
                }
                StepKind::ToolCall { call, by, text, is_error } => KindResponse::ToolCall(ToolCallResponse {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments.clone(),
                    by: *by,
                    text: beginning(text).to_owned(),
                    text_truncated: text.len() > MAX_TEXT_BYTES,
                    is_error: *is_error,
                }),
            },
        }
    }
}

impl StepResponse {
    /// About how many bytes its texts have, before they are escaped.
    pub(super) fn bytes(&self) -> usize {
        match &self.kind {
            KindResponse::ModelCall(call) => {
                call.text.len() + call.tool_calls.iter().map(|call| call.arguments.len()).sum::<usize>()
            }
            KindResponse::ToolCall(call) => call.text.len() + call.arguments.len(),
        }
    }
}

/// As much of a tool's text as is shown.
fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or(text)
}

fn model_call(requested: &ModelRef, answer: &ModelAnswer) -> ModelCallResponse {
    ModelCallResponse {
        requested_model: requested.into(),
        model: (&answer.model).into(),
        served_model: answer.served_model.clone(),
        stop_reason: answer.stop_reason,
        text: answer.text(),
        tool_calls: answer.tool_calls().cloned().collect(),
        usage: answer.usage,
        cost_micro_usd: answer.spend.cost.micro_usd,
        model_attempts: answer.spend.attempts,
        origin: Origin::as_str(answer.origin),
        request_id: answer.request_id.clone(),
    }
}
