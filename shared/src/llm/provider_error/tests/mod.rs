use serde_json::{Value, json};

use super::*;
use crate::domain::{
    JsonSchema, ModelRef, OutputSchema, Prompt, Provider, ProviderError, ToolDefinition, ToolName,
};
use crate::testing::samples;

const DOCS: &str = include_str!("../../../../../docs/model-errors.md");

/// What the code makes of a row of the documentation's table of providers, in the words of its last
/// cell.
fn judged(http: &str, body: &str) -> String {
    let (status, header) = http
        .split_once(", `retry-after: ")
        .map_or((http, None), |(status, wait)| (status, Some(wait)));
    let header =
        header.map(|wait| Duration::from_secs(wait.trim_end_matches('`').parse().unwrap()));
    let error_body = ErrorBody::from_body(body.as_bytes());
    let kind = match status.parse().unwrap() {
        200 => error_body.kind_despite_success(),
        status => error_body.kind(status, header),
    };
    let wait = header
        .or_else(|| error_body.wait())
        .filter(|_| kind.is_retryable());
    let after = wait
        .map(|wait| format!(" after {} s", wait.as_secs_f64()))
        .unwrap_or_default();
    format!("`{}`{after}", kind.code().as_str())
}

#[test]
fn each_row_of_the_documented_table_is_what_the_code_does() {
    let table = DOCS
        .split("| --- | --- | --- | --- |\n| Anthropic")
        .nth(1)
        .unwrap();
    let rows = table.lines().take_while(|line| !line.is_empty());
    let mut providers = std::collections::BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row
            .trim_end_matches(" |")
            .trim_start_matches("| ")
            .split(" | ")
            .collect();
        let [provider, http, body, expected] = cells[..] else {
            panic!("{row}")
        };
        let body = if body == "nothing" {
            String::new()
        } else {
            body.trim_matches('`').replace("\\|", "|")
        };
        assert_eq!(judged(http, &body), expected, "{row}");
        providers.insert(provider);
    }
    for provider in [
        "OpenAI",
        "Azure",
        "Gemini",
        "Groq",
        "Mistral",
        "DeepSeek",
        "OpenRouter",
        "Ollama",
        "vLLM",
        "llama.cpp",
    ] {
        assert!(providers.contains(provider), "{provider}");
    }
    for provider in [
        "LM Studio",
        "TGI",
        "Bedrock",
        "xAI",
        "Cohere",
        "LiteLLM",
        "Moonshot",
        "Cloudflare",
        "a proxy",
        "any",
    ] {
        assert!(providers.contains(provider), "{provider}");
    }
}

