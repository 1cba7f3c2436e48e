//! The body of `POST /v1/tasks`.

use axum::http::HeaderMap;
use serde::Deserialize;
use shared::app::{IdempotencyKey, NewTask};
use shared::domain::{CacheUse, Invalid, TaskInput};

use crate::body::{Broken, named, required};
use crate::problem::Problem;

/// The body of `POST /v1/tasks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitTaskRequest {
    agent_id: Option<String>,
    input: Option<String>,
    cache: Option<String>,
    max_age_seconds: Option<u32>,
}

impl SubmitTaskRequest {
    /// What is submitted, or every rule that the request breaks.
    pub(super) fn new_task(self, headers: &HeaderMap) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let agent = broken.keep(
            required("/agent_id", self.agent_id)
                .and_then(|id| id.parse().map_err(|_| Invalid::new("/agent_id", "must be an id of the form agt_…"))),
        );
        let input = broken.keep(required("/input", self.input).and_then(TaskInput::new));
        let mut cache_use = CacheUse::default();
        if let Some(mode) = self.cache {
            let mode = named("/cache", &mode, "default, bypass, refresh or off");
            cache_use.mode = broken.keep(mode).unwrap_or_default();
        }
        if let Some(seconds) = self.max_age_seconds {
            cache_use = broken.keep(cache_use.with_max_age_seconds(seconds)).unwrap_or(cache_use);
        }
        let idempotency_key = broken.keep(idempotency_key(headers));
        let new = match (agent, input, idempotency_key) {
            (Some(agent), Some(input), Some(idempotency_key)) => {
                Some(NewTask { agent, input, cache_use, idempotency_key })
            }
            _ => None,
        };
        broken.finish(new)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Invalid> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    value.to_str().unwrap_or_default().parse().map(Some)
}
