//! Claims a task in one write. DynamoDB decides by the rules of [`Task::claim`] and returns the
//! task.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValue;

use super::change_form::{self, WAIT_DETAIL, WAIT_REASON};
use super::error::record_that_failed_update;
use super::items::{self, Item, V, moment, name, number, text};
use super::keys;
use super::task_item::{
    ATTEMPTS, CANCEL_REQUESTED, DEADLINE, FENCE, HISTORY, LEASE_EXPIRES_AT, LEASE_WORKER,
    RESEND_AT, REVISION, SENDS, STATUS, UPDATED_AT, VERSION, WAIT_UNTIL,
};
use super::task_store::DynamoTaskStore;
use crate::domain::task::MAX_ATTEMPTS;
use crate::domain::{
    Change, Event, Lease, Task, TaskId, TaskState, TaskStatus, TenantId, Timestamp,
};
use crate::ports::{Claimed, StoreError};

/// When a task can be claimed: by the rules of [`Task::claim`], and if this version can read the
/// record.
const CONDITION: &str = "#tenant = :tenant AND #v <= :v AND #deadline > :now AND (#status = :queued \
    OR (#status = :waiting AND #wait_until <= :now) OR (#status = :running AND #lease_expires_at <= :now AND #attempts < :max_attempts \
    AND attribute_not_exists(#cancel_requested)))";

/// What a claim changes, the same as [`Task::claim`]. `due_shard` does not change, but a damaged
/// record may have lost it.
const UPDATE: &str = "SET #status = :running, #lease_worker = :worker, #lease_expires_at = :until, #due_shard = :shard, #due_at = :until, \
    #updated_at = :now, #sends = :zero, #fence = #fence + :one, #attempts = #attempts + :one, #revision = #revision + :one, \
    #history = list_append(if_not_exists(#history, :nothing), :claimed) REMOVE #resend_at, #wait_until, #wait_reason, #wait_detail";

impl DynamoTaskStore {
    pub(super) async fn claim_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        match self.claim_request(tenant, id, lease, now).send().await {
            Ok(granted) => {
                let item = granted.attributes.unwrap_or_default();
                let task = self.restored(&item).await?.ok_or(StoreError::Conflict)?;
                Ok(Claimed::Granted(Box::new(task)))
            }
            Err(error) => {
                self.refused(record_that_failed_update(error)?, tenant, lease, now)
                    .await
            }
        }
    }

    fn claim_request(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> UpdateItemFluentBuilder {
        let names = [
            ("#tenant", keys::TENANT_ID),
            ("#v", V),
            ("#deadline", DEADLINE),
            ("#status", STATUS),
            ("#lease_worker", LEASE_WORKER),
            ("#lease_expires_at", LEASE_EXPIRES_AT),
            ("#fence", FENCE),
            ("#attempts", ATTEMPTS),
            ("#due_shard", keys::DUE_SHARD),
            ("#due_at", keys::DUE_AT),
            ("#updated_at", UPDATED_AT),
            ("#sends", SENDS),
            ("#revision", REVISION),
            ("#resend_at", RESEND_AT),
            ("#wait_until", WAIT_UNTIL),
            ("#wait_reason", WAIT_REASON),
            ("#wait_detail", WAIT_DETAIL),
            ("#cancel_requested", CANCEL_REQUESTED),
            ("#history", HISTORY),
        ];
        let claimed = Change::new(
            now,
            Event::Claimed {
                worker: lease.worker,
            },
        );
        let values = [
            (
                ":claimed",
                items::list(std::iter::once(change_form::change(&claimed))),
            ),
            (":nothing", items::list(std::iter::empty())),
            (":tenant", text(tenant.as_str())),
            (":v", number(VERSION)),
            (":now", moment(now)),
            (":queued", name(&TaskStatus::Queued)),
            (":waiting", name(&TaskStatus::Waiting)),
            (":running", name(&TaskStatus::Running)),
            (":max_attempts", number(MAX_ATTEMPTS)),
            (":worker", text(lease.worker.to_string())),
            (":until", moment(lease.expires_at)),
            (":shard", text(keys::due_shard(id))),
            (":zero", number(0)),
            (":one", number(1)),
        ];
        self.table
            .update(keys::task(id))
            .update_expression(UPDATE)
            .condition_expression(CONDITION)
            .set_expression_attribute_names(Some(HashMap::from(
                names.map(|(as_, name)| (as_.into(), name.into())),
            )))
            .set_expression_attribute_values(Some(HashMap::from(
                values.map(|(as_, value)| (as_.into(), value)),
            )))
            .return_values(ReturnValue::AllNew)
    }

    /// Why the claim's condition failed for this record.
    async fn refused(
        &self,
        stored: Option<Item>,
        tenant: &TenantId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let Some(stored) = stored else {
            return Ok(Claimed::Unknown);
        };
        let Some(task) = self.restored_of(tenant, &stored).await? else {
            return Ok(Claimed::Unknown);
        };
        // The SDK repeats a request whose response was lost. The first request may have been
        // granted.
        if matches!(task.state(), TaskState::Running(held) if held.worker == lease.worker) {
            return Ok(Claimed::Granted(Box::new(task)));
        }
        match Task::clone(&task).claim(lease, now) {
            Err(reason) => Ok(Claimed::Refused(Box::new(task), reason)),
            Ok(()) => Err(StoreError::Conflict),
        }
    }
}
