//! Which output schemas Anthropic's models can be held to.
//!
//! The provider refuses a schema outside its subset: an open object, a bound on a number or a
//! length, a recursion
//! (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>).
//! As in the provider's own client, objects are closed, and other keywords outside the subset move
//! into the description, where the model reads them. A schema whose meaning would change, such as
//! the schema of a map, is not brought into the subset. The request then describes it in words,
//! which the model may not follow, as it does for other providers. The same holds for a schema that
//! is over the provider's limits on complexity
//! (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs#schema-complexity-limits>).

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::complexity::is_simple;
use crate::policy::schemas::is_plain_key;

/// The formats of texts that the provider knows.
const FORMATS: [&str; 10] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
];

/// Where references may lead.
const DEFINITIONS: &str = "#/$defs/";

/// The schema within the subset and the limits; `None` if it can't be said there.
pub(super) fn within_subset(schema: &Value) -> Option<Value> {
    let definitions = schema.get("$defs").and_then(Value::as_object);
    let mut closed = closed(schema)?;
    let mut known = HashSet::new();
    if let Some(definitions) = definitions {
        if is_circular(definitions) {
            return None;
        }
        known.extend(definitions.keys().map(String::as_str));
        closed.insert("$defs".to_owned(), closed_each(definitions)?);
    }
    let mut places = Vec::new();
    references(schema, &mut places);
    let is_known = |place: &&str| {
        place
            .strip_prefix(DEFINITIONS)
            .is_some_and(|name| known.contains(name))
    };
    let closed = Value::Object(closed);
    (places.iter().all(is_known) && is_simple(&closed)).then_some(closed)
}

/// The instruction to follow a schema that the provider can't enforce.
pub(super) fn in_words(schema: &Value) -> String {
    format!(
        "Answer with nothing but JSON, without a code fence, that is valid under this JSON schema: {schema}"
    )
}

fn closed(schema: &Value) -> Option<Map<String, Value>> {
    let schema = schema.as_object()?;
    if let Some(place) = schema.get("$ref") {
        return Some(Map::from_iter([("$ref".to_owned(), place.clone())]));
    }
    let (mut kept, mut words) = (Map::new(), Map::new());
    for (keyword, value) in schema {
        let value = match keyword.as_str() {
            "type" | "title" | "description" | "required" => value.clone(),
            "const" if is_plain(value) => value.clone(),
            "enum" if value.as_array()?.iter().all(is_plain) => value.clone(),
            "format" if value.as_str().is_some_and(|name| FORMATS.contains(&name)) => value.clone(),
            "minItems" if value.as_u64().is_some_and(|least| least <= 1) => value.clone(),
            "additionalProperties" if *value == Value::Bool(false) => value.clone(),
            "items" => Value::Object(closed(value)?),
            "anyOf" | "oneOf" => value
                .as_array()?
                .iter()
                .map(|schema| closed(schema).map(Value::Object))
                .collect::<Option<_>>()?,
            "properties" if value.as_object()?.keys().all(|name| is_plain_key(name)) => {
                closed_each(value.as_object()?)?
            }
            "additionalProperties"
            | "allOf"
            | "const"
            | "enum"
            | "patternProperties"
            | "properties" => return None,
            "$comment" | "$defs" | "$id" | "$schema" => continue,
            _ => {
                words.insert(keyword.clone(), value.clone());
                continue;
            }
        };
        let keyword = if keyword == "oneOf" { "anyOf" } else { keyword };
        if kept.insert(keyword.to_owned(), value).is_some() {
            return None;
        }
    }
    describe(&mut kept, words);
    is_sound(&mut kept).then_some(kept)
}

fn closed_each(schemas: &Map<String, Value>) -> Option<Value> {
    schemas
        .iter()
        .map(|(name, schema)| Some((name.clone(), Value::Object(closed(schema)?))))
        .collect()
}

fn is_plain(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

/// Has the model read what it can't be held to.
fn describe(kept: &mut Map<String, Value>, words: Map<String, Value>) {
    if words.is_empty() {
        return;
    }
    let words = Value::Object(words);
    let text = match kept.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{words}"),
        None => words.to_string(),
    };
    kept.insert("description".to_owned(), text.into());
}

/// Sets `additionalProperties` to `false` on an object's schema. Returns whether the schema names
/// exactly one type.
fn is_sound(kept: &mut Map<String, Value>) -> bool {
    let has = |kept: &Map<String, Value>, keyword| kept.contains_key(keyword);
    if has(kept, "anyOf") || has(kept, "enum") || has(kept, "const") {
        // The provider wants no type beside them.
        kept.shift_remove("type");
        return ["properties", "items"]
            .iter()
            .all(|keyword| !has(kept, keyword))
            && !(has(kept, "anyOf") && (has(kept, "enum") || has(kept, "const")));
    }
    match kept.get("type") {
        Some(Value::String(kind)) if kind == "object" => close(kept),
        Some(Value::String(_)) => !has(kept, "properties"),
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| kind != "object" && kind != "array"),
        _ => false,
    }
}

/// Closes an object, unless it would lose its content by that.
fn close(object: &mut Map<String, Value>) -> bool {
    let is_closed = object.contains_key("additionalProperties");
    let names = object.get("properties").and_then(Value::as_object);
    let is_empty = names.is_none_or(Map::is_empty);
    let required = object
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let has_all = required
        .clone()
        .all(|name| names.is_some_and(|names| names.contains_key(name)));
    object.insert("additionalProperties".to_owned(), json!(false));
    object.entry("properties").or_insert_with(|| json!({}));
    (is_closed || !is_empty) && has_all
}

