//! Requests have a form that providers accept, for every recorded conversation: bodies of requests,
//! for every dialect.

use serde_json::{Value, json};

use super::transcripts::{body, model, model_request, part, prompt};
use crate::domain::{
    AssistantContent, AssistantPart, Message, ModelRef, ModelRequest, Prompt, Provider, ToolCall,
    ToolResult, UserPart,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::chat::Chat;
use crate::llm::dialect::Dialect;
use crate::llm::openai::OpenAi;

pub(super) const PROVIDERS: [Provider; 3] = [
    Provider::Anthropic,
    Provider::OpenAi,
    Provider::OpenAiCompatible,
];

pub(super) fn of(provider: Provider) -> ModelRef {
    let name = match provider {
        Provider::Anthropic => "claude-sonnet-5-5",
        Provider::OpenAi => "gpt-6-luna",
        Provider::OpenAiCompatible => "qwen3-coder",
    };
    model(provider, name)
}

/// The text that is posted.
pub(super) fn posted(request: &ModelRequest) -> String {
    let text = match request.model().provider() {
        Provider::Anthropic => serde_json::to_string(&Anthropic::body(request)),
        Provider::OpenAi => serde_json::to_string(&OpenAi::body(request)),
        Provider::OpenAiCompatible => serde_json::to_string(&Chat::body(request)),
    };
    text.unwrap()
}

fn sent(provider: Provider, messages: &[Message]) -> Value {
    let request = model_request(
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

pub(super) fn calls(id: &str) -> AssistantPart {
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
pub(super) fn after_user(messages: impl IntoIterator<Item = Message>) -> Vec<Message> {
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
fn a_providers_own_block_gets_the_new_id_too() {
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
fn a_providers_own_block_and_its_result_have_one_id() {
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
    // As the provider wrote it.
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
