//! JSON schemas.
//!
//! A schema is held against the forms that the meta-schemas of JSON Schema give to their keywords:
//! those of 2020-12, or of the draft that it names. What isn't a keyword is allowed, as there. A
//! reference may only point into the schema itself, so that nobody ever fetches one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::invalid::Invalid;

const MAX_BYTES: usize = 32 * 1_024;

/// How many references in a row are followed; a longer chain is a circle.
pub(crate) const MOST_REFERENCES: usize = 8;

const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// A JSON schema whose instances are objects: at most 32 KiB, without references to other
/// documents.
///
/// The order of properties counts: models write them in this order.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonSchema(Value);

impl PartialEq for JsonSchema {
    fn eq(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|schema| schema.0.to_string());
        own == others
    }
}

impl JsonSchema {
    /// Checks the schema; pointers are relative to it.
    pub fn new(schema: Value) -> Result<Self, Vec<Invalid>> {
        let bytes = schema.to_string().len();
        if bytes > MAX_BYTES {
            return Err(vec![Invalid::new(
                "",
                format!("must have at most {MAX_BYTES} bytes, has {bytes}"),
            )]);
        }
        let Value::Object(keywords) = &schema else {
            return Err(vec![Invalid::new("", "must be an object")]);
        };
        let mut check = Check {
            root: &schema,
            draft: draft(keywords.get("$schema")),
            found: Vec::new(),
        };
        check.schema("", &schema);
        let mut found = check.found;
        if found.is_empty() && type_of(&schema).and_then(Value::as_str) != Some("object") {
            found.push(Invalid::new("/type", "must be object"));
        }
        if found.is_empty() {
            Ok(Self(schema))
        } else {
            Err(found)
        }
    }

    /// The schema as JSON.
    pub const fn as_value(&self) -> &Value {
        &self.0
    }
}

/// The versions of JSON Schema, as far as their keywords' forms differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draft {
    /// 2020-12.
    Current,
    /// 2019-09, 7 and 6.
    Older,
    /// 4.
    Four,
}

/// The draft that `$schema` names. [`Check`] refuses a name that it does not know.
fn draft(named: Option<&Value>) -> Draft {
    named
        .and_then(Value::as_str)
        .and_then(draft_called)
        .unwrap_or(Draft::Current)
}

fn draft_called(name: &str) -> Option<Draft> {
    let name = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))?;
    match name.strip_suffix('#').unwrap_or(name) {
        "json-schema.org/draft/2020-12/schema" => Some(Draft::Current),
        "json-schema.org/draft/2019-09/schema"
        | "json-schema.org/draft-07/schema"
        | "json-schema.org/draft-06/schema" => Some(Draft::Older),
        "json-schema.org/draft-04/schema" => Some(Draft::Four),
        _ => None,
    }
}

/// What a keyword's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Schema,
    Schemas,
    /// A schema, and in older drafts also a list of them.
    Items,
    /// Schemas by name.
    Properties,
    /// Schemas or lists of names, by name.
    Dependencies,
    /// Lists of names, by name.
    Requirements,
    /// Different texts.
    Names,
    /// A type, or different ones.
    Types,
    Text,
    Flag,
    /// A whole number from 0 on.
    Count,
    Number,
    /// A number over 0.
    Factor,
    /// A number; in draft 4 a flag on another bound.
    ExclusiveBound,
    List,
    /// A reference to a place in the same document.
    Reference,
    /// The name of a draft.
    Draft,
}

