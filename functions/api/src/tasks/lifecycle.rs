//! What clients do with their tasks once they are submitted, and what is recorded of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use shared::domain::TaskId;
use shared::ports::Page;

use super::request::{AnswerTaskRequest, ResumeTaskRequest, RetryTaskRequest};
use super::response::{NumberedChangeResponse, TaskResponse};
use super::steps::{Extent, StepResponse};
use crate::Api;
use crate::auth::{Caller, TasksRead, TasksSubmit};
use crate::body::{Body, OptionalBody};
use crate::delivery::{MAX_BODY_BYTES, bytes_of, fit};
use crate::etag::{EntityTag, IfNoneMatch};
use crate::path::{PathId, PathNumber};
use crate::problem::Problem;
use crate::query::{ListResponse, PageParams, Params, refused};

/// From how many bytes on, as Lambda returns them, a page of steps takes no further step. A single
/// step may be larger.
const MAX_PAGE_BYTES: usize = 1_024 * 1_024;

/// The bytes of a page without its steps.
const PAGE_FRAME_BYTES: usize = 1_024;

type Accepted = (StatusCode, Json<TaskResponse>);

/// Cancels a task, at once or within seconds.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/cancel",
    responses(
        (status = 200, body = TaskResponse),
        (status = 409, description = "The task has ended."),
    )
)]
pub(crate) async fn cancel_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    PathId(id): PathId<TaskId>,
    params: Params,
) -> Result<Json<TaskResponse>, Problem> {
    params.finish()?;
    let task = api.tasks.cancel_task(&access.tenant, id).await?;
    Ok(Json(TaskResponse::from(&task)))
}

/// Deletes a task that has ended.
#[utoipa::path(
    delete, path = "/v1/tasks/{id}",
    responses((status = 204), (status = 409, description = "The task has not ended."))
)]
pub(crate) async fn delete_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    PathId(id): PathId<TaskId>,
    params: Params,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    api.tasks.delete_task(&access.tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Continues a task that failed, was canceled or timed out.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/retry",
    responses(
        (status = 202, body = TaskResponse),
        (status = 409, description = "The task's status does not allow it, or it would stop at the same limit."),
    )
)]
pub(crate) async fn retry_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    PathId(id): PathId<TaskId>,
    params: Params,
    OptionalBody(request): OptionalBody<RetryTaskRequest>,
) -> Result<Accepted, Problem> {
    params.finish()?;
    let (from, limits) = request.terms(&access)?;
    let task = api
        .tasks
        .retry_task(&access.tenant, id, from, limits)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(TaskResponse::from(&task))))
}

/// Continues a task that paused at a limit.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/resume",
    responses(
        (status = 202, body = TaskResponse),
        (status = 409, description = "The task is not paused, or it would pause at the same limit."),
    )
)]
pub(crate) async fn resume_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    PathId(id): PathId<TaskId>,
    params: Params,
    OptionalBody(request): OptionalBody<ResumeTaskRequest>,
) -> Result<Accepted, Problem> {
    params.finish()?;
    let task = api
        .tasks
        .resume_task(&access.tenant, id, request.limits(&access))
        .await?;
    Ok((StatusCode::ACCEPTED, Json(TaskResponse::from(&task))))
}

/// Answers the tool calls that a task waits for.
#[utoipa::path(
    post, path = "/v1/tasks/{id}/input",
    responses(
        (status = 202, body = TaskResponse),
        (status = 409, description = "The task does not wait for results, or others were accepted."),
    )
)]
pub(crate) async fn answer_task(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    PathId(id): PathId<TaskId>,
    params: Params,
    Body(request): Body<AnswerTaskRequest>,
) -> Result<Accepted, Problem> {
    params.finish()?;
    let task = api
        .tasks
        .answer_task(&access.tenant, id, request.answers()?)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(TaskResponse::from(&task))))
}

/// Lists the steps of a task, in order.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/steps",
    params(PageParams),
    responses((status = 200, body = ListResponse<StepResponse>))
)]
pub(crate) async fn list_steps(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    PathId(id): PathId<TaskId>,
    mut params: Params,
) -> Result<Json<ListResponse<StepResponse>>, Problem> {
    let (after, limit) = place_and_limit(&mut params)?;
    params.finish()?;
    let part = api
        .tasks
        .list_steps(&access.tenant, id, after.unwrap_or(0), limit)
        .await?;
    let (mut entries, mut bytes, mut more) = (Vec::new(), 0, part.more);
    for step in part.steps {
        let (number, entry) = (
            step.number,
            fit(
                StepResponse::of(&step, Extent::Entry),
                MAX_BODY_BYTES - PAGE_FRAME_BYTES,
            ),
        );
        bytes += bytes_of(&entry);
        if bytes > MAX_PAGE_BYTES && !entries.is_empty() {
            more = true;
            break;
        }
        entries.push((number, entry));
    }
    let next = entries
        .last()
        .filter(|_| more)
        .map(|(number, _)| number.to_string());
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok(Json(ListResponse::of(Page { entries, next })))
}

/// Reads a step of a task. Its texts are cut if the response would be too large.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/steps/{number}",
    params(IfNoneMatch),
    responses((status = 200, body = StepResponse, headers(("ETag"))), (status = 304, headers(("ETag"))))
)]
pub(crate) async fn find_step(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    (PathId(id), PathNumber(number)): (PathId<TaskId>, PathNumber),
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let step = api.tasks.find_step(&access.tenant, id, number).await?;
    // A retry from the start can put a step of another run in the place of this one.
    let tag = EntityTag::of(&format!("{id}-{number}-{}-{}", step.base, api.version));
    let shown = fit(StepResponse::of(&step, Extent::Alone), MAX_BODY_BYTES);
    Ok(tag.respond(&headers, Json(shown)))
}

/// Lists all transitions of a task, in order.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/history",
    params(PageParams),
    responses((status = 200, body = ListResponse<NumberedChangeResponse>))
)]
pub(crate) async fn list_history(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    PathId(id): PathId<TaskId>,
    mut params: Params,
) -> Result<Json<ListResponse<NumberedChangeResponse>>, Problem> {
    let (after, limit) = place_and_limit(&mut params)?;
    params.finish()?;
    let from = after.map_or(0, |after| after.saturating_add(1));
    let part = api
        .tasks
        .list_history(&access.tenant, id, from, limit)
        .await?;
    let next = part
        .changes
        .last()
        .filter(|_| part.more)
        .map(|(number, _)| number.to_string());
    Ok(Json(ListResponse::from(Page {
        entries: part.changes,
        next,
    })))
}

/// Takes `limit` and `cursor` of a list in which the number of an entry is its place.
fn place_and_limit(params: &mut Params) -> Result<(Option<u32>, u32), Problem> {
    let page = params.take_page()?;
    let place = page.after.as_deref().map(str::parse).transpose();
    let place =
        place.map_err(|_| refused("cursor", "must be a next_cursor that this list gave"))?;
    Ok((place, page.limit))
}
