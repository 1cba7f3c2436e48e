//! Which JSON schemas OpenAI's models can be held to.
//!
//! The provider refuses a strict schema outside its subset. So a schema counts as strict only if it
//! is surely inside: the keywords of
//! <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas> that all its
//! models know, each schema with a `type` ("schema must have a 'type' key") unless it has `anyOf`
//! or `$ref`, and nothing beside a `$ref` ("$ref cannot have keywords",
//! <https://github.com/langchain-ai/langchainjs/pull/11384>).

use serde_json::{Map, Value};

use crate::domain::Provider;
use crate::policy::schemas::{accepted, modern};

/// How many levels of nesting the provider takes.
const MAX_DEPTH: usize = 10;

/// How many values of all enumerations together the provider takes.
const MAX_ENUM_VALUES: usize = 1_000;

/// How long the texts of one enumeration may be together if it has more than [`LONG_ENUM`] values.
const MAX_LONG_ENUM_BYTES: usize = 15_000;
const LONG_ENUM: usize = 250;

/// The schema of an answer as the provider takes it, and whether it takes it as strict.
pub(in crate::llm) fn response_schema(schema: &Value) -> (Value, bool) {
    let modern = modern(schema);
    if is_strict(&modern) {
        (modern, true)
    } else {
        (accepted(schema, Provider::OpenAi).into_owned(), false)
    }
}

/// Whether the provider takes the schema as strict.
pub(super) fn is_strict(schema: &Value) -> bool {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    let mut enum_values = 0;
    is_object
        && schema.get("anyOf").is_none()
        && is_within(schema, schema, MAX_DEPTH, &mut enum_values)
        && enum_values <= MAX_ENUM_VALUES
}

/// Whether the schema, with at most `depth` levels, is in the subset. Adds its enumerations' values
/// to `enum_values`.
fn is_within(schema: &Value, root: &Value, depth: usize, enum_values: &mut usize) -> bool {
    let (Some(keywords), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else {
        return false;
    };
    if let Some(place) = keywords.get("$ref") {
        return keywords.len() == 1 && place.as_str().is_some_and(|place| is_known(place, root));
    }
    let mut below = |schema: &Value| is_within(schema, root, depth, enum_values);
    let known = keywords
        .iter()
        .all(|(keyword, value)| match keyword.as_str() {
            "type" | "const" | "title" | "description" => true,
            "enum" => value.as_array().is_some_and(|values| is_short(values)),
            "required" => value.is_array(),
            "additionalProperties" => *value == Value::Bool(false),
            "items" => below(value),
            "anyOf" => value
                .as_array()
                .is_some_and(|schemas| schemas.iter().all(&mut below)),
            "properties" | "$defs" => value
                .as_object()
                .is_some_and(|schemas| schemas.values().all(&mut below)),
            _ => false,
        });
    *enum_values += keywords
        .get("enum")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let has_type = keywords.contains_key("type") || keywords.contains_key("anyOf");
    known
        && has_type
        && (!describes(keywords, "object") || is_closed(keywords))
        && (!describes(keywords, "array") || keywords.contains_key("items"))
}

/// Whether the place is the whole schema or one of its definitions.
fn is_known(place: &str, root: &Value) -> bool {
    let name = place.strip_prefix("#/$defs/");
    place == "#"
        || name.is_some_and(|name| {
            root.get("$defs")
                .and_then(|known| known.get(name))
                .is_some()
        })
}

fn is_short(values: &[Value]) -> bool {
    let bytes: usize = values.iter().filter_map(Value::as_str).map(str::len).sum();
    !values.is_empty() && (values.len() <= LONG_ENUM || bytes <= MAX_LONG_ENUM_BYTES)
}

fn describes(schema: &Map<String, Value>, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == kind,
        Some(Value::Array(names)) => names.iter().any(|name| name == kind),
        Some(_) | None => kind == "object" && schema.contains_key("properties"),
    }
}