fn form_of(keyword: &str) -> Option<Form> {
    Some(match keyword {
        "additionalItems"
        | "additionalProperties"
        | "contains"
        | "contentSchema"
        | "else"
        | "if"
        | "not"
        | "propertyNames"
        | "then"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Form::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Form::Schemas,
        "items" => Form::Items,
        "$defs" | "definitions" | "dependentSchemas" | "patternProperties" | "properties" => {
            Form::Properties
        }
        "dependencies" => Form::Dependencies,
        "dependentRequired" => Form::Requirements,
        "required" => Form::Names,
        "type" => Form::Types,
        "$anchor" | "$comment" | "$dynamicAnchor" | "$id" | "contentEncoding"
        | "contentMediaType" | "description" | "format" | "pattern" | "title" => Form::Text,
        "deprecated" | "readOnly" | "uniqueItems" | "writeOnly" => Form::Flag,
        "maxContains" | "maxItems" | "maxLength" | "maxProperties" | "minContains" | "minItems"
        | "minLength" | "minProperties" => Form::Count,
        "maximum" | "minimum" => Form::Number,
        "multipleOf" => Form::Factor,
        "exclusiveMaximum" | "exclusiveMinimum" => Form::ExclusiveBound,
        "enum" | "examples" => Form::List,
        "$ref" | "$dynamicRef" | "$recursiveRef" => Form::Reference,
        "$schema" => Form::Draft,
        _ => return None,
    })
}

/// Where in a keyword's value there are schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The value is a schema.
    One,
    /// The value is a list of schemas.
    List,
    /// The value is a schema, or in older drafts a list of them.
    OneOrList,
    /// The value has schemas by name. In older drafts, `dependencies` have lists of names as well.
    ByName,
}

/// Where a keyword's value has schemas; `None` if it has none.
pub(crate) fn holds(keyword: &str) -> Option<Holds> {
    match form_of(keyword)? {
        Form::Schema => Some(Holds::One),
        Form::Schemas => Some(Holds::List),
        Form::Items => Some(Holds::OneOrList),
        Form::Properties | Form::Dependencies => Some(Holds::ByName),
        _ => None,
    }
}

/// One walk through a schema, and what it found.
struct Check<'a> {
    root: &'a Value,
    draft: Draft,
    found: Vec<Invalid>,
}

impl Check<'_> {
    fn schema(&mut self, at: &str, schema: &Value) {
        let Value::Object(keywords) = schema else {
            return self.require(
                at,
                schema.is_boolean(),
                "must be a schema: an object or a boolean",
            );
        };
        for (keyword, value) in keywords {
            if let Some(form) = form_of(keyword) {
                self.value(&below(at, keyword), value, form);
            }
        }
    }

    fn value(&mut self, at: &str, value: &Value, form: Form) {
        match form {
            Form::Schemas => self.schemas(at, value),
            Form::Items if value.is_array() && self.draft != Draft::Current => {
                self.schemas(at, value);
            }
            Form::Schema | Form::Items => self.schema(at, value),
            Form::Properties => self.each(at, value, Form::Schema),
            Form::Dependencies => self.each(at, value, Form::Dependencies),
            Form::Requirements => self.each(at, value, Form::Names),
            Form::Names => self.require(at, are_names(value), "must be a list of different texts"),
            Form::Types => {
                let types = format!("must be one or different ones of {}", TYPES.join(", "));
                self.require(at, are_types(value), types);
            }
            Form::Text => self.require(at, value.is_string(), "must be a text"),
            Form::Flag => self.require(at, value.is_boolean(), "must be true or false"),
            Form::Count => {
                self.require(
                    at,
                    value.as_number().is_some_and(is_count),
                    "must be a whole number from 0 on",
                );
            }
            Form::ExclusiveBound if self.draft == Draft::Four => {
                self.require(at, value.is_boolean(), "must be true or false in draft 4");
            }
            Form::Number | Form::ExclusiveBound => {
                self.require(at, value.is_number(), "must be a number");
            }
            Form::Factor => {
                self.require(
                    at,
                    value.as_f64().is_some_and(|factor| factor > 0.0),
                    "must be a number over 0",
                );
            }
            Form::List => self.require(at, value.is_array(), "must be a list"),
            Form::Reference => self.reference(at, value),
            Form::Draft => {
                let is_known = value
                    .as_str()
                    .is_some_and(|name| draft_called(name).is_some());
                self.require(
                    at,
                    is_known,
                    "must name JSON Schema 2020-12, 2019-09 or draft 7, 6 or 4",
                );
            }
        }
    }

    fn reference(&mut self, at: &str, value: &Value) {
        let is_local = value
            .as_str()
            .is_some_and(|reference| reference.starts_with('#'));
        self.require(
            at,
            is_local,
            "must point into the schema itself, such as #/$defs/name",
        );
        let is_lost = value
            .as_str()
            .is_some_and(|reference| leads_nowhere(reference, self.root));
        self.require(
            at,
            !is_lost,
            "must lead to a part of the schema; there is none at this place",
        );
    }

    fn schemas(&mut self, at: &str, value: &Value) {
        let Some(schemas) = value.as_array().filter(|schemas| !schemas.is_empty()) else {
            return self.require(at, false, "must be a list of at least one schema");
        };
        for (place, schema) in schemas.iter().enumerate() {
            self.schema(&format!("{at}/{place}"), schema);
        }
    }

    fn each(&mut self, at: &str, value: &Value, form: Form) {
        let Value::Object(entries) = value else {
            return self.require(at, false, "must be an object");
        };
        for (name, entry) in entries {
            let form = match form {
                Form::Dependencies if entry.is_array() => Form::Names,
                Form::Dependencies => Form::Schema,
                other => other,
            };
            self.value(&below(at, name), entry, form);
        }
    }

    fn require(&mut self, at: &str, holds: bool, rule: impl Into<Cow<'static, str>>) {
        if !holds {
            self.found.push(Invalid::new(at, rule));
        }
    }
}

