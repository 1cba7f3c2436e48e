//! The spelling of every key, of the table and of its indexes. Nowhere else is one put together or
//! taken apart.
//!
//! Numbers inside keys are padded with zeros, so that they sort as numbers.

mod limits;
mod usage;

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use crate::domain::{
    AgentId, AgentVersion, AnswerKey, HealthKey, Hex, KeyId, ModelRef, StepPlace, TaskId, TenantId,
    Timestamp,
};
use limits::tenant_budgets;
pub(super) use limits::{budget, request_count, slots, waits};
pub(super) use usage::{usage, usage_check, usage_days, usage_row};

/// The table's partition key.
pub(super) const PK: &str = "pk";
/// The table's sort key.
pub(super) const SK: &str = "sk";
/// The condition that nothing is at a key yet.
pub(super) const NOTHING_THERE: &str = "attribute_not_exists(pk)";

/// When a record of the ephemeral table expires, in [`seconds`]: DynamoDB's TTL.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// The index of a tenant's tasks by the moment of their creation: partition [`TENANT_ID`], sort
/// [`CREATED`].
pub(super) const TASKS: &str = "tasks";
pub(super) const TENANT_ID: &str = "tenant_id";
pub(super) const CREATED: &str = "created";

/// The index of tasks by the moment at which the watchdog checks them: partition [`DUE_SHARD`],
/// sort [`DUE_AT`]. Ended tasks are in shards of their own, by the moment of their end.
pub(super) const DUE: &str = "due";
pub(super) const DUE_SHARD: &str = "due_shard";
pub(super) const DUE_AT: &str = "due_at";

/// What the sort keys of a tenant's newest agent versions begin with.
pub(super) const AGENT_PREFIX: &str = "AGENT#";
/// What the sort keys of a tenant's API keys begin with.
pub(super) const API_KEY_PREFIX: &str = "KEY#";
/// Where the list of all tenants is.
pub(super) const TENANTS: &str = "TENANTS";
/// What the sort keys of that list begin with.
pub(super) const LISTED_TENANT_PREFIX: &str = "TENANT#";
/// The sort key of a task's own record, and of an API key's.
pub(super) const META: &str = "META";
/// What the sort keys of a task's steps begin with.
pub(super) const STEP_PREFIX: &str = "STEP#";

/// What the sort keys of the blocks of a task's history begin with.
const HISTORY_PREFIX: &str = "HISTORY#";

const TASK_PREFIX: &str = "TASK#";
const TENANT_PREFIX: &str = "TENANT#";
const DUE_SHARDS: u8 = 8;
const DUE_PREFIX: &str = "due#";
const ENDED_PREFIX: &str = "done#";

/// The shard of [`DUE`] that archived agents are in, by the moment of their next scan.
pub(super) const ARCHIVED_AGENTS: &str = "archived";
/// The shard of [`DUE`] that inline agents are in, likewise. Earlier versions do not read it.
pub(super) const INLINE_AGENTS: &str = "inline";

/// The shard of [`DUE`] that tenants are in whose tasks the watchdog walks through, by the moment at
/// which the next round is due.
pub(super) const WALKED_TENANTS: &str = "tenants";

/// By how much the clocks of two machines may differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// The shard of [`DUE`] that a deleted task is in once it has been emptied. Few are there at a
/// time, so one will do.
pub(super) const EMPTIED_SHARD: &str = "emptied";

/// A record's place in the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pk, self.sk)
    }
}

/// A key that no record has, for callers that only check whether the table is there.
pub(super) fn nobody() -> Key {
    Key {
        pk: "NOBODY".to_owned(),
        sk: "NOTHING".to_owned(),
    }
}

/// The record of an API key that a check reads. It is in no tenant's partition.
pub(super) fn api_key(id: KeyId) -> Key {
    Key {
        pk: format!("APIKEY#{id}"),
        sk: META.to_owned(),
    }
}

/// An API key in its tenant's list.
pub(super) fn listed_api_key(tenant: &TenantId, id: KeyId) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: format!("{API_KEY_PREFIX}{id}"),
    }
}

/// The API key whose place in its tenant's list a sort key is.
pub(super) fn parse_listed_api_key(sk: &str) -> Option<KeyId> {
    sk.strip_prefix(API_KEY_PREFIX)?.parse().ok()
}

/// All partitions whose records go with a tenant: of its agents, API keys and counts, of its daily
/// budgets, and of its usage. Its tasks and the ephemeral table are not among them.
pub(super) fn tenant_partitions(tenant: &TenantId) -> Vec<String> {
    let budgets = tenant_budgets(tenant);
    budgets
        .chain([usage(tenant), self::tenant(tenant)])
        .collect()
}

/// A tenant's own record.
pub(super) fn tenant_record(tenant: &TenantId) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: "TENANT".to_owned(),
    }
}