/// Whether an object has exactly the named properties, and all are required.
fn is_closed(schema: &Map<String, Value>) -> bool {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    schema.contains_key("additionalProperties")
        && properties.is_some_and(|properties| {
            properties.len() == required.len()
                && properties
                    .keys()
                    .all(|name| required.contains(&name.as_str()))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: &Value, expected: bool) {
        assert_eq!(is_strict(schema), expected, "{schema}");
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads like the macro that it is fed with"
    )]
    fn closed(properties: Value) -> Value {
        let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
        json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
    }

    #[test]
    fn closed_objects_of_plain_values_are_strict() {
        check(&closed(json!({})), true);
        check(
            &closed(
                json!({"a": {"type": "string", "enum": ["x", "y"]}, "b": {"type": ["number", "null"]}}),
            ),
            true,
        );
        check(
            &closed(
                json!({"a": {"type": "array", "items": closed(json!({"b": {"type": "integer", "const": 1}}))}}),
            ),
            true,
        );
        check(
            &closed(
                json!({"a": {"anyOf": [{"type": "null"}, closed(json!({}))], "description": "x"}}),
            ),
            true,
        );
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
        check(
            &json!({"type": "object", "properties": {}, "additionalProperties": true}),
            false,
        );
        check(
            &json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}),
            false,
        );
        check(&json!({"anyOf": [closed(json!({}))]}), false);
        check(&closed(json!({"a": {"type": "object"}})), false);
        check(&closed(json!({"a": {"properties": {"b": {}}}})), false);
        check(
            &closed(json!({"a": {"type": ["object", "null"], "properties": {"b": {}}}})),
            false,
        );
        check(&closed(json!({"a": true})), false);
        for keyword in [
            "minLength",
            "default",
            "allOf",
            "not",
            "if",
            "oneOf",
            "format",
            "invented_later",
        ] {
            check(
                &closed(json!({"a": {"type": "string", (keyword): 1}})),
                false,
            );
        }
        check(
            &closed(json!({"a": {"$ref": "https://example.com/schema"}})),
            false,
        );
        for property in [
            json!({"enum": ["x"]}),
            json!({"const": 1}),
            json!({"description": "anything"}),
            json!({"type": "string", "enum": []}),
            json!({"type": "array"}),
            json!({"type": ["array", "null"]}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"$ref": "#/properties/a"}),
            json!({"$ref": "#", "description": "x"}),
            json!({"anyOf": [{"type": "null"}, {"description": "anything"}]}),
        ] {
            check(&closed(json!({"a": property})), false);
        }
        let mut with_other_names = closed(json!({"a": {"type": "null"}}));
        with_other_names["required"] = json!(["a", "b"]);
        check(&with_other_names, false);
    }

    #[test]
    fn enumerations_are_strict_up_to_the_providers_limits() {
        let values = |count: usize, bytes: usize| {
            let values: Vec<_> = (0..count)
                .map(|number| format!("{number:0bytes$}"))
                .collect();
            json!({"type": "string", "enum": values})
        };
        check(
            &closed(json!({"a": values(500, 4), "b": values(500, 4)})),
            true,
        );
        check(
            &closed(json!({"a": values(500, 4), "b": values(501, 4)})),
            false,
        );
        check(&closed(json!({"a": values(250, 61)})), true);
        check(&closed(json!({"a": values(251, 61)})), false);
    }

    #[test]
    fn an_answers_schema_outside_the_subset_is_repaired_and_not_strict() {
        let strict = closed(json!({"z": {"type": "null"}, "a": {"type": "null"}}));
        assert_eq!(response_schema(&strict), (strict, true));
        let expected = json!({"type": "object", "properties": {}});
        assert_eq!(
            response_schema(&json!({"type": "object"})),
            (expected, false)
        );
        let old = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["a"],
            "additionalProperties": false, "properties": {"a": {"$ref": "#/definitions/b"}},
            "definitions": {"b": {"type": "null"}},
        });
        let (schema, is_strict) = response_schema(&old);
        assert!(
            is_strict && schema["$defs"]["b"]["type"] == "null",
            "{schema}"
        );
    }

    #[test]
    fn deep_schemas_are_not_strict() {
        let nested = |levels: usize| {
            (1..levels).fold(closed(json!({})), |inner, _| closed(json!({"a": inner})))
        };
        check(&nested(MAX_DEPTH), true);
        check(&nested(MAX_DEPTH + 1), false);
    }
}
