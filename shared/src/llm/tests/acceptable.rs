//! Requests have a form that vendors accept, for every recorded conversation: bodies of requests,
//! for every dialect.

use serde_json::{Value, json};

use super::transcripts::{body, model, part, prompt, question};
use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelChoice, ModelRef, ModelRequest, ModelSettings,
    OutputLimitField, OutputSchema, Prompt, Provider, ToolCall, ToolDefinition, ToolName,
    ToolResult, UserPart,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::chat::Chat;
use crate::llm::dialect::Dialect;
use crate::llm::openai::OpenAi;

const PROVIDERS: [Provider; 3] = [
    Provider::Anthropic,
    Provider::OpenAi,
    Provider::OpenAiCompatible,
];

fn of(provider: Provider) -> ModelRef {
    let name = match provider {
        Provider::Anthropic => "claude-sonnet-5-5",
        Provider::OpenAi => "gpt-6-luna",
        Provider::OpenAiCompatible => "qwen3-coder",
    };
    model(provider, name)
}

/// The text that is posted.
fn posted(request: &ModelRequest) -> String {
    let text = match request.model().provider() {
        Provider::Anthropic => serde_json::to_string(&Anthropic::question(request)),
        Provider::OpenAi => serde_json::to_string(&OpenAi::question(request)),
        Provider::OpenAiCompatible => serde_json::to_string(&Chat::question(request)),
    };
    text.unwrap()
}

fn sent(provider: Provider, messages: &[Message]) -> Value {
    let request = question(
        of(provider),
        Prompt {
            instructions: String::new(),
            ..prompt(messages.to_vec())
        },
    );
    match provider {
        Provider::Anthropic => body::<Anthropic>(&request)["messages"].take(),
        Provider::OpenAi => body::<OpenAi>(&request)["input"].take(),
        Provider::OpenAiCompatible => body::<Chat>(&request)["messages"].take(),
    }
}

fn text(text: &str) -> AssistantPart {
    part(AssistantContent::Text(text.to_owned()), None)
}

fn calls(id: &str) -> AssistantPart {
    let call = ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: r#"{"z":1,"a":2}"#.to_owned(),
    };
    part(AssistantContent::ToolCall(call), None)
}

fn result(id: &str, text: &str, is_error: bool) -> ToolResult {
    ToolResult {
        call_id: id.to_owned(),
        text: text.to_owned(),
        is_error,
    }
}