/// How much a tenant has of what is limited.
pub(super) fn tenant_counts(tenant: &TenantId) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: "COUNTS".to_owned(),
    }
}

/// A tenant in the list of all tenants.
pub(super) fn listed_tenant(tenant: &TenantId) -> Key {
    Key {
        pk: TENANTS.to_owned(),
        sk: format!("{LISTED_TENANT_PREFIX}{tenant}"),
    }
}

/// Where a tenant's agents and API keys are.
pub(super) fn tenant(tenant: &TenantId) -> String {
    format!("{TENANT_PREFIX}{tenant}")
}

/// The newest version of an agent.
pub(super) fn agent(tenant: &TenantId, id: AgentId) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: format!("{AGENT_PREFIX}{id}"),
    }
}

/// The agent that the sort key of a newest version is of.
pub(super) fn parse_agent(sk: &str) -> Option<AgentId> {
    sk.strip_prefix(AGENT_PREFIX)?.parse().ok()
}

/// The tenant whose agents a partition has.
pub(super) fn parse_tenant(pk: &str) -> Option<TenantId> {
    pk.strip_prefix(TENANT_PREFIX)?.parse().ok()
}

/// What the sort keys of an agent's versions begin with.
pub(super) fn agent_versions(id: AgentId) -> String {
    format!("AGENTVERSION#{id}#")
}

/// The agent that the sort key of a version is of.
pub(super) fn parse_agent_of_version(sk: &str) -> Option<AgentId> {
    let (id, _) = sk.strip_prefix("AGENTVERSION#")?.split_once('#')?;
    id.parse().ok()
}

/// The number of the version that a sort key is of.
pub(super) fn parse_agent_version(sk: &str) -> Option<u32> {
    sk.rsplit_once('#')?.1.parse().ok()
}

/// One version of an agent.
pub(super) fn agent_version(tenant: &TenantId, version: AgentVersion) -> Key {
    Key {
        pk: self::tenant(tenant),
        sk: format!("{}{:08}", agent_versions(version.id), version.version),
    }
}

/// A task.
pub(super) fn task(id: TaskId) -> Key {
    Key {
        pk: task_partition(id),
        sk: META.to_owned(),
    }
}

/// Where a task and all that belongs to it are.
pub(super) fn task_partition(id: TaskId) -> String {
    format!("{TASK_PREFIX}{id}")
}

/// The task that a partition is of.
pub(super) fn parse_task_partition(pk: &str) -> Option<TaskId> {
    pk.strip_prefix(TASK_PREFIX)?.parse().ok()
}

/// A step of a task, in the run that began after the step `base`. Each run has places of its own,
/// so that a late worker of an earlier run takes no place of a later run.
pub(super) fn step(task: TaskId, base: u32, number: u32) -> Key {
    Key {
        pk: task_partition(task),
        sk: step_sort_key(StepPlace { number, base }),
    }
}

fn step_sort_key(StepPlace { number, base }: StepPlace) -> String {
    let run = if base == 0 {
        String::new()
    } else {
        format!("#{base:08}")
    };
    format!("{STEP_PREFIX}{number:08}{run}")
}

/// The range of the sort keys of the steps after a place.
pub(super) fn steps_after(place: StepPlace) -> (String, String) {
    // The character that comes before the one that begins a later run's key, and the one that comes
    // after the last digit.
    (
        format!("{}!", step_sort_key(place)),
        format!("{STEP_PREFIX}:"),
    )
}

/// The input of a task, if the task's own record doesn't have it.
pub(super) fn task_input(task: TaskId) -> Key {
    Key {
        pk: task_partition(task),
        sk: "INPUT".to_owned(),
    }
}

/// A block of a task's history that begins with the change of this number.
pub(super) fn history_block(task: TaskId, first: u32) -> Key {
    Key {
        pk: task_partition(task),
        sk: history_sort_key(first),
    }
}

/// The range of the sort keys of the blocks whose first changes have these numbers, both included.
pub(super) fn history_blocks(first: u32, last: u32) -> (String, String) {
    (history_sort_key(first), history_sort_key(last))
}

fn history_sort_key(first: u32) -> String {
    format!("{HISTORY_PREFIX}{first:08}")
}

/// A piece of a step or of a task's result that one record can't hold.
pub(super) fn task_chunk(partition: &str, digest: &[u8], number: usize) -> Key {
    Key {
        pk: partition.to_owned(),
        sk: chunk(digest, number),
    }
}

/// The circuit of a model.
pub(super) fn circuit(model: &ModelRef) -> Key {
    Key {
        pk: format!("CIRCUIT#{}#{}", model.provider(), model.name()),
        sk: "STATE".to_owned(),
    }
}

