//! Which JSON schemas providers accept for a tool's arguments, and how other schemas are repaired.
//!
//! A repair keeps the meaning of the schema. A rule that the provider does not accept moves into
//! the schema's description. No rule is lost: the platform checks arguments by the agent's own
//! schema. The order of keywords and properties stays. The repairs:
//!
//! - Older drafts become 2020-12, the only one that Anthropic takes ("JSON schema is invalid. It
//!   must match JSON Schema draft 2020-12", <https://github.com/Dokploy/mcp/issues/74>).
//! - An object at the root gets `properties` ("object schema missing properties",
//!   <https://github.com/github/copilot-cli/issues/2223>), and an array `items` ("array schema
//!   missing items").
//! - A `$ref` at the root gives way to what it refers to ("schema must have type 'object'").
//! - `anyOf` and its like at the root go into the description, and the properties of their branches
//!   to the root's ("schema must have type 'object' and not have
//!   'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level",
//!   <https://github.com/langchain-ai/langchainjs/issues/9804>; Anthropic:
//!   <https://github.com/anthropics/claude-code/issues/27337>).
//! - Names of properties that Anthropic refuses go into the description. If such a name is at the
//!   root, a new agent is refused.

mod modern;
mod places;
mod root;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::domain::{Invalid, ModelChain, Provider};

use modern::has_old_form;
pub(crate) use modern::modern;

/// The longest name of a property that Anthropic takes.
const MAX_KEY_BYTES: usize = 64;

/// The schema of a tool's arguments in a form that the provider accepts. A schema that needs no
/// repair is not copied, because every request has the schemas of all its tools.
pub(crate) fn accepted(schema: &Value, provider: Provider) -> Cow<'_, Value> {
    if is_accepted(schema, provider) {
        return Cow::Borrowed(schema);
    }
    let Value::Object(keywords) = complete(modern(schema)) else {
        return Cow::Borrowed(schema);
    };
    let mut root = root::without_unions(keywords);
    root.entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    Cow::Owned(match provider {
        Provider::Anthropic => with_plain_keys(Value::Object(root)),
        Provider::OpenAi | Provider::OpenAiCompatible => Value::Object(root),
    })
}

/// Whether the schema needs no repair.
fn is_accepted(schema: &Value, provider: Provider) -> bool {
    let Value::Object(root) = schema else {
        return true;
    };
    let is_repaired = |keyword: &str| {
        matches!(keyword, "$ref" | "$schema" | "definitions") || root::REFUSED.contains(&keyword)
    };
    root.contains_key("properties")
        && !root.keys().any(|keyword| is_repaired(keyword))
        && !has_old_form(schema)
        && is_complete(schema)
        && (provider != Provider::Anthropic || has_plain_keys(schema))
}

/// Why a provider of the chain refuses the schema of a new agent's tool, at pointers relative to
/// the schema.
pub(crate) fn refusals(schema: &Value, models: &ModelChain) -> Vec<Invalid> {
    let is_anthropic = models
        .iter()
        .any(|choice| choice.model.provider() == Provider::Anthropic);
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .filter(|_| is_anthropic);
    let names = properties
        .into_iter()
        .flat_map(Map::keys)
        .filter(|name| !is_plain_key(name));
    let refused = names.map(|name| {
        let field = format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"));
        let reason = format!(
            "must have a name of 1 to {MAX_KEY_BYTES} of A-Z, a-z, 0-9, _, . and -: anthropic refuses other names of properties"
        );
        Invalid::new(field, reason)
    });
    refused.collect()
}

/// Whether Anthropic takes the name of a property: `^[a-zA-Z0-9_.-]{1,64}$`
/// (<https://github.com/beautyfree/appstore-connect-mcp/issues/2>).
pub(crate) fn is_plain_key(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_KEY_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

/// Adds `items` to arrays that have none, which means the same.
fn complete(schema: Value) -> Value {
    let schema = places::each(schema, &complete);
    let Value::Object(mut keywords) = schema else {
        return schema;
    };
    if lacks_items(&keywords) {
        keywords.insert("items".to_owned(), Value::Object(Map::new()));
    }
    Value::Object(keywords)
}

fn is_complete(schema: &Value) -> bool {
    schema
        .as_object()
        .is_none_or(|keywords| !lacks_items(keywords) && places::all(keywords, &is_complete))
}

/// Whether the schema describes an array without its items.
fn lacks_items(keywords: &Map<String, Value>) -> bool {
    let is_array = match keywords.get("type") {
        Some(Value::String(name)) => name == "array",
        Some(Value::Array(names)) => names.iter().any(|name| name == "array"),
        Some(_) | None => false,
    };
    is_array && !keywords.contains_key("items")
}

/// Moves properties whose names Anthropic refuses into the description.
fn with_plain_keys(schema: Value) -> Value {
    let schema = places::each(schema, &with_plain_keys);
    let Value::Object(mut keywords) = schema else {
        return schema;
    };
    let Some(Value::Object(properties)) = keywords.get_mut("properties") else {
        return Value::Object(keywords);
    };
    let (plain, odd): (Map<_, _>, Map<_, _>) = std::mem::take(properties)
        .into_iter()
        .partition(|(name, _)| is_plain_key(name));
    *properties = plain;
    if !odd.is_empty() {
        // The object must not be closed: it would forbid the properties in its description.
        if keywords.get("additionalProperties") == Some(&Value::Bool(false)) {
            keywords.shift_remove("additionalProperties");
        }
        describe(
            &mut keywords,
            "The object may also have these properties, by JSON schema:",
            odd,
        );
    }
    Value::Object(keywords)
}

/// Whether Anthropic takes the names of all properties.
fn has_plain_keys(schema: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return true;
    };
    let properties = keywords.get("properties").and_then(Value::as_object);
    properties.is_none_or(|properties| properties.keys().all(|name| is_plain_key(name)))
        && places::all(keywords, &has_plain_keys)
}

/// Adds to the description of a schema.
fn describe(keywords: &mut Map<String, Value>, words: &str, rules: Map<String, Value>) {
    let words = format!("{words} {}", Value::Object(rules));
    let text = match keywords.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{words}"),
        None => words,
    };
    keywords.insert("description".to_owned(), text.into());
}

#[cfg(test)]
mod tests;
