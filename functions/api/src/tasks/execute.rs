//! `POST /v1/agents/execute` and `/v1/agents/{id}/execute`: a submission that waits for the task's
//! end.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::app::AppError;
use shared::domain::{AgentId, Causes, Task};
use tokio::time::Instant;

use super::MAX_WAIT_SECONDS;
use super::response::TaskResponse;
use super::submission::{
    ExecuteAgentRequest, ExecuteTaskRequest, IdempotencyKeyHeader, PreferHeader, Sender,
};
use crate::Api;
use crate::auth::{Caller, TasksSubmit};
use crate::body::Body;
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::Params;
use crate::time::whole_seconds;
use crate::trace::Trace;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Submits a task of the agent and waits for its end, as long as `Prefer` says.
///
/// The response is a `200` with the finished task, or a `202` with the task as it is.
#[utoipa::path(
    post, path = "/v1/agents/{id}/execute",
    params(IdempotencyKeyHeader, PreferHeader),
    responses(
        (status = 200, body = TaskResponse, headers(("Location"), ("Preference-Applied"))),
        (status = 202, body = TaskResponse, headers(("Location"), ("Preference-Applied"), ("Retry-After"))),
        (status = 409, description = "The agent is disabled, or the task with this `Idempotency-Key` was deleted."),
    )
)]
pub(crate) async fn execute_agent(
    State(api): State<Api>,
    caller: Caller<TasksSubmit>,
    (PathId(agent), Trace(trace), headers): (PathId<AgentId>, Trace, HeaderMap),
    params: Params,
    Body(request): Body<ExecuteAgentRequest>,
) -> Result<Response, Problem> {
    params.finish()?;
    let waiting = Waiting::begin(&api, &caller, &headers).await?;
    let sender = Sender {
        access: &caller.access,
        trace,
    };
    let new = request.new_task(agent, &sender, &headers)?;
    let submitted = api.tasks.submit_task(&caller.access.tenant, new).await;
    let task = submitted.map_err(|error| of_path(error, agent))?;
    Ok(waiting.end(&api, task).await)
}

/// Submits a task of an agent, which may be inline, and waits for its end, as long as `Prefer` says.
///
/// The response is a `200` with the finished task, or a `202` with the task as it is.
#[utoipa::path(
    post, path = "/v1/agents/execute",
    params(IdempotencyKeyHeader, PreferHeader),
    responses(
        (status = 200, body = TaskResponse, headers(("Location"), ("Preference-Applied"))),
        (status = 202, body = TaskResponse, headers(("Location"), ("Preference-Applied"), ("Retry-After"))),
        (status = 409, description = "The agent is disabled, or the task with this `Idempotency-Key` was deleted."),
    )
)]
pub(crate) async fn execute_task(
    State(api): State<Api>,
    caller: Caller<TasksSubmit>,
    (Trace(trace), headers): (Trace, HeaderMap),
    params: Params,
    Body(request): Body<ExecuteTaskRequest>,
) -> Result<Response, Problem> {
    params.finish()?;
    let waiting = Waiting::begin(&api, &caller, &headers).await?;
    let sender = Sender {
        access: &caller.access,
        trace,
    };
    let new = request.new_task(&sender, &headers)?;
    let task = api.tasks.submit_task(&caller.access.tenant, new).await?;
    Ok(waiting.end(&api, task).await)
}

/// A request that submits a task and waits for its end.
struct Waiting {
    began: Instant,
    preference: Preference,
}

impl Waiting {
    async fn begin(
        api: &Api,
        caller: &Caller<TasksSubmit>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let (began, preference) = (Instant::now(), Preference::of(headers));
        let wait = preference.wait();
        if !wait.is_zero() {
            caller.check_for(api, wait).await?;
        }
        Ok(Self { began, preference })
    }

    /// The response with the task that was submitted, once it has ended or the time is over.
    async fn end(self, api: &Api, mut task: Task) -> Response {
        let mut headers = self.preference.applied();
        // A slow submission must not make the request longer than Lambda lets it be.
        let left = self.preference.wait().saturating_sub(self.began.elapsed());
        let tenant = task.spec().tenant.clone();
        match api.waits.find_task(&tenant, task.id(), left).await {
            Ok(found) => {
                if let Some(after) = found.retry_after {
                    headers.insert(RETRY_AFTER, whole_seconds(after).into());
                }
                task = found.task;
            }
            // The task is accepted: the client must learn its id.
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "wait for the task ended early: it can't be read");
            }
        }
        let status = if task.status().is_terminal() {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        let location = [(LOCATION, format!("/v1/tasks/{}", task.id()))];
        let shown = Json(TaskResponse::from(&task));
        (status, location, headers, shown).into_response()
    }
}

/// The agent is in the path, not in the body: if it is unknown, the response is that of every path
/// with an unknown id.
fn of_path(error: AppError, agent: AgentId) -> AppError {
    match error {
        AppError::Invalid(broken) if broken.iter().any(|rule| rule.field == "/agent_id") => {
            AppError::NotFound(format!("agent {agent}"))
        }
        error => error,
    }
}

/// What a client prefers (RFC 7240). Preferences of other names, and malformed ones, are ignored.
#[derive(Debug, PartialEq, Eq)]
enum Preference {
    /// None: the response comes at the task's end, or after the longest wait.
    None,
    /// `wait`: after so many seconds at the latest.
    Wait(u64),
    /// `respond-async`: at once.
    Async,
}

impl Preference {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all("prefer").iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let mut preferred = Self::None;
        for preference in values.flat_map(|value| value.split(',')) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "wait" => {
                    if let Ok(seconds) = value.trim().trim_matches('"').parse() {
                        return Self::Wait(seconds);
                    }
                }
                "respond-async" => preferred = Self::Async,
                _ => {}
            }
        }
        preferred
    }

    fn wait(&self) -> Duration {
        Duration::from_secs(match self {
            Self::None => MAX_WAIT_SECONDS,
            Self::Wait(seconds) => MAX_WAIT_SECONDS.min(*seconds),
            Self::Async => 0,
        })
    }

    /// The header that says which preference was honored.
    fn applied(&self) -> HeaderMap {
        let applied = match self {
            Self::None => return HeaderMap::new(),
            Self::Wait(_) => format!("wait={}", self.wait().as_secs()),
            Self::Async => "respond-async".to_owned(),
        };
        let value = HeaderValue::try_from(applied).ok();
        value
            .map(|value| (PREFERENCE_APPLIED, value))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_read_as_the_rfc_spells_it() {
        for (values, expected) in [
            (vec![], Preference::None),
            (vec!["wait=10"], Preference::Wait(10)),
            (vec!["handling=lenient, Wait = \"5\""], Preference::Wait(5)),
            (vec!["respond-async"], Preference::Async),
            (vec!["respond-async", "wait=3"], Preference::Wait(3)),
            (vec!["wait=soon"], Preference::None),
            (vec!["wait"], Preference::None),
        ] {
            let pairs = values.iter().map(|value| {
                (
                    HeaderName::from_static("prefer"),
                    HeaderValue::from_static(value),
                )
            });
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            assert_eq!(Preference::of(&headers), expected, "{values:?}");
        }
    }
}
