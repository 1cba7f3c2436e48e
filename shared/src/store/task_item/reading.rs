//! Reads a task from the attributes of its record.

use std::time::Duration;

use super::{
    AGENT_ID, AGENT_VERSION, ANSWERED_BY, ATTEMPTS, BASE, CACHE_MAX_AGE, CACHE_MODE,
    CANCEL_REQUESTED, CONTENT, CONVERSATION_BYTES, CONVERSATION_STEPS, CREATED_AT, DEADLINE,
    EXPIRES_AT, FAILED_ATTEMPTS, FAILURE_CODE, FAILURE_MESSAGE, FENCE, FailureContent, HISTORY,
    HISTORY_FIRST, HOPS, INPUT, INPUT_BYTES, LEASE_EXPIRES_AT, LEASE_WORKER, LIMIT, LIMITS,
    METADATA, NOT_BEFORE, ORIGIN, OUTAGES, OUTPUT_TEXT, PARKINGS, RATE_LIMITS, RESEND_AT, REVISION,
    SENDS, SETBACKS, SINCE, SPEND, STATUS, STEPS, STOP_REASON, SUBMITTED_BY, TRACE, TURNS,
    UPDATED_AT, VERSION, WAIT_UNTIL,
};
use crate::domain::task::{Progress, TaskSpec};
use crate::domain::{
    AgentVersion, CacheUse, Failure, History, Lease, Limits, Metadata, Output, Parkings, Task,
    TaskId, TaskInput, TaskState, TaskStatus, Wait,
};
use crate::ports::{StoreError, TaskSummary};
use crate::store::change_form;
use crate::store::items::{Fields, Item};
use crate::store::keys;
use crate::store::keys::TENANT_ID;

fn id(fields: &Fields<'_>) -> Result<TaskId, StoreError> {
    keys::parse_task_partition(fields.text(keys::PK)?)
        .ok_or_else(|| fields.corrupt("its partition is not a task's"))
}

fn agent(fields: &Fields<'_>) -> Result<AgentVersion, StoreError> {
    Ok(AgentVersion {
        id: fields.parsed(AGENT_ID)?,
        version: fields.number(AGENT_VERSION)?,
    })
}

fn metadata(fields: &Fields<'_>) -> Result<Metadata, StoreError> {
    let pairs = fields.optional(METADATA, Fields::texts)?;
    Ok(Metadata::restored(pairs.unwrap_or_default()))
}

fn input(fields: &Fields<'_>) -> Result<Option<TaskInput>, StoreError> {
    if fields.has(INPUT_BYTES) {
        return Ok(None);
    }
    fields
        .valid(TaskInput::new(fields.text(INPUT)?.to_owned()))
        .map(Some)
}

/// Whole, however long an earlier version let it become.
fn history(fields: &Fields<'_>) -> Result<History, StoreError> {
    let stored = fields
        .optional(HISTORY, change_form::read_changes)?
        .unwrap_or_default();
    let first = fields.optional(HISTORY_FIRST, Fields::number)?.unwrap_or(0);
    Ok(History::restore(first, stored, fields.number(REVISION)?))
}

fn cache_use(fields: &Fields<'_>) -> Result<CacheUse, StoreError> {
    Ok(CacheUse {
        mode: fields
            .optional(CACHE_MODE, Fields::name)?
            .unwrap_or_default(),
        max_age: fields
            .optional(CACHE_MAX_AGE, Fields::number)?
            .map(Duration::from_secs),
    })
}

/// Unknown also if another than its writer recorded steps since.
fn conversation_bytes(fields: &Fields<'_>) -> Result<Option<u64>, StoreError> {
    let of_steps: Option<u64> = fields.optional(CONVERSATION_STEPS, Fields::number)?;
    let steps: Option<u64> = fields.optional(STEPS, Fields::number)?;
    let bytes = fields.optional(CONVERSATION_BYTES, Fields::number)?;
    Ok(bytes.filter(|_| of_steps == steps))
}

/// A task of version 1 has only a deadline of its own; its other limits were its agent's.
fn limits(fields: &Fields<'_>) -> Result<Limits, StoreError> {
    if let Some(limits) = fields.optional(LIMITS, Fields::json)? {
        return Ok(limits);
    }
    let timeout = fields.moment(DEADLINE)?.since(fields.moment(CREATED_AT)?);
    fields.valid(
        Limits::default()
            .with_timeout_seconds(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)),
    )
}

/// A worker of the version before counts all of them only, and leaves the others as they are when
/// it begins anew.
fn parkings(fields: &Fields<'_>) -> Result<Parkings, StoreError> {
    let count = |name| Ok::<u32, StoreError>(fields.optional(name, Fields::number)?.unwrap_or(0));
    let all = count(PARKINGS)?;
    let [outages, rate_limits, turns] =
        [count(OUTAGES)?, count(RATE_LIMITS)?, count(TURNS)?].map(|some| some.min(all));
    Ok(Parkings {
        all,
        outages,
        rate_limits,
        turns,
    })
}

