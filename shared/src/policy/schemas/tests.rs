#![expect(
    clippy::needless_pass_by_value,
    reason = "reads like the macro that it is fed with"
)]

use serde_json::json;

use super::*;
use crate::domain::ModelRef;

/// Compared as texts: the order of keywords and properties counts.
#[track_caller]
fn check(provider: Provider, schema: Value, expected: Value) {
    assert_eq!(
        accepted(&schema, provider).to_string(),
        expected.to_string(),
        "{provider} {schema}"
    );
}

#[track_caller]
fn check_for_all(schema: Value, expected: Value) {
    for provider in [
        Provider::Anthropic,
        Provider::OpenAi,
        Provider::OpenAiCompatible,
    ] {
        check(provider, schema.clone(), expected.clone());
    }
}

/// An object with this one property.
fn of(property: Value) -> Value {
    json!({"type": "object", "properties": {"a": property}})
}

#[test]
fn a_schema_that_every_provider_takes_stays_as_it_is() {
    let schema = json!({
        "type": "object", "required": ["why", "answer"],
        "properties": {
            "why": {"type": "string", "minLength": 1}, "answer": {"$ref": "#/$defs/b"},
            "list": {"type": "array", "items": {"anyOf": [{"type": "null"}, {"enum": ["z", "a"]}]}},
            "id": {"type": "string"}, "closed": {"type": "object", "additionalProperties": false},
        },
        "$defs": {"b": {"type": "integer", "exclusiveMinimum": 0, "default": {"items": [true]}}},
        "additionalProperties": false,
    });
    check_for_all(schema.clone(), schema.clone());
    for provider in [
        Provider::Anthropic,
        Provider::OpenAi,
        Provider::OpenAiCompatible,
    ] {
        assert!(
            matches!(accepted(&schema, provider), Cow::Borrowed(_)),
            "{provider}: it is copied only to be repaired"
        );
    }
    let mut named = schema.clone();
    named["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    check_for_all(named, schema);
}

#[test]
fn properties_and_items_are_added_where_they_are_missing() {
    check_for_all(
        json!({"type": "object"}),
        json!({"type": "object", "properties": {}}),
    );
    let map = of(json!({"type": "object"}));
    check_for_all(map.clone(), map);
    check_for_all(
        of(json!({"type": "array"})),
        of(json!({"type": "array", "items": {}})),
    );
    check_for_all(
        of(json!({"type": ["array", "null"]})),
        of(json!({"type": ["array", "null"], "items": {}})),
    );
}

#[test]
fn a_reference_at_the_root_gives_way_to_what_it_leads_to() {
    let definition =
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"]});
    let definitions = json!({"b": definition, "c": {"$ref": "#/$defs/b", "title": "c"}});
    check_for_all(
        json!({"type": "object", "$ref": "#/$defs/c", "$defs": definitions}),
        json!({
            "type": "object", "$defs": definitions, "title": "c",
            "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"],
        }),
    );
    check_for_all(
        json!({
            "type": "object", "$ref": "#/$defs/b", "$defs": definitions,
            "properties": {"y": {"type": "string"}}, "required": ["y"],
        }),
        json!({
            "type": "object", "$defs": definitions,
            "properties": {"y": {"type": "string"}, "a": {"$ref": "#/$defs/b"}}, "required": ["y", "a"],
        }),
    );
    let circle =
        json!({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
    check_for_all(
        circle.clone(),
        json!({"type": "object", "$defs": circle["$defs"], "properties": {}}),
    );
}

#[test]
fn older_drafts_become_the_current_one() {
    let table = [
        (
            json!({"minimum": 1, "exclusiveMinimum": true}),
            json!({"exclusiveMinimum": 1}),
        ),
        (
            json!({"exclusiveMaximum": true, "maximum": 9}),
            json!({"exclusiveMaximum": 9}),
        ),
        (
            json!({"minimum": 1, "exclusiveMinimum": false}),
            json!({"minimum": 1}),
        ),
        (json!({"exclusiveMinimum": true}), json!({})),
        (
            json!({"id": "#x", "type": "string"}),
            json!({"type": "string"}),
        ),
        (
            json!({"dependencies": {"a": ["b"], "c": {"items": [true]}}, "dependentRequired": {"d": ["e"]}}),
            json!({"dependentRequired": {"d": ["e"], "a": ["b"]}, "dependentSchemas": {"c": {"prefixItems": [{}]}}}),
        ),
        (
            json!({"items": [{"type": "string"}], "additionalItems": false}),
            json!({"prefixItems": [{"type": "string"}], "items": false}),
        ),
        (
            json!({"items": {"minimum": 1, "exclusiveMinimum": true}}),
            json!({"items": {"exclusiveMinimum": 1}}),
        ),
        (
            json!({"anyOf": [true, {"not": false}]}),
            json!({"anyOf": [{}, {"not": {"not": {}}}]}),
        ),
        (
            json!({"properties": {"id": {"type": "string"}}}),
            json!({"properties": {"id": {"type": "string"}}}),
        ),
    ];
    for (old, new) in table {
        let mut schema = of(old);
        schema["$schema"] = json!("http://json-schema.org/draft-04/schema#");
        check_for_all(schema, of(new));
    }
    check_for_all(of(json!(true)), of(json!({})));
    let mut old = of(json!({"$ref": "#/definitions/b"}));
    old["definitions"] =
        json!({"b": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/b/anyOf/0"}]}});
    old["examples"] = json!([{"$ref": "#/definitions/c"}]);
    let mut new = of(json!({"$ref": "#/$defs/b"}));
    new["$defs"] = json!({"b": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b/anyOf/0"}]}});
    // No reference, but a value that looks like one.
    new["examples"] = old["examples"].clone();
    check_for_all(old, new);
}

#[test]
fn a_schema_whose_references_would_lead_nowhere_keeps_its_form() {
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"a": {"items": [{"type": "string"}]}, "b": {"$ref": "#/properties/a/items/0"}},
    });
    check_for_all(schema.clone(), schema.clone());
    schema["properties"]["b"] = json!({"$ref": "#named"});
    schema["properties"]["c"] = json!({"$anchor": "named"});
    assert_eq!(
        modern(&schema)["properties"]["a"],
        json!({"prefixItems": [{"type": "string"}]})
    );
}

#[test]
fn unions_at_the_root_are_described_and_their_properties_shown() {
    let text = json!({"type": "string"});
    let either = json!([{"required": ["a"]}, {"required": ["b"]}]);
    check_for_all(
        json!({"type": "object", "description": "d", "properties": {"a": text, "b": text}, "anyOf": either}),
        json!({"type": "object",
               "description": format!("d\n\nThe whole must also be valid under this JSON schema: {}", json!({"anyOf": either})),
               "properties": {"a": text, "b": text}}),
    );
    let branches = json!([
        {"properties": {"kind": {"const": "x"}, "z": text}, "required": ["kind"]},
        {"$ref": "#/$defs/y"},
    ]);
    let y = json!({"properties": {"kind": {"const": "y"}, "z": text}});
    check_for_all(
        json!({"type": "object", "oneOf": branches, "$defs": {"y": y}}),
        json!({"type": "object", "$defs": {"y": y},
               "properties": {"kind": {"anyOf": [{"const": "x"}, {"const": "y"}]}, "z": text},
               "description": format!("The whole must also be valid under this JSON schema: {}", json!({"oneOf": branches}))}),
    );
    let all = json!([{"properties": {"b": text}, "required": ["b", "a"]}]);
    let schema = json!({
        "type": "object", "properties": {"a": text}, "required": ["a"], "allOf": all, "not": {"required": ["c"]},
    });
    let shown = accepted(&schema, Provider::OpenAi);
    assert_eq!(
        (&shown["required"], &shown["properties"]),
        (&json!(["a", "b"]), &json!({"a": text, "b": text}))
    );
    assert!(
        REFUSED_AT_THE_ROOT
            .iter()
            .all(|keyword| shown.get(keyword).is_none()),
        "{shown}"
    );
    let closed = json!({"type": "object", "properties": {"a": text}, "additionalProperties": false, "anyOf": all});
    assert_eq!(
        accepted(&closed, Provider::OpenAi)["properties"],
        json!({"a": text})
    );
}

const REFUSED_AT_THE_ROOT: [&str; 6] = ["anyOf", "oneOf", "allOf", "not", "enum", "const"];

#[test]
fn names_of_properties_that_anthropic_refuses_are_described_to_it() {
    let text = json!({"type": "string"});
    let schema = json!({
        "type": "object", "properties": {"filter[id]": text, "limit": text, "nested": {"properties": {"$top": text}}},
        "required": ["filter[id]"], "additionalProperties": false,
    });
    let words =
        |odd: Value| format!("The object may also have these properties, by JSON schema: {odd}");
    check(
        Provider::Anthropic,
        schema.clone(),
        json!({
            "type": "object",
            "properties": {
                "limit": text,
                "nested": {"properties": {}, "description": words(json!({"$top": text}))},
            },
            "required": ["filter[id]"], "description": words(json!({"filter[id]": text})),
        }),
    );
    for provider in [Provider::OpenAi, Provider::OpenAiCompatible] {
        check(provider, schema.clone(), schema.clone());
    }
}

#[test]
fn such_names_are_refused_only_for_chains_with_anthropic() {
    let long = "x".repeat(65);
    let schema = json!({"type": "object", "properties": {"a.b-C_9": {}, "filter[id]": {}, "a/b~": {}, "": {}, long.as_str(): {}}});
    let chain = |providers: &[Provider]| {
        let models = providers
            .iter()
            .map(|provider| ModelRef::new(*provider, "m").unwrap().into())
            .collect();
        ModelChain::new(models).unwrap()
    };
    let fields = |providers: &[Provider]| {
        let refused = refusals(&schema, &chain(providers));
        assert!(
            refused
                .iter()
                .all(|invalid| invalid.reason.contains("anthropic refuses"))
        );
        refused
            .into_iter()
            .map(|invalid| invalid.field)
            .collect::<Vec<_>>()
    };
    let expected = [
        "/properties/filter[id]",
        "/properties/a~1b~0",
        "/properties/",
        &format!("/properties/{long}"),
    ];
    assert_eq!(fields(&[Provider::OpenAi, Provider::Anthropic]), expected);
    assert_eq!(
        fields(&[Provider::OpenAi, Provider::OpenAiCompatible]),
        [""; 0]
    );
}

#[test]
fn a_repaired_schema_is_repaired_for_good() {
    let schemas = [
        json!({"type": "object", "anyOf": [{"properties": {"a b": {"items": [true]}}}]}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "object", "definitions": {"x": {"type": "array"}}}),
    ];
    for schema in schemas {
        for provider in [Provider::Anthropic, Provider::OpenAi] {
            let once = accepted(&schema, provider).into_owned();
            check(provider, once.clone(), once);
        }
    }
}
