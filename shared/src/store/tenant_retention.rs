//! The walk through a tenant's tasks, and the deletion of the tenant's records.
//!
//! The tenant's own record says how far the walk came. It is in the index of what is due, where the
//! watchdog finds it.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};

use super::api_key_item;
use super::error::{failure, reasons_of_transaction, record_that_failed_update};
use super::items::{Fields, Item, REVISION, moment, name, number, text};
use super::keys::{self, CREATED, DUE_AT, DUE_SHARD, Key, PK, TASKS, TENANT_ID, WALKED_TENANTS};
use super::table::{self, attributes};
use super::task_item::STATUS;
use super::task_list::start_key;
use super::tenants::{self, DynamoTenantStore, QUIET_SINCE};
use crate::domain::{Causes, KeyId, TaskStatus, Tenant, TenantId, Timestamp};
use crate::ports::{
    Pass, Remains, StoreError, TenantRetention, WalkedFor, WalkedTasks, WalkedTenant,
};

const PLACE: &str = "walk_place";
const BEGAN_AT: &str = "walk_began_at";

/// How many entries of the index a part of a walk reads.
const PART: i32 = 250;

/// How many records are read at once, and how often, when a tenant's records are deleted.
const RECORDS: i32 = 500;
const PARTS_OF_ROUND: u32 = 20;

#[async_trait]
impl TenantRetention for DynamoTenantStore {
    async fn due_tenants(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<WalkedTenant>, StoreError> {
        let query = self
            .table
            .query_due(WALKED_TENANTS, "#due_at <= :moment", now, limit);
        let mut due = Vec::new();
        for entry in query.send().await.map_err(failure)?.items() {
            // The index may still list a tenant that is not walked any more.
            let Some(item) = self.table.read(table::key_of(entry)?).await? else {
                continue;
            };
            match read(&item) {
                Ok(walked) => due.extend(walked),
                // It must not hinder the walks through the tasks of others.
                Err(error) => {
                    tracing::error!(error = %Causes(&error), "tenant can't be read; its tasks are not walked through");
                }
            }
        }
        Ok(due)
    }

    async fn tasks_of(
        &self,
        tenant: &TenantId,
        wanted: WalkedFor,
        place: Option<&str>,
    ) -> Result<WalkedTasks, StoreError> {
        let start = place.map(|place| keys::parse_created(place).ok_or(StoreError::Cursor));
        let start = start.transpose()?;
        let query = self
            .table
            .query()
            .index_name(TASKS)
            .limit(PART)
            .key_condition_expression("#tenant = :tenant")
            .projection_expression("#pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#tenant", TENANT_ID)
            .expression_attribute_values(":tenant", text(tenant.as_str()))
            .set_exclusive_start_key(start.map(|(at, id)| start_key(tenant, at, id)));
        let query = match wanted {
            WalkedFor::Deletion => query,
            WalkedFor::Cancellation => only_unended(query),
        };
        let answer = query.send().await.map_err(failure)?;
        let task = |item: &Item| {
            let fields = Fields::of_index(item);
            keys::parse_task_partition(fields.text(PK)?)
                .ok_or_else(|| fields.corrupt("its partition is not a task's"))
        };
        let tasks = answer.items().iter().map(task);
        let end = answer.last_evaluated_key();
        let next = end.map(|end| Fields::of_index(end).text(CREATED).map(str::to_owned));
        Ok(WalkedTasks {
            tasks: tasks.collect::<Result<_, _>>()?,
            next: next.transpose()?,
        })
    }

    async fn note_walk(&self, walked: &WalkedTenant, due_at: Timestamp) -> Result<(), StoreError> {
        let WalkedTenant { tenant, pass } = walked;
        let quiet_since = tenant.quiet_since.unwrap_or(due_at);
        let request = self
            .change_of_walk(tenant)
            .expression_attribute_values(":quiet_since", moment(quiet_since))
            .expression_attribute_values(":due_at", moment(due_at));
        let request = match pass {
            Some(Pass { began_at, place }) => request
                .update_expression(
                    "SET #quiet_since = :quiet_since, #due_at = :due_at, #began_at = :began_at, \
                     #place = :place",
                )
                .expression_attribute_values(":began_at", moment(*began_at))
                .expression_attribute_values(":place", text(place)),
            None => request.update_expression(
                "SET #quiet_since = :quiet_since, #due_at = :due_at REMOVE #began_at, #place",
            ),
        };
        changed(request).await
    }

    async fn end_walk(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let request = self
            .change_of_walk(tenant)
            .update_expression("REMOVE #quiet_since, #due_at, #shard, #began_at, #place")
            .expression_attribute_names("#shard", DUE_SHARD);
        changed(request).await
    }

    async fn remove_records(&self, tenant: &TenantId) -> Result<Remains, StoreError> {
        let mut parts = 0;
        for partition in keys::tenant_partitions(tenant) {
            let query = self.table.query_keys(partition).limit(RECORDS);
            let mut start = None;
            loop {
                let page = query.clone().set_exclusive_start_key(start).send().await;
                let page = page.map_err(failure)?;
                let found = page.items().iter().map(table::key_of);
                self.remove_all(tenant, found.collect::<Result<_, _>>()?)
                    .await?;
                parts += 1;
                start = page.last_evaluated_key;
                if start.is_none() {
                    break;
                }
                if parts >= PARTS_OF_ROUND {
                    return Ok(Remains::Some);
                }
            }
        }
        Ok(Remains::Nothing)
    }

    async fn bury(&self, tombstone: &Tenant) -> Result<(), StoreError> {
        let record = tenants::write_record(tombstone);
        let replace = self
            .table
            .transact_put_revision(record, tombstone.revision)?;
        let listed = Delete::builder()
            .table_name(&self.table.name)
            .set_key(Some(attributes(keys::listed_tenant(&tombstone.id))))
            .build()
            .map_err(|error| StoreError::Refused(Box::new(error)))?;
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(replace)
            .transact_items(TransactWriteItem::builder().delete(listed).build());
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => tenants::is_stored(&reasons_of_transaction(error)?, tombstone),
        }
    }
}

