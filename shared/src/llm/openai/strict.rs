//! Which JSON schemas OpenAI's models can be held to.
//!
//! The vendor refuses a strict schema outside its subset, so this says yes only to what is surely inside: the keywords of
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas> that all its models know.

use serde_json::{Map, Value};

/// How many levels of nesting the vendor takes.
const MAX_DEPTH: usize = 10;

/// Whether the vendor takes the schema as strict.
pub(in crate::llm) fn is_strict(schema: &Value) -> bool {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    is_object && schema.get("anyOf").is_none() && is_within(schema, MAX_DEPTH)
}

fn is_within(schema: &Value, depth: usize) -> bool {
    let (Some(schema), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else { return false };
    let below = |schema: &Value| is_within(schema, depth);
    let keywords = schema.iter().all(|(keyword, value)| match keyword.as_str() {
        "type" | "enum" | "const" | "title" | "description" => true,
        "required" => value.is_array(),
        "additionalProperties" => *value == Value::Bool(false),
        "$ref" => value.as_str().is_some_and(|place| place.starts_with('#')),
        "items" => below(value),
        "anyOf" => value.as_array().is_some_and(|schemas| schemas.iter().all(below)),
        "properties" | "$defs" => value.as_object().is_some_and(|schemas| schemas.values().all(below)),
        _ => false,
    });
    keywords && (!describes_objects(schema) || is_closed(schema))
}

fn describes_objects(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => schema.contains_key("properties"),
    }
}

/// Whether an object has exactly the properties that are named, none of them optional.
fn is_closed(schema: &Map<String, Value>) -> bool {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    schema.contains_key("additionalProperties")
        && properties.is_some_and(|properties| properties.keys().all(|name| required.contains(&name.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, expected: bool) {
        assert_eq!(is_strict(schema), expected, "{schema}");
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads like the macro that it is fed with")]
    fn closed(properties: Value) -> Value {
        let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
        json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
    }

    #[test]
    fn closed_objects_of_plain_values_are_strict() {
        check(&closed(json!({})), true);
        check(&closed(json!({"a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": ["number", "null"]}})), true);
        check(&closed(json!({"a": {"type": "array", "items": closed(json!({"b": {"const": 1}}))}})), true);
        check(&closed(json!({"a": {"anyOf": [{"type": "null"}, closed(json!({}))], "description": "x"}})), true);
        check(&closed(json!({"a": {"$ref": "#"}})), true);
        let mut with_definitions = closed(json!({"a": {"$ref": "#/$defs/a"}}));
        with_definitions["$defs"] = json!({"a": {"type": "integer", "title": "A"}});
        check(&with_definitions, true);
    }

    #[test]
    fn whatever_may_be_refused_is_not_strict() {
        check(&json!(true), false);
        check(&json!({}), false);
        check(&json!({"type": "string"}), false);
        check(&json!({"type": "object"}), false);
        check(&json!({"type": "object", "properties": {}}), false);
        check(&json!({"type": "object", "properties": {}, "additionalProperties": true}), false);
        check(&json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}), false);
        check(&json!({"anyOf": [closed(json!({}))]}), false);
        check(&closed(json!({"a": {"type": "object"}})), false);
        check(&closed(json!({"a": {"properties": {"b": {}}}})), false);
        check(&closed(json!({"a": {"type": ["object", "null"], "properties": {"b": {}}}})), false);
        check(&closed(json!({"a": true})), false);
        for keyword in ["minLength", "default", "allOf", "not", "if", "oneOf", "format", "invented_later"] {
            check(&closed(json!({"a": {"type": "string", (keyword): 1}})), false);
        }
        check(&closed(json!({"a": {"$ref": "https://example.com/schema"}})), false);
    }

    #[test]
    fn deep_schemas_are_not_strict() {
        let nested = |levels: usize| (1..levels).fold(closed(json!({})), |inner, _| closed(json!({"a": inner})));
        check(&nested(MAX_DEPTH), true);
        check(&nested(MAX_DEPTH + 1), false);
    }
}
