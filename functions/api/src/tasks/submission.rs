//! What clients submit: the bodies of `POST /v1/tasks`, `/v1/tasks/batch`, `/v1/agents/execute`
//! and `/v1/agents/{id}/execute`.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde::Deserialize;
use shared::app::{Access, IdempotencyKey, NewTask, VersionChoice};
use shared::domain::{AgentId, CacheUse, Invalid, Metadata, Scope, TaskInput, TraceHeader};
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

use super::request::changes;
use crate::agents::AgentRequest;
use crate::auth::require_scope;
use crate::body::{Broken, Object, counted, named, required};
use crate::json::whole;
use crate::limits::LimitsEntry;
use crate::openapi::{parameters, values};
use crate::problem::Problem;
use crate::time::moment;

/// The most submissions of one batch.
const MAX_BATCH: usize = 100;

/// What an `Idempotency-Key` looks like in a header, where spaces at the ends are no part of it.
pub(super) const KEY_IN_HEADER: &str = "^[!-~]([ -~]{0,253}[!-~])?$";

/// The header `Idempotency-Key`.
pub(crate) enum IdempotencyKeyHeader {}

impl IntoParams for IdempotencyKeyHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "A repeated submission with this key returns the first task.";
        let schema = ObjectBuilder::new().pattern(Some(KEY_IN_HEADER));
        vec![parameters::header("Idempotency-Key", description, schema)]
    }
}

/// The header `Prefer`.
pub(crate) enum PreferHeader {}

impl IntoParams for PreferHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "`wait=N` waits N seconds at most, up to 25, which is the default. `respond-async` does not wait.";
        vec![parameters::header(
            "Prefer",
            description,
            ObjectBuilder::new(),
        )]
    }
}

/// Defines a body with the fields of every submission, and some of its own before them.
macro_rules! submission {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$about])*
        pub(crate) struct $name {
            $($(#[$attribute])* $field: $type,)*
            /// The version that the task runs, instead of the newest one.
            #[serde(default, deserialize_with = "whole")]
            #[schema(value_type = Option<values::Number>)]
            agent_version: Option<u32>,
            /// An alias that names the version.
            #[schema(value_type = Option<values::AliasName>)]
            alias: Option<String>,
            /// A text of up to 128 KiB.
            #[schema(value_type = String, min_length = 1, max_length = 131_072, pattern = r"\S")]
            input: Option<String>,
            #[schema(value_type = Option<values::CacheMode>)]
            cache: Option<String>,
            /// The oldest age at which the task accepts a cached answer.
            #[serde(default, deserialize_with = "whole")]
            #[schema(minimum = 0, maximum = 2_592_000)]
            max_age_seconds: Option<u32>,
            /// Instead of the agent's.
            #[schema(value_type = Option<LimitsEntry>)]
            limits: Option<Object<LimitsEntry>>,
            #[schema(value_type = Option<values::Metadata>)]
            metadata: Option<BTreeMap<String, String>>,
            /// When the task begins at the earliest: at most 30 days from now.
            #[schema(value_type = Option<values::Moment>)]
            not_before: Option<String>,
        }

        impl $name {
            /// The fields of every submission.
            fn terms(self) -> Terms {
                Terms {
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
    };
}

submission! {
    /// The body of `POST /v1/tasks`.
    #[schema(examples(json!({
        "agent_id": "agt_01a20340-4163-7960-b3c7-2b064fae521b",
        "input": "What is the capital of France?",
        "metadata": { "order": "17" },
    })))]
    SubmitTaskRequest {
        #[schema(value_type = values::AgentId)]
        agent_id: Option<String>,
    }
}

submission! {
    /// The body of `POST /v1/agents/execute`: an agent by its id, or inline.
    #[schema(examples(json!({
        "agent": {
            "name": "clerk",
            "instructions": "Answer in one sentence.",
            "models": [{ "provider": "anthropic", "model": "claude-sonnet-5-5" }],
        },
        "input": "What is the capital of France?",
    })))]
    ExecuteTaskRequest {
        #[schema(value_type = Option<values::AgentId>)]
        agent_id: Option<String>,
        /// An inline agent, which needs the scope `agents:write` too.
        #[schema(value_type = Option<AgentRequest>)]
        agent: Option<Object<AgentRequest>>,
    }
}

submission! {
    /// The body of `POST /v1/agents/{id}/execute`.
    #[schema(examples(json!({ "input": "What is the capital of France?" })))]
    ExecuteAgentRequest {}
}

submission! {
    /// One submission of a batch. Its key is here, because a header is of the whole request.
    BatchEntry {
        #[schema(value_type = values::AgentId)]
        agent_id: Option<String>,
        /// A repeated submission with this key returns the first task.
        #[schema(value_type = Option<values::IdempotencyKey>)]
        idempotency_key: Option<String>,
    }
}

/// The body of `POST /v1/tasks/batch`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "tasks": [{
    "agent_id": "agt_01a20340-4163-7960-b3c7-2b064fae521b",
    "input": "What is the capital of France?",
    "idempotency_key": "order-17",
}] })))]
pub(crate) struct BatchRequest {
    #[schema(value_type = Vec<BatchEntry>, min_items = 1, max_items = 100)]
    tasks: Option<Vec<Object<BatchEntry>>>,
}

/// What every submission says of its task.
struct Terms {
    agent_version: Option<u32>,
    alias: Option<String>,
    input: Option<String>,
    cache: Option<String>,
    max_age_seconds: Option<u32>,
    limits: Option<Object<LimitsEntry>>,
    metadata: Option<BTreeMap<String, String>>,
    not_before: Option<String>,
}

