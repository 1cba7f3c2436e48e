//! Tasks in responses.

use std::collections::BTreeMap;
use std::ops::Not;

use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::{
    Change, Event, FailureCode, LimitKind, ModelRef, Output, PendingCall, StopReason, Task,
    TaskState, TaskStatus, ToolCall, Usage, Wait, WaitReason,
};
use shared::ports::TaskSummary;
use utoipa::ToSchema;

use super::failure::ErrorResponse;
use crate::delivery::{LongText, LongTexts, MAX_BODY_BYTES, fit};
use crate::limits::LimitsResponse;
use crate::openapi::{long_texts, values};
use crate::time::rfc3339;

/// A task with all its fields. Texts that are too long for a response are cut.
#[derive(Serialize, ToSchema)]
#[schema(as = Task)]
pub(crate) struct TaskResponse {
    #[schema(value_type = values::TaskId)]
    id: String,
    #[schema(value_type = values::TaskStatus)]
    status: TaskStatus,
    #[schema(value_type = values::AgentId)]
    agent_id: String,
    agent_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::KeyId, required = false)]
    submitted_by: Option<String>,
    #[schema(value_type = values::Metadata)]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting: Option<WaitResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    input_required: Option<InputRequiredResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    paused: Option<PausedResponse>,
    #[serde(skip_serializing_if = "Not::not")]
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    output: Option<OutputResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<ErrorResponse>,
    limits: LimitsResponse,
    steps: u32,
    hops: u32,
    attempts: u64,
    model_attempts: u32,
    cost_micro_usd: u64,
    unpriced_calls: u32,
    #[schema(value_type = values::Usage)]
    spent: Usage,
    #[schema(value_type = values::Time)]
    created_at: String,
    #[schema(value_type = values::Time)]
    updated_at: String,
    #[schema(value_type = values::Time)]
    deadline_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::Time, required = false)]
    finished_at: Option<String>,
    history_first: u32,
    history: Vec<ChangeResponse>,
}

/// A change of a task's state, and its number in the task's history.
#[derive(Serialize, ToSchema)]
#[schema(as = NumberedChange)]
pub(crate) struct NumberedChangeResponse {
    number: u32,
    #[serde(flatten)]
    change: ChangeResponse,
}

/// A change of a task's state.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
struct ChangeResponse {
    #[schema(value_type = values::Time)]
    at: String,
    #[serde(flatten)]
    #[schema(value_type = values::Event)]
    event: Map<String, Value>,
}

/// The fields of a task that waits for its client.
#[derive(Serialize, ToSchema)]
#[schema(as = InputRequired)]
struct InputRequiredResponse {
    calls: Vec<CallResponse>,
    #[schema(value_type = values::Time)]
    since: String,
    #[schema(value_type = values::Time)]
    expires_at: String,
}

/// A tool call that the client is to answer.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenCall)]
struct CallResponse {
    #[serde(flatten)]
    #[schema(schema_with = long_texts::call_id)]
    call_id: LongText,
    step: u32,
    name: String,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::arguments)]
    arguments: LongText,
}

/// The fields of a paused task.
#[derive(Serialize, ToSchema)]
#[schema(as = Paused)]
struct PausedResponse {
    #[schema(value_type = values::LimitKind)]
    limit: LimitKind,
    #[schema(value_type = values::Time)]
    since: String,
    #[schema(value_type = values::Time)]
    expires_at: String,
}

/// The fields of a waiting task.
#[derive(Serialize, ToSchema)]
#[schema(as = Waiting)]
struct WaitResponse {
    #[schema(value_type = values::WaitReason)]
    reason: WaitReason,
    #[schema(value_type = values::Time)]
    until: String,
}

/// The fields of a completed task.
#[derive(Serialize, ToSchema)]
#[schema(as = Output)]
struct OutputResponse {
    #[serde(flatten)]
    #[schema(schema_with = long_texts::output)]
    output: LongText,
    #[schema(value_type = values::StopReason)]
    stop_reason: StopReason,
    model: ModelResponse,
    #[schema(value_type = values::Usage)]
    usage: Usage,
    #[schema(value_type = values::Origin)]
    origin: &'static str,
    #[serde(skip_serializing_if = "Not::not")]
    degraded: bool,
}

/// The model of the chain that answered.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelRef)]
pub(super) struct ModelResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    model: String,
}

/// The fields that depend on the task's state. At most one is set.
#[derive(Default)]
struct StateFields {
    waiting: Option<WaitResponse>,
    input_required: Option<InputRequiredResponse>,
    paused: Option<PausedResponse>,
    output: Option<OutputResponse>,
    error: Option<ErrorResponse>,
}

impl From<&TaskState> for StateFields {
    fn from(state: &TaskState) -> Self {
        let mut fields = Self::default();
        match state {
            TaskState::Waiting { wait, .. } => fields.waiting = Some(WaitResponse::from(wait)),
            TaskState::InputRequired {
                calls,
                since,
                expires_at,
            } => {
                fields.input_required = Some(InputRequiredResponse {
                    calls: calls.iter().map(CallResponse::from).collect(),
                    since: rfc3339(*since),
                    expires_at: rfc3339(*expires_at),
                });
            }
            TaskState::Paused {
                limit,
                since,
                expires_at,
            } => {
                fields.paused = Some(PausedResponse {
                    limit: *limit,
                    since: rfc3339(*since),
                    expires_at: rfc3339(*expires_at),
                });
            }
            TaskState::Completed(completed) => {
                fields.output = Some(OutputResponse::from(completed));
            }
            TaskState::Failed(failure) => fields.error = Some(ErrorResponse::from(failure)),
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Canceled
            | TaskState::TimedOut => {}
        }
        fields
    }
}

