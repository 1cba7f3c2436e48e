//! `POST /v1/tasks/cancel` and `POST /v1/tasks/retry`: many tasks by a filter.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use shared::app::{AppError, RetryFrom, each_in_time};
use shared::domain::{Invalid, LimitChanges, Task, TaskId, TaskStatus, TenantId};
use shared::ports::{PageRequest, TaskFilter};
use tracing::{Instrument, field};
use utoipa::ToSchema;

use super::filter::FilterRequest;
use crate::Api;
use crate::auth::{Caller, TasksSubmit};
use crate::body::{Body, Broken, Object, required};
use crate::json::whole;
use crate::openapi::values;
use crate::problem::{NOT_TRIED, Problem};
use crate::query::Params;

/// The most tasks of one page.
const MAX_TASKS: u32 = 100;

/// What a task must be to be canceled.
const OPEN: [TaskStatus; 5] = [
    TaskStatus::Queued,
    TaskStatus::Running,
    TaskStatus::Waiting,
    TaskStatus::InputRequired,
    TaskStatus::Paused,
];
/// What a task must be to be retried.
const ENDED: [TaskStatus; 3] = [
    TaskStatus::Failed,
    TaskStatus::TimedOut,
    TaskStatus::Canceled,
];
/// What is retried if the filter names no status: a task that its client canceled is not.
const BROKEN: [TaskStatus; 2] = [TaskStatus::Failed, TaskStatus::TimedOut];

/// Which tasks are meant, one page at a time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "filter": { "metadata": { "order": "17" } }, "limit": 50, "dry_run": true })))]
pub(crate) struct BulkRequest {
    #[schema(value_type = FilterRequest)]
    filter: Option<Object<FilterRequest>>,
    /// The most tasks of the page.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 100, default = 100)]
    limit: Option<u32>,
    /// A `next_cursor` of this route.
    cursor: Option<String>,
    /// Only shows which tasks are meant.
    #[schema(default = false)]
    dry_run: Option<bool>,
}

/// What became of the tasks of one page.
#[derive(Serialize, ToSchema)]
#[schema(as = Bulk)]
pub(crate) struct BulkResponse {
    data: Vec<BulkEntry>,
    next_cursor: Option<String>,
}

/// What became of one task.
#[derive(Serialize, ToSchema)]
struct BulkEntry {
    #[schema(value_type = values::TaskId)]
    id: String,
    /// The status after the change; without a change, the one that the list showed.
    #[schema(value_type = values::TaskStatus)]
    status: TaskStatus,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = values::ProblemCode, required = false)]
    error: Option<&'static str>,
}

/// The page that a request means.
struct Wanted {
    filter: TaskFilter,
    page: PageRequest,
    dry_run: bool,
}

impl BulkRequest {
    /// The page, or every rule that the request breaks. A filter that names no status means the
    /// `default` ones; it may name the `allowed` ones.
    fn wanted(self, allowed: &[TaskStatus], default: &[TaskStatus]) -> Result<Wanted, Problem> {
        let mut broken = Broken::default();
        let filter = broken.below("/filter", |broken| {
            let Object(filter) = broken.keep(required("", self.filter))?;
            if filter.is_empty() {
                let reason = "must name at least one of status, agent_id, metadata, created_from and created_before";
                broken.keep::<()>(Err(Invalid::new("", reason)));
            }
            let filter = filter.filter(broken)?;
            if let Some(other) = filter.statuses.iter().find(|status| !allowed.contains(status)) {
                let names: Vec<&str> = allowed.iter().map(|status| status.as_str()).collect();
                let reason = format!("must be of {}, not {}", names.join(", "), other.as_str());
                broken.keep::<()>(Err(Invalid::new("/status", reason)));
            }
            Some(filter)
        });
        let limit = self.limit.unwrap_or(MAX_TASKS);
        let limit = broken.keep(if (1..=MAX_TASKS).contains(&limit) {
            Ok(limit)
        } else {
            Err(Invalid::new("/limit", format!("must be 1 to {MAX_TASKS}")))
        });
        let wanted = filter.zip(limit).map(|(mut filter, limit)| {
            if filter.statuses.is_empty() {
                filter.statuses = default.to_vec();
            }
            Wanted {
                filter,
                page: PageRequest {
                    limit,
                    after: self.cursor,
                },
                dry_run: self.dry_run.unwrap_or(false),
            }
        });
        broken.finish(wanted)
    }
}

