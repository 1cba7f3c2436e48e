//! The table, and the requests that all stores make of it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, Get, KeysAndAttributes, Put,
    ReturnValuesOnConditionCheckFailure, TransactGetItem, TransactWriteItem, Update, WriteRequest,
};

use super::error::{failure, failure_of_reads};
use super::items::{self, Fields, Item, REVISION, number, text};
use super::keys::{DUE, DUE_AT, DUE_SHARD, Key, NOTHING_THERE, PK, SK};
use crate::domain::Timestamp;
use crate::ports::{PageRequest, StoreError};

/// The most writes of one batch.
const BATCH: usize = 25;

/// The most reads of one batch.
const READ_BATCH: usize = 100;

/// How long to wait before each try at a batch.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(client: Client, name: impl Into<String>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// The first entries of a shard of the index of what is due, of which `#due_at` meets the condition
    /// with `:moment`.
    pub(super) fn query_due(
        &self,
        shard: &str,
        condition: &str,
        moment: Timestamp,
        limit: u32,
    ) -> QueryFluentBuilder {
        self.query()
            .index_name(DUE)
            .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
            .key_condition_expression(format!("#shard = :shard AND {condition}"))
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":moment", items::moment(moment))
    }

    /// The record at `key`, as of now.
    pub(super) async fn read(&self, key: Key) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(attributes(key)));
        Ok(request
            .consistent_read(true)
            .send()
            .await
            .map_err(failure)?
            .item)
    }

    /// The records at these keys, as they are at one moment.
    pub(super) async fn read_together(
        &self,
        keys: impl Iterator<Item = &Key>,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let mut request = self.client.transact_get_items();
        for key in keys {
            let get = Get::builder()
                .table_name(&self.name)
                .set_key(Some(attributes(key.clone())))
                .build();
            let get = get.map_err(|error| StoreError::Refused(Box::new(error)))?;
            request = request.transact_items(TransactGetItem::builder().get(get).build());
        }
        let responses = request
            .send()
            .await
            .map_err(failure_of_reads)?
            .responses
            .unwrap_or_default();
        Ok(responses
            .into_iter()
            .map(|response| response.item.filter(|item| !item.is_empty()))
            .collect())
    }

    /// The records at these keys, in requests of at most [`READ_BATCH`]; they may lag behind changes
    /// for a moment. Reads that a busy DynamoDB leaves out are requested again, a few times.
    pub(super) async fn read_all(&self, keys: Vec<Key>) -> Result<HashMap<Key, Item>, StoreError> {
        let mut found = HashMap::new();
        let keys: Vec<Item> = keys.into_iter().map(attributes).collect();
        for batch in keys.chunks(READ_BATCH) {
            let mut undone = batch.to_vec();
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                let wanted = KeysAndAttributes::builder().set_keys(Some(undone)).build();
                let wanted = wanted.map_err(|error| StoreError::Refused(Box::new(error)))?;
                let request = self
                    .client
                    .batch_get_item()
                    .request_items(&self.name, wanted);
                let answer = request.send().await.map_err(failure)?;
                for item in answer
                    .responses
                    .into_iter()
                    .flatten()
                    .flat_map(|(_, items)| items)
                {
                    found.insert(key_of(&item)?, item);
                }
                let left = answer.unprocessed_keys.unwrap_or_default().into_values();
                undone = left.flat_map(|left| left.keys).collect();
                if undone.is_empty() {
                    break;
                }
            }
            if !undone.is_empty() {
                return Err(StoreError::Throttled(
                    "a batch of reads was left undone".into(),
                ));
            }
        }
        Ok(found)
    }

    /// A put where nothing is yet; if something is, it comes with the failure.
    pub(super) fn put_new(&self, item: Item) -> PutItemFluentBuilder {
        self.put_if(item, NOTHING_THERE)
    }

    /// A put under a condition; if it fails, what is there comes with the failure.
    pub(super) fn put_if(&self, item: Item, condition: &str) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// [`put_new`](Self::put_new) as a part of a transaction.
    pub(super) fn transact_put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        self.transacted(&self.put_new(item))
    }

    /// A put with a condition, as a part of a transaction.
    pub(super) fn transacted(
        &self,
        put: &PutItemFluentBuilder,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = put.as_input();
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(put.get_item().clone())
            .set_condition_expression(put.get_condition_expression().clone())
            .set_expression_attribute_names(put.get_expression_attribute_names().clone())
            .set_expression_attribute_values(put.get_expression_attribute_values().clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = put
            .build()
            .map_err(|error| StoreError::Refused(Box::new(error)))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A put of the next revision of a record, if the record has the revision before it, as a part
    /// of a transaction.
    pub(super) fn transact_put_revision(
        &self,
        item: Item,
        revision: u64,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = self
            .put_if(item, "#revision = :before")
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_values(":before", number(revision.saturating_sub(1)));
        self.transacted(&put)
    }

    /// An unconditional put, as a part of a transaction.
    pub(super) fn transact_put(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .build();
        Ok(TransactWriteItem::builder()
            .put(put.map_err(|error| StoreError::Refused(Box::new(error)))?)
            .build())
    }

    /// An update as a part of a transaction.
    pub(super) fn transact_update(
        &self,
        update: &UpdateItemFluentBuilder,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = update.as_input();
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(update.get_key().clone())
            .set_update_expression(update.get_update_expression().clone())
            .set_condition_expression(update.get_condition_expression().clone())
            .set_expression_attribute_names(update.get_expression_attribute_names().clone())
            .set_expression_attribute_values(update.get_expression_attribute_values().clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = update
            .build()
            .map_err(|error| StoreError::Refused(Box::new(error)))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// An update; if its condition fails, the record comes with the failure.
    pub(super) fn update(&self, key: Key) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(attributes(key)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Deletes the record if it has this attribute. If it has not, or is gone, another deletion was
    /// faster.
    pub(super) async fn delete_if_has(&self, key: Key, attribute: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(attributes(key)))
            .condition_expression("attribute_exists(#attribute)")
            .expression_attribute_names("#attribute", attribute);
        let Err(error) = request.send().await else {
            return Ok(());
        };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Some(_) | None => Err(failure(error)),
        }
    }

    /// Deletes these records, in batches. Deletions that a busy DynamoDB leaves out are
    /// requested again, a few times.
    pub(super) async fn delete_all(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let mut deletions = Vec::new();
        for key in keys {
            let deletion = DeleteRequest::builder()
                .set_key(Some(attributes(key)))
                .build();
            let deletion = deletion.map_err(|error| StoreError::Refused(Box::new(error)))?;
            deletions.push(WriteRequest::builder().delete_request(deletion).build());
        }
        for batch in deletions.chunks(BATCH) {
            let mut undone = batch.to_vec();
            for pause in PAUSES {
                tokio::time::sleep(pause).await;
                let request = self
                    .client
                    .batch_write_item()
                    .request_items(&self.name, undone);
                let left = request
                    .send()
                    .await
                    .map_err(failure)?
                    .unprocessed_items
                    .unwrap_or_default();
                undone = left.into_values().flatten().collect();
                if undone.is_empty() {
                    break;
                }
            }
            if !undone.is_empty() {
                return Err(StoreError::Throttled(
                    "a batch of deletions was left undone".into(),
                ));
            }
        }
        Ok(())
    }

    /// A query.
    pub(super) fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// The keys of all records of a partition, as of now. The caller requests the pages.
    pub(super) fn query_keys(&self, partition: String) -> QueryFluentBuilder {
        self.query()
            .key_condition_expression("#pk = :pk")
            .projection_expression("#pk, #sk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", text(partition))
            .consistent_read(true)
    }

    /// All records of a partition whose sort key is in this range, its ends included, as of now, in
    /// the order of their sort keys. The caller requests the pages.
    pub(super) fn query_range(
        &self,
        partition: String,
        first: String,
        last: String,
    ) -> QueryFluentBuilder {
        self.query()
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :first AND :last")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", text(partition))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .consistent_read(true)
    }

    /// A page of the records that `query` finds and that are `wanted`, after the record `after`: at
    /// least one and at most a hundred, unless there are fewer; and whether more follow.
    pub(super) async fn page(
        query: QueryFluentBuilder,
        after: Option<Key>,
        limit: u32,
        wanted: fn(&Item) -> bool,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let limit = limit.clamp(1, 100);
        let mut start = after.map(attributes);
        let mut items = Vec::new();
        // One more than wanted tells whether more follow. A response may be short of it, because it
        // ends at 1 MB.
        loop {
            let request = query.clone().set_exclusive_start_key(start);
            let answer = request.limit(limit.cast_signed() + 1).send().await;
            let answer = answer.map_err(failure)?;
            items.extend(answer.items.unwrap_or_default().into_iter().filter(wanted));
            start = answer.last_evaluated_key;
            if start.is_none() || items.len() > limit as usize {
                break;
            }
        }
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Ok((items, more))
    }

    /// All records of a partition whose sort key begins with `prefix`, as of now, in the order of
    /// their sort keys. The caller requests the pages.
    pub(super) fn query_prefix(&self, partition: String, prefix: &str) -> QueryFluentBuilder {
        self.query()
            .key_condition_expression("#pk = :pk AND begins_with(#sk, :prefix)")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_values(":pk", text(partition))
            .expression_attribute_values(":prefix", text(prefix))
            .consistent_read(true)
    }
}

/// What the cursor of a page stands for; `None` for the first page.
pub(super) fn after<T>(
    page: &PageRequest,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    page.after
        .as_deref()
        .map(|cursor| parse(cursor).ok_or(StoreError::Cursor))
        .transpose()
}

/// The key of a record.
pub(super) fn key_of(item: &Item) -> Result<Key, StoreError> {
    let fields = Fields::of_index(item);
    Ok(Key {
        pk: fields.text(PK)?.to_owned(),
        sk: fields.text(SK)?.to_owned(),
    })
}

/// The key as attributes.
pub(super) fn attributes(key: Key) -> Item {
    [(PK, key.pk), (SK, key.sk)]
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value)))
        .into()
}
/// Waits before a try that others hinder: not before the first one, and then up to `longest` longer
/// for each further try, at random.
pub(super) async fn wait_before(attempt: u32, longest: Duration) {
    tokio::time::sleep((longest * attempt).mul_f64(fastrand::f64())).await;
}
