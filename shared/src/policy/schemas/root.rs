//! Repairs the root of a schema: resolves a reference, and moves unions into the description.

use serde_json::{Map, Value};

use super::describe;
use crate::domain::{MOST_REFERENCES, target};

/// What providers refuse at the root of a tool's schema.
pub(super) const REFUSED: [&str; 6] = ["allOf", "anyOf", "oneOf", "not", "enum", "const"];

/// The schema with its root's reference replaced by the definition's keywords, which are added to
/// the root's own.
pub(super) fn without_reference(mut root: Value) -> Value {
    for _ in 0..MOST_REFERENCES {
        let definition = root
            .get("$ref")
            .and_then(|reference| target(reference, &root));
        let Some(definition) = definition.and_then(Value::as_object).cloned() else {
            return root;
        };
        let Value::Object(keywords) = &mut root else {
            return root;
        };
        keywords.shift_remove("$ref");
        for (keyword, value) in definition {
            add(keywords, keyword, value);
        }
    }
    if let Value::Object(keywords) = &mut root {
        keywords.shift_remove("$ref");
    }
    root
}

/// Adds a definition's keyword. Properties and required names of both are merged; any other keyword
/// of the root stays as it is.
fn add(keywords: &mut Map<String, Value>, keyword: String, value: Value) {
    match (keywords.get_mut(&keyword), value) {
        (None, value) => drop(keywords.insert(keyword, value)),
        (Some(Value::Object(known)), Value::Object(more)) if keyword == "properties" => {
            for (name, schema) in more {
                known.entry(name).or_insert(schema);
            }
        }
        (Some(Value::Array(known)), Value::Array(more)) if keyword == "required" => {
            let new: Vec<_> = more
                .into_iter()
                .filter(|name| !known.contains(name))
                .collect();
            known.extend(new);
        }
        (Some(_), _) => {}
    }
}

/// The schema without unions and the other [`REFUSED`] keywords at its root. They move into the
/// description, and the properties of their branches are added to the root's properties.
pub(super) fn without_unions(root: Map<String, Value>) -> Map<String, Value> {
    let (rules, mut kept): (Map<_, _>, Map<_, _>) = root
        .into_iter()
        .partition(|(keyword, _)| REFUSED.contains(&keyword.as_str()));
    if rules.is_empty() {
        return kept;
    }
    let is_closed = kept.get("additionalProperties") == Some(&Value::Bool(false));
    if !is_closed {
        let properties = of_branches(&rules, &kept);
        if let Value::Object(known) = kept
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()))
        {
            for (name, schema) in properties {
                known.entry(name).or_insert(schema);
            }
        }
    }
    require(&mut kept, &rules);
    describe(
        &mut kept,
        "The whole must also be valid under this JSON schema:",
        rules,
    );
    kept
}

/// The properties of all branches. If branches have different schemas for a property, the property
/// may follow any of them.
fn of_branches(rules: &Map<String, Value>, root: &Map<String, Value>) -> Map<String, Value> {
    let mut found: Map<String, Value> = Map::new();
    for branch in ["allOf", "anyOf", "oneOf"]
        .iter()
        .filter_map(|union| rules.get(*union)?.as_array())
        .flatten()
    {
        let branch = resolved(branch, root);
        for (name, schema) in branch
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let Value::Array(schemas) = found
                .entry(name.clone())
                .or_insert_with(|| Value::Array(Vec::new()))
            else {
                continue;
            };
            if !schemas.contains(schema) {
                schemas.push(schema.clone());
            }
        }
    }
    let one_schema = |(name, schemas): (String, Value)| {
        let schema = match schemas {
            Value::Array(mut schemas) if schemas.len() == 1 => schemas.pop().unwrap_or_default(),
            schemas => Value::Object(Map::from_iter([("anyOf".to_owned(), schemas)])),
        };
        (name, schema)
    };
    found.into_iter().map(one_schema).collect()
}

/// Adds the names that the schemas of an `allOf` require.
fn require(kept: &mut Map<String, Value>, rules: &Map<String, Value>) {
    let all = rules
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let names: Vec<Value> = all
        .filter_map(|branch| resolved(branch, kept).get("required")?.as_array().cloned())
        .flatten()
        .collect();
    if names.is_empty() {
        return;
    }
    if let Value::Array(known) = kept
        .entry("required")
        .or_insert_with(|| Value::Array(Vec::new()))
    {
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
}

/// The branch, or the definition that it refers to.
fn resolved<'a>(branch: &'a Value, root: &'a Map<String, Value>) -> &'a Value {
    let name = branch
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|place| place.strip_prefix("#/$defs/"));
    let definition = name.and_then(|name| root.get("$defs")?.get(name));
    definition.unwrap_or(branch)
}
