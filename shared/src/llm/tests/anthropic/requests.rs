//! The requests, compared with those of the provider's own client.

use super::*;

/// What the `anthropic` Python package 2.12.0 sends for the same request, without the headers that
/// name the package.
const SDK_REQUEST: &str = include_str!("../../fixtures/anthropic_request.json");

const SDK_REQUEST_LEAST: &str = include_str!("../../fixtures/anthropic_request_least.json");

const SDK_REQUEST_TOOLS: &str = include_str!("../../fixtures/anthropic_request_tools.json");

async fn check_request(request: &ModelRequest, expected: &str) {
    let server = Server::start(ANTHROPIC.streamed()).await;
    call_model(ANTHROPIC.client(server.access(), PATIENT).as_ref(), request)
        .await
        .unwrap();
    assert_eq!(
        server.requests(),
        [serde_json::from_str::<Received>(expected).unwrap()]
    );
}

#[tokio::test]
async fn the_request_is_that_of_the_providers_own_client() {
    check_request(&ANTHROPIC.request(), SDK_REQUEST).await;
    let mut choice = ANTHROPIC.whole_request().chain.first().clone();
    choice.settings.api_version = ApiVersion::Anthropic20230601;
    choice.settings.temperature = Some(Thousandths(700));
    choice.settings.top_p = Some(Thousandths(250));
    check_request(
        &with_prompt(|prompt| prompt.instructions.clear()).to_only(&choice),
        SDK_REQUEST_LEAST,
    )
    .await;
}

#[tokio::test]
async fn a_turn_with_tools_goes_there_and_back_as_in_the_providers_own_client() {
    let answer = reply(Reply::stream(&[TOOLS_STREAM], Then::End))
        .await
        .unwrap();
    let thinking = json!({"type": "thinking", "thinking": "", "signature": "CAQS/wMKEAgRGAI4"});
    let expected = [
        with_block(AssistantContent::Reasoning(String::new()), thinking),
        said("I'll look into both."),
        call("toolu_01NRLabsLyVHZPKx", "count_files", r#"{"drawer": 7}"#),
        call("toolu_01VqG2jCdyjoB9HM", "list_drawers", "{}"),
    ];
    assert_eq!(
        (answer.content.as_slice(), answer.stop_reason),
        (&expected[..], StopReason::ToolUse)
    );
    let usage = Usage {
        input_tokens: 377,
        output_tokens: 65,
        ..Usage::default()
    };
    assert_eq!(answer.usage, usage);

    let schema = |schema: Value| serde_json::from_value(schema).unwrap();
    let tool = |name: &str, description: &str| ToolDefinition {
        name: ToolName::new(name.to_owned()).unwrap(),
        description: description.to_owned(),
        input_schema: schema(
            json!({"type": "object", "properties": {"drawer": {"type": "integer"}}}),
        ),
    };
    let mut request = with_prompt(|prompt| {
        prompt.tools = vec![
            tool("count_files", "Counts the files in a drawer."),
            tool("list_drawers", ""),
        ];
        prompt.output_schema = Some(OutputSchema {
            name: ToolName::new("count".to_owned()).unwrap(),
            schema: schema(
                json!({"type": "object", "properties": {"files": {"type": "integer"}},
                                  "required": ["files"], "additionalProperties": false}),
            ),
        });
        let Some(Message::User(parts)) = prompt.messages.first_mut() else {
            panic!()
        };
        parts.push(UserPart::ImageUrl(
            "https://example.com/canary.png".to_owned(),
        ));
        parts.push(UserPart::Image {
            media_type: "image/png".to_owned(),
            base64: "iVBORw0KGgo=".to_owned(),
        });
        prompt.messages.push(Message::Assistant(answer.content));
        prompt.messages.push(Message::ToolResults(vec![
            result("toolu_01NRLabsLyVHZPKx", "3", false),
            result("toolu_01VqG2jCdyjoB9HM", "the drawer is locked", true),
        ]));
    });
    let mut choice = request.chain.first().clone();
    choice.settings.reasoning_effort = Some(ReasoningEffort::Low);
    request = request.to_only(&choice);
    check_request(&request, SDK_REQUEST_TOOLS).await;
}

#[test]
fn what_another_model_said_goes_in_neutral_form() {
    let other = |name: &str, provider| ModelRef::new(provider, name).unwrap();
    let by = |model: ModelRef, content: AssistantContent| AssistantPart {
        content,
        original: Some(Original {
            model,
            block: json!({"type": "x"}),
        }),
    };
    let mut tool_call = call("call|1", "über", "{\"cut\": ");
    tool_call.original = by(
        other("gpt-6-luna", Provider::OpenAi),
        AssistantContent::Opaque,
    )
    .original;
    let parts = vec![
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Reasoning("hm".to_owned()),
        ),
        by(
            other("claude-opus-5-5", Provider::Anthropic),
            AssistantContent::Reasoning("hm".to_owned()),
        ),
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Opaque,
        ),
        by(
            other("gpt-6-luna", Provider::OpenAi),
            AssistantContent::Text("I'll look.".to_owned()),
        ),
        by(
            other("claude-opus-5-5", Provider::Anthropic),
            AssistantContent::Opaque,
        ),
        said(""),
        tool_call,
    ];
    let only_reasoning = parts[..1].to_vec();
    let request = with_prompt(|prompt| {
        prompt.messages.push(Message::Assistant(parts));
        prompt
            .messages
            .push(Message::ToolResults(vec![result("call|1", "", false)]));
        prompt.messages.push(Message::Assistant(only_reasoning));
        prompt.messages.push(Message::user("Go on."));
    });
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "text", "text": "I'll look."},
            {"type": "x"},
            {"type": "tool_use", "id": "hex_63616c6c7c31", "name": "_ber", "input": {"arguments": "{\"cut\": "}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "hex_63616c6c7c31", "content": "(no output)"}]},
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
    ]);
    assert_eq!(
        body(&request)["messages"].as_array().unwrap()[1..],
        expected.as_array().unwrap()[..]
    );
}

