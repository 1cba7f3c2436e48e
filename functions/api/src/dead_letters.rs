//! `/v1/dead-letters`: lists dead letters, and redrives them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::app::{AppError, each_in_time};
use shared::domain::TaskId;
use tracing::{Instrument, field};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, DeadLetters};
use crate::body::{Body, Broken, counted, required};
use crate::openapi::values;
use crate::path::PathId;
use crate::problem::{NOT_TRIED, Problem};
use crate::query::{ListResponse, PageParams, Params};
use crate::tasks::{TaskResponse, TaskSummaryResponse};

/// The most tasks that one request redrives.
const MAX_IDS: usize = 100;

/// Lists the dead letters, newest first.
#[utoipa::path(
    get, path = "/v1/dead-letters",
    params(PageParams),
    responses((status = 200, body = ListResponse<TaskSummaryResponse>))
)]
pub(crate) async fn list_dead_letters(
    State(api): State<Api>,
    Caller { access, .. }: Caller<DeadLetters>,
    mut params: Params,
) -> Result<Json<ListResponse<TaskSummaryResponse>>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    Ok(Json(ListResponse::from(
        api.tasks.list_dead_letters(&access.tenant, &page).await?,
    )))
}

/// Continues a dead letter after its last recorded step.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/redrive",
    responses(
        (status = 202, body = TaskResponse),
        (status = 409, description = "The task is no dead letter."),
    )
)]
pub(crate) async fn redrive(
    State(api): State<Api>,
    Caller { access, .. }: Caller<DeadLetters>,
    PathId(id): PathId<TaskId>,
    params: Params,
) -> Result<(StatusCode, Json<TaskResponse>), Problem> {
    params.finish()?;
    let task = api.tasks.redrive(&access.tenant, id).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskResponse::from(&task))))
}

/// The body of `POST /v1/dead-letters/redrive`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveRequest, examples(json!({ "ids": ["tsk_01a20340-4163-7960-b3c7-2b064fae521b"] })))]
pub(crate) struct RedriveRequest {
    /// Ids of tasks. What is none gets the outcome `not_found`.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 100)]
    ids: Option<Vec<String>>,
}

/// The outcome of one redrive of several.
#[derive(Serialize, ToSchema)]
#[schema(as = Redriven)]
pub(crate) struct RedrivenResponse {
    id: String,
    redriven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::ProblemCode)]
    error: Option<&'static str>,
}

/// Continues several dead letters.
///
/// Each has its own outcome.
#[utoipa::path(
    post, path = "/v1/dead-letters/redrive",
    responses((status = 200, body = ListResponse<RedrivenResponse>))
)]
pub(crate) async fn redrive_many(
    State(api): State<Api>,
    Caller { access, .. }: Caller<DeadLetters>,
    params: Params,
    Body(request): Body<RedriveRequest>,
) -> Result<Json<ListResponse<RedrivenResponse>>, Problem> {
    params.finish()?;
    let mut broken = Broken::default();
    let ids = broken
        .keep(required("/ids", request.ids).and_then(|ids| counted("/ids", ids, 1..=MAX_IDS)));
    let ids = broken.finish(ids)?;
    let redrives = ids.iter().map(|id| async {
        let task: Option<TaskId> = id.parse().ok();
        // The span of the request has no `task_id`, because there are several tasks.
        let span = tracing::info_span!(
            "redrive",
            task_id = task.map(field::display),
            agent_id = field::Empty
        );
        let redrive = async {
            let redriven = match task {
                Some(task) => api.tasks.redrive(&access.tenant, task).await,
                None => Err(AppError::NotFound(String::new())),
            };
            redriven.err().map(|error| Problem::from(error).code())
        };
        redrive.instrument(span).await
    });
    let outcomes = each_in_time(redrives.collect()).await;
    let entries = ids.into_iter().zip(outcomes).map(|(id, outcome)| {
        let error = outcome.unwrap_or(Some(NOT_TRIED));
        RedrivenResponse {
            id,
            redriven: error.is_none(),
            error,
        }
    });
    let entries = entries.collect();
    Ok(Json(ListResponse::of(shared::ports::Page {
        entries,
        next: None,
    })))
}
