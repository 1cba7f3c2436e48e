//! Circuits on DynamoDB, in the ephemeral table: one record per model, written only when a circuit
//! changes. The health of the models is in the same partitions.
//!
//! DynamoDB removes expired records within days, so that an expired one counts as absent in reads
//! and conditions.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::circuit_item::{self, REVISION};
use super::error::{failure, record_that_failed_put, record_that_failed_update};
use super::health_item;
use super::items::{Item, V, VERSION, moment, number};
use super::keys::{self, EXPIRES_AT, Key};
use super::table::{self, Table};
use crate::domain::{Causes, Circuit, HealthKey, HealthNote, ModelHealth, ModelRef, Timestamp};
use crate::ports::{Circuits, ModelState, Replaced, StoreError};

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

    /// A failed condition is a newer note, or a record of a later version.
    async fn note(
        &self,
        key: &HealthKey,
        note: HealthNote,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changes = health_item::changes(note);
        let mut set = vec!["#v = :v".to_owned(), "#expires_at = :expires_at".to_owned()];
        let expires_at = keys::seconds(now.plus(ModelHealth::RETENTION));
        let mut request = self
            .table
            .update(keys::health(key))
            .condition_expression(format!(
                "(attribute_not_exists(#v) OR #v <= :v) AND (attribute_not_exists(#{0}) OR #{0}.#at < :at)",
                changes.part
            ))
            .expression_attribute_names("#v", V)
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_names("#at", health_item::AT)
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":expires_at", number(expires_at))
            .expression_attribute_values(":at", moment(changes.at));
        for (name, value) in changes.set {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        let request = request.update_expression(format!("SET {}", set.join(", ")));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => record_that_failed_update(error).map(|_| ()),
        }
    }

    async fn states(
        &self,
        keys: &[HealthKey],
        now: Timestamp,
    ) -> Result<Vec<ModelState>, StoreError> {
        let places = keys
            .iter()
            .flat_map(|key| circuit_place(key).into_iter().chain([keys::health(key)]));
        let found = self.table.read_all(places.collect()).await?;
        Ok(keys.iter().map(|key| state(key, &found, now)).collect())
    }
}

/// Where the circuit is, if there is one.
fn circuit_place(key: &HealthKey) -> Option<Key> {
    match key {
        HealthKey::Model(model) => Some(keys::circuit(model)),
        HealthKey::OtherModels(_) => None,
    }
}

fn state(key: &HealthKey, found: &HashMap<Key, Item>, now: Timestamp) -> ModelState {
    let circuit = circuit_place(key).and_then(|place| found.get(&place));
    let health = found.get(&keys::health(key));
    ModelState {
        circuit: readable(circuit_item::read(circuit, now)),
        health: readable(health.map_or_else(|| Ok(ModelHealth::default()), health_item::read)),
    }
}

fn readable<T>(read: Result<T, StoreError>) -> Option<T> {
    let report = |error: &StoreError| {
        tracing::warn!(error = %Causes(error), "record of a model unreadable; shown as unknown");
    };
    read.inspect_err(report).ok()
}
