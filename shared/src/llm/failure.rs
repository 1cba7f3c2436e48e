//! What a failed exchange means, and what of it may be logged.
//!
//! The status decides first; the body only tells apart what one status stands for. No text of an answer gets into an
//! error: messages of providers quote prompts and keys, and messages of parsers quote what they parsed.

use std::error::Error;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::domain::Provider;
use crate::ports::ModelError;
use crate::ports::model::ModelErrorKind;

/// The longest name of an error, or id of an exchange, that is believed to be one.
const MAX_NAME_BYTES: usize = 128;

/// What is known of an exchange, to be put into its error or answer.
pub(super) struct Exchange {
    pub(super) provider: Provider,
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<String>,
}

impl Exchange {
    /// An exchange to which there is no answer yet.
    pub(super) const fn unanswered(provider: Provider) -> Self {
        Self { provider, status: None, request_id: None }
    }

    /// The error that ends the exchange.
    pub(super) fn fail(self, kind: ModelErrorKind, source: impl Error + Send + Sync + 'static) -> ModelError {
        ModelError { source: Some(Box::new(source)), ..self.fail_without_source(kind) }
    }

    /// The error that ends the exchange when `kind` and status say it all.
    pub(super) fn fail_without_source(self, kind: ModelErrorKind) -> ModelError {
        ModelError { provider: self.provider, kind, status: self.status, request_id: self.request_id, source: None }
    }

    /// The error that ends the exchange after the provider complained.
    pub(super) fn fail_with(self, kind: ModelErrorKind, complaint: &Complaint) -> ModelError {
        match complaint.name() {
            Some(name) => self.fail(kind, name),
            None => self.fail_without_source(kind),
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
        body.get("error").map(Self::from_error).unwrap_or_default()
    }

    /// Reads an error object.
    pub(super) fn from_error(error: &Value) -> Self {
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str);
        Self {
            r#type: text("/type").unwrap_or_default().to_owned(),
            code: text("/code").or_else(|| text("/details/error_code")).unwrap_or_default().to_owned(),
            message: text("/message").unwrap_or_default().to_owned(),
        }
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

/// What an answer with a status other than 2xx means. `by_name` knows the vendor's names for errors that share a status.
pub(super) fn kind_of(
    status: StatusCode,
    headers: &HeaderMap,
    complaint: &Complaint,
    by_name: fn(&Complaint) -> Option<ModelErrorKind>,
) -> ModelErrorKind {
    match status.as_u16() {
        401 | 403 => ModelErrorKind::Authentication,
        402 => ModelErrorKind::QuotaExhausted,
        408 => ModelErrorKind::Timeout,
        429 => by_name(complaint).unwrap_or_else(|| ModelErrorKind::RateLimited { retry_after: retry_after(headers) }),
        409 | 500.. => ModelErrorKind::Unavailable,
        400..=499 => by_name(complaint).unwrap_or(ModelErrorKind::Rejected),
        // A redirect isn't followed, because it would take the key elsewhere.
        _ => ModelErrorKind::BadAnswer,
    }
}

/// The wait that the provider asks for: `retry-after-ms`, else `retry-after` in seconds. Its form as a date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|millis| millis / 1_000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero())
}

/// The provider's id for the exchange, from the header called `name`.
pub(super) fn request_id(headers: &HeaderMap, name: &str) -> Option<String> {
    let id = headers.get(name)?.to_str().ok()?;
    is_token(id).then(|| id.to_owned())
}

/// Whether a text of the vendor's is fit for logs and records: short, and not a sentence.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wait(headers: &[(&'static str, &'static str)], expected_millis: Option<u64>) {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(retry_after(&headers), expected_millis.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn the_wait_is_read_in_milliseconds_or_seconds() {
        check_wait(&[], None);
        check_wait(&[("retry-after", "7")], Some(7_000));
        check_wait(&[("retry-after", " 0.5 ")], Some(500));
        check_wait(&[("retry-after-ms", "250")], Some(250));
        check_wait(&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250));
        check_wait(&[("retry-after-ms", "soon"), ("retry-after", "7")], Some(7_000));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for value in ["", "0", "-1", "soon", "nan", "inf", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT"] {
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
        let bodies = ["", "<html>", "null", "[]", r#"{"error":"x"}"#, r#"{"error":{"code":400,"message":null}}"#];
        for body in bodies {
            let complaint = Complaint::from_body(body.as_bytes());
            assert_eq!([complaint.r#type, complaint.code, complaint.message], ["", "", ""], "{body}");
        }
    }
}
