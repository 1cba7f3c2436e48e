//! What a failed exchange means, and what of it may be logged.
//!
//! The status decides first; the body only tells apart what one status stands for. No text of an answer gets into an
//! error: messages of providers quote prompts and keys, and messages of parsers quote what they parsed.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::dialect::{Answer, Fault, Part};
use super::key::KeyError;
use super::pace::{Ender, Late};
use super::sse::TooLarge;
use crate::domain::{
    AssistantPart, ModelAnswer, ModelRef, Origin, Original, Spend, Timestamp, Wait, WaitReason, whole_millis,
};
use crate::ports::{ModelError, ModelErrorKind};

/// The longest name of an error, or id of an exchange, that is believed to be one.
const MAX_NAME_BYTES: usize = 128;

/// The longest wait that a provider can ask for. No task lives longer, so that a longer one makes no difference.
const MAX_WAIT: Duration = Duration::from_hours(24);

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

/// What a quota, a credit or a spend limit that is used up is called, as the type or the code of an error. Gateways hand
/// on the names of the vendors behind them, so that any server may use any of these.
const USED_UP: [&str; 13] = [
    // OpenAI
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit_balance_exhausted",
    "insufficient_quota",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "project_spend_limit_exceeded",
    // Anthropic
    "billing_error",
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "linked_organization_billing_unavailable",
    "linked_organization_spend_limit_reached",
    // LiteLLM
    "budget_exceeded",
];

/// What is known of an exchange, to be put into its error or answer.
pub(super) struct Exchange {
    model: ModelRef,
    status: Option<u16>,
    request_id: Option<String>,
    should_retry: Option<bool>,
    retry_after: Option<Duration>,
    pub(super) spend: Spend,
}

impl Exchange {
    /// An exchange that has not begun.
    pub(super) fn new(model: ModelRef) -> Self {
        let spend = Spend::default();
        Self { model, status: None, request_id: None, should_retry: None, retry_after: None, spend }
    }

    /// Takes down the head of the provider's answer. Successes have no say in whether and when to try again.
    pub(super) fn answered(&mut self, response: &Response, id_header: &str, now: Timestamp) {
        let headers = response.headers();
        self.status = Some(response.status().as_u16());
        self.request_id = text(headers, id_header).filter(|id| is_token(id)).map(str::to_owned);
        if response.status() != StatusCode::OK {
            self.should_retry = text(headers, "x-should-retry").and_then(|word| word.parse().ok());
            self.retry_after = retry_after(headers, now);
        }
    }

    /// The answer that ends the exchange.
    pub(super) fn succeed(self, answer: Answer) -> ModelAnswer {
        let model = self.model;
        let part = |part: Part| AssistantPart {
            content: part.content,
            original: part.original.map(|block| Original { model: model.clone(), block }),
        };
        ModelAnswer {
            content: answer.content.into_iter().map(part).collect(),
            stop_reason: answer.stop_reason,
            usage: self.spend.usage,
            served_model: answer.served_model.filter(|name| is_token(name)).unwrap_or_else(|| model.name().to_owned()),
            model,
            request_id: self.request_id,
            origin: Origin::Provider,
            spend: self.spend,
            failed: Vec::new(),
        }
    }

    /// The error that ends the exchange.
    pub(super) fn fail(self, failure: Failure) -> ModelError {
        let Failure { kind, source } = failure;
        // A quota that is used up stays so, whatever else the provider says.
        let should_retry = self.should_retry.filter(|_| kind != ModelErrorKind::QuotaExhausted);
        // When to try again is nothing that a failure says which no other try can mend.
        let retry_after = self.retry_after.filter(|_| kind.is_retryable() || should_retry == Some(true));
        let Self { model, status, request_id, spend, .. } = self;
        ModelError { status, request_id, should_retry, retry_after, spend, source, ..ModelError::new(model, kind) }
    }
}

/// Why an exchange came to nothing.
pub(super) struct Failure {
    kind: ModelErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The key did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the secret store did not answer in time")]
pub(super) struct KeyTimeout;

/// An answer has an unusable content type.
#[derive(Debug, thiserror::Error)]
#[error("the answer is neither JSON nor a stream of events")]
pub(super) struct UnexpectedContent;

/// An answer has an impossible content, such as the end of something that did not begin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Senseless(&'static str);

/// A body is larger than is accepted.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {limit_bytes} bytes")]
pub(super) struct BodyTooLarge {
    pub(super) limit_bytes: usize,
}

/// An answer ended too early.
#[derive(Debug, thiserror::Error)]
#[error("the answer ended before its end")]
struct Unfinished;

impl Failure {
    pub(super) fn new(kind: ModelErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        Self { kind, source: Some(Box::new(source)) }
    }