#[test]
fn only_names_of_errors_are_fit_for_logs() {
    let code = |r#type: &str, code: &str| {
        ErrorBody::from_error(&json!({"type": r#type, "code": code, "message": "sk-1"})).code()
    };
    assert_eq!(
        code("rate_limit_error", "slow_down").unwrap(),
        "rate_limit_error/slow_down"
    );
    assert_eq!(code("", "server_error").unwrap(), "server_error");
    assert_eq!(
        code("BadRequestError", "3051").unwrap(),
        "BadRequestError/3051"
    );
    assert_eq!(code("UNAVAILABLE", "UNAVAILABLE").unwrap(), "UNAVAILABLE");
    let too_long = "x_".repeat(MAX_NAME_BYTES);
    for name in [
        "",
        "a sentence",
        "sk-proj-Key",
        "canary",
        "hunter2",
        "gsk_12345abc",
        too_long.as_str(),
    ] {
        assert_eq!(code(name, ""), None, "{name}");
    }
}

#[test]
fn a_strange_error_body_says_nothing() {
    for body in [
        "",
        "null",
        "[]",
        r#"{"error":7}"#,
        r#"{"error":{"code":400,"message":null}}"#,
    ] {
        let error_body = ErrorBody::from_body(body.as_bytes());
        assert_eq!(
            (error_body.code(), error_body.wait()),
            (None, None),
            "{body}"
        );
        assert_eq!(
            error_body.kind(418, None),
            ModelErrorKind::Rejected,
            "{body}"
        );
    }
    let page = ErrorBody::from_body(b"<html>");
    assert_eq!((page.code(), page.wait()), (None, None));
    assert_eq!(page.kind(418, None), ModelErrorKind::BadAnswer);
    let endless = format!("{}1{}", r#"{"error":"#.repeat(99), "}".repeat(99));
    assert_eq!(
        ErrorBody::from_body(endless.as_bytes()).kind_despite_success(),
        ModelErrorKind::Unavailable
    );
}

#[test]
fn an_error_may_come_bare_or_as_a_text_or_in_a_list_or_inside_another() {
    for body in [
        r#"{"message":"loading model","code":400}"#,
        r#"{"error":"loading model"}"#,
        r#"[{"error":{"message":"loading model"}}]"#,
        r#"{"detail":"loading model"}"#,
        r#"{"error":{"message":"it failed: {\"error\":{\"message\":\"loading model\"}}"}}"#,
        r#"{"error":{"message":"it failed","metadata":{"raw":"{\"error\":{\"type\":\"overloaded_error\"}}"}}}"#,
        "loading model",
    ] {
        assert_eq!(
            ErrorBody::from_body(body.as_bytes()).kind(400, None),
            ModelErrorKind::Unavailable,
            "{body}"
        );
    }
}

#[test]
fn input_that_is_too_long_is_recognised_in_every_servers_words() {
    let wordings = [
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "prompt too long; exceeded max context length by 12 tokens",
        "request (68879 tokens) exceeds the available context size (65536 tokens), try increasing it",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "Requested token count exceeds the model's maximum context length of 163840 tokens.",
        "litellm.BadRequestError: OpenrouterException - This endpoint's maximum context length is 40960 tokens.",
        "litellm.BadRequestError: AnthropicException - prompt is too long: 210000 tokens > 200000 maximum",
        "Input tokens exceed the configured limit of 272000 tokens.",
        "Requested tokens (2285) exceed context window of 2048",
        "Prompt too long: 41911 tokens exceeds max context window of 32768 tokens",
        "invalid params, context window exceeds limit",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168",
    ];
    for message in wordings {
        for status in [400, 422, 500] {
            let error_body = ErrorBody::from_error(&json!({"message": message}));
            assert_eq!(
                error_body.kind(status, None),
                ModelErrorKind::ContextTooLong,
                "{message}"
            );
        }
    }
    let late = ErrorBody::from_error(
        &json!({"message": format!("{} maximum context length", "ä".repeat(200))}),
    );
    assert_eq!(late.kind(400, None), ModelErrorKind::Rejected);
}

#[test]
fn a_quotation_does_not_keep_a_refused_request_alive() {
    for quoted in [
        "overloaded",
        "no healthy upstream",
        "Rate limit exceeded",
        "Too many requests",
        "the model is loading",
    ] {
        for message in [
            format!("Invalid value: '{quoted}'. Try again in 20 hours."),
            format!("messages.1.content: got \"{quoted}\" which is no block"),
            format!("The user says {quoted} and asks why"),
        ] {
            for status in [400, 404, 422] {
                let error_body = ErrorBody::from_error(
                    &json!({"message": message, "type": "invalid_request_error"}),
                );
                assert_eq!(
                    error_body.kind(status, None),
                    ModelErrorKind::Rejected,
                    "{message}"
                );
            }
        }
    }
}

#[test]
fn a_quota_that_a_wait_ends_is_a_rate_limit() {
    let error_body = ErrorBody::from_error(&json!({"message": "You exceeded your current quota"}));
    assert_eq!(error_body.kind(429, None), ModelErrorKind::QuotaExhausted);
    assert_eq!(
        error_body.kind(429, Some(Duration::from_secs(1))),
        ModelErrorKind::RateLimited
    );
    let named = ErrorBody::from_error(
        &json!({"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    );
    assert_eq!(
        named.kind(429, Some(Duration::from_secs(1))),
        ModelErrorKind::QuotaExhausted
    );
}

fn tool(name: &str, schema: Value) -> ToolDefinition {
    let (name, schema) = (
        ToolName::new(name.to_owned()).unwrap(),
        JsonSchema::new(schema).unwrap(),
    );
    ToolDefinition::new(name, "canary-description".to_owned(), schema).unwrap()
}

fn prompt() -> Prompt {
    let schema = |name: &str| json!({"type": "object", "properties": {name: {"type": "string", "description": "canary"}}});
    let form = JsonSchema::new(schema("verdict")).unwrap();
    Prompt {
        tools: vec![
            tool("look_up", schema("word")),
            tool("send-mail", schema("recipient")),
        ],
        output_schema: Some(OutputSchema {
            name: ToolName::new("form".to_owned()).unwrap(),
            schema: form,
        }),
        ..samples::prompt("canary-input")
    }
}

/// What is passed on of an error with status 400.
fn detail(error: &Value) -> ProviderError {
    let (model, prompt) = (
        ModelRef::new(Provider::OpenAi, "gpt-6-luna").unwrap(),
        prompt(),
    );
    let error_body = ErrorBody::from_error(error);
    let request = Request {
        model: &model,
        prompt: Some(&prompt),
    };
    error_body
        .detail(&error_body.kind(400, None), &request)
        .unwrap_or_default()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn the_refused_part_is_read_in_every_servers_form_and_its_tool_named() {
    let mail = Some("send-mail");
    let cases = [
        (
            json!({"param": "tools[1].function.parameters"}),
            "tools[1].function.parameters",
            mail,
        ),
        (
            json!({"param": "tools[1].parameters.properties.recipient"}),
            "tools[1].parameters.properties.recipient",
            mail,
        ),
        (
            json!({"message": "tools.1.custom.input_schema: input_schema is invalid"}),
            "tools.1.custom.input_schema",
            mail,
        ),
        (
            json!({"details": [{"fieldViolations": [{"field": "tools[0].function_declarations[1].parameters"}]}]}),
            "tools[0].function_declarations[1].parameters",
            mail,
        ),
        (
            json!({"message": "Unknown name \"const\" at 'tools[0].function_declarations[1].parameters': Cannot find field."}),
            "tools[0].function_declarations[1].parameters",
            mail,
        ),
        (
            json!([{"loc": ["body", "tools", 1, "function"], "msg": "Field required"}]),
            "tools.1.function",
            mail,
        ),
        (
            json!({"param": "max_tokens", "message": "too large"}),
            "max_tokens",
            None,
        ),
        (
            json!({"param": "input_tokens, max_tokens"}),
            "input_tokens, max_tokens",
            None,
        ),
        (
            json!({"message": "messages.1.content.0: bad"}),
            "messages.1.content.0",
            None,
        ),
        (
            json!({"param": "tools[7].function"}),
            "tools[7].function",
            None,
        ),
        (json!({"param": "response_format"}), "response_format", None),
    ];
    for (error, param, tool) in cases {
        let said = detail(&error);
        assert_eq!(
            (said.param.as_deref(), said.tool.as_deref()),
            (Some(param), tool),
            "{error}"
        );
    }
    let quoted = json!({"message": "Invalid schema for function 'send-mail': schema must have a 'type' key."});
    assert_eq!(detail(&quoted).tool.as_deref(), mail);
}

#[test]
fn a_message_about_schemas_and_limits_is_passed_on() {
    let messages = [
        "Invalid schema for function 'look_up': In context=('properties', 'word'), 'additionalProperties' is required to be \
         supplied and to be false.",
        "tools.3.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens for gpt-6-luna",
    ];
    for message in messages {
        assert_eq!(
            detail(&json!({"message": message})).message.as_deref(),
            Some(message)
        );
    }
    let limited = json!({"type": "rate_limit_error", "message": "Rate limit reached for gpt-6-luna in organization org-9x on \
                         tokens per min (TPM): Limit 30000. Please try again in 3.89s. Visit https://x.example/canary"});
    let shown = "Rate limit reached for gpt-6-luna in organization …-… on tokens per min (TPM): Limit 30000. Please try again \
                 in 3.89s. …";
    assert_eq!(detail(&limited).message.as_deref(), Some(shown));
    let long = detail(&json!({"message": "schema is invalid, ".repeat(60)}))
        .message
        .unwrap();
    assert!(long.len() <= 300, "{}", long.len());
}

#[test]
fn nothing_of_a_prompt_or_a_key_is_passed_on() {
    let texts = [
        "canary",
        "canary-input",
        "Invalid value 'canary-input' for this schema, expected a string",
        "the schema is invalid: \"canary canary canary\" must be an object",
        "schema is invalid: canary is not of type string",
        "Invalid schema: “canary canary” does not match the pattern",
        "Invalid schema: 'the canary never closes",
        "Incorrect API key provided: sk-canary. You can find your API key at https://canary.example",
        "Invalid type for tools[0]: got {\"canary\": 1} instead of an object",
        "Invalid canary‑canary\u{7}\u{1b}[31m \u{202e}canary schema is invalid",
        "tools.0.canary: the schema is invalid",
        "tools[0].canary",
        "messages[0].canary",
        "canary[0].text",
    ];
    for text in texts {
        for error in [
            json!({"message": text}),
            json!({"message": text, "type": "invalid_request_error", "param": text}),
            json!({"message": text, "type": text, "code": text}),
            json!({"message": "rate limit exceeded", "param": text}),
            json!({"error": {"message": text, "metadata": {"raw": text, "flagged_input": text}}}),
            json!([{"loc": ["body", "tools", 0, text], "msg": text, "input": text}]),
            json!({"message": json!({"error": {"message": text, "param": text}}).to_string()}),
            json!({"details": [{"fieldViolations": [{"field": text, "description": text}]}]}),
        ] {
            let said = detail(&error);
            let shown = format!("{said:?}");
            assert!(
                !shown.contains("canary") && !shown.contains("sk-"),
                "{error}: {shown}"
            );
            assert!(
                !shown.contains("\\u{") && !shown.contains("http"),
                "{error}: {shown}"
            );
        }
    }
}

#[test]
fn a_message_about_the_conversation_is_left_out() {
    for error in [
        json!({"param": "messages[2].content", "message": "the content must be a string"}),
        json!({"message": "messages.2.content: the content must be a string"}),
        json!({"param": "input[2]", "message": "the content must be a string"}),
        json!([{"loc": ["body", "messages", 2], "msg": "the content must be a string"}]),
    ] {
        let said = detail(&error);
        assert!(
            said.param.is_some() && said.message.is_none(),
            "{error}: {said:?}"
        );
    }
}
