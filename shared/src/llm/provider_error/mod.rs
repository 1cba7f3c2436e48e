//! What a provider's error means.
//!
//! The status decides first; the body only tells apart what one status stands for.

mod wait;

use reqwest::StatusCode;
use serde_json::Value;

pub(super) use self::wait::retry_after;
use super::failure::MAX_NAME_BYTES;
use crate::ports::ModelErrorKind;

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

/// What a provider says about an error: the fields that both vendors use, empty where missing. Its message is for
/// recognising errors that have no name, never for logs.
#[derive(Default)]
pub(in crate::llm) struct Complaint {
    pub(in crate::llm) r#type: String,
    pub(in crate::llm) code: String,
    pub(in crate::llm) message: String,
}

/// The provider's own name for an error, such as `rate_limit_error/enforced_spend_limit_reached`.
#[derive(Debug, thiserror::Error)]
#[error("the provider calls it {0}")]
pub(in crate::llm) struct ErrorName(String);

impl Complaint {
    /// Reads the body of an error; whatever is not in the vendors' form says nothing.
    pub(in crate::llm) fn from_body(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self::from_error(body.get("error").unwrap_or(&body))
    }

    /// Reads an error: an object, or with some servers only its message.
    pub(in crate::llm) fn from_error(error: &Value) -> Self {
        let text = |pointer| error.pointer(pointer).and_then(Value::as_str);
        Self {
            r#type: text("/type").unwrap_or_default().to_owned(),
            code: text("/details/error_code").or_else(|| text("/code")).unwrap_or_default().to_owned(),
            message: text("/message").or_else(|| error.as_str()).unwrap_or_default().to_owned(),
        }
    }

    /// Whether its name says that something is used up which only a person fills again.
    pub(in crate::llm) fn is_used_up(&self) -> bool {
        [&self.r#type, &self.code].into_iter().any(|name| USED_UP.contains(&name.as_str()))
    }

    /// The names that are fit for logs. Neither a sentence nor a key passes.
    pub(in crate::llm) fn name(&self) -> Option<ErrorName> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = |text: &&str| (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_letter);
        let names: Vec<&str> = [self.r#type.as_str(), self.code.as_str()].into_iter().filter(is_name).collect();
        (!names.is_empty()).then(|| ErrorName(names.join("/")))
    }
}

/// What an answer with a status other than 200 means. `by_name` knows the vendor's names for errors that share a status.
pub(in crate::llm) fn kind_of(
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

#[cfg(test)]
mod tests {
    use super::*;

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