    /// The connection didn't come about, or broke off.
    pub(super) fn broken(error: reqwest::Error) -> Self {
        Self::new(UNAVAILABLE, error.without_url())
    }

    /// The provider complains.
    pub(super) fn complaint(kind: ModelErrorKind, complaint: &Complaint) -> Self {
        match complaint.name() {
            Some(name) => Self::new(kind, name),
            None => Self { kind, source: None },
        }
    }
}

impl From<Late> for Failure {
    fn from(late: Late) -> Self {
        let kind = match late.ender {
            Ender::Timeouts => ModelErrorKind::Timeout,
            Ender::Deadline => ModelErrorKind::Park(Wait { until: late.now, reason: WaitReason::OutOfTime }),
        };
        Self { kind, source: None }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::new(ModelErrorKind::BadAnswer, error)
    }
}

impl From<BodyTooLarge> for Failure {
    fn from(error: BodyTooLarge) -> Self {
        Self::new(ModelErrorKind::BadAnswer, error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Complaint(kind, complaint) => Self::complaint(kind, &complaint),
            Fault::Malformed(error) => Self::new(ModelErrorKind::BadAnswer, error),
            Fault::Senseless(what) => Self::new(ModelErrorKind::BadAnswer, Senseless(what)),
            Fault::Unfinished => Self::new(UNAVAILABLE, Unfinished),
        }
    }
}

/// What a provider says about an error: the fields that both vendors use, empty where missing. Its message is for
/// recognising errors that have no name, never for logs.
#[derive(Default)]
pub(super) struct Complaint {
    pub(super) r#type: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// The provider's own name for an error, such as `rate_limit_error/enforced_spend_limit_reached`.
#[derive(Debug, thiserror::Error)]
#[error("the provider calls it {0}")]
struct ErrorName(String);

impl Complaint {
    /// Reads the body of an error; whatever is not in the vendors' form says nothing.
    pub(super) fn from_body(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self::from_error(body.get("error").unwrap_or(&body))
    }

    /// Reads an error: an object, or with some servers only its message.
    pub(super) fn from_error(error: &Value) -> Self {
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str);
        Self {
            r#type: text("/type").unwrap_or_default().to_owned(),
            code: text("/details/error_code").or_else(|| text("/code")).unwrap_or_default().to_owned(),
            message: text("/message").or_else(|| error.as_str()).unwrap_or_default().to_owned(),
        }
    }

    /// Whether its name says that something is used up which only a person fills again.
    pub(super) fn is_used_up(&self) -> bool {
        [&self.r#type, &self.code].into_iter().any(|name| USED_UP.contains(&name.as_str()))
    }

    /// The names that are fit for logs. Neither a sentence nor a key passes.
    fn name(&self) -> Option<ErrorName> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = |text: &&str| (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_letter);
        let names: Vec<&str> = [self.r#type.as_str(), self.code.as_str()].into_iter().filter(is_name).collect();
        (!names.is_empty()).then(|| ErrorName(names.join("/")))
    }
}

/// A body is not JSON, or not the JSON that is documented. Only the place is kept.
#[derive(Debug, thiserror::Error)]
#[error("{category:?} error at line {line} column {column} of the body")]
pub(super) struct Malformed {
    category: serde_json::error::Category,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self { category: error.classify(), line: error.line(), column: error.column() }
    }
}

/// What an answer with a status other than 200 means. `by_name` knows the vendor's names for errors that share a status.
pub(super) fn kind_of(
    status: StatusCode,
    complaint: &Complaint,
    by_name: fn(&Complaint) -> Option<ModelErrorKind>,
) -> ModelErrorKind {
    match status.as_u16() {
        401 | 403 => ModelErrorKind::Authentication,
        402 => ModelErrorKind::QuotaExhausted,
        408 => ModelErrorKind::Timeout,
        // Too many bytes: images apart, these are too many tokens as well.
        413 => by_name(complaint).unwrap_or(ModelErrorKind::ContextTooLong),
        429 => by_name(complaint).unwrap_or(ModelErrorKind::RateLimited),
        409 | 500.. => ModelErrorKind::Unavailable,
        400..=499 => by_name(complaint).unwrap_or(ModelErrorKind::Rejected),
        // A redirect isn't followed, because it would take the key elsewhere. Other successes have no answer.
        _ => ModelErrorKind::BadAnswer,
    }
}

/// The wait that the provider asks for: `retry-after-ms`, else `retry-after` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let is_wait = |number: &f64| number.is_finite() && *number > 0.0;
    let number = |name| text(headers, name)?.trim().parse::<f64>().ok().filter(is_wait);
    let seconds = number("retry-after-ms").map(|millis| millis / 1_000.0).or_else(|| number("retry-after"));
    let wait = match seconds {
        Some(seconds) => Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64())),
        None => date(headers, "retry-after")?.since(date(headers, "date").unwrap_or(now)),
    };
    (!wait.is_zero()).then_some(wait.min(MAX_WAIT))
}

