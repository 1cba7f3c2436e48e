//! `POST /v1/tasks/batch`: several submissions in one request.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use shared::app::{Access, IdempotencyKey, NewTask};
use shared::domain::{Invalid, TaskStatus, TraceHeader};
use shared::metric;

use super::request::SubmitTaskRequest;
use crate::Api;
use crate::auth::{Caller, TasksSubmit};
use crate::body::{Body, Broken, Object, counted, required};
use crate::limits::LimitsEntry;
use crate::problem::{ErrorEntry, Problem};
use crate::query::Params;
use crate::trace::Trace;

/// The most submissions of one request.
const MAX_TASKS: usize = 100;

/// The body of `POST /v1/tasks/batch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    tasks: Option<Vec<Object<BatchEntry>>>,
}

/// One submission. Its key is here, because a header is of the whole request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchEntry {
    agent_id: Option<String>,
    agent_version: Option<u32>,
    alias: Option<String>,
    input: Option<String>,
    cache: Option<String>,
    max_age_seconds: Option<u32>,
    limits: Option<Object<LimitsEntry>>,
    metadata: Option<BTreeMap<String, String>>,
    not_before: Option<String>,
    idempotency_key: Option<String>,
}

/// The outcomes of the submissions, in their order.
#[derive(Serialize)]
pub(crate) struct BatchResponse {
    data: Vec<SubmittedResponse>,
}

/// The outcome of one submission: a task, or an error.
#[derive(Serialize)]
#[serde(untagged)]
enum SubmittedResponse {
    Accepted { id: String, status: TaskStatus },
    Refused { error: ErrorEntry },
}

/// Submits up to 100 tasks. A body that breaks a rule is refused as a whole; after that, each
/// submission has its own outcome.
pub(crate) async fn submit_tasks(
    State(api): State<Api>,
    Caller { access, .. }: Caller<TasksSubmit>,
    Trace(trace): Trace,
    params: Params,
    Body(request): Body<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    params.finish()?;
    let new = request.new_tasks(&access, trace.as_ref())?;
    let outcomes = api.tasks.submit_tasks(&access.tenant, new).await;
    let outcomes = outcomes.into_iter().map(|outcome| {
        let refused = match outcome {
            Some(Ok(task)) => {
                return SubmittedResponse::Accepted {
                    id: task.id().to_string(),
                    status: task.status(),
                };
            }
            Some(Err(error)) => Problem::from(error),
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

impl BatchRequest {
    fn new_tasks(
        self,
        access: &Access,
        trace: Option<&TraceHeader>,
    ) -> Result<Vec<NewTask>, Problem> {
        let mut broken = Broken::default();
        let entries = required("/tasks", self.tasks)
            .and_then(|tasks| counted("/tasks", tasks, 1..=MAX_TASKS));
        let entries = broken.keep(entries).unwrap_or_default();
        let mut places = BTreeMap::new();
        let mut new = Vec::new();
        for (place, Object(entry)) in entries.into_iter().enumerate() {
            new.push(broken.below(&format!("/tasks/{place}"), |broken| {
                if let Some(key) = &entry.idempotency_key
                    && let Some(first) = places.insert(key.clone(), place)
                {
                    let reason = format!("must differ from that of /tasks/{first}");
                    broken.keep::<()>(Err(Invalid::new("/idempotency_key", reason)));
                }
                entry.new_task(access, broken, trace)
            }));
        }
        broken.finish(new.into_iter().collect())
    }
}

impl BatchEntry {
    fn new_task(
        self,
        access: &Access,
        broken: &mut Broken,
        trace: Option<&TraceHeader>,
    ) -> Option<NewTask> {
        let key = self.idempotency_key.as_deref().map(str::parse);
        let key: Option<Option<IdempotencyKey>> = broken.keep(
            key.transpose()
                .map_err(|invalid: Invalid| Invalid::new("/idempotency_key", invalid.reason)),
        );
        let request = SubmitTaskRequest {
            agent_id: self.agent_id,
            agent_version: self.agent_version,
            alias: self.alias,
            input: self.input,
            cache: self.cache,
            max_age_seconds: self.max_age_seconds,
            limits: self.limits,
            metadata: self.metadata,
            not_before: self.not_before,
        };
        let new = request.read(broken, access);
        key.zip(new).map(|(idempotency_key, new)| NewTask {
            idempotency_key,
            trace: trace.cloned(),
            ..new
        })
    }
}
