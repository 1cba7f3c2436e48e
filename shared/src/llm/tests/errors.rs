//! What the clients make of a provider's errors: the same with every API, before an answer and in
//! one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::stand_in::{PATIENT, Reply, STAND_INS, StandIn, Then};
use crate::domain::{JsonSchema, ModelRequest, Prompt, Provider, ToolDefinition, ToolName};
use crate::ports::{ModelError, ModelErrorKind};

/// The request of all tests, with a tool.
fn with_tool(stand_in: &StandIn) -> ModelRequest {
    let request = stand_in.request();
    let schema =
        JsonSchema::new(json!({"type": "object", "properties": {"word": {"type": "string"}}}))
            .unwrap();
    let tool = ToolDefinition::new(
        ToolName::new("look_up".to_owned()).unwrap(),
        String::new(),
        schema,
    )
    .unwrap();
    let prompt = Prompt {
        tools: vec![tool],
        ..(*request.prompt).clone()
    };
    ModelRequest {
        prompt: Arc::new(prompt),
        ..request
    }
}

async fn refused(
    stand_in: &StandIn,
    status: u16,
    headers: &[(&str, &str)],
    body: &Value,
) -> ModelError {
    stand_in
        .reply_to(
            &with_tool(stand_in),
            Reply::new(status, headers, &body.to_string()),
            PATIENT,
        )
        .await
        .unwrap_err()
}

#[tokio::test]
async fn an_error_means_the_same_with_every_api() {
    let cases = [
        (
            400,
            json!({"error": {"code": "tool_use_failed", "failed_generation": "canary"}}),
            ModelErrorKind::BadAnswer,
        ),
        (
            400,
            json!({"error": {"code": "content_filter", "message": "canary"}}),
            ModelErrorKind::Refused,
        ),
        (
            403,
            json!({"error": {"message": "x requires moderation. Your input was flagged"}}),
            ModelErrorKind::Refused,
        ),
        (
            413,
            json!({"error": {"code": "rate_limit_exceeded", "message": "canary"}}),
            ModelErrorKind::RateLimited,
        ),
        (
            500,
            json!({"error": {"code": 500, "message": "Context size has been exceeded."}}),
            ModelErrorKind::ContextTooLong,
        ),
        (
            500,
            json!({"error": {"type": "invalid_request_error", "message": "canary"}}),
            ModelErrorKind::Rejected,
        ),
        (
            400,
            json!({"error": {"type": "server_error", "message": "canary"}}),
            ModelErrorKind::Unavailable,
        ),
        (
            500,
            json!({"error": {"code": "429", "message": "canary"}}),
            ModelErrorKind::RateLimited,
        ),
    ];
    for stand_in in STAND_INS {
        for (status, body, kind) in &cases {
            let error = refused(&stand_in, *status, &[], body).await;
            assert_eq!((&error.kind, error.status), (kind, Some(*status)), "{body}");
        }
    }
}

#[tokio::test]
async fn an_error_in_a_stream_means_what_it_means_before_one() {
    let cases = [
        ("tool_use_failed", ModelErrorKind::BadAnswer),
        ("content_filter", ModelErrorKind::Refused),
        ("rate_limit_exceeded", ModelErrorKind::RateLimited),
        ("context_length_exceeded", ModelErrorKind::ContextTooLong),
        ("insufficient_quota", ModelErrorKind::QuotaExhausted),
        ("overloaded_error", ModelErrorKind::Unavailable),
    ];
    for stand_in in STAND_INS {
        for (code, kind) in &cases {
            let error = json!({"type": "error", "error": {"type": "x_error", "code": code, "message": "try again in 2s"}});
            let event = format!("event: error\ndata: {error}\n\n");
            let answered = stand_in.reply(Reply::stream(&[event], Then::End)).await;
            // A response of this API ends in a filter's refusal rather than in an error.
            if stand_in.provider == Provider::OpenAi && *kind == ModelErrorKind::Refused {
                assert!(answered.is_ok(), "{code}");
                continue;
            }
            let failed = answered.unwrap_err();
            // Words name a wait only where waiting is what helps.
            let waits = matches!(
                kind,
                ModelErrorKind::RateLimited | ModelErrorKind::Unavailable
            );
            let wait = waits.then_some(Duration::from_secs(2));
            assert_eq!(
                (&failed.kind, failed.status, failed.retry_after),
                (kind, Some(200), wait),
                "{code}"
            );
            assert_eq!(failed.said.unwrap().code, Some(format!("x_error/{code}")));
        }
    }
}

