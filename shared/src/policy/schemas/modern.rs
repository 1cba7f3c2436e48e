//! Rewrites schemas of older drafts of JSON Schema in the form of draft 2020-12.

use serde_json::{Map, Value};

use super::places;
use super::root::without_reference;
use crate::domain::leads_nowhere;

const OLD_DEFINITIONS: &str = "#/definitions/";

/// The schema in the form of draft 2020-12, and without a reference at its root, which some
/// providers refuse. If the result would have a reference that leads nowhere, the schema is
/// returned unchanged.
pub(crate) fn modern(schema: &Value) -> Value {
    let is_draft_4 = schema
        .get("$schema")
        .and_then(Value::as_str)
        .is_some_and(|name| name.contains("draft-04"));
    let renames =
        schema.get("definitions").is_some_and(Value::is_object) && schema.get("$defs").is_none();
    let changed = Changes {
        is_draft_4,
        renames,
    }
    .schema(schema.clone());
    let Value::Object(mut root) = changed else {
        return schema.clone();
    };
    // The form shows the draft now, and some providers refuse the keyword.
    root.shift_remove("$schema");
    if renames {
        // Keeps the order of the keywords.
        let with_new_name = |(name, value)| {
            (
                if name == "definitions" {
                    "$defs".to_owned()
                } else {
                    name
                },
                value,
            )
        };
        root = root.into_iter().map(with_new_name).collect();
    }
    let changed = without_reference(Value::Object(root));
    if has_broken_reference(&changed) {
        schema.clone()
    } else {
        changed
    }
}

#[derive(Clone, Copy)]
struct Changes {
    /// Whether schemas are named by `id`.
    is_draft_4: bool,
    /// Whether `definitions` become `$defs`.
    renames: bool,
}

impl Changes {
    fn schema(self, schema: Value) -> Value {
        match places::each(schema, &|schema| self.schema(schema)) {
            Value::Object(keywords) => Value::Object(self.keywords(&keywords)),
            // Some servers read a type from each schema, and fail at a boolean.
            Value::Bool(true) => Value::Object(Map::new()),
            Value::Bool(false) => Value::Object(Map::from_iter([(
                "not".to_owned(),
                Value::Object(Map::new()),
            )])),
            other => other,
        }
    }

    fn keywords(self, old: &Map<String, Value>) -> Map<String, Value> {
        let excludes = |keyword: &str| old.get(keyword) == Some(&Value::Bool(true));
        let is_tuple = old.get("items").is_some_and(Value::is_array);
        let changed = old.iter().filter_map(|(keyword, value)| {
            let (keyword, value) = match (keyword.as_str(), value) {
                ("exclusiveMinimum", Value::Bool(true)) => {
                    ("exclusiveMinimum", old.get("minimum")?)
                }
                ("exclusiveMaximum", Value::Bool(true)) => {
                    ("exclusiveMaximum", old.get("maximum")?)
                }
                ("minimum", _) if excludes("exclusiveMinimum") => return None,
                ("maximum", _) if excludes("exclusiveMaximum") => return None,
                ("items", Value::Array(_)) => ("prefixItems", value),
                ("additionalItems", _) if is_tuple => ("items", value),
                // Two keywords take the place of `dependencies`, see below.
                ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(false))
                | ("dependencies", Value::Object(_))
                | ("additionalItems", _) => return None,
                ("id", Value::String(_)) if self.is_draft_4 => return None,
                ("$ref", Value::String(place))
                    if self.renames && place.starts_with(OLD_DEFINITIONS) =>
                {
                    return Some((
                        "$ref".to_owned(),
                        place.replacen(OLD_DEFINITIONS, "#/$defs/", 1).into(),
                    ));
                }
                (keyword, value) => (keyword, value),
            };
            Some((keyword.to_owned(), value.clone()))
        });
        let mut changed: Map<String, Value> = changed.collect();
        let dependencies = old.get("dependencies").and_then(Value::as_object);
        for (name, dependency) in dependencies.into_iter().flatten() {
            let keyword = if dependency.is_array() {
                "dependentRequired"
            } else {
                "dependentSchemas"
            };
            let by_name = changed
                .entry(keyword)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(by_name) = by_name.as_object_mut() {
                by_name
                    .entry(name.clone())
                    .or_insert_with(|| dependency.clone());
            }
        }
        changed
    }
}

/// Whether any part of a schema has the form of an older draft, or is a boolean that [`modern`]
/// writes as an object.
pub(super) fn has_old_form(schema: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return true;
    };
    let is_old = keywords
        .iter()
        .any(|(keyword, value)| match keyword.as_str() {
            "additionalItems" | "dependencies" => true,
            "exclusiveMinimum" | "exclusiveMaximum" => value.is_boolean(),
            "items" => value.is_array(),
            _ => false,
        });
    is_old || !places::all(keywords, &|schema| !has_old_form(schema))
}

/// Whether any reference in the schema leads nowhere.
fn has_broken_reference(root: &Value) -> bool {
    fn is_sound(schema: &Value, root: &Value) -> bool {
        let Value::Object(keywords) = schema else {
            return true;
        };
        let reference = keywords.get("$ref").and_then(Value::as_str);
        !reference.is_some_and(|reference| leads_nowhere(reference, root))
            && places::all(keywords, &|schema| is_sound(schema, root))
    }
    !is_sound(root, root)
}
