//! The routes that return a task's long texts in parts. A client gets a whole text part by part.

use axum::Json;
use axum::extract::State;
use shared::domain::TaskId;

use super::steps::{Extent, StepResponse};
use crate::Api;
use crate::auth::{Caller, TasksRead};
use crate::delivery::{RangeParams, TextRange, TextResponse};
use crate::path::{PathId, PathNumber};
use crate::problem::Problem;
use crate::query::Params;

/// Reads a part of a completed task's answer.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/output",
    params(RangeParams),
    responses(
        (status = 200, body = TextResponse),
        (status = 409, description = "There is no answer yet."),
    )
)]
pub(crate) async fn read_output(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    PathId(id): PathId<TaskId>,
    mut params: Params,
) -> Result<Json<TextResponse>, Problem> {
    let range = TextRange::take(&mut params)?;
    params.finish()?;
    let text = api.tasks.output_text(&access.tenant, id).await?;
    TextResponse::of(&text, range).map(Json)
}

/// Reads a part of a whole step as JSON. Nothing in it is cut.
///
/// The parts together are a JSON object with the fields of the step.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/steps/{number}/json",
    params(RangeParams),
    responses((status = 200, body = TextResponse))
)]
pub(crate) async fn read_step_json(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    (PathId(id), PathNumber(number)): (PathId<TaskId>, PathNumber),
    mut params: Params,
) -> Result<Json<TextResponse>, Problem> {
    let range = TextRange::take(&mut params)?;
    params.finish()?;
    let step = api.tasks.find_step(&access.tenant, id, number).await?;
    let whole = serde_json::to_string(&StepResponse::of(&step, Extent::Whole));
    let whole = whole.map_err(|_| Problem::internal())?;
    TextResponse::of(&whole, range).map(Json)
}

/// Reads a part of the text of a step: a model's answer or a tool's result.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/steps/{number}/text",
    params(RangeParams),
    responses((status = 200, body = TextResponse))
)]
pub(crate) async fn read_step_text(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    (PathId(id), PathNumber(number)): (PathId<TaskId>, PathNumber),
    mut params: Params,
) -> Result<Json<TextResponse>, Problem> {
    let range = TextRange::take(&mut params)?;
    params.finish()?;
    let text = api.tasks.step_text(&access.tenant, id, number).await?;
    TextResponse::of(&text, range).map(Json)
}

/// Reads a part of the arguments of a tool call.
///
/// The step is, or will be, the result of the call.
#[utoipa::path(
    get, path = "/v1/tasks/{id}/steps/{number}/arguments",
    params(RangeParams),
    responses((status = 200, body = TextResponse))
)]
pub(crate) async fn read_call_arguments(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksRead>,
    (PathId(id), PathNumber(number)): (PathId<TaskId>, PathNumber),
    mut params: Params,
) -> Result<Json<TextResponse>, Problem> {
    let range = TextRange::take(&mut params)?;
    params.finish()?;
    let text = api.tasks.call_arguments(&access.tenant, id, number).await?;
    TextResponse::of(&text, range).map(Json)
}
