//! The bodies of requests on tasks.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde::Deserialize;
use shared::app::{Access, IdempotencyKey, NewTask, RetryFrom, ToolAnswer, VersionChoice};
use shared::domain::{
    AgentId, CacheUse, Invalid, LimitChanges, Metadata, TaskInput, Timestamp, TraceHeader,
};

use crate::body::{Broken, Object, named, required};
use crate::limits::LimitsEntry;
use crate::problem::Problem;
use crate::time::parse_rfc3339;

/// The body of `POST /v1/tasks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitTaskRequest {
    pub(super) agent_id: Option<String>,
    pub(super) agent_version: Option<u32>,
    pub(super) alias: Option<String>,
    pub(super) input: Option<String>,
    pub(super) cache: Option<String>,
    pub(super) max_age_seconds: Option<u32>,
    pub(super) limits: Option<Object<LimitsEntry>>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    pub(super) not_before: Option<String>,
}

/// The body of `POST /v1/agents/{id}/execute`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecuteAgentRequest {
    agent_version: Option<u32>,
    alias: Option<String>,
    input: Option<String>,
    cache: Option<String>,
    max_age_seconds: Option<u32>,
    limits: Option<Object<LimitsEntry>>,
    metadata: Option<BTreeMap<String, String>>,
    not_before: Option<String>,
}

impl ExecuteAgentRequest {
    /// The submission of a task of this agent.
    pub(super) fn of(self, agent: AgentId) -> SubmitTaskRequest {
        SubmitTaskRequest {
            agent_id: Some(agent.to_string()),
            agent_version: self.agent_version,
            alias: self.alias,
            input: self.input,
            cache: self.cache,
            max_age_seconds: self.max_age_seconds,
            limits: self.limits,
            metadata: self.metadata,
            not_before: self.not_before,
        }
    }
}

/// The body of `POST /v1/tasks/{id}/retry`, which may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryTaskRequest {
    from: Option<String>,
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `POST /v1/tasks/{id}/resume`, which may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeTaskRequest {
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `POST /v1/tasks/{id}/input`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerTaskRequest {
    results: Option<Vec<Object<ResultEntry>>>,
}

/// The client's answer to one tool call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultEntry {
    call_id: Option<String>,
    step: Option<u32>,
    text: Option<String>,
    is_error: Option<bool>,
}

impl RetryTaskRequest {
    /// Where the task starts, and the changes of its limits.
    pub(super) fn terms(self, access: &Access) -> Result<(RetryFrom, LimitChanges), Problem> {
        let from = match self.from.as_deref() {
            None | Some("checkpoint") => Ok(RetryFrom::Checkpoint),
            Some("start") => Ok(RetryFrom::Start),
            Some(_) => Err(Invalid::new("/from", "must be checkpoint or start")),
        };
        let mut broken = Broken::default();
        let from = broken.keep(from);
        broken.finish(from.map(|from| (from, changes(self.limits, access))))
    }
}

impl ResumeTaskRequest {
    /// The changes of the task's limits.
    pub(super) fn limits(self, access: &Access) -> LimitChanges {
        changes(self.limits, access)
    }
}

impl AnswerTaskRequest {
    /// The answers, or every rule that the body breaks.
    pub(super) fn answers(self) -> Result<Vec<ToolAnswer>, Problem> {
        let mut broken = Broken::default();
        let entries = broken
            .keep(required("/results", self.results))
            .unwrap_or_default();
        let mut answers = Vec::new();
        for (place, Object(entry)) in entries.into_iter().enumerate() {
            answers.push(broken.below(&format!("/results/{place}"), |broken| {
                let names_call = entry.call_id.is_some() || entry.step.is_some();
                let named = names_call
                    .then_some(())
                    .ok_or_else(|| Invalid::new("/call_id", "or a step is required"));
                let named = broken.keep(named);
                let text = broken.keep(required("/text", entry.text));
                let is_error = entry.is_error.unwrap_or(false);
                named.and(text).map(|text| ToolAnswer {
                    call_id: entry.call_id,
                    step: entry.step,
                    text,
                    is_error,
                })
            }));
        }
        broken.finish(answers.into_iter().collect())
    }
}

fn changes(limits: Option<Object<LimitsEntry>>, access: &Access) -> LimitChanges {
    let Object(entry) = limits.unwrap_or_default();
    entry.changes(access)
}

impl SubmitTaskRequest {
    /// The new task, or every rule that the request breaks.
    pub(super) fn new_task(
        self,
        access: &Access,
        headers: &HeaderMap,
        trace: Option<TraceHeader>,
    ) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let new = self.read(&mut broken, access);
        let idempotency_key = broken.keep(idempotency_key(headers));
        let new = new.zip(idempotency_key);
        broken.finish(new.map(|(new, idempotency_key)| NewTask {
            idempotency_key,
            trace,
            ..new
        }))
    }

    /// The new task that the body describes; notes every rule that it breaks.
    pub(super) fn read(self, broken: &mut Broken, access: &Access) -> Option<NewTask> {
        let agent = broken.keep(required("/agent_id", self.agent_id).and_then(|id| {
            id.parse()
                .map_err(|_| Invalid::new("/agent_id", "must be an id of the form agt_…"))
        }));
        let version = broken.keep(version(self.agent_version, self.alias));
        let input = broken.keep(required("/input", self.input).and_then(TaskInput::new));
        let mut cache_use = CacheUse::default();
        if let Some(mode) = self.cache {
            let mode = named("/cache", &mode, "default, bypass, refresh or off");
            cache_use.mode = broken.keep(mode).unwrap_or_default();
        }
        if let Some(seconds) = self.max_age_seconds {
            cache_use = broken
                .keep(cache_use.with_max_age_seconds(seconds))
                .unwrap_or(cache_use);
        }
        let metadata = Metadata::new(self.metadata.unwrap_or_default());
        let metadata = broken.keep_all(metadata).unwrap_or_default();
        let not_before = self.not_before.as_deref().map(not_before).transpose();
        let not_before = broken.keep(not_before).flatten();
        Some(NewTask {
            version: version?,
            cache_use,
            limits: changes(self.limits, access),
            metadata,
            not_before,
            key: access.key,
            ..NewTask::of(agent?, input?)
        })
    }
}

fn not_before(text: &str) -> Result<Timestamp, Invalid> {
    let form = "must be a time such as 2027-01-31T12:00:00Z";
    parse_rfc3339(text).ok_or_else(|| Invalid::new("/not_before", form))
}

/// Which version of the agent the task runs.
fn version(number: Option<u32>, alias: Option<String>) -> Result<VersionChoice, Invalid> {
    match (number, alias) {
        (None, None) => Ok(VersionChoice::Newest),
        (Some(number), None) => Ok(VersionChoice::Number(number)),
        (None, Some(alias)) => alias.parse().map(VersionChoice::Alias),
        (Some(_), Some(_)) => Err(Invalid::new(
            "/alias",
            "must not be given beside agent_version",
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Invalid> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    value.to_str().unwrap_or_default().parse().map(Some)
}
