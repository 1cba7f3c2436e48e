//! OpenAI's Responses API, version 1.
//!
//! Types and names of errors are those of the API reference at <https://platform.openai.com/docs/api-reference/responses>
//! and of the vendor's own client. Unknown fields, output items and reasons are let pass, because the vendor adds them
//! without a new version. No sampling parameters are sent: reasoning models refuse them. The vendor is told to store
//! nothing.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Access;
use super::failure::{Complaint, is_token};
use super::http::{Answered, Dialect, Endpoint};
use crate::domain::{ModelAnswer, ModelRequest, Provider, StopReason, Usage};
use crate::ports::model::ModelErrorKind;
use crate::ports::{Model, ModelError};

const DIALECT: Dialect = Dialect {
    provider: Provider::OpenAi,
    path: "/v1/responses",
    version: None,
    request_id: "x-request-id",
    kind_by_name,
};

/// Asks OpenAI's models, or those of a server with the same API.
pub struct OpenAiClient(Endpoint);

impl OpenAiClient {
    /// A client for the API at `access`.
    pub fn new(http: reqwest::Client, access: Access) -> Self {
        Self(Endpoint::new(http, DIALECT, access))
    }
}

#[async_trait]
impl Model for OpenAiClient {
    async fn ask(&self, request: &ModelRequest, timeout: Duration) -> Result<ModelAnswer, ModelError> {
        let Answered { body, exchange } = self.0.post::<Response>(&Question::from(request), timeout).await?;
        let stop_reason = match body.stop_reason() {
            Ok(stop_reason) => stop_reason,
            Err((kind, complaint)) => return Err(exchange.fail_with(kind, &complaint)),
        };
        Ok(ModelAnswer {
            text: body.output.into_iter().flatten().flat_map(Item::into_parts).map(Part::into_text).collect(),
            stop_reason,
            usage: body.usage.unwrap_or_default().into(),
            served_model: body.model.filter(|model| is_token(model)).unwrap_or_else(|| request.model.name().to_owned()),
            request_id: exchange.request_id,
        })
    }
}

/// What the vendor's names for errors mean. Servers with the same API often give no name, only the message.
fn kind_by_name(complaint: &Complaint) -> Option<ModelErrorKind> {
    const TOO_LONG: [&str; 2] = ["Your input exceeds the context window", "This model's maximum context length is"];
    match complaint.code.as_str() {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "billing_hard_limit_reached"
        | "billing_not_active" => Some(ModelErrorKind::QuotaExhausted),
        "context_length_exceeded" => Some(ModelErrorKind::ContextTooLong),
        _ if complaint.r#type == "insufficient_quota" => Some(ModelErrorKind::QuotaExhausted),
        _ if TOO_LONG.iter().any(|start| complaint.message.starts_with(start)) => Some(ModelErrorKind::ContextTooLong),
        _ => None,
    }
}

/// What an error means that came with status 200; `None` if the vendor's filter declined to answer.
fn kind_despite_success(complaint: &Complaint) -> Option<ModelErrorKind> {
    match complaint.code.as_str() {
        "rate_limit_exceeded" => Some(ModelErrorKind::RateLimited { retry_after: None }),
        "invalid_prompt" | "data_residency_mismatch" => Some(ModelErrorKind::Rejected),
        "bio_policy" | "misalignment_policy_violation" | "image_content_policy_violation" => None,
        _ if complaint.r#type == "invalid_request_error" => {
            Some(kind_by_name(complaint).unwrap_or(ModelErrorKind::Rejected))
        }
        _ => Some(kind_by_name(complaint).unwrap_or(ModelErrorKind::Unavailable)),
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: &'a str,
    max_output_tokens: u32,
    store: bool,
}

impl<'a> From<&'a ModelRequest> for Question<'a> {
    fn from(request: &'a ModelRequest) -> Self {
        Self {
            model: request.model.name(),
            instructions: &request.instructions,
            input: &request.input,
            max_output_tokens: request.max_output_tokens,
            store: false,
        }
    }
}

