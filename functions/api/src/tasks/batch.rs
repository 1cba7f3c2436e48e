//! `POST /v1/tasks/batch`: several submissions in one request.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::domain::TaskStatus;
use shared::metric;
use utoipa::ToSchema;

use super::submission::{BatchRequest, Sender};
use crate::Api;
use crate::auth::{Caller, TasksSubmit};
use crate::body::Body;
use crate::openapi::values;
use crate::problem::{ErrorEntry, Problem};
use crate::query::Params;
use crate::trace::Trace;

/// The outcomes of the submissions, in their order.
#[derive(Serialize, ToSchema)]
#[schema(as = Batch)]
pub(crate) struct BatchResponse {
    data: Vec<SubmittedResponse>,
}

/// The outcome of one submission: a task, or an error.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Submitted)]
enum SubmittedResponse {
    Accepted {
        #[schema(value_type = values::TaskId)]
        id: String,
        #[schema(value_type = values::TaskStatus)]
        status: TaskStatus,
    },
    Refused {
        error: ErrorEntry,
    },
}

/// Submits up to 100 tasks.
///
/// A body that breaks a rule is refused as a whole; after that, each submission has its own outcome.
#[utoipa::path(
    post, path = "/v1/tasks/batch",
    responses((status = 200, body = BatchResponse))
)]
pub(crate) async fn submit_tasks(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    Trace(trace): Trace,
    params: Params,
    Body(request): Body<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    params.finish()?;
    let sender = Sender {
        access: &access,
        trace,
    };
    let new = request.new_tasks(&sender)?;
    let outcomes = api.tasks.submit_tasks(&access.tenant, new).await;
    let outcomes = outcomes.into_iter().map(|outcome| {
        let refused = match outcome {
            Some(Ok(task)) => {
                return SubmittedResponse::Accepted {
                    id: task.id().to_string(),
                    status: task.status(),
                };
            }
            Some(Err(problem)) => problem,
            None => Problem::not_tried(),
        };
        metric::SUBMIT_FAILURES.add([], u64::from(refused.is_of_server()));
        SubmittedResponse::Refused {
            error: refused.entry(),
        }
    });
    Ok(Json(BatchResponse {
        data: outcomes.collect(),
    }))
}
