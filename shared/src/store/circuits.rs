//! Circuits on DynamoDB, in the ephemeral table: one record per model, written only when a circuit
//! changes.
//!
//! DynamoDB removes expired records within days, so that an expired one counts as absent in reads
//! and conditions.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::circuit_item::{self, REVISION};
use super::error::{failure, record_that_failed_put};
use super::items::number;
use super::keys::{self, EXPIRES_AT};
use super::table::{self, Table};
use crate::domain::{Circuit, ModelRef, Timestamp};
use crate::ports::{Circuits, Replaced, StoreError};

const NOTHING_KEPT: &str = "attribute_not_exists(pk) OR #expires_at <= :now";
const SEEN_KEPT: &str = "#revision = :seen AND #expires_at > :now";

/// Circuits in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoCircuits {
    table: Table,
}

impl DynamoCircuits {
    /// Keeps circuits in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    fn put(&self, model: &ModelRef, next: &Circuit, now: Timestamp) -> PutItemFluentBuilder {
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(circuit_item::write(model, next, now)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":now", number(keys::seconds(now)));
        match next.revision.saturating_sub(1) {
            0 => put.condition_expression(NOTHING_KEPT),
            seen => put
                .condition_expression(SEEN_KEPT)
                .expression_attribute_names("#revision", REVISION)
                .expression_attribute_values(":seen", number(seen)),
        }
    }
}

#[async_trait]
impl Circuits for DynamoCircuits {
    /// Half the price of a consistent read: a circuit that is seen a moment late does no harm.
    async fn load(&self, model: &ModelRef, now: Timestamp) -> Result<Circuit, StoreError> {
        let key = table::attributes(keys::circuit(model));
        let request = self
            .table
            .client
            .get_item()
            .table_name(&self.table.name)
            .set_key(Some(key));
        let answer = request
            .consistent_read(false)
            .send()
            .await
            .map_err(failure)?;
        circuit_item::read(answer.item.as_ref(), now)
    }

    async fn replace(
        &self,
        model: &ModelRef,
        next: &Circuit,
        now: Timestamp,
    ) -> Result<Replaced, StoreError> {
        let Err(error) = self.put(model, next, now).send().await else {
            return Ok(Replaced::Done);
        };
        let stored = circuit_item::read(record_that_failed_put(error)?.as_ref(), now)?;
        // The SDK sends a request again when its answer is lost; the first one may have been
        // granted.
        Ok(if stored == *next {
            Replaced::Done
        } else {
            Replaced::Otherwise(stored)
        })
    }
}
