//! What matches a schema, what does not, and what is unknown.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(schema: Value, arguments: &str) -> Result<Value, String> {
    check_arguments(&JsonSchema::new(schema).unwrap(), arguments)
}

#[test]
fn arguments_are_an_object_or_nothing() {
    let schema = || json!({ "type": "object" });
    for arguments in ["", " \n", "{}"] {
        assert_eq!(check(schema(), arguments), Ok(json!({})));
    }
    assert_eq!(check(schema(), r#"{"x":1}"#), Ok(json!({ "x": 1 })));
    for arguments in ["null", "[]", "7", r#""{}""#] {
        assert_eq!(
            check(schema(), arguments).unwrap_err(),
            "the arguments must be a JSON object"
        );
    }
    for arguments in ["{", "{}}", "{'x':1}", "x", &"[".repeat(1_000)] {
        assert!(
            check(schema(), arguments)
                .unwrap_err()
                .starts_with("the arguments are not valid JSON: ")
        );
    }
}

#[test]
fn every_violation_names_its_place_and_repeats_no_value() {
    let schema = json!({
        "type": "object", "required": ["to", "a/b"], "additionalProperties": false,
        "properties": { "to": { "type": "string", "maxLength": 3 }, "list": { "items": { "enum": ["x"] } } },
    });
    let violation = check(
        schema,
        r#"{"to":"canary","list":["x","canary"],"other":"canary"}"#,
    )
    .unwrap_err();
    let expected = "the arguments don't fit the tool's schema\n- /a~1b is required\n- /to must have at most 3 \
                    characters\n- /list/1 must be one of the values that the schema lists\n- /other is not an \
                    argument of this tool";
    assert_eq!(violation, expected);
}

#[test]
fn a_violation_is_short_however_much_is_wrong() {
    let schema = json!({ "type": "object", "additionalProperties": false });
    let many: Map<String, Value> = (0..500)
        .map(|number| (format!("{number}{}", "ü".repeat(90)), json!(1)))
        .collect();
    let violation = check(schema, &Value::Object(many).to_string()).unwrap_err();
    assert!(
        violation.len() <= 1_024 && violation.ends_with("more)"),
        "{violation}"
    );
}

/// A schema for the argument `x`, values that must be taken, and values that must be refused.
type Row = (Value, &'static [&'static str], &'static [&'static str]);

