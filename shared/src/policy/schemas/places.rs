//! Where a schema has schemas in it.

use serde_json::Value;

/// The schema with each schema right inside it changed. Booleans stay where they are the usual way to open or close an
/// object or a list.
pub(super) fn each(schema: Value, change: &impl Fn(Value) -> Value) -> Value {
    let Value::Object(keywords) = schema else { return schema };
    let changed = keywords.into_iter().map(|(keyword, value)| {
        let value = inside(&keyword, value, change);
        (keyword, value)
    });
    Value::Object(changed.collect())
}

fn inside(keyword: &str, value: Value, change: &impl Fn(Value) -> Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(change).collect();
    match (keyword, value) {
        (
            "additionalItems" | "additionalProperties" | "items" | "unevaluatedItems" | "unevaluatedProperties",
            value @ Value::Bool(_),
        ) => value,
        ("allOf" | "anyOf" | "items" | "oneOf" | "prefixItems", Value::Array(schemas)) => Value::Array(all(schemas)),
        (
            "additionalItems"
            | "additionalProperties"
            | "contains"
            | "contentSchema"
            | "else"
            | "if"
            | "items"
            | "not"
            | "propertyNames"
            | "then"
            | "unevaluatedItems"
            | "unevaluatedProperties",
            value,
        ) => change(value),
        (
            "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" | "properties",
            Value::Object(schemas),
        ) => {
            let changed = |(name, schema): (String, Value)| {
                // A list of names, in `dependencies`.
                let schema = if schema.is_array() { schema } else { change(schema) };
                (name, schema)
            };
            Value::Object(schemas.into_iter().map(changed).collect())
        }
        (_, value) => value,
    }
}
