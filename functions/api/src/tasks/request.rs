//! The bodies of requests on tasks that are submitted.

use serde::Deserialize;
use shared::app::{Access, RetryFrom, ToolAnswer};
use shared::domain::{Invalid, LimitChanges};
use utoipa::ToSchema;

use crate::body::{Broken, Object, required};
use crate::json::whole;
use crate::limits::LimitsEntry;
use crate::openapi::values;
use crate::problem::Problem;

/// The body of `POST /v1/tasks/{id}/retry`, which may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "from": "start" })))]
pub(crate) struct RetryTaskRequest {
    #[schema(value_type = Option<values::RetryFrom>)]
    from: Option<String>,
    #[schema(value_type = Option<LimitsEntry>)]
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `POST /v1/tasks/{id}/resume`, which may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "limits": { "max_steps": 200 } })))]
pub(crate) struct ResumeTaskRequest {
    #[schema(value_type = Option<LimitsEntry>)]
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `POST /v1/tasks/{id}/input`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "results": [{ "step": 2, "text": "Yes, really." }] })))]
pub(crate) struct AnswerTaskRequest {
    #[schema(value_type = Vec<ResultEntry>)]
    results: Option<Vec<Object<ResultEntry>>>,
}

/// The client's answer to one tool call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ToolResult)]
struct ResultEntry {
    /// The call, unless `step` names it.
    call_id: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = Option<values::Number>)]
    step: Option<u32>,
    #[schema(value_type = String)]
    text: Option<String>,
    #[schema(default = false)]
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

/// The changes of limits that a body asks for.
pub(super) fn changes(limits: Option<Object<LimitsEntry>>, access: &Access) -> LimitChanges {
    let Object(entry) = limits.unwrap_or_default();
    entry.changes(access)
}