#[tokio::test]
async fn a_wait_is_that_of_a_header_or_else_that_of_the_words() {
    let body =
        json!({"error": {"type": "rate_limit_error", "message": "Please try again in 3.89s."}});
    for stand_in in STAND_INS {
        let in_words = refused(&stand_in, 429, &[], &body).await;
        assert_eq!(in_words.retry_after, Some(Duration::from_millis(3_890)));
        let in_header = refused(&stand_in, 429, &[("retry-after", "7")], &body).await;
        assert_eq!(in_header.retry_after, Some(Duration::from_secs(7)));
        let quoting =
            json!({"error": {"type": "invalid_request_error", "message": "try again in 20 hours"}});
        let rejected = refused(&stand_in, 400, &[("x-should-retry", "true")], &quoting).await;
        assert_eq!(
            (rejected.should_retry, rejected.retry_after),
            (Some(true), None)
        );
        let quota = json!({"error": {"message": "You exceeded your current quota, please check your plan."}});
        assert_eq!(
            refused(&stand_in, 429, &[("retry-after", "1")], &quota)
                .await
                .kind,
            ModelErrorKind::RateLimited
        );
        assert_eq!(
            refused(&stand_in, 429, &[], &quota).await.kind,
            ModelErrorKind::QuotaExhausted
        );
    }
}

#[tokio::test]
async fn an_error_has_the_providers_code_and_the_tool_that_is_refused() {
    let body = json!({"error": {
        "type": "invalid_request_error", "code": "invalid_function_parameters", "param": "tools[0].function.parameters",
        "message": "Invalid schema for function 'look_up': object schema missing properties, canary.",
    }});
    for stand_in in STAND_INS {
        let error = refused(&stand_in, 400, &[], &body).await;
        let said = error.attempt().said.unwrap();
        assert_eq!(
            said.code.as_deref(),
            Some("invalid_request_error/invalid_function_parameters")
        );
        assert_eq!(
            (said.param.as_deref(), said.tool.as_deref()),
            (Some("tools[0].function.parameters"), Some("look_up"))
        );
        let message = "Invalid schema for function 'look_up': object schema missing properties, ….";
        assert_eq!(said.message.as_deref(), Some(message));
        assert_eq!(error.shared().said, error.said);
    }
}

#[tokio::test]
async fn the_page_of_a_content_delivery_network_is_no_refusal_of_the_key() {
    let page = "<!DOCTYPE html><html><title>Just a moment...</title>canary</html>";
    for stand_in in STAND_INS {
        for status in [400, 403, 502, 503, 520, 526] {
            let error = stand_in
                .reply(Reply::new(status, &[("content-type", "text/html")], page))
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.status),
                (ModelErrorKind::Unavailable, Some(status))
            );
            assert_eq!(
                error.said.unwrap().message.unwrap(),
                "the response is a web page, not one of an API: a proxy's, a firewall's, or of a wrong address"
            );
        }
        let limited = stand_in
            .reply(Reply::new(429, &[], page))
            .await
            .unwrap_err();
        assert_eq!(limited.kind, ModelErrorKind::RateLimited);
    }
}

#[tokio::test]
async fn a_redirect_says_that_it_is_one() {
    for stand_in in STAND_INS {
        let elsewhere = [("location", "https://login.example/canary")];
        let error = stand_in
            .reply(Reply::new(302, &elsewhere, ""))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::BadAnswer);
        assert_eq!(
            error.said.unwrap().message.unwrap(),
            "the response is a redirect, which is not followed: a proxy's login, or the API is elsewhere"
        );
    }
}
