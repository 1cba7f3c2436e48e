//! The table, and the requests that all stores make of it.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::error::failure;
use super::items::{Item, text};
use super::keys::{Key, NOTHING_THERE, PK, SK};
use crate::ports::StoreError;

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    /// The record at `key`, as of now.
    pub(super) async fn read(&self, key: Key) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(attributes(key)));
        Ok(request.consistent_read(true).send().await.map_err(failure)?.item)
    }

    /// A put where nothing is yet; if something is, it comes with the failure.
    pub(super) fn put_new(&self, item: Item) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(NOTHING_THERE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// An update; if its condition fails, the record comes with the failure.
    pub(super) fn update(&self, key: Key) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(attributes(key)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// A query.
    pub(super) fn query(&self) -> QueryFluentBuilder {
        self.client.query().table_name(&self.name)
    }

    /// All records of a partition whose sort key begins with `prefix`, as of now, in the order of their sort keys. Its
    /// pages still have to be asked for.
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

/// The key as attributes.
pub(super) fn attributes(key: Key) -> Item {
    [(PK, key.pk), (SK, key.sk)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).into()
}