/// The part of a schema that a reference by a JSON pointer leads to.
pub(crate) fn target<'a>(reference: &Value, root: &'a Value) -> Option<&'a Value> {
    root.pointer(reference.as_str()?.strip_prefix('#')?)
}

/// The type of a schema, or of what it refers to if it says none.
fn type_of(root: &Value) -> Option<&Value> {
    let mut schema = root;
    for _ in 0..MOST_REFERENCES {
        let Some(reference) = schema.get("$ref").filter(|_| schema.get("type").is_none()) else {
            break;
        };
        schema = target(reference, root)?;
    }
    schema.get("type")
}

/// Whether a reference leads to no part of the schema. One with escapes of URLs is believed.
pub(crate) fn leads_nowhere(reference: &str, root: &Value) -> bool {
    match reference.strip_prefix('#') {
        Some(place) if place.contains('%') => false,
        Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
            root.pointer(pointer).is_none()
        }
        Some(anchor) => !has_anchor(root, anchor),
        None => false,
    }
}

/// Whether a part of the schema has this name.
fn has_anchor(part: &Value, anchor: &str) -> bool {
    match part {
        Value::Object(fields) => {
            fields
                .iter()
                .any(|(keyword, value)| match (keyword.as_str(), value) {
                    ("$anchor" | "$dynamicAnchor", Value::String(name)) if name == anchor => true,
                    ("$id" | "id", Value::String(name))
                        if name.strip_prefix('#') == Some(anchor) =>
                    {
                        true
                    }
                    (_, value) => has_anchor(value, anchor),
                })
        }
        Value::Array(parts) => parts.iter().any(|part| has_anchor(part, anchor)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The JSON pointer of the member of this name.
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn are_names(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|names| names.iter().all(Value::is_string) && are_different(names))
}

fn are_types(value: &Value) -> bool {
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let are_types =
        |types: &[Value]| !types.is_empty() && types.iter().all(is_type) && are_different(types);
    is_type(value) || value.as_array().is_some_and(|types| are_types(types))
}

fn are_different(values: &[Value]) -> bool {
    let mut texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.len() == values.len()
}

/// A number such as 3.0 is whole too.
fn is_count(number: &Number) -> bool {
    number.is_u64()
        || number
            .as_f64()
            .is_some_and(|number| number >= 0.0 && number.fract() == 0.0)
}

#[cfg(test)]
mod tests;