impl From<&Task> for TaskResponse {
    fn from(task: &Task) -> Self {
        let (spec, spend) = (task.spec(), task.spend());
        let StateFields {
            waiting,
            input_required,
            paused,
            output,
            error,
        } = StateFields::from(task.state());
        let whole = Self {
            id: spec.id.to_string(),
            status: task.status(),
            agent_id: spec.agent.id.to_string(),
            agent_version: spec.agent.version,
            submitted_by: spec.submitted_by.map(|key| key.to_string()),
            metadata: spec.metadata.pairs().clone(),
            input: spec.input.as_ref().map(|input| input.as_str().to_owned()),
            waiting,
            input_required,
            paused,
            cancel_requested: task.progress().cancel_requested,
            output,
            error,
            limits: LimitsResponse::from(task.limits()),
            steps: task.progress().steps,
            hops: task.progress().hops,
            attempts: task.attempts(),
            model_attempts: spend.attempts,
            cost_micro_usd: spend.cost.micro_usd,
            unpriced_calls: spend.cost.unpriced_calls,
            spent: spend.usage,
            created_at: rfc3339(spec.created_at),
            updated_at: rfc3339(task.progress().updated_at),
            deadline_at: rfc3339(task.deadline()),
            finished_at: task.finished_at().map(rfc3339),
            history_first: task.progress().history.first(),
            history: task
                .progress()
                .history
                .recent()
                .iter()
                .map(ChangeResponse::from)
                .collect(),
        };
        fit(whole, MAX_BODY_BYTES)
    }
}

impl LongTexts for TaskResponse {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        let calls = self
            .input_required
            .iter_mut()
            .flat_map(|waiting| &mut waiting.calls);
        let of_calls = calls.flat_map(|call| [&mut call.call_id, &mut call.arguments]);
        of_calls
            .chain(self.output.iter_mut().map(|output| &mut output.output))
            .collect()
    }
}

impl From<&(u32, Change)> for NumberedChangeResponse {
    fn from((number, change): &(u32, Change)) -> Self {
        Self {
            number: *number,
            change: change.into(),
        }
    }
}

impl From<&Change> for ChangeResponse {
    fn from(change: &Change) -> Self {
        let Value::Object(mut event) = serde_json::json!(change.event) else {
            return Self {
                at: rfc3339(change.at),
                event: Map::new(),
            };
        };
        if let Event::Parked { until, .. } = &change.event {
            event.insert("until".to_owned(), rfc3339(*until).into());
        }
        if change.lost {
            event.insert("lost".to_owned(), true.into());
        }
        Self {
            at: rfc3339(change.at),
            event,
        }
    }
}

impl From<&PendingCall> for CallResponse {
    fn from(PendingCall { number, call }: &PendingCall) -> Self {
        let ToolCall {
            id,
            name,
            arguments,
        } = call.clone();
        let (call_id, arguments) = (
            LongText::new("call_id", id),
            LongText::new("arguments", arguments),
        );
        Self {
            call_id,
            step: *number,
            name,
            arguments,
        }
    }
}

impl From<&Wait> for WaitResponse {
    fn from(wait: &Wait) -> Self {
        Self {
            reason: wait.reason,
            until: rfc3339(wait.until),
        }
    }
}

impl From<&Output> for OutputResponse {
    fn from(output: &Output) -> Self {
        let Output {
            text,
            stop_reason,
            model,
            usage,
            origin,
        } = output;
        Self {
            output: LongText::new("output", text.as_str()),
            stop_reason: *stop_reason,
            model: model.into(),
            usage: *usage,
            origin: origin.as_str(),
            degraded: origin.is_degraded(),
        }
    }
}

impl From<&ModelRef> for ModelResponse {
    fn from(model: &ModelRef) -> Self {
        Self {
            provider: model.provider().as_str(),
            model: model.name().to_owned(),
        }
    }
}

/// A task in a list: only its short fields.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskSummary)]
pub(crate) struct TaskSummaryResponse {
    #[schema(value_type = values::TaskId)]
    id: String,
    #[schema(value_type = values::TaskStatus)]
    status: TaskStatus,
    #[schema(value_type = values::AgentId)]
    agent_id: String,
    agent_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::FailureCode, required = false)]
    failure: Option<FailureCode>,
    attempts: u64,
    cost_micro_usd: u64,
    unpriced_calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::KeyId, required = false)]
    submitted_by: Option<String>,
    #[schema(value_type = values::Metadata)]
    metadata: BTreeMap<String, String>,
    #[schema(value_type = values::Time)]
    created_at: String,
    #[schema(value_type = values::Time)]
    updated_at: String,
}

impl From<&TaskSummary> for TaskSummaryResponse {
    fn from(task: &TaskSummary) -> Self {
        Self {
            id: task.id.to_string(),
            status: task.status,
            agent_id: task.agent.id.to_string(),
            agent_version: task.agent.version,
            failure: task.failure,
            attempts: task.attempts,
            cost_micro_usd: task.spend.cost.micro_usd,
            unpriced_calls: task.spend.cost.unpriced_calls,
            submitted_by: task.submitted_by.map(|key| key.to_string()),
            metadata: task.metadata.pairs().clone(),
            created_at: rfc3339(task.created_at),
            updated_at: rfc3339(task.updated_at),
        }
    }
}
