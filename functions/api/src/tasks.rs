//! `/v1/tasks`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::app::{IdempotencyKey, NewTask};
use shared::domain::{
    AgentId, Failure, FailureCode, Invalid, Output, StopReason, Task, TaskId, TaskInput, TaskState, TaskStatus, Usage,
};
use shared::ports::{TaskFilter, TaskSummary};

use crate::Api;
use crate::agents::ListResponse;
use crate::auth::Caller;
use crate::body::{Body, Broken, required};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{Params, refused};
use crate::time::rfc3339;

/// API Gateway gives up on us after 30 seconds.
const MAX_WAIT_SECONDS: u64 = 25;

/// `POST /v1/tasks`: accepts a task.
pub(crate) async fn submit_task(
    State(api): State<Api>,
    Caller(tenant): Caller,
    headers: HeaderMap,
    params: Params,
    Body(request): Body<SubmitTaskRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let task = api.tasks.submit_task(&tenant, request.new_task(&headers)?).await?;
    let location = [(LOCATION, format!("/v1/tasks/{}", task.id()))];
    Ok((StatusCode::ACCEPTED, location, Json(TaskResponse::from(&task))))
}

/// `GET /v1/tasks/{id}?wait=`: the task, as soon as it has ended or `wait` seconds are over.
pub(crate) async fn find_task(
    State(api): State<Api>,
    Caller(tenant): Caller,
    PathId(id): PathId<TaskId>,
    mut params: Params,
) -> Result<Json<TaskResponse>, Problem> {
    let form = format!("must be a number of seconds from 0 to {MAX_WAIT_SECONDS}");
    let wait = params.take("wait", &form)?.unwrap_or(0);
    if wait > MAX_WAIT_SECONDS {
        return Err(refused("wait", &form));
    }
    params.finish()?;
    let task = api.tasks.find_task(&tenant, id, Duration::from_secs(wait)).await?;
    Ok(Json(TaskResponse::from(&task)))
}

/// `GET /v1/tasks?status=&agent_id=&limit=&cursor=`: the tenant's tasks, newest first.
pub(crate) async fn list_tasks(
    State(api): State<Api>,
    Caller(tenant): Caller,
    mut params: Params,
) -> Result<Json<ListResponse<TaskSummaryResponse>>, Problem> {
    let status = params.take::<String>("status", "")?.map(|name| status_called(&name)).transpose()?;
    let agent = params.take::<AgentId>("agent_id", "must be an id of the form agt_…")?;
    let page = params.take_page()?;
    params.finish()?;
    let tasks = api.tasks.list_tasks(&tenant, &TaskFilter { status, agent }, &page).await?;
    Ok(Json(ListResponse::from(tasks)))
}

fn status_called(name: &str) -> Result<TaskStatus, Problem> {
    let known = TaskStatus::ALL.into_iter().find(|status| status.as_str() == name);
    known.ok_or_else(|| {
        refused("status", &format!("must be one of {}", TaskStatus::ALL.map(TaskStatus::as_str).join(", ")))
    })
}

/// The body of `POST /v1/tasks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitTaskRequest {
    agent_id: Option<String>,
    input: Option<String>,
}

impl SubmitTaskRequest {
    fn new_task(self, headers: &HeaderMap) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let agent = broken.keep(
            required("/agent_id", self.agent_id)
                .and_then(|id| id.parse().map_err(|_| Invalid::new("/agent_id", "must be an id of the form agt_…"))),
        );
        let input = broken.keep(required("/input", self.input).and_then(TaskInput::new));
        let idempotency_key = broken.keep(idempotency_key(headers));
        let new = match (agent, input, idempotency_key) {
            (Some(agent), Some(input), Some(idempotency_key)) => Some(NewTask { agent, input, idempotency_key }),
            _ => None,
        };
        broken.finish(new)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Invalid> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    value.to_str().unwrap_or_default().parse().map(Some)
}

/// A task with everything about it.
#[derive(Serialize)]
pub(crate) struct TaskResponse {
    id: String,
    status: TaskStatus,
    agent_id: String,
    agent_version: u32,
    input: String,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    output: Option<OutputResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorResponse>,
    attempts: u64,
    created_at: String,
    updated_at: String,
    deadline_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
}

/// What a completed task has besides.
#[derive(Serialize)]
struct OutputResponse {
    output: String,
    stop_reason: StopReason,
    usage: Usage,
}

/// What a failed task has besides.
#[derive(Serialize)]
struct ErrorResponse {
    code: FailureCode,
    message: String,
    dead_lettered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_request_id: Option<String>,
}

impl From<&Task> for TaskResponse {
    fn from(task: &Task) -> Self {
        let (output, error) = match task.state() {
            TaskState::Completed(output) => (Some(OutputResponse::from(output)), None),
            TaskState::Failed(failure) => (None, Some(ErrorResponse::from(failure))),
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::TimedOut => (None, None),
        };
        let spec = task.spec();
        Self {
            id: spec.id.to_string(),
            status: task.status(),
            agent_id: spec.agent.id.to_string(),
            agent_version: spec.agent.version,
            input: spec.input.as_str().to_owned(),
            output,
            error,
            attempts: task.attempts(),
            created_at: rfc3339(spec.created_at),
            updated_at: rfc3339(task.progress().updated_at),
            deadline_at: rfc3339(spec.deadline),
            finished_at: task.finished_at().map(rfc3339),
        }
    }
}

impl From<&Output> for OutputResponse {
    fn from(output: &Output) -> Self {
        Self { output: output.text.clone(), stop_reason: output.stop_reason, usage: output.usage }
    }
}

impl From<&Failure> for ErrorResponse {
    fn from(failure: &Failure) -> Self {
        let upstream = failure.upstream.as_ref();
        Self {
            code: failure.code,
            message: failure.message.clone(),
            dead_lettered: failure.code.is_dead_letter(),
            provider: upstream.map(|upstream| upstream.provider.as_str()),
            provider_status: upstream.and_then(|upstream| upstream.status),
            provider_request_id: upstream.and_then(|upstream| upstream.request_id.clone()),
        }
    }
}

/// A task in a list: everything small.
#[derive(Serialize)]
pub(crate) struct TaskSummaryResponse {
    id: String,
    status: TaskStatus,
    agent_id: String,
    agent_version: u32,
    attempts: u64,
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
            attempts: task.attempts,
            created_at: rfc3339(task.created_at),
            updated_at: rfc3339(task.updated_at),
        }
    }
}