#[track_caller]
fn check_table<const N: usize>(table: [Row; N]) {
    for (schema, fitting, breaking) in table {
        let whole = json!({ "type": "object", "properties": { "x": schema }, "$defs": { "a/b": { "type": "null" } } });
        for value in fitting {
            let checked = check(whole.clone(), &format!(r#"{{"x":{value}}}"#));
            assert!(checked.is_ok(), "{schema} {value}: {checked:?}");
        }
        for value in breaking {
            let checked = check(whole.clone(), &format!(r#"{{"x":{value}}}"#));
            assert!(checked.is_err(), "{schema} {value}");
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn each_keyword_takes_what_fits_and_refuses_the_rest() {
    check_table([
        (json!(true), &["1", "null"], &[]),
        (json!(false), &[], &["1", "null"]),
        (
            json!({ "type": "integer" }),
            &["1", "-3.0", "1e3"],
            &["1.5", "\"1\"", "null", "true"],
        ),
        (json!({ "type": "number" }), &["1", "1.5"], &["\"1\"", "[]"]),
        (
            json!({ "type": ["string", "null"] }),
            &["\"\"", "null"],
            &["1", "{}"],
        ),
        (json!({ "type": "boolean" }), &["true"], &["0", "\"true\""]),
        (
            json!({ "enum": [1, "a", { "b": [2.0] }] }),
            &["1.0", "\"a\"", "{\"b\":[2]}"],
            &["2", "\"b\"", "{\"b\":[3]}"],
        ),
        (json!({ "const": null }), &["null"], &["0", "false"]),
        (
            json!({ "minLength": 2, "maxLength": 3 }),
            &["\"üü\"", "\"abc\"", "7"],
            &["\"ü\"", "\"abcd\""],
        ),
        (
            json!({ "minimum": 1, "maximum": 2.5 }),
            &["1", "2.5", "\"0\""],
            &["0.99", "3"],
        ),
        (
            json!({ "exclusiveMinimum": 1, "exclusiveMaximum": 2 }),
            &["1.5"],
            &["1", "2", "0", "3"],
        ),
        (
            json!({ "minimum": 9_007_199_254_740_993_u64 }),
            &["9007199254740993"],
            &["9007199254740992"],
        ),
        (
            json!({ "multipleOf": 3 }),
            &["9", "0", "-3"],
            &["10", "1.5"],
        ),
        (
            json!({ "multipleOf": 0.1 }),
            &["0.3", "1.1", "4", "1e300"],
            &["0.35"],
        ),
        (
            json!({ "items": { "type": "string" } }),
            &["[]", "[\"a\"]", "7"],
            &["[1]", "[\"a\",1]"],
        ),
        (
            json!({ "prefixItems": [{ "type": "string" }, true], "items": false }),
            &["[]", "[\"a\"]", "[\"a\",1]"],
            &["[1]", "[\"a\",1,2]"],
        ),
        (
            json!({ "minItems": 1, "maxItems": 2.0 }),
            &["[1]", "[1,2]"],
            &["[]", "[1,2,3]"],
        ),
        (
            json!({ "uniqueItems": true }),
            &["[1,2]", "[1,\"1\"]"],
            &["[1,1.0]", "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]"],
        ),
        (
            json!({ "required": ["a"] }),
            &["{\"a\":null}", "7"],
            &["{}"],
        ),
        (
            json!({ "properties": { "a": { "type": "null" } } }),
            &["{}", "{\"b\":1}"],
            &["{\"a\":1}"],
        ),
        (
            json!({ "properties": { "a": true }, "additionalProperties": { "type": "null" } }),
            &["{\"a\":1,\"b\":null}"],
            &["{\"b\":1}"],
        ),
        (
            json!({ "minProperties": 1, "maxProperties": 1 }),
            &["{\"a\":1}"],
            &["{}", "{\"a\":1,\"b\":1}"],
        ),
        (
            json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] }),
            &["1"],
            &["0", "3"],
        ),
        (
            json!({ "anyOf": [{ "type": "null" }, { "minimum": 1 }] }),
            &["null", "1", "\"x\""],
            &["0"],
        ),
        (
            json!({ "oneOf": [{ "type": "number" }, { "type": "integer" }] }),
            &["1.5"],
            &["1", "null"],
        ),
        (json!({ "not": { "type": "null" } }), &["1"], &["null"]),
        (json!({ "$ref": "#/$defs/a~1b" }), &["null"], &["1"]),
        (
            json!({ "$ref": "#/$defs/a~1b", "enum": [1] }),
            &[],
            &["1", "null"],
        ),
        (
            json!({ "anyOf": [{ "type": "null" }, { "$ref": "#" }] }),
            &["null", "{\"x\":{\"x\":null}}"],
            &["1", "{\"x\":1}"],
        ),
    ]);
}

#[test]
fn what_cant_be_checked_is_never_refused() {
    check_table([
        (json!({ "pattern": "^a" }), &["\"b\""], &[]),
        (json!({ "not": { "pattern": "^a" } }), &["\"b\"", "7"], &[]),
        (json!({ "not": { "format": "date" } }), &["\"b\""], &[]),
        (
            json!({ "oneOf": [{ "pattern": "^a" }, { "pattern": "^b" }] }),
            &["\"b\""],
            &[],
        ),
        (
            json!({ "oneOf": [{ "type": "string" }, { "pattern": "^b" }] }),
            &["\"a\""],
            &[],
        ),
        (
            json!({ "oneOf": [{ "type": "null" }, { "type": "integer", "pattern": "b" }] }),
            &["1", "null"],
            &["\"a\""],
        ),
        (json!({ "not": { "if": {}, "then": false } }), &["1"], &[]),
        (
            json!({ "patternProperties": { "^b": true }, "additionalProperties": false }),
            &["{\"b\":1}"],
            &[],
        ),
        (
            json!({ "not": { "required": ["a"], "dependentRequired": { "b": ["c"] } } }),
            &["{\"a\":1}", "{}"],
            &[],
        ),
        (
            json!({ "$id": "urn:x", "$ref": "#/$defs/a~1b" }),
            &["1"],
            &[],
        ),
        (json!({ "x-mine": false, "default": 7 }), &["1"], &[]),
    ]);
    // As agents have it that are older than the rule against it.
    for lost in [
        json!({ "$ref": "#/$defs/missing" }),
        json!({ "not": { "$ref": "#name" } }),
    ] {
        let schema = json!({ "type": "object", "properties": { "x": lost } });
        let stored: JsonSchema = serde_json::from_value(schema).unwrap();
        assert_eq!(
            check_arguments(&stored, r#"{"x":1}"#),
            Ok(json!({ "x": 1 }))
        );
    }
}

#[test]
fn older_drafts_keep_their_own_meaning() {
    let draft = |number: u8, x: Value| {
        let name = format!("http://json-schema.org/draft-0{number}/schema#");
        json!({ "$schema": name, "type": "object", "definitions": { "n": { "type": "null" } }, "properties": { "x": x } })
    };
    let table = [
        (
            draft(4, json!({ "minimum": 1, "exclusiveMinimum": true })),
            r#"{"x":2}"#,
            r#"{"x":1}"#,
        ),
        (
            draft(7, json!({ "items": [true], "additionalItems": false })),
            r#"{"x":[1]}"#,
            r#"{"x":[1,2]}"#,
        ),
        (
            draft(7, json!({ "$ref": "#/definitions/n", "minimum": 7 })),
            r#"{"x":null}"#,
            r#"{"x":1}"#,
        ),
        (
            draft(7, json!({ "$ref": "#/definitions/n", "enum": [7] })),
            r#"{"x":null}"#,
            r#"{"x":7}"#,
        ),
    ];
    for (schema, fitting, breaking) in table {
        assert!(check(schema.clone(), fitting).is_ok(), "{schema}");
        assert!(check(schema.clone(), breaking).is_err(), "{schema}");
    }
}

#[test]
fn a_schema_that_leads_nowhere_ends() {
    let circle = json!({
        "type": "object", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } },
        "properties": { "x": { "$ref": "#/$defs/a" } },
    });
    assert!(check(circle, r#"{"x":1}"#).is_ok());
    let same = json!({ "$ref": "#/$defs/a" });
    let bush = json!({
        "type": "object", "$defs": { "a": { "anyOf": [same, same, same, same] } }, "properties": { "x": same },
    });
    assert!(check(bush, r#"{"x":1}"#).is_ok());
    let tree = json!({ "type": "object", "additionalProperties": { "$ref": "#" } });
    let deep = format!("{}1{}", r#"{"x":"#.repeat(100), "}".repeat(100));
    assert!(check(tree, &deep).is_ok());
}

proptest! {
    #[test]
    fn no_text_of_a_model_brings_it_down(text in ".{0,200}", number in any::<f64>()) {
        let schema = || json!({ "type": "object", "properties": { "x": { "multipleOf": 0.3, "type": "integer" } } });
        drop(check(schema(), &text));
        drop(check(schema(), &format!(r#"{{"x":{number:e}}}"#)));
    }
}

/// Each would hold the executor's only thread for up to seconds if what it has much of took no
/// steps.
#[test]
fn whatever_there_is_much_of_takes_steps() {
    let zeros = |count: usize| Value::Array(vec![json!(0); count]);
    let list = |items: Value| json!({"type": "object", "properties": {"a": {"type": "array", "items": items}}});
    let whole = |schemas: Value| json!({"type": "object", "properties": {"a": {"allOf": schemas}}});
    let names: Vec<Value> = (0..2_500).map(|name| json!(format!("{name:04}"))).collect();
    let members: Map<String, Value> = (0..20_000)
        .map(|name| (name.to_string(), json!(1)))
        .collect();
    let table = [
        (
            "a long enum for a long list",
            list(json!({"enum": zeros(15_000)})),
            json!({"a": vec![1; 20_000]}),
        ),
        (
            "a large constant",
            list(json!({"enum": [zeros(15_000)]})),
            json!({"a": vec![zeros(15_000); 20]}),
        ),
        (
            "many required names",
            list(json!({"required": names})),
            json!({"a": vec![json!({}); 5_000]}),
        ),
        (
            "a large object, often",
            whole(json!(vec![json!({"type": "object"}); 1_500])),
            json!({"a": members}),
        ),
        (
            "a long list, often",
            whole(json!(vec![json!({"minItems": 1}); 1_500])),
            json!({"a": vec![1; 100_000]}),
        ),
        (
            "a long text, often",
            whole(json!(vec![json!({"minLength": 1}); 1_500])),
            json!({"a": "x".repeat(500_000)}),
        ),
        (
            "different entries",
            whole(json!([{"uniqueItems": true}])),
            json!({"a": (0..20_000).collect::<Vec<_>>()}),
        ),
    ];
    for (name, schema, arguments) in table {
        let schema = JsonSchema::new(schema).unwrap();
        assert_eq!(
            matching::steps_left(schema.as_value(), &arguments),
            0,
            "{name}"
        );
    }
}