/// The health of a model, beside its circuit; of the other models of a provider, where no model's
/// circuit is, because no model has an empty name.
pub(super) fn health(key: &HealthKey) -> Key {
    let (provider, name) = match key {
        HealthKey::Model(model) => (model.provider(), model.name()),
        HealthKey::OtherModels(provider) => (*provider, ""),
    };
    Key {
        pk: format!("CIRCUIT#{provider}#{name}"),
        sk: "HEALTH".to_owned(),
    }
}

/// A moment in the unit of [`EXPIRES_AT`]: whole seconds since the epoch.
pub(super) const fn seconds(moment: Timestamp) -> u64 {
    moment.as_millis() / 1_000
}

/// A task's place in [`TASKS`].
pub(super) fn created(at: Timestamp, id: TaskId) -> String {
    format!("{:013}#{id}", at.as_millis())
}

/// The first place in [`TASKS`] of a task that is not older than this.
pub(super) fn created_since(at: Timestamp) -> String {
    format!("{:013}", at.as_millis())
}

/// The moment and the task of a place in [`TASKS`].
pub(super) fn parse_created(text: &str) -> Option<(Timestamp, TaskId)> {
    let (millis, id) = text.split_once('#')?;
    let (at, id) = (
        Timestamp::from_millis(millis.parse().ok()?),
        id.parse().ok()?,
    );
    (created(at, id) == text).then_some((at, id))
}

/// The shard of [`DUE`] that a task is in until it ends.
pub(super) fn due_shard(id: TaskId) -> String {
    format!("{DUE_PREFIX}{}", shard(id))
}

/// The shard of [`DUE`] that a task is in once it has ended.
pub(super) fn ended_shard(id: TaskId) -> String {
    format!("{ENDED_PREFIX}{}", shard(id))
}

/// All shards of tasks that have not ended.
pub(super) fn due_shards() -> impl Iterator<Item = String> {
    (0..DUE_SHARDS).map(|number| format!("{DUE_PREFIX}{number}"))
}

/// All shards of tasks that have ended.
pub(super) fn ended_shards() -> impl Iterator<Item = String> {
    (0..DUE_SHARDS).map(|number| format!("{ENDED_PREFIX}{number}"))
}

fn shard(id: TaskId) -> u8 {
    let [.., last] = id.as_bytes();
    last % DUE_SHARDS
}

/// The answer to a request, and the claim to make the call.
pub(super) fn answer(key: &AnswerKey) -> Key {
    Key {
        pk: answer_partition(key),
        sk: "VALUE".to_owned(),
    }
}

/// Where all that belongs to a request is.
pub(super) fn answer_partition(key: &AnswerKey) -> String {
    format!("ANSWER#{key}")
}

/// A piece of an answer that one record can't hold.
pub(super) fn answer_chunk(key: &AnswerKey, digest: &[u8], number: usize) -> Key {
    Key {
        pk: answer_partition(key),
        sk: chunk(digest, number),
    }
}

/// What the sort keys of a value's pieces begin with. They are named by their content, so that
/// pieces of two values never mix, and that writing the same ones twice does no harm.
pub(super) fn chunks(digest: &[u8]) -> String {
    format!("CHUNK#{}#", hex(digest))
}

fn chunk(digest: &[u8], number: usize) -> String {
    format!("{}{number:04}", chunks(digest))
}

/// A place in a list that is ordered by ids, as text for clients. Holds nothing but the id, and no
/// tenant.
pub(super) fn id_cursor(id: impl Display) -> String {
    hex(id.to_string().as_bytes())
}

/// The place that a cursor of a list of `T`s stands for.
pub(super) fn parse_id_cursor<T: FromStr>(cursor: &str) -> Option<T> {
    unhex(cursor)?.parse().ok()
}

/// A place in a list of an agent's versions, as text for clients.
pub(super) fn version_cursor(number: u32) -> String {
    hex(format!("v{number}").as_bytes())
}

/// The version that a cursor of a list of versions stands for.
pub(super) fn parse_version_cursor(cursor: &str) -> Option<u32> {
    let number = unhex(cursor)?.strip_prefix('v')?.parse().ok()?;
    (version_cursor(number) == cursor).then_some(number)
}

/// A place in a list of tasks, as text for clients. Holds nothing but the task's moment and id, and
/// no tenant.
pub(super) fn task_cursor(at: Timestamp, id: TaskId) -> String {
    hex(created(at, id).as_bytes())
}

/// The place that a cursor of a list of tasks stands for.
pub(super) fn parse_task_cursor(cursor: &str) -> Option<(Timestamp, TaskId)> {
    parse_created(&unhex(cursor)?)
}

/// Hexadecimal, so that nobody is tempted to read or build a cursor, and that it needs no escape in
/// a URL.
fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

fn unhex(hex: &str) -> Option<String> {
    let canonical = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(canonical) {
        return None;
    }
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

#[cfg(test)]
mod tests;
