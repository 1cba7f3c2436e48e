//! Deleting a task that ended long ago: its record is marked and emptied, then all that belongs to it goes, and the record
//! goes last.
//!
//! The mark is the one write that decides, so that nobody gets or opens again a task of which parts are missing. It leaves
//! the record its place in the index, where the next one finds it if this one dies.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::error::{failure, kept_instead_of_update};
use super::items::{Fields, V, moment, name, number, text};
use super::keys::{self, CREATED, DUE_AT, DUE_SHARD, Key, META, PK, SK};
use super::table;
use super::task_item::{DELETING, INPUT, MUTABLE, STATUS, UPDATED_AT, VERSION};
use super::task_overdue::Shard;
use super::task_store::DynamoTaskStore;
use crate::domain::{TaskId, TaskStatus, Timestamp};
use crate::ports::{Purged, Retention, StoreError};

/// What the mark leaves of [`MUTABLE`]: what the next mark and the index need.
const LEFT: [&str; 4] = [STATUS, UPDATED_AT, DUE_SHARD, DUE_AT];

#[async_trait]
impl Retention for DynamoTaskStore {
    async fn ended_before(&self, moment: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let mut shards: Vec<Shard> = keys::ended_shards().map(Shard::new).collect();
        let ended = self.in_shards(&mut shards, "#due_at < :moment", moment, limit).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(ended.into_iter().take(most).map(|(_, id)| id).collect())
    }

    async fn purge(&self, id: TaskId, ended_before: Timestamp) -> Result<Purged, StoreError> {
        if let Err(error) = self.mark(id, ended_before).send().await {
            let kept = kept_instead_of_update(error)?;
            return Ok(if kept.is_some() { Purged::Kept } else { Purged::Gone });
        }
        self.delete_belongings(id).await?;
        self.delete_marked(id).await
    }
}

impl DynamoTaskStore {
    /// Marks and empties the record, if the task ended before the moment. Without its place in `by_tenant` it is in no list.
    fn mark(&self, id: TaskId, ended_before: Timestamp) -> UpdateItemFluentBuilder {
        let ended: Vec<TaskStatus> = TaskStatus::ALL.into_iter().filter(|status| status.is_terminal()).collect();
        let mut request = self.table.update(keys::task(id));
        let (mut removed, mut statuses) = (Vec::new(), Vec::new());
        for emptied in MUTABLE.into_iter().filter(|name| !LEFT.contains(name)).chain([CREATED, INPUT]) {
            removed.push(format!("#{emptied}"));
            request = request.expression_attribute_names(format!("#{emptied}"), emptied);
        }
        for status in &ended {
            statuses.push(format!(":{}", status.as_str()));
            request = request.expression_attribute_values(format!(":{}", status.as_str()), name(status));
        }
        let set = "#v = :v, #deleting = :deleting, #due_shard = :due_shard, #due_at = #updated_at";
        request
            .update_expression(format!("SET {set} REMOVE {}", removed.join(", ")))
            .condition_expression(format!(
                "#v <= :v AND #status IN ({}) AND #updated_at < :ended_before",
                statuses.join(", ")
            ))
            .expression_attribute_names("#v", V)
            .expression_attribute_names("#deleting", DELETING)
            .expression_attribute_names("#due_shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_names("#updated_at", UPDATED_AT)
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":deleting", AttributeValue::Bool(true))
            .expression_attribute_values(":due_shard", text(keys::ended_shard(id)))
            .expression_attribute_values(":ended_before", moment(ended_before))
    }

    /// Deletes all of the task's partition but its own record: its steps first, so that no step is there without its pieces.
    async fn delete_belongings(&self, id: TaskId) -> Result<(), StoreError> {
        let query = self
            .table
            .query()
            .key_condition_expression("#pk = :pk")
            .projection_expression("#pk, #sk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", text(keys::task_partition(id)))
            .consistent_read(true)
            .scan_index_forward(false);
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await.map_err(failure)?;
            let mut belongings = Vec::new();
            for item in page.items() {
                let fields = Fields::of_index(item);
                let key = Key { pk: fields.text(PK)?.to_owned(), sk: fields.text(SK)?.to_owned() };
                belongings.extend(Some(key).filter(|key| key.sk != META));
            }
            self.table.delete_all(belongings).await?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Deletes the record. If it is not marked, another one was here before, and a new task may have the id.
    async fn delete_marked(&self, id: TaskId) -> Result<Purged, StoreError> {
        let request = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(table::attributes(keys::task(id))))
            .condition_expression("attribute_exists(#deleting)")
            .expression_attribute_names("#deleting", DELETING);
        match request.send().await {
            Ok(_) => Ok(Purged::Gone),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(Purged::Gone),
                Some(_) | None => Err(failure(error)),
            },
        }
    }
}
