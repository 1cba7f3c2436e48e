//! Counts of requests on DynamoDB, in the ephemeral table: one record for each owner and minute.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;

use super::error::failure;
use super::items::{Fields, V, VERSION, number};
use super::keys::{self, EXPIRES_AT};
use super::table::Table;
use crate::domain::Timestamp;
use crate::ports::{LimitOwner, RequestCounts, StoreError};

const COUNT: &str = "count";

/// How long after its minute a record is stored, in seconds.
const RETENTION_SECONDS: u64 = 600;

/// Counts of requests in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoRequestCounts {
    table: Table,
}

impl DynamoRequestCounts {
    /// Keeps counts in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }
}

#[async_trait]
impl RequestCounts for DynamoRequestCounts {
    async fn count(&self, owner: &LimitOwner, minute: u64) -> Result<u64, StoreError> {
        let end = Timestamp::from_millis((minute + 1) * 60_000);
        let request = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(super::table::attributes(keys::request_count(
                owner, minute,
            ))))
            .update_expression("SET #v = :v, #expires_at = :expires_at ADD #count :one")
            .expression_attribute_names("#v", V)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_names("#count", COUNT)
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(
                ":expires_at",
                number(keys::seconds(end) + RETENTION_SECONDS),
            )
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew);
        let updated = request.send().await.map_err(failure)?;
        let updated = updated.attributes.unwrap_or_default();
        Fields::of_index(&updated).number(COUNT)
    }
}