/// Cancels a page of the tasks that a filter wants.
///
/// Each task has its own outcome. Repeating the request does no harm.
#[utoipa::path(
    post, path = "/v1/tasks/cancel",
    responses((status = 200, body = BulkResponse))
)]
pub(crate) async fn cancel_tasks(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    params: Params,
    Body(request): Body<BulkRequest>,
) -> Result<Json<BulkResponse>, Problem> {
    params.finish()?;
    let wanted = request.wanted(&OPEN, &OPEN)?;
    let cancel = |id| api.tasks.cancel_task(&access.tenant, id);
    let done = change_each(&api, &access.tenant, wanted, cancel).await?;
    done.log("cancel by a filter");
    Ok(Json(done.response))
}

/// Retries a page of the tasks that a filter wants.
///
/// Each task has its own outcome. Repeating the request also retries tasks that have failed again.
#[utoipa::path(
    post, path = "/v1/tasks/retry",
    responses((status = 200, body = BulkResponse))
)]
pub(crate) async fn retry_tasks(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    params: Params,
    Body(request): Body<BulkRequest>,
) -> Result<Json<BulkResponse>, Problem> {
    params.finish()?;
    let wanted = request.wanted(&ENDED, &BROKEN)?;
    let retry = |id| {
        let limits = LimitChanges::default();
        api.tasks
            .retry_task(&access.tenant, id, RetryFrom::Checkpoint, limits)
    };
    let done = change_each(&api, &access.tenant, wanted, retry).await?;
    done.log("retry by a filter");
    Ok(Json(done.response))
}

/// What became of a page, for the response and the log.
struct Done {
    response: BulkResponse,
    dry_run: bool,
}

impl Done {
    fn log(&self, message: &'static str) {
        let entries = &self.response.data;
        let changed = entries.iter().filter(|entry| entry.changed).count();
        let failed = entries.iter().filter(|entry| entry.error.is_some()).count();
        let (listed, dry_run) = (entries.len(), self.dry_run);
        tracing::info!(listed, changed, failed, dry_run, "{message}");
    }
}

/// The error with its places in the body of the request.
fn in_body(error: AppError) -> AppError {
    match error {
        AppError::Invalid(broken) => {
            let placed = broken.into_iter().map(|invalid| Invalid {
                field: format!("/{}", invalid.field),
                ..invalid
            });
            AppError::Invalid(placed.collect())
        }
        other => other,
    }
}

/// Makes the change on each task of the page, or on none in a dry run.
async fn change_each<F: Future<Output = Result<Task, AppError>>>(
    api: &Api,
    tenant: &TenantId,
    wanted: Wanted,
    change: impl Fn(TaskId) -> F,
) -> Result<Done, Problem> {
    let Wanted {
        filter,
        page,
        dry_run,
    } = wanted;
    let listed = api.tasks.list_tasks(tenant, &filter, &page).await;
    let listed = listed.map_err(in_body)?;
    let change = &change;
    let changes = listed.entries.iter().map(|task| async move {
        let unchanged = BulkEntry {
            id: task.id.to_string(),
            status: task.status,
            changed: false,
            error: None,
        };
        if dry_run {
            return unchanged;
        }
        // The span of the request has no `task_id`, because there are several tasks.
        let span = tracing::info_span!("bulk change", task_id = %task.id, agent_id = field::Empty);
        // An error is translated in the span, so that its line has the ids of the task.
        let change = async {
            match change(task.id).await {
                Ok(task) => BulkEntry {
                    status: task.status(),
                    changed: true,
                    ..unchanged
                },
                Err(error) => BulkEntry {
                    error: Some(Problem::from(error).code()),
                    ..unchanged
                },
            }
        };
        change.instrument(span).await
    });
    let outcomes = each_in_time(changes.collect()).await;
    let entries = listed.entries.iter().zip(outcomes);
    let entries = entries.map(|(task, outcome)| {
        outcome.unwrap_or_else(|| BulkEntry {
            id: task.id.to_string(),
            status: task.status,
            changed: false,
            error: Some(NOT_TRIED),
        })
    });
    Ok(Done {
        response: BulkResponse {
            data: entries.collect(),
            next_cursor: listed.next,
        },
        dry_run,
    })
}
