//! The requests, compared with those of the provider's own client.

use super::*;

/// That the request is the body which the `openai` Python package 3.54.0 sends for the same.
#[track_caller]
fn check_request(request: &ModelRequest, recorded: &str) {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let mut request = body::<OpenAi>(request);
    let key = request
        .as_object_mut()
        .unwrap()
        .remove("prompt_cache_key")
        .unwrap();
    assert_eq!(key.as_str().unwrap().len(), 32);
    assert_eq!(request, recorded["body"]);
    assert_eq!(OpenAi::PATH, recorded["path"]);
}

#[test]
fn the_request_is_that_of_the_providers_own_client() {
    let plain = prompt(vec![Message::user(INPUT)]);
    check_request(
        &model_request(luna(), plain.clone()),
        include_str!("../../fixtures/openai_request.json"),
    );

    let whole = ModelSettings {
        transfer: Transfer::Whole,
        ..ModelSettings::default()
    };
    let request = model_request(
        ModelChoice {
            model: luna(),
            settings: whole,
        },
        Prompt {
            instructions: String::new(),
            ..plain.clone()
        },
    );
    check_request(
        &request,
        include_str!("../../fixtures/openai_request_without_instructions.json"),
    );

    let settings = ModelSettings {
        temperature: Some(Thousandths(700)),
        top_p: Some(Thousandths(950)),
        reasoning_effort: Some(ReasoningEffort::None),
        ..ModelSettings::default()
    };
    let request = model_request(
        ModelChoice {
            model: luna(),
            settings,
        },
        Prompt {
            output_schema: Some(output_schema()),
            ..plain
        },
    );
    check_request(
        &request,
        include_str!("../../fixtures/openai_request_settings.json"),
    );
}

#[test]
fn a_turn_goes_back_unchanged_to_its_model_and_neutral_to_another() {
    let prompt = Prompt {
        tools: tools(),
        ..prompt(vec![picture_message(), turn(), results()])
    };
    check_request(
        &model_request(luna(), prompt.clone()),
        include_str!("../../fixtures/openai_request_tools.json"),
    );
    let other = model(Provider::OpenAi, "gpt-6.1-terra");
    check_request(
        &model_request(other, prompt),
        include_str!("../../fixtures/openai_request_other_model.json"),
    );
}

#[test]
fn reasoning_that_led_to_nothing_is_not_sent_back() {
    let sealed =
        json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"});
    let reasoning = part(
        AssistantContent::Reasoning(String::new()),
        Some((&luna(), sealed)),
    );
    let messages = vec![
        Message::user("a"),
        Message::Assistant(vec![reasoning]),
        Message::user("b"),
    ];
    let input = body::<OpenAi>(&model_request(luna(), prompt(messages)))["input"].take();
    assert_eq!(input.as_array().unwrap().len(), 2, "{input}");
}

#[test]
fn ids_that_are_too_long_are_shortened_in_call_and_result_alike() {
    let id = "x".repeat(65);
    let result = crate::domain::ToolResult {
        call_id: id.clone(),
        text: "r".to_owned(),
        is_error: false,
    };
    let messages = |original| {
        let call = part(call(&id, "Oslo"), original);
        vec![
            Message::user("a"),
            Message::Assistant(vec![call]),
            Message::ToolResults(vec![result.clone()]),
        ]
    };
    let input = body::<OpenAi>(&model_request(luna(), prompt(messages(None))))["input"].take();
    assert_eq!(input[1]["call_id"], input[2]["call_id"]);
    assert!(input[1]["call_id"].as_str().unwrap().len() <= 64);
    let block =
        json!({"type": "function_call", "call_id": id, "name": "weather", "arguments": "{}"});
    let input = body::<OpenAi>(&model_request(
        luna(),
        prompt(messages(Some((&luna(), block)))),
    ))["input"]
        .take();
    assert_eq!(
        (&input[1]["call_id"], &input[2]["call_id"]),
        (&json!(id), &json!(id))
    );
}

#[test]
fn the_cache_key_tells_beginnings_and_tenants_apart_and_nothing_else() {
    let key = |request: &ModelRequest| {
        body::<OpenAi>(request)["prompt_cache_key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let plain = model_request(luna(), prompt(vec![Message::user("a")]));
    assert_eq!(
        key(&plain),
        key(&model_request(luna(), prompt(vec![Message::user("b")])))
    );
    let mut other = plain.clone();
    other.caller.tenant = "globex".parse().unwrap();
    assert_ne!(key(&plain), key(&other));
    let with_tools = Prompt {
        tools: tools(),
        ..prompt(vec![Message::user("a")])
    };
    assert_ne!(key(&plain), key(&model_request(luna(), with_tools)));
}

#[test]
fn no_reasoning_is_requested_from_models_that_do_not_reason() {
    for (name, reasons) in [
        ("gpt-4o-mini", false),
        ("ft:gpt-4.1:acme::1", false),
        ("gpt-5.5", true),
        ("o4-mini", true),
    ] {
        let request = body::<OpenAi>(&model_request(
            model(Provider::OpenAi, name),
            prompt(vec![Message::user("a")]),
        ));
        assert_eq!(request.get("include").is_some(), reasons, "{name}");
    }
}
