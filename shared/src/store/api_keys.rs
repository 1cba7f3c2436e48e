//! API keys on DynamoDB. Both records of a key change in one transaction.
//!
//! The record that a check reads has a partition of its own, which is found by the key's id. So a
//! check needs to know no tenant.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::CancellationReason;

use super::api_key_item::{
    LAST_USED, attributes, optional, read_listed, read_sealed, write_listed, write_sealed,
};
use super::error::{reasons_of_transaction, record_that_failed_update};
use super::items::{Fields, Item, V, VERSION, number};
use super::keys::{self, API_KEY_PREFIX};
use super::table::{self, Table};
use crate::domain::{ApiKey, KeyId, TenantId};
use crate::ports::{
    Addition, KeyStore, ListedKey, Page, PageRequest, SealedCredential, StoreError,
};

/// How many keys of a tenant are not revoked.
const KEYS: &str = "keys";

/// API keys in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoKeyStore {
    table: Table,
}

impl DynamoKeyStore {
    /// Keeps keys in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Adds `change` to the number of keys of the tenant.
    fn count(&self, tenant: &TenantId, change: i8) -> UpdateItemFluentBuilder {
        self.table
            .update(keys::tenant_counts(tenant))
            .update_expression("SET #v = if_not_exists(#v, :v) ADD #keys :change")
            .expression_attribute_names("#v", V)
            .expression_attribute_names("#keys", KEYS)
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":change", number(change))
    }

    /// Writes the key into its tenant's list. The day of its last use stays.
    fn relist(&self, key: &ApiKey) -> UpdateItemFluentBuilder {
        let mut update = self
            .table
            .update(keys::listed_api_key(&key.tenant, key.id))
            .condition_expression("attribute_exists(pk)");
        let attributes = attributes(key);
        let absent = |name: &&str| attributes.iter().all(|(present, _)| present != name);
        let removed: Vec<&str> = optional().filter(absent).collect();
        let mut assignments = Vec::new();
        for (name, value) in attributes {
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
            assignments.push(format!("#{name} = :{name}"));
        }
        let assignments = assignments.join(", ");
        let expression = if removed.is_empty() {
            format!("SET {assignments}")
        } else {
            format!("SET {assignments} REMOVE {}", removed.join(", "))
        };
        update.update_expression(expression)
    }
}

#[async_trait]
impl KeyStore for DynamoKeyStore {
    async fn add(&self, key: &SealedCredential, most: u32) -> Result<Addition, StoreError> {
        let ApiKey { tenant, .. } = &key.credential.key;
        let count = self
            .count(tenant, 1)
            .condition_expression("attribute_not_exists(#keys) OR #keys < :most")
            .expression_attribute_values(":most", number(most));
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(self.table.transact_put_new(write_sealed(key))?)
            .transact_items(
                self.table
                    .transact_put_new(write_listed(&key.credential.key))?,
            )
            .transact_items(self.table.transact_update(&count)?);
        match request.send().await {
            Ok(_) => Ok(Addition::Added),
            Err(error) => result_of_failed_add(&reasons_of_transaction(error)?, key),
        }
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        let counts = self.table.read(keys::tenant_counts(tenant)).await?;
        counts.as_ref().map_or(Ok(0), counted)
    }

    async fn credential(&self, id: KeyId) -> Result<Option<SealedCredential>, StoreError> {
        let found = self.table.read(keys::api_key(id)).await?;
        found.as_ref().map(read_sealed).transpose()
    }

    async fn update(&self, key: &SealedCredential) -> Result<(), StoreError> {
        let ApiKey {
            tenant,
            revision,
            revoked_at,
            ..
        } = &key.credential.key;
        let replace = self
            .table
            .transact_put_revision(write_sealed(key), *revision)?;
        let mut request = self
            .table
            .client
            .transact_write_items()
            .transact_items(replace)
            .transact_items(
                self.table
                    .transact_update(&self.relist(&key.credential.key))?,
            );
        // A revoked key is not changed again, so this is the change that revokes it.
        if revoked_at.is_some() {
            request = request.transact_items(self.table.transact_update(&self.count(tenant, -1))?);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match stored(&reasons_of_transaction(error)?)? {
                Some(stored) if stored == *key => Ok(()),
                Some(_) | None => Err(StoreError::Conflict),
            },
        }
    }

    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<ListedKey>, StoreError> {
        let after = table::after(page, keys::parse_id_cursor)?;
        let after = after.map(|id: KeyId| keys::listed_api_key(tenant, id));
        let query = self
            .table
            .query_prefix(keys::tenant(tenant), API_KEY_PREFIX);
        let (items, more) = Table::page(query, after, page.limit, |_| true).await?;
        let entries: Vec<ListedKey> = items.iter().map(read_listed).collect::<Result<_, _>>()?;
        let last = entries.last().filter(|_| more);
        Ok(Page {
            next: last.map(|last| keys::id_cursor(last.key.id)),
            entries,
        })
    }

    async fn key(&self, tenant: &TenantId, id: KeyId) -> Result<Option<ListedKey>, StoreError> {
        let found = self.table.read(keys::listed_api_key(tenant, id)).await?;
        found.as_ref().map(read_listed).transpose()
    }

    async fn note_use(&self, tenant: &TenantId, id: KeyId, day: u64) -> Result<(), StoreError> {
        let request = self
            .table
            .update(keys::listed_api_key(tenant, id))
            .update_expression("SET #day = :day")
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(#day) OR #day < :day)",
            )
            .expression_attribute_names("#day", LAST_USED)
            .expression_attribute_values(":day", number(day));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => record_that_failed_update(error).map(drop),
        }
    }
}

/// What it means that the transaction of [`KeyStore::add`] was canceled.
fn result_of_failed_add(
    reasons: &[CancellationReason],
    key: &SealedCredential,
) -> Result<Addition, StoreError> {
    match stored(reasons)? {
        Some(stored) if stored == *key => return Ok(Addition::Added),
        Some(_) => return Err(StoreError::Conflict),
        None => {}
    }
    let counts = reasons.get(2).and_then(CancellationReason::item);
    counts.map_or(Err(StoreError::Conflict), |counts| {
        counted(counts).map(Addition::Full)
    })
}

/// The number of keys in the record of the tenant's counts.
fn counted(counts: &Item) -> Result<u32, StoreError> {
    let keys = Fields::of(counts)?.optional(KEYS, Fields::number)?;
    Ok(keys.unwrap_or(0))
}

/// The credential that the transaction's first write found instead.
fn stored(reasons: &[CancellationReason]) -> Result<Option<SealedCredential>, StoreError> {
    let item = reasons.first().and_then(CancellationReason::item);
    item.map(read_sealed).transpose()
}