/// The moment in a header.
fn date(headers: &HeaderMap, name: &str) -> Option<Timestamp> {
    let moment = httpdate::parse_http_date(text(headers, name)?.trim()).ok()?;
    let since_epoch = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(whole_millis(since_epoch)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a text of the vendor's is fit for logs and records: short, and not a sentence.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::START;

    #[track_caller]
    fn check_wait(headers: &[(&'static str, &'static str)], expected_millis: Option<u64>) {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(retry_after(&headers, START), expected_millis.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn the_wait_is_read_in_milliseconds_or_seconds() {
        check_wait(&[], None);
        check_wait(&[("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after", " 0.5 ")], Some(500));
        check_wait(&[("retry-after-ms", "250")], Some(250));
        check_wait(&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250));
        check_wait(&[("retry-after-ms", "soon"), ("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after-ms", "0"), ("retry-after", "7")], Some(7_000));
    }

    #[test]
    fn a_date_is_read_against_the_answers_own_clock_or_else_ours() {
        const IN_NINE_SECONDS: &str = "Wed, 18 Nov 2026 11:06:49 GMT";
        check_wait(&[("retry-after", IN_NINE_SECONDS)], Some(9_000));
        check_wait(&[("retry-after", "Wednesday, 18-Nov-26 11:06:49 GMT")], Some(9_000));
        check_wait(&[("retry-after", "Wed Nov 18 11:06:49 2026")], Some(9_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "Wed, 18 Nov 2026 11:06:47 GMT")], Some(2_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "yesterday")], Some(9_000));
        check_wait(&[("retry-after", IN_NINE_SECONDS), ("date", "Wed, 18 Nov 2026 11:06:50 GMT")], None);
        check_wait(&[("retry-after", "Wed, 18 Nov 2026 11:06:39 GMT")], None);
    }

    #[test]
    fn no_wait_is_longer_than_any_task() {
        const DAY_MILLIS: u64 = 86_400_000;
        for value in ["86401", "1e300", "1795000000", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            check_wait(&[("retry-after", value)], Some(DAY_MILLIS));
        }
        check_wait(&[("retry-after-ms", "1e12")], Some(DAY_MILLIS));
        check_wait(&[("retry-after", "86399")], Some(DAY_MILLIS - 1_000));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in ["", "0", "-1", "soon", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            check_wait(&[("retry-after", value)], None);
            check_wait(&[("retry-after-ms", value)], None);
        }
    }

    #[test]
    fn only_names_of_errors_are_fit_for_logs() {
        let complaint = |r#type: &str, code: &str| Complaint {
            r#type: r#type.to_owned(),
            code: code.to_owned(),
            message: "your key sk-1 …".to_owned(),
        };
        let name = |complaint: Complaint| complaint.name().map(|name| name.0);
        assert_eq!(name(complaint("rate_limit_error", "slow_down")).unwrap(), "rate_limit_error/slow_down");
        assert_eq!(name(complaint("", "server_error")).unwrap(), "server_error");
        assert_eq!(name(complaint("", "")), None);
        assert_eq!(name(complaint("a sentence", "sk-proj-Key")), None);
        assert_eq!(name(complaint("x".repeat(MAX_NAME_BYTES + 1).as_str(), "")), None);
    }

    #[test]
    fn a_strange_error_body_says_nothing() {
        let bodies = ["", "<html>", "null", "[]", r#"{"error":7}"#, r#"{"error":{"code":400,"message":null}}"#];
        for body in bodies {
            let complaint = Complaint::from_body(body.as_bytes());
            assert_eq!([complaint.r#type, complaint.code, complaint.message], ["", "", ""], "{body}");
        }
    }

    #[test]
    fn an_error_may_come_bare_or_as_a_text() {
        for body in
            [r#"{"message":"too long","code":400}"#, r#"{"error":"too long"}"#, r#"{"error":{"message":"too long"}}"#]
        {
            assert_eq!(Complaint::from_body(body.as_bytes()).message, "too long", "{body}");
        }
    }
}
