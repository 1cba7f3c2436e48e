//! The form of a task's record.
//!
//! What a transition can change is in [`MUTABLE`]; a transition writes all of it, so that nothing of the state before is
//! left over. `due_shard` and `due_at` exist only while the task has not ended, which keeps the index of due tasks small.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{self, Attributes, Fields, Item, USAGE, moment, name, number, text};
use super::keys::{self, CREATED, DUE_AT, DUE_SHARD, TENANT_ID};
use crate::domain::task::{MAX_HISTORY, Progress, TaskSpec};
use crate::domain::{
    AgentVersion, CacheUse, Change, Failure, Lease, Output, Task, TaskId, TaskInput, TaskState, TaskStatus, TenantId,
    Wait,
};
use crate::ports::{StoreError, TaskSummary};

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
pub(super) const WAIT_REASON: &str = "wait_reason";
pub(super) const WAIT_UNTIL: &str = "wait_until";

const AGENT_VERSION: &str = "agent_version";
const CREATED_AT: &str = "created_at";
const INPUT: &str = "input";
const CACHE_MODE: &str = "cache_mode";
const CACHE_MAX_AGE: &str = "cache_max_age_seconds";
const PARKINGS: &str = "parkings";
const HOPS: &str = "hops";
const STEPS: &str = "steps";
const BASE: &str = "base";
pub(super) const CANCEL_REQUESTED: &str = "cancel_requested";
const LIMITS: &str = "limits";
pub(super) const HISTORY: &str = "history";
const CALLS: &str = "calls";
const LIMIT: &str = "limit";
const SINCE: &str = "since";
const EXPIRES_AT: &str = "input_expires_at";
const SPEND: &str = "spend";
const OUTPUT_TEXT: &str = "output_text";
const STOP_REASON: &str = "stop_reason";
const FAILURE_CODE: &str = "failure_code";
const FAILURE_MESSAGE: &str = "failure_message";
const FAILED_ATTEMPTS: &str = "failed_attempts";
const ORIGIN: &str = "origin";
const ANSWERED_BY: &str = "answered_by";