#[test]
fn the_prefix_of_tools_is_cached_even_without_instructions() {
    let tool = |name: &str| ToolDefinition {
        name: ToolName::new(name.to_owned()).unwrap(),
        description: String::new(),
        input_schema: serde_json::from_value(json!({"type": "object"})).unwrap(),
    };
    let request = with_prompt(|prompt| {
        prompt.instructions.clear();
        prompt.tools = vec![tool("a"), tool("b")];
    });
    let cached = json!({"type": "ephemeral"});
    let body = body(&request);
    assert_eq!(
        (
            &body["tools"][0]["cache_control"],
            &body["tools"][1]["cache_control"]
        ),
        (&Value::Null, &cached)
    );
    assert_eq!(
        (&body["cache_control"], &body["system"]),
        (&cached, &Value::Null)
    );
}

#[test]
fn a_schema_is_reduced_to_the_providers_subset_or_described() {
    let sent = |instructions: &str, schema: Value| {
        let request = with_prompt(|prompt| {
            instructions.clone_into(&mut prompt.instructions);
            let name = ToolName::new("answer".to_owned()).unwrap();
            prompt.output_schema = Some(OutputSchema {
                name,
                schema: serde_json::from_value(schema).unwrap(),
            });
        });
        let body = body(&request);
        (
            body["system"].clone(),
            body["output_config"]["format"].clone(),
        )
    };
    let open = json!({"type": "object", "properties": {"x": {"type": "string", "minLength": 1}}, "required": ["x"]});
    let closed = json!({
        "type": "object", "properties": {"x": {"type": "string", "description": "{\"minLength\":1}"}},
        "required": ["x"], "additionalProperties": false,
    });
    let (system, format) = sent("Be brief.", open);
    assert_eq!(
        (&system[0]["text"], format),
        (
            &json!("Be brief."),
            json!({"type": "json_schema", "schema": closed})
        )
    );

    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    for (instructions, start) in [
        ("Be brief.", "Be brief.\n\nAnswer with"),
        ("", "Answer with"),
    ] {
        let (system, format) = sent(instructions, map.clone());
        let text = system[0]["text"].as_str().unwrap();
        assert!(
            text.starts_with(start) && text.ends_with(&map.to_string()),
            "{text}"
        );
        assert_eq!(format, Value::Null);
    }
}

#[test]
fn effort_is_set_in_the_models_own_way() {
    let sent = |model: &str, effort| {
        let mut choice = ANTHROPIC.request().chain.first().clone();
        choice.model = ModelRef::new(Provider::Anthropic, model).unwrap();
        choice.settings.reasoning_effort = effort;
        let request = ModelRequest {
            chain: ModelChain::only(choice),
            ..ANTHROPIC.request()
        };
        (
            body(&request)["thinking"].clone(),
            body(&request)["output_config"].clone(),
        )
    };
    for (effort, name) in [
        (ReasoningEffort::Low, "low"),
        (ReasoningEffort::Medium, "medium"),
        (ReasoningEffort::High, "high"),
        (ReasoningEffort::Xhigh, "xhigh"),
        (ReasoningEffort::Max, "max"),
    ] {
        assert_eq!(
            sent("claude-opus-5-5", Some(effort)),
            (Value::Null, json!({"effort": name}))
        );
    }
    assert_eq!(sent("claude-opus-5-5", None), (Value::Null, Value::Null));
    let none = Some(ReasoningEffort::None);
    assert_eq!(
        sent("claude-haiku-5-5", none),
        (json!({"type": "disabled"}), Value::Null)
    );
    assert_eq!(
        sent("claude-sonnet-5-5", none),
        (json!({"type": "between_tools"}), Value::Null)
    );
}
