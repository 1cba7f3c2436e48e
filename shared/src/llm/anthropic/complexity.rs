//! Whether a form is simple enough for Anthropic to hold a model to it.
//!
//! The provider counts optional properties and unions over all strict schemas of a request, and
//! compiles them into a grammar whose size it bounds, too
//! (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs#schema-complexity-limits>).
//! No tool is sent as strict, so the form of the answer is all that counts. A definition counts
//! wherever it is referred to, as in a grammar.

use serde_json::{Map, Value};

/// The most properties that are not required.
const MAX_OPTIONAL: usize = 24;

/// The most schemas with `anyOf` or several types.
const MAX_UNIONS: usize = 16;

/// The most schemas. The provider doesn't say its bound on a grammar ("Schema is too complex for
/// compilation"); forms of this size were taken.
const MAX_SCHEMAS: usize = 500;

/// Whether the form, which has no recursion, is within the limits.
pub(super) fn is_simple(schema: &Value) -> bool {
    let mut count = Count::default();
    count.schema(schema, schema);
    count.is_within()
}

#[derive(Default)]
struct Count {
    optional: usize,
    unions: usize,
    schemas: usize,
}

impl Count {
    fn is_within(&self) -> bool {
        self.optional <= MAX_OPTIONAL && self.unions <= MAX_UNIONS && self.schemas <= MAX_SCHEMAS
    }

    /// Counts on until a limit is passed.
    fn schema(&mut self, schema: &Value, root: &Value) {
        if !self.is_within() {
            return;
        }
        self.schemas += 1;
        let place = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|place| place.strip_prefix('#'));
        if let Some(definition) = place.and_then(|place| root.pointer(place)) {
            return self.schema(definition, root);
        }
        let is_union =
            schema.get("anyOf").is_some() || schema.get("type").is_some_and(Value::is_array);
        self.unions += usize::from(is_union);
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array);
        let is_optional = |name: &&String| {
            !required.is_some_and(|required| required.iter().any(|other| other == name.as_str()))
        };
        self.optional += properties
            .into_iter()
            .flat_map(Map::keys)
            .filter(is_optional)
            .count();
        let branches = schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let inside = properties
            .into_iter()
            .flat_map(Map::values)
            .chain(schema.get("items"))
            .chain(branches);
        inside.for_each(|schema| self.schema(schema, root));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An object with so many properties; the first ones are optional.
    fn with_optional(optional: usize, required: usize) -> Value {
        let properties: Map<_, _> = (0..optional + required)
            .map(|number| (format!("p{number}"), json!({"type": "null"})))
            .collect();
        let names: Vec<_> = properties.keys().skip(optional).collect();
        json!({"type": "object", "required": names, "properties": properties})
    }

    fn with_unions(any_of: usize, types: usize) -> Value {
        let mut properties = vec![json!({"anyOf": [{"type": "null"}, {"type": "string"}]}); any_of];
        properties.extend(vec![json!({"type": ["null", "string"]}); types]);
        let properties: Map<_, _> = (0..)
            .zip(properties)
            .map(|(number, schema)| (format!("p{number}"), schema))
            .collect();
        json!({"required": properties.keys().collect::<Vec<_>>(), "properties": properties})
    }

    #[test]
    fn optional_properties_are_limited_over_the_whole_form() {
        assert!(is_simple(&with_optional(24, 100)));
        assert!(!is_simple(&with_optional(25, 0)));
        let nested = |inner| json!({"required": ["a"], "properties": {"a": {"items": with_optional(inner, 0)}, "b": {}}});
        assert!(is_simple(&nested(23)));
        assert!(!is_simple(&nested(24)));
    }

    #[test]
    fn unions_of_both_kinds_are_limited_together() {
        assert!(is_simple(&with_unions(8, 8)));
        assert!(!is_simple(&with_unions(8, 9)));
        assert!(!is_simple(&with_unions(17, 0)));
    }

    #[test]
    fn a_definition_counts_wherever_it_is_referred_to() {
        let twice = |optional| {
            json!({"required": ["a", "b"], "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}},
                   "$defs": {"x": with_optional(optional, 0)}})
        };
        assert!(is_simple(&twice(12)));
        assert!(!is_simple(&twice(13)));
    }

    #[test]
    fn definitions_that_multiply_are_too_complex_and_found_out_at_once() {
        let pair = |next: usize| json!({"anyOf": [{"$ref": format!("#/$defs/{next}")}, {"$ref": format!("#/$defs/{next}")}]});
        let both = |next: usize| {
            let place = json!({"$ref": format!("#/$defs/{next}")});
            json!({"required": ["a", "b"], "properties": {"a": place, "b": place}})
        };
        for make in [&pair as &dyn Fn(usize) -> Value, &both] {
            let mut definitions: Map<_, _> = (0..60)
                .map(|number| (number.to_string(), make(number + 1)))
                .collect();
            definitions.insert("60".to_owned(), json!({"type": "null"}));
            assert!(!is_simple(
                &json!({"$ref": "#/$defs/0", "$defs": definitions})
            ));
        }
    }
}
