//! Makes one object of the parts of a flattened struct. `utoipa` describes such a struct by
//! `allOf`, which no validator can combine with a refusal of unknown members.

use serde_json::{Map, Value, json};

/// The schema with each `allOf` of objects replaced by one object. `schemas` are the components to
/// which it refers.
pub(super) fn flattened(schema: &Value, schemas: &Map<String, Value>) -> Value {
    match schema {
        Value::Array(entries) => entries
            .iter()
            .map(|entry| flattened(entry, schemas))
            .collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> = members
                .iter()
                .map(|(name, member)| (name.clone(), flattened(member, schemas)))
                .collect();
            let Some(Value::Array(parts)) = members.shift_remove("allOf") else {
                return Value::Object(members);
            };
            let mut whole = parts
                .iter()
                .map(|part| present(part, schemas))
                .fold(json!({ "type": "object" }), |whole, part| {
                    joined(whole, &part)
                });
            if let Some(whole) = whole.as_object_mut() {
                whole.shift_remove("description");
                members.append(whole);
            }
            Value::Object(members)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// A part of a flattened struct as an object. The members of an optional part are optional.
fn present(part: &Value, schemas: &Map<String, Value>) -> Value {
    let null = json!({ "type": "null" });
    let variants = part["oneOf"].as_array();
    if let Some(variants) = variants.filter(|variants| variants.contains(&null)) {
        let variant = variants.iter().find(|variant| **variant != null);
        let mut variant = flattened(resolved(variant.unwrap_or(&null), schemas), schemas);
        if let Some(members) = variant.as_object_mut() {
            members.shift_remove("required");
        }
        return variant;
    }
    flattened(resolved(part, schemas), schemas)
}

/// What the schema refers to, or the schema itself.
fn resolved<'a>(schema: &'a Value, schemas: &'a Map<String, Value>) -> &'a Value {
    let name = name_of(schema).and_then(|name| schemas.get(name));
    name.unwrap_or(schema)
}

/// The name of the component to which the schema refers.
pub(super) fn name_of(schema: &Value) -> Option<&str> {
    schema
        .get("$ref")?
        .as_str()?
        .strip_prefix("#/components/schemas/")
}

/// An object with the members of both objects. One of them may be a choice of objects.
fn joined(left: Value, right: &Value) -> Value {
    for (choice, other) in [(&left, right), (right, &left)] {
        if let Some(variants) = choice.get("oneOf").and_then(Value::as_array) {
            let variants = variants
                .iter()
                .map(|variant| joined(variant.clone(), other));
            return json!({ "oneOf": variants.collect::<Vec<_>>() });
        }
    }
    let mut both = left;
    for (name, list) in [("required", json!([])), ("properties", json!({}))] {
        let added = right.get(name).cloned().unwrap_or_else(|| list.clone());
        let Some(members) = both.as_object_mut() else {
            return both;
        };
        match (members.entry(name).or_insert(list), added) {
            (Value::Array(known), Value::Array(added)) => known.extend(added),
            (Value::Object(known), Value::Object(added)) => known.extend(added),
            _ => {}
        }
    }
    both
}