fn state(fields: &Fields<'_>, content: Option<Vec<u8>>) -> Result<TaskState, StoreError> {
    Ok(match fields.name(STATUS)? {
        TaskStatus::Queued => TaskState::Queued {
            due_at: fields.moment(RESEND_AT)?,
        },
        TaskStatus::Running => TaskState::Running(Lease {
            worker: fields.parsed(LEASE_WORKER)?,
            expires_at: fields.moment(LEASE_EXPIRES_AT)?,
        }),
        TaskStatus::Waiting => TaskState::Waiting {
            wait: Wait {
                until: fields.moment(WAIT_UNTIL)?,
                reason: change_form::read_wait_reason(fields)?,
            },
            due_at: fields.moment(RESEND_AT)?,
        },
        TaskStatus::Completed => TaskState::Completed(Output {
            text: match content {
                Some(text) => String::from_utf8(text)
                    .map_err(|_| fields.corrupt("its output is not a text"))?,
                None => fields.text(OUTPUT_TEXT)?.to_owned(),
            },
            stop_reason: fields.name(STOP_REASON)?,
            usage: fields.usage()?,
            origin: fields.json(ORIGIN)?,
            model: fields.json(ANSWERED_BY)?,
        }),
        TaskStatus::Failed => {
            let FailureContent { message, attempts } = match content {
                Some(json) => fields.parse(CONTENT, &json)?,
                None => FailureContent {
                    message: fields.text(FAILURE_MESSAGE)?.to_owned(),
                    attempts: fields.json(FAILED_ATTEMPTS)?,
                },
            };
            TaskState::Failed(Failure {
                code: fields.name(FAILURE_CODE)?,
                message,
                attempts,
            })
        }
        TaskStatus::InputRequired => TaskState::InputRequired {
            calls: fields.parse(CONTENT, &content.unwrap_or_default())?,
            since: fields.moment(SINCE)?,
            expires_at: fields.moment(EXPIRES_AT)?,
        },
        TaskStatus::Paused => TaskState::Paused {
            limit: fields.name(LIMIT)?,
            since: fields.moment(SINCE)?,
            expires_at: fields.moment(EXPIRES_AT)?,
        },
        TaskStatus::Canceled => TaskState::Canceled,
        TaskStatus::TimedOut => TaskState::TimedOut,
    })
}

/// The task in a record, with what `head` led to.
pub(in crate::store) fn read(item: &Item, content: Option<Vec<u8>>) -> Result<Task, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    let spec = TaskSpec {
        id: id(&fields)?,
        tenant: fields.parsed(TENANT_ID)?,
        agent: agent(&fields)?,
        input: input(&fields)?,
        cache_use: cache_use(&fields)?,
        created_at: fields.moment(CREATED_AT)?,
        trace: fields.optional(TRACE, Fields::parsed)?,
        metadata: metadata(&fields)?,
        submitted_by: fields.optional(SUBMITTED_BY, Fields::parsed)?,
        not_before: fields.optional(NOT_BEFORE, Fields::moment)?,
    };
    let progress = Progress {
        revision: fields.number(REVISION)?,
        fence: fields.number(FENCE)?,
        attempts: fields.number(ATTEMPTS)?,
        sends: fields.number(SENDS)?,
        parkings: parkings(&fields)?,
        // One that a later version wrote with words of its own is left out: it only explains.
        setbacks: fields
            .optional(SETBACKS, Fields::json)
            .ok()
            .flatten()
            .unwrap_or_default(),
        hops: fields.optional(HOPS, Fields::number)?.unwrap_or(0),
        steps: fields.optional(STEPS, Fields::number)?.unwrap_or(0),
        base: fields.optional(BASE, Fields::number)?.unwrap_or(0),
        conversation_bytes: conversation_bytes(&fields)?,
        cancel_requested: item.contains_key(CANCEL_REQUESTED),
        limits: limits(&fields)?,
        deadline: fields.moment(DEADLINE)?,
        history: history(&fields)?,
        spend: fields.optional(SPEND, Fields::json)?.unwrap_or_default(),
        updated_at: fields.moment(UPDATED_AT)?,
        state: state(&fields, content)?,
    };
    Ok(Task::restore(spec, progress))
}

/// What a list shows of the task whose entry in the index this is.
pub(in crate::store) fn read_summary(item: &Item) -> Result<TaskSummary, StoreError> {
    let fields = Fields::of_index(item);
    Ok(TaskSummary {
        id: id(&fields)?,
        agent: agent(&fields)?,
        status: fields.name(STATUS)?,
        failure: fields.optional(FAILURE_CODE, Fields::name)?,
        attempts: fields.number(ATTEMPTS)?,
        spend: fields.optional(SPEND, Fields::json)?.unwrap_or_default(),
        metadata: metadata(&fields)?,
        submitted_by: fields.optional(SUBMITTED_BY, Fields::parsed)?,
        created_at: fields.moment(CREATED_AT)?,
        updated_at: fields.moment(UPDATED_AT)?,
    })
}
