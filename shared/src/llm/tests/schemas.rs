//! Schemas, limits and reasoning settings are sent as each provider takes them.

use super::acceptable::{PROVIDERS, after_user, calls, of, posted};
use super::transcripts::{body, model, model_request, prompt};
use crate::domain::{
    Message, ModelChoice, ModelRequest, ModelSettings, OutputLimitField, OutputSchema, Prompt,
    Provider, ToolDefinition, ToolName,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::chat::Chat;
use crate::llm::openai::OpenAi;
use serde_json::{Value, json};

/// A tool and a form of the answer with this schema.
fn with_schema(choice: impl Into<ModelChoice>, schema: &str) -> ModelRequest {
    let name = || ToolName::new("f".to_owned()).unwrap();
    let schema = || serde_json::from_str(schema).unwrap();
    let tools = vec![ToolDefinition {
        name: name(),
        description: String::new(),
        input_schema: schema(),
    }];
    let output_schema = Some(OutputSchema {
        name: name(),
        schema: schema(),
    });
    model_request(
        choice,
        Prompt {
            tools,
            output_schema,
            ..prompt(vec![Message::user("hello")])
        },
    )
}

#[test]
fn properties_are_sent_in_the_order_in_which_they_were_written() {
    let strict = r#"{"type":"object","properties":{"reasoning":{"type":"string"},"answer":{"type":"string","enum":["z","a"]}},"required":["reasoning","answer"],"additionalProperties":false}"#;
    let open = r#"{"properties":{"reasoning":{"minLength":1,"type":"string"},"answer":{"type":"string"}},"type":"object","required":["reasoning"]}"#;
    let old = r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"reasoning":{"$ref":"#/definitions/t"},"answer":{"type":"string"}},"definitions":{"t":{"type":"string"}}}"##;
    for provider in PROVIDERS {
        for schema in [strict, open, old] {
            let text = posted(&with_schema(of(provider), schema));
            let order: Vec<_> = text
                .match_indices(r#""reasoning":{"#)
                .map(|(place, _)| place)
                .collect();
            let answers: Vec<_> = text
                .match_indices(r#""answer":{"#)
                .map(|(place, _)| place)
                .collect();
            assert_eq!((order.len(), answers.len()), (2, 2), "{text}");
            assert!(
                order[0] < answers[0] && answers[0] < order[1] && order[1] < answers[1],
                "{text}"
            );
        }
        let text = posted(&with_schema(of(provider), strict));
        assert_eq!(
            text.matches(r#"["reasoning","answer"]"#).count(),
            2,
            "{text}"
        );
        assert_eq!(text.matches(r#"["z","a"]"#).count(), 2, "{text}");
        let called = after_user([Message::Assistant(vec![calls("a")])]);
        let text = posted(&model_request(of(provider), prompt(called))).replace('\\', "");
        assert!(text.contains(r#"{"z":1,"a":2}"#), "{text}");
    }
}

#[test]
fn the_prompt_cache_key_knows_the_order_of_properties() {
    let key = |schema: &str| {
        body::<OpenAi>(&with_schema(of(Provider::OpenAi), schema))["prompt_cache_key"].take()
    };
    let [one, other] = [
        r#"{"type":"object","properties":{"b":{},"a":{}}}"#,
        r#"{"type":"object","properties":{"a":{},"b":{}}}"#,
    ];
    assert_ne!(key(one), key(other));
    assert_eq!(key(one), key(one));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn schemas_are_sent_as_the_provider_takes_them() {
    let schemas = |provider: Provider, schema: &Value| {
        let mut sent: Value =
            serde_json::from_str(&posted(&with_schema(of(provider), &schema.to_string()))).unwrap();
        match provider {
            Provider::Anthropic => (
                sent["tools"][0]["input_schema"].take(),
                sent["output_config"]["format"]["schema"].take(),
            ),
            Provider::OpenAi => (
                sent["tools"][0]["parameters"].take(),
                sent["text"]["format"]["schema"].take(),
            ),
            Provider::OpenAiCompatible => (
                sent["tools"][0]["function"]["parameters"].take(),
                sent["response_format"]["json_schema"]["schema"].take(),
            ),
        }
    };
    let refused_at_root = json!({"type": "object", "anyOf": [{"required": ["a"]}], "properties": {"a": {"type": "array"}}});
    let draft_4 = json!({
        "$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 1, "exclusiveMinimum": true}},
    });
    for provider in PROVIDERS {
        let (tool, form) = schemas(provider, &json!({"type": "object"}));
        assert_eq!(
            tool,
            json!({"type": "object", "properties": {}}),
            "{provider}"
        );
        assert_eq!(form.is_null(), provider == Provider::Anthropic);
        let (tool, form) = schemas(provider, &refused_at_root);
        assert_eq!(
            (&tool["anyOf"], &tool["properties"]["a"]["items"]),
            (&Value::Null, &json!({})),
            "{provider}"
        );
        assert!(
            tool["description"]
                .as_str()
                .unwrap()
                .ends_with(r#"{"anyOf":[{"required":["a"]}]}"#),
            "{tool}"
        );
        assert_eq!(form["anyOf"], Value::Null);
        let (tool, _) = schemas(provider, &draft_4);
        assert_eq!(
            tool["properties"]["a"],
            json!({"type": "integer", "exclusiveMinimum": 1}),
            "{provider}"
        );
        let (tool, _) = schemas(
            provider,
            &json!({"type": "object", "properties": {"filter[id]": {"type": "string"}}}),
        );
        assert_eq!(
            tool["properties"].get("filter[id]").is_none(),
            provider == Provider::Anthropic
        );
        assert!(tool.to_string().contains("filter[id]"));
    }
}

#[test]
fn a_schema_over_anthropics_limits_is_described_in_words() {
    let optional = |count: usize| {
        let properties: serde_json::Map<_, _> = (0..count)
            .map(|number| (format!("p{number}"), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "properties": properties}).to_string()
    };
    let sent = |count| body::<Anthropic>(&with_schema(of(Provider::Anthropic), &optional(count)));
    assert!(sent(24)["output_config"]["format"].is_object());
    let over = sent(25);
    assert_eq!(over["output_config"], Value::Null);
    assert!(
        over["system"][0]["text"]
            .as_str()
            .unwrap()
            .ends_with(&optional(25)),
        "{over}"
    );
    assert!(
        over["tools"][0].get("strict").is_none(),
        "no tool counts towards the limits"
    );
}

#[test]
fn the_limit_of_an_answer_has_the_name_that_the_server_takes() {
    use OutputLimitField::{ByModel, MaxCompletionTokens, MaxTokens};
    let table = [
        ("qwen3-coder", ByModel, "max_tokens"),
        ("qwen3-coder", MaxCompletionTokens, "max_completion_tokens"),
        (
            "my-deployment",
            MaxCompletionTokens,
            "max_completion_tokens",
        ),
        ("gpt-5.6-terra", ByModel, "max_completion_tokens"),
        ("openai/o3", ByModel, "max_completion_tokens"),
        ("gpt-5.6-terra", MaxTokens, "max_tokens"),
    ];
    for (name, output_limit_field, expected) in table {
        let settings = ModelSettings {
            output_limit_field,
            ..ModelSettings::default()
        };
        let choice = ModelChoice {
            model: model(Provider::OpenAiCompatible, name),
            settings,
        };
        let sent = body::<Chat>(&model_request(choice, prompt(vec![Message::user("hello")])));
        for field in ["max_tokens", "max_completion_tokens"] {
            let limit = if field == expected {
                json!(1_024)
            } else {
                Value::Null
            };
            assert_eq!(sent[field], limit, "{name} {field}");
        }
    }
}

#[test]
fn reasoning_is_requested_only_from_models_that_may_reason() {
    for (name, expected) in [
        ("gpt-6-luna", json!(["reasoning.encrypted_content"])),
        ("gpt-4.1", Value::Null),
        ("gpt-5-chat-latest", Value::Null),
    ] {
        let sent = body::<OpenAi>(&model_request(
            model(Provider::OpenAi, name),
            prompt(vec![Message::user("hello")]),
        ));
        assert_eq!(sent["include"], expected, "{name}");
    }
}
