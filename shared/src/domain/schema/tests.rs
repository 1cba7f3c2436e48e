//! Tests of `schema`.

use serde_json::json;

use super::*;

/// Every keyword once, in a form that it may have.
fn rich() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:example:rich", "$comment": "c",
        "$defs": { "a/b": { "$anchor": "a", "type": ["string", "null"] } }, "title": "t", "description": "d",
        "type": "object", "required": ["x"], "minProperties": 1, "maxProperties": 3.0,
        "properties": {
            "x": { "$ref": "#/$defs/a~1b", "default": { "$ref": 7 }, "format": "date", "examples": [1] },
            "y": { "type": "array", "prefixItems": [true], "items": false, "minItems": 0, "uniqueItems": true },
            "z": { "enum": [{ "type": 7 }], "const": { "type": 7 }, "not": {}, "readOnly": true },
            "n": { "multipleOf": 0.5, "minimum": -1, "exclusiveMaximum": 1e3, "x-unit": ["any", "thing"] },
        },
        "patternProperties": { "^p": { "pattern": "^a", "minLength": 1 } }, "additionalProperties": false,
        "dependentRequired": { "x": ["y"] }, "dependentSchemas": { "x": true }, "dependencies": { "x": ["y"] },
        "if": {}, "then": {}, "else": true, "allOf": [{}], "unevaluatedProperties": { "type": "string" },
    })
}

#[test]
fn a_schema_of_each_draft_is_taken() {
    let table = [
        rich(),
        json!({ "type": "object" }),
        json!({ "$ref": "#/definitions/a", "definitions": { "a": { "type": "object" } } }),
        json!({ "type": "object", "properties": { "x": { "$ref": "#y" }, "y": { "$anchor": "y" } } }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": { "x": { "items": [{}, {}], "additionalItems": false } } }),
        json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
            "properties": { "x": { "minimum": 1, "exclusiveMinimum": true } } }),
    ];
    for schema in table {
        assert_eq!(JsonSchema::new(schema.clone()).unwrap().as_value(), &schema);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn each_broken_keyword_is_named_by_its_place() {
    let many = |schema: &str| format!(r#"{{"type":"object","properties":{{"x":{schema}}}}}"#);
    let table = [
        (many(r#"{"type":"strnig"}"#), "/properties/x/type"),
        (many(r#"{"type":[]}"#), "/properties/x/type"),
        (many(r#"{"type":["null","null"]}"#), "/properties/x/type"),
        (many("7"), "/properties/x"),
        (many(r#"{"items":[{}]}"#), "/properties/x/items"),
        (many(r#"{"prefixItems":[]}"#), "/properties/x/prefixItems"),
        (
            many(r#"{"anyOf":[{},{"not":1}]}"#),
            "/properties/x/anyOf/1/not",
        ),
        (many(r#"{"required":"y"}"#), "/properties/x/required"),
        (many(r#"{"required":["y","y"]}"#), "/properties/x/required"),
        (many(r#"{"properties":[]}"#), "/properties/x/properties"),
        (
            many(r#"{"properties":{"a/b~c":1}}"#),
            "/properties/x/properties/a~1b~0c",
        ),
        (
            many(r#"{"dependencies":{"a":1}}"#),
            "/properties/x/dependencies/a",
        ),
        (
            many(r#"{"dependentRequired":{"a":{}}}"#),
            "/properties/x/dependentRequired/a",
        ),
        (many(r#"{"minLength":-1}"#), "/properties/x/minLength"),
        (many(r#"{"maxItems":1.5}"#), "/properties/x/maxItems"),
        (many(r#"{"minimum":"1"}"#), "/properties/x/minimum"),
        (
            many(r#"{"exclusiveMinimum":true}"#),
            "/properties/x/exclusiveMinimum",
        ),
        (many(r#"{"multipleOf":0}"#), "/properties/x/multipleOf"),
        (many(r#"{"enum":"a"}"#), "/properties/x/enum"),
        (many(r#"{"pattern":7}"#), "/properties/x/pattern"),
        (many(r#"{"uniqueItems":1}"#), "/properties/x/uniqueItems"),
        (
            many(r#"{"$ref":"https://example.com/other.json"}"#),
            "/properties/x/$ref",
        ),
        (many(r##"{"$ref":"#/$defs/y"}"##), "/properties/x/$ref"),
        (
            many(r##"{"items":{"$ref":"#/properties/y"}}"##),
            "/properties/x/items/$ref",
        ),
        (many(r##"{"$ref":"#y"}"##), "/properties/x/$ref"),
        (
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}"##.to_owned(),
            "/type",
        ),
        (
            many(r#"{"$dynamicRef":"other.json#/a"}"#),
            "/properties/x/$dynamicRef",
        ),
        (
            r#"{"$schema":"https://example.com/mine","type":"object"}"#.to_owned(),
            "/$schema",
        ),
        (r#"{"type":"array"}"#.to_owned(), "/type"),
        (r#"{"type":["object"]}"#.to_owned(), "/type"),
        ("{}".to_owned(), "/type"),
        ("true".to_owned(), ""),
        (
            format!(r#"{{"type":"object","title":"{}"}}"#, "x".repeat(MAX_BYTES)),
            "",
        ),
    ];
    for (schema, pointer) in table {
        let refused = JsonSchema::new(serde_json::from_str(&schema).unwrap()).unwrap_err();
        let fields: Vec<_> = refused
            .iter()
            .map(|invalid| invalid.field.as_str())
            .collect();
        assert_eq!(fields, [pointer], "{schema:.200}");
    }
}

#[test]
fn all_broken_keywords_are_named_at_once() {
    let schema = json!({ "type": "object", "title": 1, "properties": { "x": { "type": "y", "minItems": -1 } } });
    let mut fields: Vec<_> = JsonSchema::new(schema)
        .unwrap_err()
        .into_iter()
        .map(|broken| broken.field)
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        ["/properties/x/minItems", "/properties/x/type", "/title"]
    );
}
