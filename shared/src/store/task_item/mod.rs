//! The form of a task's record.
//!
//! [`MUTABLE`] lists the attributes that a transition can change. A transition writes all of them,
//! so that nothing of the state before is left. Content that may be large is packed: an output, a
//! failure or a list of calls (see [`task_content`](super::task_content)).
//!
//! - Version 1 has this content in attributes, and no limits, history or steps.
//! - Version 2 has the task's input.
//! - Version 3 has its input [in a record of its own](super::task_details). It has a version of its
//!   own because earlier code would not find the input.
//!
//! A transition does not change the version.
//!
//! A record that is marked as [`DELETING`] belongs to a deleted task: readers find no task.

mod reading;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::blob::{self, Blob, BlobHeader};
use super::change_form::{self, WAIT_DETAIL, WAIT_REASON};
use super::items::{self, Attributes, Fields, Item, USAGE, moment, name, number, text};
use super::keys::{self, CREATED, DUE_AT, DUE_SHARD, TENANT_ID};
use crate::domain::task::{Progress, TaskSpec};
use crate::domain::{Failure, Task, TaskInput, TaskState, TaskStatus, TenantId};
use crate::ports::{INPUT_IN_RECORD, StoreError};

pub(super) use reading::{read, read_summary};

/// The newest form's version.
pub(super) const VERSION: u32 = 3;

/// The version of a record that has its task's input.
const WITH_INPUT: u32 = 2;

/// The most bytes of packed content in a task's record. An earlier version's record also has an
/// input of up to 128 KiB, and a record has at most 400 KB.
const IN_HEAD: usize = 128 * 1_024;

pub(super) const AGENT_ID: &str = "agent_id";
pub(super) const ATTEMPTS: &str = "attempts";
pub(super) const FENCE: &str = "fence";
pub(super) const DEADLINE: &str = "deadline";
pub(super) const LEASE_EXPIRES_AT: &str = "lease_expires_at";
pub(super) const LEASE_WORKER: &str = "lease_worker";
pub(super) const RESEND_AT: &str = "resend_at";
pub(super) const REVISION: &str = "revision";
pub(super) const SENDS: &str = "sends";
pub(super) const STATUS: &str = "status";
pub(super) const UPDATED_AT: &str = "updated_at";
pub(super) const WAIT_UNTIL: &str = "wait_until";
pub(super) const INPUT: &str = "input";
pub(super) const CANCEL_REQUESTED: &str = "cancel_requested";
pub(super) const HISTORY: &str = "history";
const HISTORY_FIRST: &str = "history_first";
/// The size of an input that is in a record of its own.
const INPUT_BYTES: &str = "input_bytes";
pub(super) const DELETING: &str = "deleting";
/// When a task ended whose record is marked as [`DELETING`].
pub(super) const ENDED_AT: &str = "ended_at";

const AGENT_VERSION: &str = "agent_version";
const CREATED_AT: &str = "created_at";
const CACHE_MODE: &str = "cache_mode";
const CACHE_MAX_AGE: &str = "cache_max_age_seconds";
const TRACE: &str = "trace";
pub(super) const METADATA: &str = "metadata";
pub(super) const SUBMITTED_BY: &str = "submitted_by";
const NOT_BEFORE: &str = "not_before";
const PARKINGS: &str = "parkings";
const OUTAGES: &str = "outages";
const RATE_LIMITS: &str = "rate_limits";
const TURNS: &str = "turns";
const SETBACKS: &str = "setbacks";
const HOPS: &str = "hops";
const STEPS: &str = "steps";
const BASE: &str = "base";
const CONVERSATION_BYTES: &str = "conversation_bytes";
/// The number of steps that the bytes count. A worker of an earlier version adds steps without
/// changing the bytes.
const CONVERSATION_STEPS: &str = "conversation_steps";
const LIMITS: &str = "limits";
const LIMIT: &str = "limit";
const SINCE: &str = "since";
const EXPIRES_AT: &str = "input_expires_at";
const SPEND: &str = "spend";
const STOP_REASON: &str = "stop_reason";
const FAILURE_CODE: &str = "failure_code";
const ORIGIN: &str = "origin";
const ANSWERED_BY: &str = "answered_by";

/// In records of version 1, in place of packed content.
const OUTPUT_TEXT: &str = "output_text";
const FAILURE_MESSAGE: &str = "failure_message";
const FAILED_ATTEMPTS: &str = "failed_attempts";

/// The name of packed content in the error of a damaged record.
const CONTENT: &str = "content";

