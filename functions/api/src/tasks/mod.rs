//! `/v1/tasks`.

pub(crate) mod batch;
pub(crate) mod bulk;
pub(crate) mod execute;
mod failure;
mod filter;
pub(crate) mod lifecycle;
mod request;
mod response;
mod steps;
mod submission;
pub(crate) mod texts;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::domain::TaskId;

use crate::Api;
use crate::auth::{Caller, TasksRead, TasksSubmit};
use crate::body::Body;
use crate::etag::{EntityTag, IfNoneMatch};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, PageParams, Params, refused};
use crate::time::whole_seconds;
use crate::trace::Trace;
use filter::{FilterParams, FilterRequest};
pub(crate) use response::{TaskResponse, TaskSummaryResponse};
use submission::{IdempotencyKeyHeader, Sender, SubmitTaskRequest};

/// The longest wait. API Gateway ends a request after 30 seconds.
const MAX_WAIT_SECONDS: u64 = 25;

/// Submits a task.
#[utoipa::path(
    post, path = "/v1/tasks",
    params(IdempotencyKeyHeader),
    responses(
        (status = 202, body = TaskResponse, headers(("Location"))),
        (status = 409, description = "The agent is disabled, or the task with this `Idempotency-Key` was deleted."),
    )
)]
pub(crate) async fn submit_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    (Trace(trace), headers): (Trace, HeaderMap),
    params: Params,
    Body(request): Body<SubmitTaskRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let sender = Sender {
        access: &access,
        trace,
    };
    let task = api
        .tasks
        .submit_task(&access.tenant, request.new_task(&sender, &headers)?)
        .await?;
    let location = [(LOCATION, format!("/v1/tasks/{}", task.id()))];
    Ok((
        StatusCode::ACCEPTED,
        location,
        Json(TaskResponse::from(&task)),
    ))
}

/// Reads a task, when it has ended, needs its client, or after `wait` seconds.
///
/// If the wait ends early for another reason, the response has a `Retry-After`.
#[utoipa::path(
    get, path = "/v1/tasks/{id}",
    params(IfNoneMatch, ("wait" = inline(Option<u64>), Query, minimum = 0, maximum = 25, description = "How many seconds to wait.")),
    responses(
        (status = 200, body = TaskResponse, headers(("ETag"), ("Retry-After"))),
        (status = 304, description = "The task is as the client has it.", headers(("ETag"), ("Retry-After"))),
    )
)]
pub(crate) async fn find_task(
    State(api): State<Api>,
    caller: Caller<TasksRead>,
    PathId(id): PathId<TaskId>,
    conditions: HeaderMap,
    mut params: Params,
) -> Result<(HeaderMap, Response), Problem> {
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
    let tag = EntityTag::of(&format!(
        "{id}-{}-{}",
        found.task.progress().revision,
        api.version
    ));
    let shown = Json(TaskResponse::from(&found.task));
    Ok((headers, tag.respond(&conditions, shown)))
}

/// Lists the tasks that the filter wants.
///
/// The list may be a moment behind. A page that few tasks pass may be short or empty, although more follow.
#[utoipa::path(
    get, path = "/v1/tasks",
    params(FilterParams, PageParams),
    responses((status = 200, body = ListResponse<TaskSummaryResponse>))
)]
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
