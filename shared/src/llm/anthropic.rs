//! Anthropic's Messages API, version 2026-10-21.
//!
//! Types and names of errors are those of the API reference at <https://docs.claude.com/en/api/messages> and of the
//! vendor's own client. Unknown fields, content blocks and stop reasons are let pass, because the vendor adds them without
//! a new version. No sampling parameters are sent: this version refuses them.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::failure::{Complaint, is_token};
use super::http::{Answered, Dialect, Endpoint};
use crate::domain::{ModelAnswer, ModelRequest, Provider, StopReason, Usage};
use crate::ports::model::ModelErrorKind;
use crate::ports::{Model, ModelError};

const DIALECT: Dialect = Dialect {
    provider: Provider::Anthropic,
    path: "/v1/messages",
    version: Some(("anthropic-version", "2026-10-21")),
    request_id: "request-id",
    kind_by_name,
};

/// Asks Anthropic's models.
pub struct AnthropicClient(Endpoint);

impl AnthropicClient {
    /// A client for the API at `access`.
    pub fn new(http: reqwest::Client, access: Access) -> Self {
        Self(Endpoint::new(http, DIALECT, access))
    }
}

#[async_trait]
impl Model for AnthropicClient {
    async fn ask(&self, request: &ModelRequest, timeout: Duration) -> Result<ModelAnswer, ModelError> {
        let Answered { body, exchange } = self.0.post::<Message>(&Question::from(request), timeout).await?;
        Ok(ModelAnswer {
            text: body.content.into_iter().map(Block::into_text).collect(),
            stop_reason: body.stop_reason.map_or(StopReason::Other, StopReason::from),
            usage: body.usage.unwrap_or_default().into(),
            served_model: body.model.filter(|model| is_token(model)).unwrap_or_else(|| request.model.name().to_owned()),
            request_id: exchange.request_id,
        })
    }
}

