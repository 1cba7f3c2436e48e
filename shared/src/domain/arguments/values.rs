//! Compares JSON values as JSON Schema defines it.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Whether the value is of the type that a schema calls `name`.
pub(super) fn is_of_type(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || name == "integer" && is_whole(number),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

/// A number such as 3.0 is whole too.
fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Equality as JSON Schema defines it: numbers by their value, objects in any order. Each compared
/// pair of values takes a step; without steps left nothing is equal.
pub(super) fn equal(left: &Value, right: &Value, steps: &mut usize) -> bool {
    let Some(left_over) = steps.checked_sub(1) else {
        return false;
    };
    *steps = left_over;
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            compare(left, right) == Some(Ordering::Equal)
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right, steps))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(name, value): (&String, &Value)| {
                right
                    .get(name)
                    .is_some_and(|other| equal(value, other, steps))
            };
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

/// The order of two numbers by their value.
pub(super) fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Whether the number is a multiple of the factor. A rounding error of binary fractions does not
/// matter: 0.3 is a multiple of 0.1.
pub(super) fn is_multiple(number: &Number, factor: &Number) -> bool {
    if let (Some(number), Some(factor)) = (number.as_i128(), factor.as_i128()) {
        return number.checked_rem(factor).is_none_or(|rest| rest == 0);
    }
    let (number, factor) = (
        number.as_f64().unwrap_or_default(),
        factor.as_f64().unwrap_or(1.0),
    );
    let times = number / factor;
    let gap = (times - times.round()).abs();
    !times.is_finite() || gap <= 1e-9 * times.abs().max(1.0)
}