/// What the request says of a submission beside the body.
pub(super) struct Sender<'a> {
    pub(super) access: &'a Access,
    pub(super) trace: Option<TraceHeader>,
}

impl SubmitTaskRequest {
    /// The new task, or every rule that the request breaks.
    pub(super) fn new_task(
        self,
        sender: &Sender<'_>,
        headers: &HeaderMap,
    ) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let agent = broken.keep(agent(self.agent_id.clone()));
        let new = self.terms().new_task(agent, sender, &mut broken);
        with_key(new, headers, broken)
    }
}

impl ExecuteAgentRequest {
    /// The new task of this agent, or every rule that the request breaks.
    pub(super) fn new_task(
        self,
        agent: AgentId,
        sender: &Sender<'_>,
        headers: &HeaderMap,
    ) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let new = self.terms().new_task(Some(agent), sender, &mut broken);
        with_key(new, headers, broken)
    }
}

impl ExecuteTaskRequest {
    /// The new task, or every rule that the request breaks.
    pub(super) fn new_task(
        mut self,
        sender: &Sender<'_>,
        headers: &HeaderMap,
    ) -> Result<NewTask, Problem> {
        let mut broken = Broken::default();
        let Some(Object(inline)) = self.agent.take() else {
            let agent = match self.agent_id.clone() {
                None => Err(Invalid::new("/agent_id", "or an agent is required")),
                given @ Some(_) => agent(given),
            };
            let agent = broken.keep(agent);
            let new = self.terms().new_task(agent, sender, &mut broken);
            return with_key(new, headers, broken);
        };
        require_scope(sender.access, Scope::AgentsWrite)?;
        for (field, is_given) in [
            ("/agent_id", self.agent_id.is_some()),
            ("/agent_version", self.agent_version.is_some()),
            ("/alias", self.alias.is_some()),
        ] {
            if is_given {
                let refused = Invalid::new(field, "must not be given beside agent");
                broken.keep::<()>(Err(refused));
            }
        }
        let definition = broken.below("/agent", |broken| inline.definition(broken));
        let tenant = &sender.access.tenant;
        let inline = |input| definition.map(|agent| NewTask::inline(tenant, agent, input));
        let new = self.terms().new_task_of(inline, sender, &mut broken);
        with_key(new, headers, broken)
    }
}

impl BatchRequest {
    /// The new tasks, or every rule that the request breaks.
    pub(super) fn new_tasks(self, sender: &Sender<'_>) -> Result<Vec<NewTask>, Problem> {
        let mut broken = Broken::default();
        let entries = required("/tasks", self.tasks)
            .and_then(|tasks| counted("/tasks", tasks, 1..=MAX_BATCH));
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
                entry.new_task(sender, broken)
            }));
        }
        broken.finish(new.into_iter().collect())
    }
}

impl BatchEntry {
    fn new_task(self, sender: &Sender<'_>, broken: &mut Broken) -> Option<NewTask> {
        let agent = broken.keep(agent(self.agent_id.clone()));
        let key = self.idempotency_key.as_deref().map(str::parse).transpose();
        let placed = |invalid: Invalid| Invalid::new("/idempotency_key", invalid.reason);
        let key: Option<Option<IdempotencyKey>> = broken.keep(key.map_err(placed));
        let new = self.terms().new_task(agent, sender, broken);
        key.zip(new).map(|(idempotency_key, new)| NewTask {
            idempotency_key,
            ..new
        })
    }
}

impl Terms {
    /// The new task of this agent; notes every rule that the terms break.
    fn new_task(
        self,
        agent: Option<AgentId>,
        sender: &Sender<'_>,
        broken: &mut Broken,
    ) -> Option<NewTask> {
        let of_agent = |input| agent.map(|agent| NewTask::of(agent, input));
        self.new_task_of(of_agent, sender, broken)
    }

    /// The new task that `of_agent` makes of the input; notes every rule that the terms break.
    fn new_task_of(
        self,
        of_agent: impl FnOnce(TaskInput) -> Option<NewTask>,
        sender: &Sender<'_>,
        broken: &mut Broken,
    ) -> Option<NewTask> {
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
        let not_before = self.not_before.as_deref();
        let not_before = not_before
            .map(|text| moment("/not_before", text))
            .transpose();
        let not_before = broken.keep(not_before).flatten();
        Some(NewTask {
            version: version?,
            cache_use,
            limits: changes(self.limits, sender.access),
            metadata,
            not_before,
            key: sender.access.key,
            trace: sender.trace.clone(),
            ..of_agent(input?)?
        })
    }
}

fn agent(id: Option<String>) -> Result<AgentId, Invalid> {
    let form = "must be an id of the form agt_…";
    required("/agent_id", id)?
        .parse()
        .map_err(|_| Invalid::new("/agent_id", form))
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

/// The new task with the key of the request's header, or every rule that the request breaks.
fn with_key(
    new: Option<NewTask>,
    headers: &HeaderMap,
    mut broken: Broken,
) -> Result<NewTask, Problem> {
    let key = headers
        .get("idempotency-key")
        .map(|value| value.to_str().unwrap_or_default().parse());
    let key = broken.keep(key.transpose());
    let new = new.zip(key);
    broken.finish(new.map(|(new, idempotency_key)| NewTask {
        idempotency_key,
        ..new
    }))
}