/// What the vendor's names for errors mean. Errors without a name of their own are told by how their message starts.
fn kind_by_name(complaint: &Complaint) -> Option<ModelErrorKind> {
    const TOO_LONG: [&str; 2] = ["prompt is too long", "input length and `max_tokens` exceed context limit"];
    const USED_UP: [&str; 3] = [
        "Your credit balance is too low",
        "You have reached your specified API usage limits",
        "You have reached your specified workspace API usage limits",
    ];
    let says = |starts: &[&str]| starts.iter().any(|start| complaint.message.starts_with(start));
    match complaint.code.as_str() {
        "enforced_spend_limit_reached" | "contract_spend_limit_reached" | "linked_organization_spend_limit_reached" => {
            Some(ModelErrorKind::QuotaExhausted)
        }
        "organization_on_hold" => Some(ModelErrorKind::Authentication),
        _ if complaint.r#type == "billing_error" || says(&USED_UP) => Some(ModelErrorKind::QuotaExhausted),
        _ if says(&TOO_LONG) => Some(ModelErrorKind::ContextTooLong),
        _ => None,
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    system: &'a str,
    messages: [Turn<'a>; 1],
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: &'a str,
}

impl<'a> From<&'a ModelRequest> for Question<'a> {
    fn from(request: &'a ModelRequest) -> Self {
        Self {
            model: request.model.name(),
            max_tokens: request.max_output_tokens,
            system: &request.instructions,
            messages: [Turn { role: "user", content: &request.input }],
        }
    }
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    content: Vec<Block>,
    stop_reason: Option<EndedBy>,
    usage: Option<UsageReport>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    #[serde(other)]
    Unknown,
}

impl Block {
    fn into_text(self) -> String {
        match self {
            Self::Text { text } => text,
            Self::Unknown => String::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EndedBy {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    PauseTurn,
    Refusal,
    ModelContextWindowExceeded,
    #[serde(other)]
    Unknown,
}

impl From<EndedBy> for StopReason {
    fn from(stop: EndedBy) -> Self {
        match stop {
            EndedBy::EndTurn | EndedBy::StopSequence => Self::EndTurn,
            EndedBy::MaxTokens => Self::MaxTokens,
            EndedBy::ModelContextWindowExceeded => Self::ContextWindow,
            EndedBy::Refusal => Self::Refusal,
            // No tools are offered, so neither of the first two is to be expected.
            EndedBy::ToolUse | EndedBy::PauseTurn | EndedBy::Unknown => Self::Other,
        }
    }
}

/// Unlike our [`Usage`], the vendor's `input_tokens` leaves out what went through the cache.
#[derive(Default, Deserialize)]
struct UsageReport {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl From<UsageReport> for Usage {
    fn from(report: UsageReport) -> Self {
        let cache_write_tokens = report.cache_creation_input_tokens.unwrap_or(0);
        let cache_read_tokens = report.cache_read_input_tokens.unwrap_or(0);
        Self {
            input_tokens: report.input_tokens.saturating_add(cache_write_tokens).saturating_add(cache_read_tokens),
            output_tokens: report.output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens: report.output_tokens_details.and_then(|details| details.thinking_tokens).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::stand_in::{AMPLE, Received, Reply, Server, client, question, reply_to};

    const ANSWER: &str = include_str!("fixtures/anthropic_message.json");

    /// What the `anthropic` Python package 2.12.0 sends for the same question, without the headers that name the package.
    const SDK_REQUEST: &str = include_str!("fixtures/anthropic_request.json");
    const SDK_REQUEST_WITHOUT_INSTRUCTIONS: &str = include_str!("fixtures/anthropic_request_without_instructions.json");

    /// [`ANSWER`] with `value` at `pointer`.
    fn answer_with(pointer: &str, value: serde_json::Value) -> Reply {
        let mut answer: serde_json::Value = serde_json::from_str(ANSWER).unwrap();
        *answer.pointer_mut(pointer).unwrap() = value;
        Reply::ok(&answer.to_string())
    }

    async fn ask(reply: Reply) -> Result<ModelAnswer, ModelError> {
        reply_to(Provider::Anthropic, reply).await
    }

    #[track_caller]
    fn check_failure(answer: Result<ModelAnswer, ModelError>, status: u16, kind: &ModelErrorKind) {
        let error = answer.unwrap_err();
        assert_eq!((&error.kind, error.status), (kind, Some(status)), "{error:?}");
        assert_eq!(error.provider, Provider::Anthropic);
    }

    async fn check_request(request: ModelRequest, expected: &str) {
        let server = Server::start(Reply::ok(ANSWER)).await;
        client(Provider::Anthropic, server.access()).ask(&request, AMPLE).await.unwrap();
        assert_eq!(server.requests(), [serde_json::from_str::<Received>(expected).unwrap()]);
    }

    #[tokio::test]
    async fn the_request_is_that_of_the_vendors_own_client() {
        check_request(question(Provider::Anthropic), SDK_REQUEST).await;
        let request = ModelRequest { instructions: String::new(), ..question(Provider::Anthropic) };
        check_request(request, SDK_REQUEST_WITHOUT_INSTRUCTIONS).await;
    }

    #[tokio::test]
    async fn an_answer_is_read_whole() {
        let expected = ModelAnswer {
            text: "There are three files, “Ü”.".to_owned(),
            stop_reason: StopReason::EndTurn,
            usage: Usage {
                input_tokens: 4_320,
                output_tokens: 57,
                cache_read_tokens: 4_000,
                cache_write_tokens: 300,
                reasoning_tokens: 41,
            },
            served_model: "claude-sonnet-5-5-20260901".to_owned(),
            request_id: Some("req_anthropic".to_owned()),
        };
        assert_eq!(ask(Reply::ok(ANSWER)).await.unwrap(), expected);
        assert_eq!(ask(answer_with("/content/0", json!({"type": "new", "text": [1]}))).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn the_least_answer_has_content() {
        let expected = ModelAnswer {
            text: String::new(),
            stop_reason: StopReason::Other,
            usage: Usage::default(),
            served_model: "claude-sonnet-5-5".to_owned(),
            request_id: None,
        };
        assert_eq!(ask(Reply::new(200, &[], r#"{"content":[]}"#)).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn each_stop_reason_has_its_meaning() {
        let reasons = [
            (json!("end_turn"), StopReason::EndTurn),
            (json!("stop_sequence"), StopReason::EndTurn),
            (json!("max_tokens"), StopReason::MaxTokens),
            (json!("model_context_window_exceeded"), StopReason::ContextWindow),
            (json!("refusal"), StopReason::Refusal),
            (json!("tool_use"), StopReason::Other),
            (json!("pause_turn"), StopReason::Other),
            (json!("invented_later"), StopReason::Other),
            (json!(null), StopReason::Other),
        ];
        for (reason, expected) in reasons {
            let answer = ask(answer_with("/stop_reason", reason.clone())).await.unwrap();
            assert_eq!(answer.stop_reason, expected, "{reason}");
            assert_eq!(answer.text, "There are three files, “Ü”.");
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_a_bad_answer() {
        let replies = [
            answer_with("/content", json!("canary-answer")),
            answer_with("/content/1", json!({"text": "canary-answer"})),
            answer_with("/content/1/text", json!(["canary-answer"])),
            answer_with("/usage/output_tokens", json!("canary-answer")),
            answer_with("/usage/input_tokens", json!(-1)),
            Reply::ok(r#"{"type":"error","error":{"type":"api_error","message":"canary-answer"}}"#),
        ];
        for reply in replies {
            check_failure(ask(reply).await, 200, &ModelErrorKind::BadAnswer);
        }
    }

    #[tokio::test]
    async fn errors_that_share_a_status_are_told_apart() {
        let errors = [
            (400, "invalid_request_error", "", "canary: bad", ModelErrorKind::Rejected),
            (400, "invalid_request_error", "", "prompt is too long: 210000 > canary", ModelErrorKind::ContextTooLong),
            (
                400,
                "invalid_request_error",
                "",
                "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, canary",
                ModelErrorKind::ContextTooLong,
            ),
            (400, "invalid_request_error", "", "canary prompt is too long", ModelErrorKind::Rejected),
            (
                400,
                "invalid_request_error",
                "",
                "Your credit balance is too low: canary",
                ModelErrorKind::QuotaExhausted,
            ),
            (
                400,
                "invalid_request_error",
                "",
                "You have reached your specified workspace API usage limits. canary",
                ModelErrorKind::QuotaExhausted,
            ),
            (400, "invalid_request_error", "organization_on_hold", "canary", ModelErrorKind::Authentication),
            (402, "billing_error", "linked_organization_spend_limit_reached", "", ModelErrorKind::QuotaExhausted),
            (404, "not_found_error", "", "model: canary", ModelErrorKind::Rejected),
            (413, "request_too_large", "", "canary", ModelErrorKind::Rejected),
            (429, "rate_limit_error", "", "canary", ModelErrorKind::RateLimited { retry_after: None }),
            (429, "rate_limit_error", "ramp_limit_exceeded", "", ModelErrorKind::RateLimited { retry_after: None }),
            (429, "rate_limit_error", "enforced_spend_limit_reached", "", ModelErrorKind::QuotaExhausted),
            (429, "rate_limit_error", "contract_spend_limit_reached", "", ModelErrorKind::QuotaExhausted),
            (504, "timeout_error", "", "canary", ModelErrorKind::Unavailable),
            (529, "overloaded_error", "", "canary", ModelErrorKind::Unavailable),
        ];
        for (status, r#type, code, message, kind) in errors {
            let error = json!({"type": r#type, "message": message, "details": {"error_code": code}});
            let body = json!({"type": "error", "error": error, "request_id": "req_1"}).to_string();
            check_failure(ask(Reply::new(status, &[], &body)).await, status, &kind);
        }
    }

    #[tokio::test]
    async fn an_error_keeps_the_providers_name_for_it() {
        let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"canary"}}"#;
        let error = ask(Reply::new(529, &[("request-id", "req_1")], body)).await.unwrap_err();
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
        assert_eq!(error.source.unwrap().to_string(), "the provider calls it overloaded_error");
    }
}