#[derive(Deserialize)]
struct Response {
    model: Option<String>,
    status: Option<Status>,
    error: Option<Value>,
    incomplete_details: Option<IncompleteDetails>,
    output: Option<Vec<Item>>,
    usage: Option<UsageReport>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Completed,
    Incomplete,
    Failed,
    Cancelled,
    Queued,
    InProgress,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct IncompleteDetails {
    reason: Option<IncompleteReason>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IncompleteReason {
    MaxOutputTokens,
    ContentFilter,
    MaxMessages,
    Steered,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item {
    Message {
        content: Vec<Part>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        text: Option<String>,
    },
    /// The model declines, in its own words.
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Unknown,
}

impl Response {
    /// Why the model stopped; or what it means that there is no answer, and what the vendor says about it.
    fn stop_reason(&self) -> Result<StopReason, (ModelErrorKind, Complaint)> {
        if let Some(error) = &self.error {
            let complaint = Complaint::from_error(error);
            return match kind_despite_success(&complaint) {
                Some(kind) => Err((kind, complaint)),
                None => Ok(StopReason::Refusal),
            };
        }
        let Some(output) = &self.output else { return Err((ModelErrorKind::BadAnswer, Complaint::default())) };
        match self.status {
            Some(Status::Failed | Status::Cancelled) => Err((ModelErrorKind::Unavailable, Complaint::default())),
            // Only answers that were asked for in the background can be unfinished.
            Some(Status::Queued | Status::InProgress) => Err((ModelErrorKind::BadAnswer, Complaint::default())),
            _ if output.iter().any(Item::is_refusal) => Ok(StopReason::Refusal),
            Some(Status::Completed) => Ok(StopReason::EndTurn),
            Some(Status::Incomplete) => Ok(self.cut_reason()),
            Some(Status::Unknown) | None => Ok(StopReason::Other),
        }
    }

    fn cut_reason(&self) -> StopReason {
        match self.incomplete_details.as_ref().and_then(|details| details.reason) {
            Some(IncompleteReason::MaxOutputTokens) => StopReason::MaxTokens,
            Some(IncompleteReason::ContentFilter) => StopReason::Refusal,
            Some(IncompleteReason::MaxMessages | IncompleteReason::Steered | IncompleteReason::Unknown) | None => {
                StopReason::Other
            }
        }
    }
}

impl Item {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Message { content } => content.iter().any(|part| matches!(part, Part::Refusal { .. })),
            Self::Unknown => false,
        }
    }

    fn into_parts(self) -> Vec<Part> {
        match self {
            Self::Message { content } => content,
            Self::Unknown => Vec::new(),
        }
    }
}

impl Part {
    fn into_text(self) -> String {
        match self {
            Self::OutputText { text } => text.unwrap_or_default(),
            Self::Refusal { refusal } => refusal,
            Self::Unknown => String::new(),
        }
    }
}

/// As in our [`Usage`], the vendor's `input_tokens` and `output_tokens` are totals.
#[derive(Default, Deserialize)]
struct UsageReport {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<UsageReport> for Usage {
    fn from(report: UsageReport) -> Self {
        let input = report.input_tokens_details.unwrap_or_default();
        let output = report.output_tokens_details.unwrap_or_default();
        Self {
            input_tokens: report.input_tokens,
            output_tokens: report.output_tokens,
            cache_read_tokens: input.cached_tokens.unwrap_or(0),
            cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: output.reasoning_tokens.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::stand_in::{AMPLE, Received, Reply, Server, client, question, reply_to};

    const ANSWER: &str = include_str!("fixtures/openai_response.json");

    /// What the `openai` Python package 3.54.0 sends for the same question, without the headers that name the package.
    const SDK_REQUEST: &str = include_str!("fixtures/openai_request.json");
    const SDK_REQUEST_WITHOUT_INSTRUCTIONS: &str = include_str!("fixtures/openai_request_without_instructions.json");

    /// [`ANSWER`] with values put at pointers.
    fn answer_with(changes: &[(&str, Value)]) -> Reply {
        let mut answer: Value = serde_json::from_str(ANSWER).unwrap();
        for (pointer, value) in changes {
            *answer.pointer_mut(pointer).unwrap() = value.clone();
        }
        Reply::ok(&answer.to_string())
    }

    async fn ask(reply: Reply) -> Result<ModelAnswer, ModelError> {
        reply_to(Provider::OpenAi, reply).await
    }

    #[track_caller]
    fn check_failure(answer: Result<ModelAnswer, ModelError>, status: u16, kind: &ModelErrorKind) {
        let error = answer.unwrap_err();
        assert_eq!((&error.kind, error.status), (kind, Some(status)), "{error:?}");
        assert_eq!(error.provider, Provider::OpenAi);
    }

    async fn check_request(request: ModelRequest, expected: &str) {
        let server = Server::start(Reply::ok(ANSWER)).await;
        client(Provider::OpenAi, server.access()).ask(&request, AMPLE).await.unwrap();
        assert_eq!(server.requests(), [serde_json::from_str::<Received>(expected).unwrap()]);
    }

    #[tokio::test]
    async fn the_request_is_that_of_the_vendors_own_client() {
        check_request(question(Provider::OpenAi), SDK_REQUEST).await;
        let request = ModelRequest { instructions: String::new(), ..question(Provider::OpenAi) };
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
            served_model: "gpt-6-luna-2026-08-20".to_owned(),
            request_id: Some("req_openai".to_owned()),
        };
        assert_eq!(ask(Reply::ok(ANSWER)).await.unwrap(), expected);
        let new = [("/output/0", json!({"type": "new", "content": "x"})), ("/text", json!(7))];
        assert_eq!(ask(answer_with(&new)).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn the_least_answer_has_output() {
        let expected = ModelAnswer {
            text: String::new(),
            stop_reason: StopReason::Other,
            usage: Usage::default(),
            served_model: "gpt-6-luna".to_owned(),
            request_id: None,
        };
        assert_eq!(ask(Reply::new(200, &[], r#"{"output":[]}"#)).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_cut_answer_keeps_its_text_and_says_why() {
        let reasons = [
            (json!({"reason": "max_output_tokens"}), StopReason::MaxTokens),
            (json!({"reason": "content_filter"}), StopReason::Refusal),
            (json!({"reason": "max_messages"}), StopReason::Other),
            (json!({"reason": "steered"}), StopReason::Other),
            (json!({"reason": "invented_later"}), StopReason::Other),
            (json!({"reason": null}), StopReason::Other),
            (json!(null), StopReason::Other),
        ];
        for (details, expected) in reasons {
            let changes = [("/status", json!("incomplete")), ("/incomplete_details", details.clone())];
            let answer = ask(answer_with(&changes)).await.unwrap();
            assert_eq!(answer.stop_reason, expected, "{details}");
            assert_eq!(answer.text, "There are three files, “Ü”.");
        }
        for status in [json!("invented_later"), json!(null)] {
            assert_eq!(ask(answer_with(&[("/status", status)])).await.unwrap().stop_reason, StopReason::Other);
        }
    }

    #[tokio::test]
    async fn a_refusal_comes_with_the_models_own_words() {
        let refusal = json!([{"type": "refusal", "refusal": "I can't help."}, {"type": "new"}]);
        let answer = ask(answer_with(&[("/output/1/content", refusal)])).await.unwrap();
        assert_eq!((answer.stop_reason, answer.text.as_str()), (StopReason::Refusal, "I can't help."));
        assert_eq!(answer.usage.output_tokens, 57);
    }

    #[tokio::test]
    async fn an_error_with_status_200_is_an_error_or_the_filters_refusal() {
        let errors = [
            ("server_error", ModelErrorKind::Unavailable),
            ("vector_store_timeout", ModelErrorKind::Unavailable),
            ("invented_later", ModelErrorKind::Unavailable),
            ("rate_limit_exceeded", ModelErrorKind::RateLimited { retry_after: None }),
            ("invalid_prompt", ModelErrorKind::Rejected),
            ("data_residency_mismatch", ModelErrorKind::Rejected),
            ("context_length_exceeded", ModelErrorKind::ContextTooLong),
            ("insufficient_quota", ModelErrorKind::QuotaExhausted),
        ];
        for (code, kind) in errors {
            let error = json!({"code": code, "message": "canary-answer"});
            check_failure(ask(answer_with(&[("/status", json!("failed")), ("/error", error)])).await, 200, &kind);
        }
        let of_gateway = r#"{"error":{"type":"invalid_request_error","code":400,"message":"canary"}}"#;
        check_failure(ask(Reply::ok(of_gateway)).await, 200, &ModelErrorKind::Rejected);
        for code in ["bio_policy", "misalignment_policy_violation"] {
            let changes = [("/error", json!({"code": code, "message": "canary"})), ("/output", json!([]))];
            let answer = ask(answer_with(&changes)).await.unwrap();
            assert_eq!((answer.stop_reason, answer.text.as_str()), (StopReason::Refusal, ""));
        }
    }

    #[tokio::test]
    async fn a_response_without_an_answer_is_an_error() {
        let statuses = [
            ("failed", ModelErrorKind::Unavailable),
            ("cancelled", ModelErrorKind::Unavailable),
            ("queued", ModelErrorKind::BadAnswer),
            ("in_progress", ModelErrorKind::BadAnswer),
        ];
        for (status, kind) in statuses {
            check_failure(ask(answer_with(&[("/status", json!(status))])).await, 200, &kind);
        }
        let replies = [
            answer_with(&[("/output", json!(null))]),
            answer_with(&[("/output", json!("canary-answer"))]),
            answer_with(&[("/output/1/content", json!("canary-answer"))]),
            answer_with(&[("/output/1/content/0/text", json!(["canary-answer"]))]),
            answer_with(&[("/usage/output_tokens", json!("canary-answer"))]),
        ];
        for reply in replies {
            check_failure(ask(reply).await, 200, &ModelErrorKind::BadAnswer);
        }
    }

    #[tokio::test]
    async fn errors_that_share_a_status_are_told_apart() {
        let limited = ModelErrorKind::RateLimited { retry_after: None };
        let errors = [
            (400, "invalid_request_error", "", "canary", ModelErrorKind::Rejected),
            (400, "invalid_request_error", "context_length_exceeded", "canary", ModelErrorKind::ContextTooLong),
            (
                400,
                "BadRequestError",
                "",
                "This model's maximum context length is 4096 tokens. canary",
                ModelErrorKind::ContextTooLong,
            ),
            (400, "", "", "canary: Your input exceeds the context window", ModelErrorKind::Rejected),
            (404, "invalid_request_error", "model_not_found", "canary", ModelErrorKind::Rejected),
            (429, "requests", "rate_limit_exceeded", "canary", limited.clone()),
            (429, "requests", "slow_down", "canary", limited),
            (429, "insufficient_quota", "invented_later", "canary", ModelErrorKind::QuotaExhausted),
            (429, "insufficient_quota", "credit_balance_exhausted", "canary", ModelErrorKind::QuotaExhausted),
            (429, "", "organization_spend_limit_exceeded", "canary", ModelErrorKind::QuotaExhausted),
            (429, "", "project_spend_limit_exceeded", "canary", ModelErrorKind::QuotaExhausted),
            (503, "server_error", "insufficient_quota", "canary", ModelErrorKind::Unavailable),
        ];
        for (status, r#type, code, message, kind) in errors {
            let body = json!({"error": {"type": r#type, "code": code, "message": message, "param": null}}).to_string();
            check_failure(ask(Reply::new(status, &[], &body)).await, status, &kind);
        }
    }

    #[tokio::test]
    async fn an_error_keeps_the_providers_name_for_it() {
        let body = r#"{"error":{"type":"requests","code":"rate_limit_exceeded","message":"canary"}}"#;
        let error = ask(Reply::new(429, &[("x-request-id", "req_1")], body)).await.unwrap_err();
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
        assert_eq!(error.source.unwrap().to_string(), "the provider calls it requests/rate_limit_exceeded");
    }
}
