//! Counting the calls that reach AWS, and the units that DynamoDB bills for them, because each
//! costs time and money.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value has nothing at an unknown name"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use serde_json::Value;

/// One read unit is for so many bytes, strongly consistent
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>).
const READ_UNIT_BYTES: usize = 4 * 1_024;

/// Counts requests by their operation, such as `UpdateItem` or `SendMessage`, each attempt on its
/// own, and DynamoDB's units.
///
/// Write units are as DynamoDB reports them, including its indexes. The local AWS reports them by
/// the size of the larger of the records before and after, like AWS, but read units without regard
/// to size: these are computed from the returned records, as for strongly consistent reads. That is
/// twice what a read of an index costs, and too little for a read with a projection, which is
/// billed for whole records.
///
/// Attach it to a client's configuration with `interceptor`. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct CallCounter {
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<String, u32>,
    units: Units,
}

/// What DynamoDB bills.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Units {
    /// Write units.
    pub written: f64,
    /// Read units.
    pub read: f64,
}

impl CallCounter {
    /// The calls since the start or the last [`CallCounter::reset`].
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.counted().calls.clone()
    }

    /// The units since the start or the last [`CallCounter::reset`].
    pub fn units(&self) -> Units {
        self.counted().units
    }

    /// Begins again at zero.
    pub fn reset(&self) {
        *self.counted() = Counted::default();
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for CallCounter {
    fn name(&self) -> &'static str {
        "CallCounter"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let input = context.input_mut();
        let total = Some(ReturnConsumedCapacity::Total);
        if let Some(put) = input.downcast_mut::<PutItemInput>() {
            put.return_consumed_capacity = total;
        } else if let Some(update) = input.downcast_mut::<UpdateItemInput>() {
            update.return_consumed_capacity = total;
        } else if let Some(transaction) = input.downcast_mut::<TransactWriteItemsInput>() {
            transaction.return_consumed_capacity = total;
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config
            .load::<Metadata>()
            .map_or("unknown", Metadata::name)
            .to_owned();
        *self.counted().calls.entry(operation).or_default() += 1;
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(body) = context.response().body().bytes() else {
            return Ok(());
        };
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return Ok(());
        };
        let mut counted = self.counted();
        counted.units.written += written(&answer["ConsumedCapacity"]);
        counted.units.read += read(&answer);
        Ok(())
    }
}

/// The units of one table, or of each of a transaction's.
fn written(consumed: &Value) -> f64 {
    match consumed {
        Value::Array(tables) => tables.iter().map(written).sum(),
        table => table["CapacityUnits"].as_f64().unwrap_or_default(),
    }
}

/// The units of an answer to `GetItem` or `Query`. Nothing is there for one unit, too.
fn read(answer: &Value) -> f64 {
    let bytes = match (&answer["Item"], &answer["Items"]) {
        (_, Value::Array(items)) => items.iter().map(bytes_of_record).sum(),
        (item @ Value::Object(_), _) => bytes_of_record(item),
        _ if answer.as_object().is_some_and(serde_json::Map::is_empty) => 0,
        _ => return 0.0,
    };
    let units = bytes.div_ceil(READ_UNIT_BYTES).max(1);
    u32::try_from(units).map_or(f64::INFINITY, f64::from)
}

/// The size of a record in DynamoDB's JSON, by
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
fn bytes_of_record(record: &Value) -> usize {
    let attributes = record.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| name.len() + bytes_of_value(value))
        .sum()
}

fn bytes_of_value(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return 0;
    };
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        // Two digits in a byte, and one for the sign and the exponent.
        ("N", Value::String(digits)) => digits.len().div_ceil(2) + 1,
        ("B", Value::String(base64)) => base64.trim_end_matches('=').len() * 3 / 4,
        ("L", Value::Array(entries)) => {
            3 + entries
                .iter()
                .map(|entry| 1 + bytes_of_value(entry))
                .sum::<usize>()
        }
        ("M", map) => 3 + map.as_object().map_or(0, serde_json::Map::len) + bytes_of_record(map),
        _ => 1,
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "units are whole or half")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_read_is_billed_by_the_bytes_that_it_returns() {
        let answer = |bytes: usize| json!({ "Item": { "a": { "S": "x".repeat(bytes - 1) } } });
        let units = [0, 1, 4_096, 4_097, 131_072].map(|bytes| match bytes {
            0 => read(&json!({})),
            bytes => read(&answer(bytes)),
        });
        assert_eq!(units, [1.0, 1.0, 1.0, 2.0, 32.0]);
        let two = json!({ "Items": [answer(3_000)["Item"], answer(3_000)["Item"]], "Count": 2 });
        assert_eq!(
            (read(&two), read(&json!({ "ConsumedCapacity": {} }))),
            (2.0, 0.0)
        );
        let record = json!({ "n": { "N": "1795000000000" }, "b": { "B": "AAAA" }, "l": { "L": [{ "S": "ab" }, { "BOOL": true }] },
            "m": { "M": { "k": { "NULL": true } } } });
        assert_eq!(
            bytes_of_record(&record),
            (1 + 8) + (1 + 3) + (1 + 3 + 3 + 2) + (1 + 3 + 1 + 2)
        );
    }

    #[test]
    fn a_write_is_billed_as_dynamodb_says() {
        assert_eq!(
            written(&json!({ "TableName": "t", "CapacityUnits": 3.0 })),
            3.0
        );
        assert_eq!(
            written(&json!([{ "CapacityUnits": 3.0 }, { "CapacityUnits": 4.0 }])),
            7.0
        );
        assert_eq!(written(&Value::Null), 0.0);
    }
}