/// Calls and results as they are sent, in order: `call a`, `a: text`, with `!` for an error.
fn exchange(provider: Provider, messages: &[Message]) -> Vec<String> {
    let sent = sent(provider, messages);
    let id = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let result = |id: String, text: &str| match text.strip_prefix("Error: ") {
        Some(text) => format!("{id}! {text}"),
        None => format!("{id}: {text}"),
    };
    let mut found = Vec::new();
    for item in sent.as_array().unwrap() {
        match provider {
            Provider::OpenAi if item["type"] == "function_call" => {
                found.push(format!("call {}", id(item, "call_id")));
            }
            Provider::OpenAi if item["type"] == "function_call_output" => {
                found.push(result(
                    id(item, "call_id"),
                    item["output"].as_str().unwrap(),
                ));
            }
            Provider::OpenAiCompatible if item["role"] == "tool" => {
                found.push(result(
                    id(item, "tool_call_id"),
                    item["content"].as_str().unwrap(),
                ));
            }
            Provider::OpenAi => {}
            Provider::OpenAiCompatible => {
                let calls = item["tool_calls"].as_array().into_iter().flatten();
                found.extend(calls.map(|call| format!("call {}", id(call, "id"))));
            }
            Provider::Anthropic => {
                for block in item["content"].as_array().unwrap() {
                    let mark = if block["is_error"] == true {
                        "Error: "
                    } else {
                        ""
                    };
                    match block["type"].as_str().unwrap() {
                        "tool_use" => found.push(format!("call {}", id(block, "id"))),
                        "tool_result" => {
                            let text = format!("{mark}{}", block["content"].as_str().unwrap());
                            found.push(result(id(block, "tool_use_id"), &text));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

#[track_caller]
fn check_exchange(messages: &[Message], expected: &[&str]) {
    for provider in PROVIDERS {
        assert_eq!(exchange(provider, messages), expected, "{provider}");
    }
}

/// The user speaks, and then this is said.
fn after_user(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
    std::iter::once(Message::user("hello"))
        .chain(messages)
        .collect()
}

#[test]
fn blank_texts_and_turns_of_nothing_else_are_left_out() {
    let blank = |provider: Provider, block: Value| {
        part(
            AssistantContent::Text("\n\n".to_owned()),
            Some((&of(provider), block)),
        )
    };
    let messages = vec![
        Message::User(vec![
            UserPart::Text("hello".to_owned()),
            UserPart::Text(" \n".to_owned()),
        ]),
        Message::Assistant(vec![
            text("\n\n"),
            blank(
                Provider::Anthropic,
                json!({"type": "text", "text": "\n\n", "citations": []}),
            ),
            calls("a"),
        ]),
        Message::ToolResults(vec![result("a", "1", false)]),
        Message::Assistant(vec![text("\u{a0}\t")]),
        Message::user(" "),
    ];
    assert_eq!(
        sent(Provider::Anthropic, &messages),
        json!([
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1, "a": 2}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
        ])
    );
    assert_eq!(
        sent(Provider::OpenAi, &messages),
        json!([
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": r#"{"z":1,"a":2}"#},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
        ])
    );
    let function = json!({"name": "f", "arguments": r#"{"z":1,"a":2}"#});
    assert_eq!(
        sent(Provider::OpenAiCompatible, &messages),
        json!([
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "id": "a", "function": function}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ])
    );
    let own = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "\n\n"}]});
    let of_openai = after_user([Message::Assistant(vec![
        blank(Provider::OpenAi, own.clone()),
        calls("a"),
    ])]);
    assert_eq!(
        sent(Provider::OpenAi, &of_openai)[1],
        own,
        "its own reasoning may have led to it"
    );
}

#[test]
fn every_result_has_words() {
    let results = vec![
        result("a", "", true),
        result("b", " \n", true),
        result("c", "", false),
        result("d", "0", false),
    ];
    let messages = after_user([
        Message::Assistant(["a", "b", "c", "d"].map(calls).to_vec()),
        Message::ToolResults(results),
    ]);
    let failed = "The tool failed without a message.";
    let results = [
        format!("a! {failed}"),
        format!("b! {failed}"),
        "c: (no output)".to_owned(),
        "d: 0".to_owned(),
    ];
    let expected: Vec<&str> = ["call a", "call b", "call c", "call d"]
        .into_iter()
        .chain(results.iter().map(String::as_str))
        .collect();
    check_exchange(&messages, &expected);
}

#[test]
fn every_call_has_one_result_and_every_result_a_call() {
    let not_run = "! not run: no result was recorded";
    let (a_not_run, b_not_run) = (&*format!("a{not_run}"), &*format!("b{not_run}"));
    let turn = |ids: &[&str]| Message::Assistant(ids.iter().map(|id| calls(id)).collect());
    let results =
        |ids: &[&str]| Message::ToolResults(ids.iter().map(|id| result(id, id, false)).collect());
    let table: [(Vec<Message>, &[&str]); 7] = [
        (
            vec![turn(&["a", "b"]), results(&["b"])],
            &["call a", "call b", a_not_run, "b: b"],
        ),
        (
            vec![turn(&["a", "b"]), results(&["b", "a"])],
            &["call a", "call b", "a: a", "b: b"],
        ),
        (
            vec![turn(&["a"]), results(&["a", "a", "x"])],
            &["call a", "a: a"],
        ),
        (
            vec![turn(&["a"]), Message::user("go on")],
            &["call a", a_not_run],
        ),
        (
            vec![turn(&["a"]), turn(&["b"])],
            &["call a", a_not_run, "call b", b_not_run],
        ),
        (
            vec![turn(&["a", "b"]), results(&["a"]), results(&["b"])],
            &["call a", "call b", "a: a", "b: b"],
        ),
        (
            vec![results(&["a"]), Message::Assistant(vec![text("done")])],
            &[],
        ),
    ];
    for (messages, expected) in table {
        check_exchange(&after_user(messages), expected);
    }
}

#[test]
fn an_id_that_occurs_twice_is_sent_once() {
    let turn = |ids: &[&str]| Message::Assistant(ids.iter().map(|id| calls(id)).collect());
    let results = |texts: &[&str]| {
        Message::ToolResults(texts.iter().map(|text| result("a", text, false)).collect())
    };
    let within = after_user([
        turn(&["a", "a", "a_2"]),
        Message::ToolResults(vec![
            result("a", "1", false),
            result("a_2", "3", false),
            result("a", "2", false),
        ]),
    ]);
    check_exchange(
        &within,
        &[
            "call a",
            "call a_2",
            "call a_2_2",
            "a: 1",
            "a_2: 2",
            "a_2_2: 3",
        ],
    );
    let across = after_user([turn(&["a"]), results(&["1"]), turn(&["a"]), results(&["2"])]);
    for provider in [Provider::Anthropic, Provider::OpenAi] {
        assert_eq!(
            exchange(provider, &across),
            ["call a", "a: 1", "call a_2", "a_2: 2"],
            "{provider}"
        );
    }
    // Servers tell the calls of different turns apart, and may know their ids by their form.
    assert_eq!(
        exchange(Provider::OpenAiCompatible, &across),
        ["call a", "a: 1", "call a", "a: 2"]
    );
}

#[test]
fn a_vendors_own_block_gets_the_new_id_too() {
    let blocks = [
        (
            Provider::Anthropic,
            json!({"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "x"}}),
        ),
        (
            Provider::OpenAi,
            json!({"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"}),
        ),
    ];
    for (provider, block) in blocks {
        let call = || AssistantPart {
            original: part(
                AssistantContent::Opaque,
                Some((&of(provider), block.clone())),
            )
            .original,
            ..calls("a")
        };
        let messages = after_user([Message::Assistant(vec![call(), call()])]);
        let ids: Vec<_> = exchange(provider, &messages).into_iter().take(2).collect();
        assert_eq!(ids, ["call a", "call a_2"]);
        let text = sent(provider, &messages).to_string();
        assert_eq!(
            text.matches("fc_1").count(),
            usize::from(provider == Provider::OpenAi),
            "{text}"
        );
    }
}

#[test]
fn a_vendors_own_block_and_its_result_have_one_id() {
    let block = json!({"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}, "caller": {"type": "x"}});
    let call = AssistantPart {
        original: part(
            AssistantContent::Opaque,
            Some((&of(Provider::Anthropic), block)),
        )
        .original,
        ..calls("functions.f:0")
    };
    let messages = after_user([
        Message::Assistant(vec![call]),
        Message::ToolResults(vec![result("functions.f:0", "1", false)]),
    ]);
    let sent = sent(Provider::Anthropic, &messages);
    let [called, answered] = [&sent[1]["content"][0], &sent[2]["content"][0]];
    assert_eq!(called["caller"], json!({"type": "x"}));
    assert_eq!(called["id"], answered["tool_use_id"]);
    assert!(
        called["id"].as_str().unwrap().starts_with("hex_"),
        "{called}"
    );
}

#[test]
fn the_model_has_neither_the_first_nor_the_last_word() {
    for provider in PROVIDERS {
        for messages in [
            vec![],
            vec![Message::user(" ")],
            vec![Message::Assistant(vec![text("hello")])],
            after_user([Message::Assistant(vec![text("hello")])]),
            after_user([Message::Assistant(vec![text("hello")]), Message::user("\n")]),
        ] {
            let sent = sent(provider, &messages);
            let turns = sent.as_array().unwrap();
            assert_eq!(
                (&turns[0]["role"], &turns[turns.len() - 1]["role"]),
                (&json!("user"), &json!("user")),
                "{sent}"
            );
        }
    }
}

#[test]
fn a_name_that_no_tool_may_have_is_sent_readable() {
    let named = |name: &str| {
        let call = ToolCall {
            id: "a".to_owned(),
            name: name.to_owned(),
            arguments: "{}".to_owned(),
        };
        after_user([Message::Assistant(vec![part(
            AssistantContent::ToolCall(call),
            None,
        )])])
    };
    // As the vendor wrote it.
    let own = |provider, name: &str| {
        let block = match provider {
            Provider::Anthropic => {
                json!({"type": "tool_use", "id": "a", "name": name, "input": {}})
            }
            Provider::OpenAi | Provider::OpenAiCompatible => {
                json!({"type": "function_call", "id": "fc_1", "call_id": "a", "name": name, "arguments": "{}"})
            }
        };
        let [user, Message::Assistant(mut parts), ..] =
            <[Message; 2]>::try_from(named(name)).unwrap()
        else {
            panic!()
        };
        parts[0].original = part(AssistantContent::Opaque, Some((&of(provider), block))).original;
        [user, Message::Assistant(parts)]
    };
    let long = "x".repeat(65);
    for (name, expected) in [
        ("look up", "look_up"),
        ("größe.x", "gr__e_x"),
        ("", "unnamed"),
        (&*long, &long[..64]),
        ("f-1_A", "f-1_A"),
    ] {
        assert_eq!(
            sent(Provider::Anthropic, &named(name))[1]["content"][0]["name"],
            expected
        );
        assert_eq!(sent(Provider::OpenAi, &named(name))[1]["name"], expected);
        assert_eq!(
            sent(Provider::Anthropic, &own(Provider::Anthropic, name))[1]["content"][0]["name"],
            expected
        );
        let item = &sent(Provider::OpenAi, &own(Provider::OpenAi, name))[1];
        assert_eq!(
            (&item["name"], &item["id"]),
            (&json!(expected), &json!("fc_1"))
        );
        assert_eq!(
            sent(Provider::OpenAiCompatible, &named(name))[1]["tool_calls"][0]["function"]["name"],
            expected
        );
    }
}

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
    question(
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
        let text = posted(&question(of(provider), prompt(called))).replace('\\', "");
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
fn schemas_are_sent_as_the_vendor_takes_them() {
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
fn a_form_over_anthropics_limits_is_asked_for_in_words() {
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
        let sent = body::<Chat>(&question(choice, prompt(vec![Message::user("hello")])));
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
fn only_models_that_may_reason_are_asked_for_their_reasoning() {
    for (name, expected) in [
        ("gpt-6-luna", json!(["reasoning.encrypted_content"])),
        ("gpt-4.1", Value::Null),
        ("gpt-5-chat-latest", Value::Null),
    ] {
        let sent = body::<OpenAi>(&question(
            model(Provider::OpenAi, name),
            prompt(vec![Message::user("hello")]),
        ));
        assert_eq!(sent["include"], expected, "{name}");
    }
}