/// Adds all places that the schema refers to.
fn references<'a>(value: &'a Value, places: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            places.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, places));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, places)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a definition leads back to itself.
fn is_circular(definitions: &Map<String, Value>) -> bool {
    let mut open: Vec<(&str, Vec<&str>)> = definitions
        .iter()
        .map(|(name, schema)| {
            let mut places = Vec::new();
            references(schema, &mut places);
            (
                name.as_str(),
                places
                    .into_iter()
                    .filter_map(|place| place.strip_prefix(DEFINITIONS))
                    .collect(),
            )
        })
        .collect();
    loop {
        let (names, before): (HashSet<&str>, usize) =
            (open.iter().map(|(name, _)| *name).collect(), open.len());
        // Definitions that lead only to such as were found to be sound.
        open.retain(|(_, leads)| leads.iter().any(|name| names.contains(name)));
        if open.is_empty() || open.len() == before {
            return !open.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads like the macro that it is fed with"
    )]
    #[track_caller]
    fn check(schema: Value, expected: Option<Value>) {
        // As texts: the order of properties counts.
        let text = |schema: Value| schema.to_string();
        assert_eq!(
            within_subset(&schema).map(text),
            expected.map(text),
            "{schema}"
        );
    }

    /// An object with this one property.
    fn of(property: &Value) -> Value {
        json!({"type": "object", "properties": {"a": property}})
    }

    /// The same, closed.
    fn closed_of(property: &Value) -> Value {
        json!({"type": "object", "properties": {"a": property}, "additionalProperties": false})
    }

    #[test]
    fn a_schema_within_the_subset_stays_as_it_is() {
        let mut schema =
            closed_of(&json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/b"}}));
        schema["required"] = json!(["a"]);
        schema["$defs"] = json!({"b": {"anyOf": [{"type": ["string", "null"]}, {"enum": [1, "x"]}, {"$ref": "#/$defs/c"}]},
                                 "c": {"type": "string", "format": "date", "title": "C", "description": "A day."}});
        check(schema.clone(), Some(schema));
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        check(nothing.clone(), Some(nothing));
    }

    #[test]
    fn objects_are_closed_and_what_is_outside_goes_into_the_description() {
        let inner =
            of(&json!({"type": "integer", "minimum": 1, "maximum": 9, "description": "A digit."}));
        let closed = closed_of(
            &json!({"type": "integer", "description": "A digit.\n\n{\"minimum\":1,\"maximum\":9}"}),
        );
        check(of(&inner), Some(closed_of(&closed)));
        for (given, expected) in [
            (
                json!({"type": "string", "minLength": 3}),
                json!({"type": "string", "description": "{\"minLength\":3}"}),
            ),
            (
                json!({"type": "string", "format": "iban"}),
                json!({"type": "string", "description": "{\"format\":\"iban\"}"}),
            ),
            (
                json!({"type": "array", "items": {"type": "null"}, "minItems": 2}),
                json!({"type": "array", "items": {"type": "null"}, "description": "{\"minItems\":2}"}),
            ),
            (
                json!({"type": "string", "enum": ["x", "y"]}),
                json!({"enum": ["x", "y"]}),
            ),
            (
                json!({"type": "string", "const": "x", "$comment": "y"}),
                json!({"const": "x"}),
            ),
            (
                json!({"oneOf": [{"type": "null"}, of(&json!({"type": "number"}))]}),
                json!({"anyOf": [{"type": "null"}, closed_of(&json!({"type": "number"}))]}),
            ),
        ] {
            check(of(&given), Some(closed_of(&expected)));
        }
    }

    #[test]
    fn what_would_come_to_mean_something_else_is_left_out() {
        let scalar = || json!({"type": "string"});
        for property in [
            json!(true),
            json!({}),
            json!({"description": "anything"}),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": scalar()}),
            json!({"type": "object", "properties": {"b": scalar()}, "additionalProperties": true}),
            json!({"type": "object", "patternProperties": {"^x": scalar()}}),
            json!({"type": "object", "properties": {"b": scalar()}, "required": ["c"]}),
            json!({"type": ["object", "null"], "properties": {"b": scalar()}}),
            json!({"allOf": [of(&scalar()), of(&scalar())]}),
            json!({"anyOf": [scalar()], "oneOf": [scalar()]}),
            json!({"anyOf": [{"required": ["b"]}], "properties": {"b": scalar()}}),
            json!({"enum": [["x"]]}),
            json!({"const": {}}),
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"$ref": "#/properties/a"}),
        ] {
            check(of(&property), None);
        }
        let with_definitions = |definitions: Value| {
            let mut schema = of(&json!({"$ref": "#/$defs/b"}));
            schema["$defs"] = definitions;
            schema
        };
        check(
            with_definitions(json!({"b": of(&json!({"$ref": "#/$defs/b"}))})),
            None,
        );
        let (to_b, to_c) = (json!({"$ref": "#/$defs/b"}), json!({"$ref": "#/$defs/c"}));
        check(
            with_definitions(json!({"b": of(&to_c), "c": of(&to_b)})),
            None,
        );
    }

    #[test]
    fn a_property_whose_name_the_provider_refuses_is_left_to_words() {
        for (name, expected) in [
            ("filter.id", true),
            ("filter[id]", false),
            ("größe", false),
            ("", false),
        ] {
            let schema = json!({"type": "object", "properties": {name: {"type": "string"}}});
            assert_eq!(within_subset(&schema).is_some(), expected, "{name}");
            assert_eq!(within_subset(&of(&schema)).is_some(), expected, "{name}");
        }
    }
}