/// Every attribute that a transition can set or remove.
pub(super) const MUTABLE: [&str; 46] = [
    blob::CODEC,
    blob::RAW_BYTES,
    blob::SHA256,
    blob::STORED,
    blob::CHUNKS,
    HOPS,
    STEPS,
    BASE,
    CONVERSATION_BYTES,
    CONVERSATION_STEPS,
    CANCEL_REQUESTED,
    LIMITS,
    DEADLINE,
    HISTORY,
    HISTORY_FIRST,
    LIMIT,
    SINCE,
    EXPIRES_AT,
    PARKINGS,
    OUTAGES,
    RATE_LIMITS,
    TURNS,
    SETBACKS,
    SPEND,
    WAIT_REASON,
    WAIT_DETAIL,
    WAIT_UNTIL,
    REVISION,
    FENCE,
    ATTEMPTS,
    SENDS,
    UPDATED_AT,
    STATUS,
    DUE_SHARD,
    DUE_AT,
    RESEND_AT,
    LEASE_WORKER,
    LEASE_EXPIRES_AT,
    OUTPUT_TEXT,
    STOP_REASON,
    USAGE,
    FAILURE_CODE,
    FAILURE_MESSAGE,
    FAILED_ATTEMPTS,
    ORIGIN,
    ANSWERED_BY,
];

/// The packed content of a failed task.
#[derive(Serialize, Deserialize)]
struct FailureContent<M, A> {
    message: M,
    attempts: A,
}

/// Packs the part of the task's present state that may be large.
pub(super) fn pack(task: &Task) -> Result<Option<Blob>, StoreError> {
    let raw = match task.state() {
        TaskState::Completed(output) => Ok(output.text.clone().into_bytes()),
        TaskState::Failed(Failure {
            message, attempts, ..
        }) => serde_json::to_vec(&FailureContent { message, attempts }),
        TaskState::InputRequired { calls, .. } => serde_json::to_vec(calls),
        TaskState::Queued { .. }
        | TaskState::Running(_)
        | TaskState::Waiting { .. }
        | TaskState::Paused { .. }
        | TaskState::Canceled
        | TaskState::TimedOut => return Ok(None),
    };
    Blob::pack(
        raw.map_err(|error| StoreError::Refused(Box::new(error)))?,
        IN_HEAD,
    )
    .map(Some)
}

/// The task, with what [`pack`] made of it, as its record.
pub(super) fn write(task: &Task, content: Option<&Blob>) -> Item {
    let TaskSpec {
        id,
        tenant,
        agent,
        input,
        cache_use,
        created_at,
        trace,
        metadata,
        submitted_by,
        not_before,
    } = task.spec();
    let input = input.as_ref().map_or("", TaskInput::as_str);
    let (version, input) = if is_apart(input) {
        (VERSION, (INPUT_BYTES, number(input.len())))
    } else {
        (WITH_INPUT, (INPUT, text(input)))
    };
    let mut attributes = vec![
        (TENANT_ID, text(tenant.as_str())),
        (CREATED, text(keys::created(*created_at, *id))),
        (CREATED_AT, moment(*created_at)),
        (AGENT_ID, text(agent.id.to_string())),
        (AGENT_VERSION, number(agent.version)),
        input,
        (CACHE_MODE, name(&cache_use.mode)),
    ];
    attributes.extend(
        cache_use
            .max_age
            .map(|age| (CACHE_MAX_AGE, number(age.as_secs()))),
    );
    attributes.extend(trace.as_ref().map(|trace| (TRACE, text(trace.as_str()))));
    if !metadata.pairs().is_empty() {
        attributes.push((METADATA, items::texts(metadata.pairs())));
    }
    attributes.extend(submitted_by.map(|key| (SUBMITTED_BY, text(key.to_string()))));
    attributes.extend(not_before.map(|begin| (NOT_BEFORE, moment(begin))));
    attributes.extend(progress(task, content));
    items::versioned(version, keys::task(*id), attributes)
}

/// Whether an input is in a record of its own. DynamoDB charges each change of a task for the whole
/// record of the task.
pub(super) const fn is_apart(input: &str) -> bool {
    input.len() > INPUT_IN_RECORD
}

