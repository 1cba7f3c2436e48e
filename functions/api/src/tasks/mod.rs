//! `/v1/tasks`.

mod batch;
mod bulk;
mod execute;
mod filter;
mod lifecycle;
mod request;
mod response;
mod steps;
mod texts;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use shared::domain::TaskId;

use crate::Api;
use crate::auth::{Caller, TasksRead, TasksSubmit};
use crate::body::Body;
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, Params, refused};
use crate::time::whole_seconds;
use crate::trace::Trace;
pub(crate) use batch::submit_tasks;
pub(crate) use bulk::{cancel_tasks, retry_tasks};
pub(crate) use execute::execute_agent;
use filter::FilterRequest;
pub(crate) use lifecycle::{
    answer_task, cancel_task, delete_task, list_history, list_steps, resume_task, retry_task,
};
use request::SubmitTaskRequest;
pub(crate) use response::{TaskResponse, TaskSummaryResponse};
pub(crate) use texts::{read_call_arguments, read_output, read_step_text};

/// The longest wait. API Gateway ends a request after 30 seconds.
const MAX_WAIT_SECONDS: u64 = 25;

/// `POST /v1/tasks`: accepts a task.
pub(crate) async fn submit_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    (Trace(trace), headers): (Trace, HeaderMap),
    params: Params,
    Body(request): Body<SubmitTaskRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let task = api
        .tasks
        .submit_task(&access.tenant, request.new_task(&access, &headers, trace)?)
        .await?;
    let location = [(LOCATION, format!("/v1/tasks/{}", task.id()))];
    Ok((
        StatusCode::ACCEPTED,
        location,
        Json(TaskResponse::from(&task)),
    ))
}

/// `GET /v1/tasks/{id}?wait=`: the task, when it has ended, needs its client, or after `wait`
/// seconds. If the wait ends early for another reason, the response has a `Retry-After`.
pub(crate) async fn find_task(
    State(api): State<Api>,
    caller: Caller<TasksRead>,
    PathId(id): PathId<TaskId>,
    mut params: Params,
) -> Result<(HeaderMap, Json<TaskResponse>), Problem> {
    let rule = format!("must be a number of seconds from 0 to {MAX_WAIT_SECONDS}");
    let wait = params.take("wait", &rule)?.unwrap_or(0);
    if wait > MAX_WAIT_SECONDS {
        return Err(refused("wait", &rule));
    }
    params.finish()?;
    let wait = Duration::from_secs(wait);
    if !wait.is_zero() {
        caller.check_for(&api, wait).await?;
    }
    let tenant = &caller.access.tenant;
    let found = api.waits.find_task(tenant, id, wait).await?;
    let mut headers = HeaderMap::new();
    if let Some(after) = found.retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(after).into());
    }
    Ok((headers, Json(TaskResponse::from(&found.task))))
}

/// `GET /v1/tasks`: the tenant's tasks that a filter wants.
pub(crate) async fn list_tasks(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    mut params: Params,
) -> Result<Json<ListResponse<TaskSummaryResponse>>, Problem> {
    let filter = FilterRequest::take(&mut params)?;
    let page = params.take_page()?;
    params.finish()?;
    let tasks = api.tasks.list_tasks(&access.tenant, &filter, &page).await?;
    Ok(Json(ListResponse::from(tasks)))
}