impl DynamoTenantStore {
    /// A change of the tenant's walk, if nobody has changed the tenant; still without its
    /// expression.
    fn change_of_walk(&self, tenant: &Tenant) -> UpdateItemFluentBuilder {
        self.table
            .update(keys::tenant_record(&tenant.id))
            .condition_expression("#revision = :revision")
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_names("#quiet_since", QUIET_SINCE)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_names("#began_at", BEGAN_AT)
            .expression_attribute_names("#place", PLACE)
            .expression_attribute_values(":revision", number(tenant.revision))
    }

    /// Deletes these records of the tenant, except its own. An API key's entry in the tenant's list
    /// goes after the record that a check reads, so that the next round finds what is left.
    async fn remove_all(&self, tenant: &TenantId, found: Vec<Key>) -> Result<(), StoreError> {
        let own = keys::tenant_record(tenant);
        for key in &found {
            if let Some(id) = keys::parse_listed_api_key(&key.sk) {
                self.remove_api_key(tenant, id).await?;
            }
        }
        let others = found.into_iter().filter(|key| *key != own);
        self.table.delete_all(others.collect()).await
    }

    /// Deletes the record of the tenant's key that a check reads. The watchdog may not read it.
    async fn remove_api_key(&self, tenant: &TenantId, id: KeyId) -> Result<(), StoreError> {
        let request = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(attributes(keys::api_key(id))))
            .condition_expression("#tenant = :tenant")
            .expression_attribute_names("#tenant", api_key_item::TENANT)
            .expression_attribute_values(":tenant", text(tenant.as_str()));
        let Err(error) = request.send().await else {
            return Ok(());
        };
        match error.as_service_error() {
            // It is gone, or another tenant's.
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Some(_) | None => Err(failure(error)),
        }
    }
}

/// The query, of tasks that have not ended.
fn only_unended(query: QueryFluentBuilder) -> QueryFluentBuilder {
    let (mut query, mut values) = (query, Vec::new());
    let unended = TaskStatus::ALL
        .into_iter()
        .filter(|status| !status.is_terminal());
    for status in unended {
        let value = format!(":{}", status.as_str());
        query = query.expression_attribute_values(&value, name(&status));
        values.push(value);
    }
    query
        .filter_expression(format!("#status IN ({})", values.join(", ")))
        .expression_attribute_names("#status", STATUS)
}

/// Sends a conditional change of a tenant's record.
async fn changed(request: UpdateItemFluentBuilder) -> Result<(), StoreError> {
    let Err(error) = request.send().await else {
        return Ok(());
    };
    record_that_failed_update(error)?;
    Err(StoreError::Conflict)
}

/// The tenant in its own record, if it is walked.
fn read(item: &Item) -> Result<Option<WalkedTenant>, StoreError> {
    let tenant = tenants::read(item)?;
    if tenant.quiet_since.is_none() {
        return Ok(None);
    }
    let fields = Fields::of(item)?;
    let place = fields.optional(PLACE, Fields::text)?;
    let pass = place.map(|place| {
        let began_at = fields.moment(BEGAN_AT)?;
        let place = place.to_owned();
        Ok::<_, StoreError>(Pass { began_at, place })
    });
    let pass = pass.transpose()?;
    Ok(Some(WalkedTenant { tenant, pass }))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;
    use crate::testing::samples;

    #[test]
    fn a_tenant_is_walked_from_the_change_that_begins_it() {
        let tenant = Tenant::create(samples::tenant("acme"), samples::START);
        let walked = |tenant: &Tenant| read(&tenants::write_record(tenant)).unwrap();
        assert_eq!(walked(&tenant), None);
        let tenant = tenant.deleting(samples::after(3));
        let item = tenants::write_record(&tenant);
        assert_eq!(item[DUE_AT], moment(samples::after(3)));
        let expected = WalkedTenant {
            tenant: tenant.clone(),
            pass: None,
        };
        assert_eq!(walked(&tenant), Some(expected));
        let tombstone = tenant.deleted();
        assert_eq!(walked(&tombstone), None);
        let item = tenants::write_record(&tombstone);
        assert!(!item.contains_key(DUE_SHARD));
        assert!(matches!(item["status"], AttributeValue::S(_)));
    }
}