/// The part of the record that changes: the attributes of [`MUTABLE`] that the present state has.
pub(super) fn progress(task: &Task, content: Option<&Blob>) -> Attributes {
    let Progress {
        revision,
        fence,
        attempts,
        sends,
        parkings,
        hops,
        steps,
        base,
        cancel_requested,
        limits,
        deadline,
        spend,
        history,
        updated_at,
        state,
        setbacks: _,
        conversation_bytes: _,
    } = task.progress();
    let mut attributes = vec![
        (REVISION, number(revision)),
        (FENCE, number(fence)),
        (ATTEMPTS, number(attempts)),
        (SENDS, number(sends)),
        (PARKINGS, number(parkings.all)),
        (HOPS, number(hops)),
        (STEPS, number(steps)),
        (BASE, number(base)),
        items::json(LIMITS, limits),
        (DEADLINE, moment(*deadline)),
        (
            HISTORY,
            items::list(history.recent().iter().map(change_form::change)),
        ),
        items::json(SPEND, spend),
        (UPDATED_AT, moment(*updated_at)),
        (STATUS, name(&task.status())),
    ];
    let (shard, due_at) = match task.due_at() {
        Some(due_at) => (keys::due_shard(task.id()), due_at),
        None => (keys::ended_shard(task.id()), *updated_at),
    };
    attributes.extend([(DUE_SHARD, text(shard)), (DUE_AT, moment(due_at))]);
    attributes.extend(content.into_iter().flat_map(Blob::head));
    attributes.extend(occasional(task.progress()));
    if *cancel_requested {
        attributes.push((CANCEL_REQUESTED, AttributeValue::Bool(true)));
    }
    attributes.extend(of_state(state));
    attributes
}

/// The attributes that only a task in this state has.
fn of_state(state: &TaskState) -> Attributes {
    match state {
        TaskState::Queued { due_at } => vec![(RESEND_AT, moment(*due_at))],
        TaskState::Running(lease) => vec![
            (LEASE_WORKER, text(lease.worker.to_string())),
            (LEASE_EXPIRES_AT, moment(lease.expires_at)),
        ],
        TaskState::Waiting { wait, due_at } => {
            let mut attributes = change_form::wait_reason(wait.reason);
            attributes.extend([
                (WAIT_UNTIL, moment(wait.until)),
                (RESEND_AT, moment(*due_at)),
            ]);
            attributes
        }
        TaskState::InputRequired {
            since,
            expires_at,
            calls: _,
        } => {
            vec![(SINCE, moment(*since)), (EXPIRES_AT, moment(*expires_at))]
        }
        TaskState::Paused {
            limit,
            since,
            expires_at,
        } => {
            vec![
                (LIMIT, name(limit)),
                (SINCE, moment(*since)),
                (EXPIRES_AT, moment(*expires_at)),
            ]
        }
        TaskState::Completed(output) => vec![
            (STOP_REASON, name(&output.stop_reason)),
            items::usage(output.usage),
            items::json(ORIGIN, &output.origin),
            items::json(ANSWERED_BY, &output.model),
        ],
        TaskState::Failed(failure) => vec![(FAILURE_CODE, name(&failure.code))],
        TaskState::Canceled | TaskState::TimedOut => Vec::new(),
    }
}

/// The attributes that most records don't have.
fn occasional(progress: &Progress) -> Attributes {
    let Progress {
        parkings,
        setbacks,
        history,
        conversation_bytes,
        steps,
        ..
    } = progress;
    let counts = [
        (OUTAGES, parkings.outages),
        (RATE_LIMITS, parkings.rate_limits),
        (TURNS, parkings.turns),
    ];
    let counts = counts
        .into_iter()
        .chain([(HISTORY_FIRST, history.first())])
        .filter(|(_, count)| *count > 0);
    let mut attributes: Attributes = counts.map(|(name, count)| (name, number(count))).collect();
    if let Some(bytes) = conversation_bytes {
        attributes.extend([
            (CONVERSATION_BYTES, number(bytes)),
            (CONVERSATION_STEPS, number(steps)),
        ]);
    }
    if !setbacks.is_empty() {
        attributes.push(items::json(SETBACKS, setbacks));
    }
    attributes
}

/// Whether the record belongs, or belonged, to a task of the tenant.
pub(super) fn is_of(tenant: &TenantId, item: &Item) -> Result<bool, StoreError> {
    Ok(Fields::up_to(VERSION, item)?.text(TENANT_ID)? == tenant.as_str())
}

/// Whether the record belongs to a deleted task.
pub(super) fn is_deleting(item: &Item) -> bool {
    item.contains_key(DELETING)
}

/// Where the packed content of the task in a record is, if its state has any and the record holds
/// it packed.
pub(super) fn head(item: &Item) -> Result<Option<BlobHeader<'_>>, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    let packed = match fields.name(STATUS)? {
        TaskStatus::Completed => !fields.has(OUTPUT_TEXT),
        TaskStatus::Failed => !fields.has(FAILURE_MESSAGE),
        TaskStatus::InputRequired => true,
        TaskStatus::Queued
        | TaskStatus::Running
        | TaskStatus::Waiting
        | TaskStatus::Paused
        | TaskStatus::Canceled
        | TaskStatus::TimedOut => false,
    };
    packed.then(|| BlobHeader::read(fields)).transpose()
}

#[cfg(test)]
mod tests;
