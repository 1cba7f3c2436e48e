//! The places in a schema that hold subschemas.

use serde_json::{Map, Value};

use crate::domain::{Holds, holds};

/// Applies `change` to each direct subschema. Leaves alone a boolean that opens or closes an object
/// or a list, such as `"additionalProperties": false`.
pub(super) fn each(schema: Value, change: &impl Fn(Value) -> Value) -> Value {
    let Value::Object(keywords) = schema else {
        return schema;
    };
    let changed = keywords.into_iter().map(|(keyword, value)| {
        let value = inside(&keyword, value, change);
        (keyword, value)
    });
    Value::Object(changed.collect())
}

/// Whether each direct subschema passes the test. Subschemas that [`each`] leaves alone
/// always do.
pub(super) fn all(keywords: &Map<String, Value>, test: &impl Fn(&Value) -> bool) -> bool {
    keywords
        .iter()
        .all(|(keyword, value)| match (holds(keyword), value) {
            (Some(_), Value::Bool(_)) if is_switch(keyword) => true,
            (Some(Holds::ByName), Value::Object(schemas)) => schemas
                .values()
                .all(|schema| schema.is_array() || test(schema)),
            (Some(Holds::List | Holds::OneOrList), Value::Array(schemas)) => {
                schemas.iter().all(test)
            }
            (Some(Holds::One | Holds::OneOrList), schema) => test(schema),
            (None | Some(Holds::List | Holds::ByName), _) => true,
        })
}

/// Applies `change` to the subschemas in the value of one keyword.
fn inside(keyword: &str, value: Value, change: &impl Fn(Value) -> Value) -> Value {
    match (holds(keyword), value) {
        (Some(_), value @ Value::Bool(_)) if is_switch(keyword) => value,
        (Some(Holds::ByName), Value::Object(schemas)) => {
            let changed = |(name, schema): (String, Value)| {
                // A list of names, in `dependencies`.
                let schema = if schema.is_array() {
                    schema
                } else {
                    change(schema)
                };
                (name, schema)
            };
            Value::Object(schemas.into_iter().map(changed).collect())
        }
        (Some(Holds::List | Holds::OneOrList), Value::Array(schemas)) => {
            schemas.into_iter().map(change).collect()
        }
        (Some(Holds::One | Holds::OneOrList), value) => change(value),
        (None | Some(Holds::List | Holds::ByName), value) => value,
    }
}

/// Whether a boolean under this keyword opens or closes an object or a list.
fn is_switch(keyword: &str) -> bool {
    let switches = [
        "additionalItems",
        "additionalProperties",
        "items",
        "unevaluatedItems",
        "unevaluatedProperties",
    ];
    switches.contains(&keyword)
}