/// Every attribute that a transition can set or remove.
pub(super) const MUTABLE: [&str; 34] = [
    HOPS,
    STEPS,
    BASE,
    CANCEL_REQUESTED,
    LIMITS,
    DEADLINE,
    HISTORY,
    CALLS,
    LIMIT,
    SINCE,
    EXPIRES_AT,
    PARKINGS,
    SPEND,
    WAIT_REASON,
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

/// The task as its record.
pub(super) fn write(task: &Task) -> Item {
    let TaskSpec { id, tenant, agent, input, cache_use, created_at } = task.spec();
    let mut attributes = vec![
        (TENANT_ID, text(tenant.as_str())),
        (CREATED, text(keys::created(*created_at, *id))),
        (CREATED_AT, moment(*created_at)),
        (AGENT_ID, text(agent.id.to_string())),
        (AGENT_VERSION, number(agent.version)),
        (INPUT, text(input.as_str())),
        (CACHE_MODE, name(&cache_use.mode)),
    ];
    attributes.extend(cache_use.max_age.map(|age| (CACHE_MAX_AGE, number(age.as_secs()))));
    attributes.extend(progress(task));
    items::item(keys::task(*id), attributes)
}

/// The part of the record that changes: those of [`MUTABLE`] that the task's present state has.
pub(super) fn progress(task: &Task) -> Attributes {
    let Progress { revision, fence, attempts, sends, parkings, hops, steps, base, .. } = task.progress();
    let Progress { cancel_requested, limits, deadline, spend, history, updated_at, state, .. } = task.progress();
    let mut attributes = vec![
        (REVISION, number(revision)),
        (FENCE, number(fence)),
        (ATTEMPTS, number(attempts)),
        (SENDS, number(sends)),
        (PARKINGS, number(parkings)),
        (HOPS, number(hops)),
        (STEPS, number(steps)),
        (BASE, number(base)),
        items::json(LIMITS, limits),
        (DEADLINE, moment(*deadline)),
        (HISTORY, items::list(history.iter().map(change))),
        items::json(SPEND, spend),
        (UPDATED_AT, moment(*updated_at)),
        (STATUS, name(&task.status())),
    ];
    if let Some(due_at) = task.due_at() {
        attributes.extend([(DUE_SHARD, text(keys::due_shard(task.id()))), (DUE_AT, moment(due_at))]);
    }
    if *cancel_requested {
        attributes.push((CANCEL_REQUESTED, AttributeValue::Bool(true)));
    }
    match state {
        TaskState::Queued { due_at } => attributes.push((RESEND_AT, moment(*due_at))),
        TaskState::Running(lease) => attributes
            .extend([(LEASE_WORKER, text(lease.worker.to_string())), (LEASE_EXPIRES_AT, moment(lease.expires_at))]),
        TaskState::Waiting { wait, due_at } => attributes.extend([
            (WAIT_REASON, name(&wait.reason)),
            (WAIT_UNTIL, moment(wait.until)),
            (RESEND_AT, moment(*due_at)),
        ]),
        TaskState::InputRequired { calls, since, expires_at } => {
            attributes.extend([items::json(CALLS, calls), (SINCE, moment(*since)), (EXPIRES_AT, moment(*expires_at))]);
        }
        TaskState::Paused { limit, since, expires_at } => {
            attributes.extend([(LIMIT, name(limit)), (SINCE, moment(*since)), (EXPIRES_AT, moment(*expires_at))]);
        }
        TaskState::Completed(output) => attributes.extend([
            (OUTPUT_TEXT, text(output.text.as_str())),
            (STOP_REASON, name(&output.stop_reason)),
            items::usage(output.usage),
            items::json(ORIGIN, &output.origin),
            items::json(ANSWERED_BY, &output.model),
        ]),
        TaskState::Failed(failure) => attributes.extend(write_failure(failure)),
        TaskState::Canceled | TaskState::TimedOut => {}
    }
    attributes
}

/// A change as an entry of the list of changes.
pub(super) fn change(change: &Change) -> AttributeValue {
    text(serde_json::json!(change).to_string())
}

fn write_failure(failure: &Failure) -> Attributes {
    vec![
        (FAILURE_CODE, name(&failure.code)),
        (FAILURE_MESSAGE, text(failure.message.as_str())),
        items::json(FAILED_ATTEMPTS, &failure.attempts),
    ]
}

/// The task in a record; `None` if it is another tenant's.
pub(super) fn read_of(tenant: &TenantId, item: &Item) -> Result<Option<Task>, StoreError> {
    let task = read(item)?;
    Ok((task.spec().tenant == *tenant).then_some(task))
}

/// The task in a record.
pub(super) fn read(item: &Item) -> Result<Task, StoreError> {
    let fields = Fields::of(item)?;
    let spec = TaskSpec {
        id: id(&fields)?,
        tenant: fields.parsed(TENANT_ID)?,
        agent: agent(&fields)?,
        input: fields.valid(TaskInput::new(fields.text(INPUT)?.to_owned()))?,
        cache_use: cache_use(&fields)?,
        created_at: fields.moment(CREATED_AT)?,
    };
    let progress = Progress {
        revision: fields.number(REVISION)?,
        fence: fields.number(FENCE)?,
        attempts: fields.number(ATTEMPTS)?,
        sends: fields.number(SENDS)?,
        parkings: fields.optional(PARKINGS, Fields::number)?.unwrap_or(0),
        hops: fields.optional(HOPS, Fields::number)?.unwrap_or(0),
        steps: fields.optional(STEPS, Fields::number)?.unwrap_or(0),
        base: fields.optional(BASE, Fields::number)?.unwrap_or(0),
        cancel_requested: item.contains_key(CANCEL_REQUESTED),
        limits: fields.optional(LIMITS, Fields::json)?.unwrap_or_default(),
        deadline: fields.moment(DEADLINE)?,
        history: fields.optional(HISTORY, |fields, name| fields.json_list(name, MAX_HISTORY))?.unwrap_or_default(),
        spend: fields.optional(SPEND, Fields::json)?.unwrap_or_default(),
        updated_at: fields.moment(UPDATED_AT)?,
        state: state(&fields)?,
    };
    Ok(Task::restore(spec, progress))
}

/// What a list shows of the task whose entry in the index this is.
pub(super) fn read_summary(item: &Item) -> Result<TaskSummary, StoreError> {
    let fields = Fields::of_index(item);
    Ok(TaskSummary {
        id: id(&fields)?,
        agent: agent(&fields)?,
        status: fields.name(STATUS)?,
        failure: fields.optional(FAILURE_CODE, Fields::name)?,
        attempts: fields.number(ATTEMPTS)?,
        created_at: fields.moment(CREATED_AT)?,
        updated_at: fields.moment(UPDATED_AT)?,
    })
}

fn id(fields: &Fields<'_>) -> Result<TaskId, StoreError> {
    keys::parse_task_partition(fields.text(keys::PK)?).ok_or_else(|| fields.corrupt("its partition is not a task's"))
}

fn agent(fields: &Fields<'_>) -> Result<AgentVersion, StoreError> {
    Ok(AgentVersion { id: fields.parsed(AGENT_ID)?, version: fields.number(AGENT_VERSION)? })
}

fn cache_use(fields: &Fields<'_>) -> Result<CacheUse, StoreError> {
    Ok(CacheUse {
        mode: fields.optional(CACHE_MODE, Fields::name)?.unwrap_or_default(),
        max_age: fields.optional(CACHE_MAX_AGE, Fields::number)?.map(Duration::from_secs),
    })
}

fn state(fields: &Fields<'_>) -> Result<TaskState, StoreError> {
    Ok(match fields.name(STATUS)? {
        TaskStatus::Queued => TaskState::Queued { due_at: fields.moment(RESEND_AT)? },
        TaskStatus::Running => TaskState::Running(Lease {
            worker: fields.parsed(LEASE_WORKER)?,
            expires_at: fields.moment(LEASE_EXPIRES_AT)?,
        }),
        TaskStatus::Waiting => TaskState::Waiting {
            wait: Wait { until: fields.moment(WAIT_UNTIL)?, reason: fields.name(WAIT_REASON)? },
            due_at: fields.moment(RESEND_AT)?,
        },
        TaskStatus::Completed => TaskState::Completed(Output {
            text: fields.text(OUTPUT_TEXT)?.to_owned(),
            stop_reason: fields.name(STOP_REASON)?,
            usage: fields.usage()?,
            origin: fields.json(ORIGIN)?,
            model: fields.json(ANSWERED_BY)?,
        }),
        TaskStatus::Failed => TaskState::Failed(Failure {
            code: fields.name(FAILURE_CODE)?,
            message: fields.text(FAILURE_MESSAGE)?.to_owned(),
            attempts: fields.json(FAILED_ATTEMPTS)?,
        }),
        TaskStatus::InputRequired => TaskState::InputRequired {
            calls: fields.json(CALLS)?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{LimitKind, PendingCall, Spent, ToolCall, WaitReason};
    use crate::testing::samples::{self, after, lease_until};

    /// A task in each state.
    fn histories() -> Vec<Task> {
        let queued = samples::task(&samples::agent(&samples::tenant("acme")), after(0));
        let mut running = queued.clone();
        running.claim(lease_until(after(60)), after(1)).unwrap();
        let (mut completed, mut failed, mut timed_out) = (running.clone(), running.clone(), queued.clone());
        let mut waiting = running.clone();
        let wait = Wait { until: after(30), reason: WaitReason::RateLimit };
        waiting.add_spend(samples::answer("").spend);
        waiting.park(1, wait, Spent::Nothing, after(2)).unwrap();
        let (mut asking, mut paused, mut canceled) = (running.clone(), running.clone(), queued.clone());
        let call = ToolCall { id: "call_1".to_owned(), name: "ask".to_owned(), arguments: "{}".to_owned() };
        asking.require_input(1, vec![PendingCall { number: 2, call }], after(2)).unwrap();
        paused.pause(1, LimitKind::MaxSteps, after(2)).unwrap();
        canceled.cancel(after(2)).unwrap();
        let mut to_cancel = running.clone();
        to_cancel.cancel(after(2)).unwrap();
        completed.complete(1, samples::output("Paris"), after(2)).unwrap();
        failed.fail(1, samples::failure(), after(2)).unwrap();
        timed_out.settle_overdue(after(1_800)).unwrap();
        vec![queued, running, waiting, completed, failed, timed_out, asking, paused, canceled, to_cancel]
    }

    #[test]
    fn a_task_in_each_state_survives_its_record() {
        for task in histories() {
            assert_eq!(read(&write(&task)).unwrap(), task);
            let summary = read_summary(&write(&task)).unwrap();
            assert_eq!((summary.id, summary.status, summary.attempts), (task.id(), task.status(), task.attempts()));
        }
    }

    #[test]
    fn a_transition_can_replace_all_that_any_state_writes() {
        for task in histories() {
            for (attribute, _) in progress(&task) {
                assert!(MUTABLE.contains(&attribute), "{attribute}");
            }
            assert_eq!(write(&task).contains_key(DUE_SHARD), !task.status().is_terminal());
            assert_eq!(write(&task).contains_key(DUE_AT), !task.status().is_terminal());
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let common = [
            "pk",
            "v",
            "tenant_id",
            "agent_id",
            "agent_version",
            "input",
            "created_at",
            "deadline",
            "revision",
            "fence",
            "attempts",
            "sends",
            "updated_at",
            "status",
        ];
        let of_state: [&[&str]; 10] = [
            &["resend_at"],
            &["lease_worker", "lease_expires_at"],
            &["resend_at", "wait_reason", "wait_until"],
            &["output_text", "stop_reason", "usage", "origin", "answered_by"],
            &["failure_code", "failure_message", "failed_attempts"],
            &[],
            &["calls", "since", "input_expires_at"],
            &["limit", "since", "input_expires_at"],
            &[],
            &["lease_worker", "lease_expires_at"],
        ];
        for (task, of_state) in histories().iter().zip(of_state) {
            items::checks::check_robustness(&write(task), &[&common, of_state].concat(), read);
        }
    }

    #[test]
    fn another_tenants_task_is_none() {
        for task in histories() {
            assert_eq!(read_of(&samples::tenant("acme"), &write(&task)).unwrap(), Some(task.clone()));
            assert_eq!(read_of(&samples::tenant("other"), &write(&task)).unwrap(), None);
        }
    }
}
