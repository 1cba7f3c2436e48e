//! Tasks in responses.

use std::collections::BTreeMap;
use std::ops::Not;

use serde::Serialize;
use serde_json::{Map, Value};
use shared::domain::{
    Change, Event, FailedAttempt, Failure, FailureCode, LimitKind, ModelRef, Output, PendingCall,
    ProviderError, StopReason, Task, TaskState, TaskStatus, ToolCall, Usage, Wait, WaitReason,
};
use shared::ports::TaskSummary;

use crate::delivery::{LongText, LongTexts, MAX_BODY_BYTES, fit};
use crate::limits::LimitsResponse;
use crate::time::rfc3339;

/// A task with all its fields. Texts that are too long for a response are cut.
#[derive(Serialize)]
pub(crate) struct TaskResponse {
    id: String,
    status: TaskStatus,
    agent_id: String,
    agent_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_by: Option<String>,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<WaitResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_required: Option<InputRequiredResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<PausedResponse>,
    #[serde(skip_serializing_if = "Not::not")]
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    output: Option<OutputResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorResponse>,
    limits: LimitsResponse,
    steps: u32,
    hops: u32,
    attempts: u64,
    model_attempts: u32,
    cost_micro_usd: u64,
    unpriced_calls: u32,
    spent: Usage,
    created_at: String,
    updated_at: String,
    deadline_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    history_first: u32,
    history: Vec<ChangeResponse>,
}

/// A change of a task's state, and its number in the task's history.
#[derive(Serialize)]
pub(crate) struct NumberedChangeResponse {
    number: u32,
    #[serde(flatten)]
    change: ChangeResponse,
}

/// A change of a task's state.
#[derive(Serialize)]
struct ChangeResponse {
    at: String,
    #[serde(flatten)]
    event: Map<String, Value>,
}

/// The fields of a task that waits for its client.
#[derive(Serialize)]
struct InputRequiredResponse {
    calls: Vec<CallResponse>,
    since: String,
    expires_at: String,
}

/// A tool call that the client is to answer.
#[derive(Serialize)]
struct CallResponse {
    #[serde(flatten)]
    call_id: LongText,
    step: u32,
    name: String,
    #[serde(flatten)]
    arguments: LongText,
}

/// The fields of a paused task.
#[derive(Serialize)]
struct PausedResponse {
    limit: LimitKind,
    since: String,
    expires_at: String,
}

/// The fields of a waiting task.
#[derive(Serialize)]
struct WaitResponse {
    reason: WaitReason,
    until: String,
}

/// The fields of a completed task.
#[derive(Serialize)]
struct OutputResponse {
    #[serde(flatten)]
    output: LongText,
    stop_reason: StopReason,
    model: ModelResponse,
    usage: Usage,
    origin: &'static str,
    #[serde(skip_serializing_if = "Not::not")]
    degraded: bool,
}

/// The model of the chain that answered.
#[derive(Serialize)]
pub(super) struct ModelResponse {
    provider: &'static str,
    model: String,
}

/// The fields of a failed task.
#[derive(Serialize)]
struct ErrorResponse {
    code: FailureCode,
    message: String,
    dead_lettered: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptResponse>,
}

/// One failed attempt at a model.
#[derive(Serialize)]
struct AttemptResponse {
    provider: &'static str,
    model: String,
    code: FailureCode,
    status: Option<u16>,
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
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

impl From<&Failure> for ErrorResponse {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message.clone(),
            dead_lettered: failure.code.is_dead_letter(),
            attempts: failure.attempts.iter().map(AttemptResponse::from).collect(),
        }
    }
}

impl From<&FailedAttempt> for AttemptResponse {
    fn from(attempt: &FailedAttempt) -> Self {
        let said = ProviderError::or_nothing(attempt.said.as_deref()).clone();
        let ProviderError {
            code,
            param,
            tool,
            message,
        } = said;
        Self {
            provider: attempt.model.provider().as_str(),
            model: attempt.model.name().to_owned(),
            code: attempt.code,
            status: attempt.status,
            request_id: attempt.request_id.clone(),
            provider_code: code,
            param,
            tool,
            message,
        }
    }
}

/// A task in a list: only its short fields.
#[derive(Serialize)]
pub(crate) struct TaskSummaryResponse {
    id: String,
    status: TaskStatus,
    agent_id: String,
    agent_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureCode>,
    attempts: u64,
    cost_micro_usd: u64,
    unpriced_calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_by: Option<String>,
    metadata: BTreeMap<String, String>,
    created_at: String,
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

#[cfg(test)]
mod tests {
    use shared::domain::Provider;

    use super::*;

    #[test]
    fn an_attempt_shows_what_the_provider_said_if_it_said_anything() {
        let text = |text: &str| Some(text.to_owned());
        let said = ProviderError {
            code: text("invalid_function_parameters"),
            param: text("tools[3].parameters"),
            tool: text("look_up"),
            message: text("object schema missing properties"),
        };
        let model = ModelRef::new(Provider::OpenAi, "gpt-6-luna")
            .unwrap_or_else(|invalid| panic!("{invalid:?}"));
        let (code, status) = (FailureCode::ModelRejected, Some(400));
        let silent = FailedAttempt {
            model,
            code,
            status,
            request_id: None,
            said: None,
        };
        let mut expected = serde_json::json!({
            "provider": "openai", "model": "gpt-6-luna", "code": "model_rejected", "status": 400, "request_id": null,
        });
        assert_eq!(serde_json::json!(AttemptResponse::from(&silent)), expected);
        let explained = FailedAttempt {
            said: Some(Box::new(said)),
            ..silent
        };
        expected["provider_code"] = "invalid_function_parameters".into();
        expected["param"] = "tools[3].parameters".into();
        expected["tool"] = "look_up".into();
        expected["message"] = "object schema missing properties".into();
        assert_eq!(
            serde_json::json!(AttemptResponse::from(&explained)),
            expected
        );
    }
}
