//! What a provider's error means, whatever the vendor: what it calls the error and what it says go
//! before its status.
//!
//! Any server may hand on any vendor's errors, because gateways do. So there is one reader for all
//! forms of an error ([`reading`]), one table of names and words ([`rules`]), and one place that
//! decides what of an error is fit for records and logs ([`detail`]). `docs/model-errors.md` shows
//! the table by vendor, and a test holds it to this code.

mod detail;
mod judging;
mod reading;
mod rules;
mod vocabulary;
mod wait;

use std::time::Duration;

pub(super) use self::detail::Request;
pub(super) use self::wait::retry_after;
use super::token::MAX_NAME_BYTES;
use crate::ports::ModelErrorKind;

/// How many names of one error are kept.
const MAX_NAMES: usize = 3;

/// The most digits in a name of an error: an id or a key has more.
const MAX_DIGITS: usize = 4;

/// What a provider says about an error. Its text is for recognising errors, never for logs.
#[derive(Default)]
pub(super) struct Complaint {
    /// What the error is called, outermost first: its type, then its code, then those of errors
    /// inside it.
    names: Vec<String>,
    /// What it says, outermost first.
    texts: Vec<String>,
    /// The HTTP status that its body names.
    status: Option<u16>,
    /// The wait that a field of its body names.
    wait: Option<Duration>,
    /// The part of the request that a field of its body names.
    param: Option<String>,
    /// Whether it is a web page rather than an answer of an API.
    is_page: bool,
}

/// The provider's own name for an error, such as `rate_limit_error/enforced_spend_limit_reached`.
#[derive(Debug, thiserror::Error)]
#[error("the provider calls it {0}")]
pub(super) struct ErrorName(String);

impl Complaint {
    /// What it means with this HTTP status, and with the wait that a header names.
    pub(super) fn kind(&self, status: u16, header_wait: Option<Duration>) -> ModelErrorKind {
        judging::kind(self, Some(status), header_wait.or_else(|| self.wait()))
    }

    /// What it means in an answer with status 200.
    pub(super) fn kind_despite_success(&self) -> ModelErrorKind {
        judging::kind(self, None, self.wait())
    }

    /// The wait that it names, in a field or in words.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
            .or_else(|| self.texts.iter().find_map(|text| wait::in_words(text)))
    }

    /// Its names as one, as far as they are fit for logs.
    pub(super) fn name(&self) -> Option<ErrorName> {
        self.code().map(ErrorName)
    }

    /// Its names as one, as far as they are fit for logs. Neither a sentence nor a key passes.
    fn code(&self) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.names.iter().filter(|name| is_name(name)) {
            if !names.contains(&name.as_str()) && names.len() < MAX_NAMES {
                names.push(name);
            }
        }
        let code = names.join("/");
        (1..=MAX_NAME_BYTES).contains(&code.len()).then_some(code)
    }
}

/// Whether a text is a name of an error: of several words, or one that is known.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.".contains(&byte);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let has = |is_such: fn(&u8) -> bool| text.bytes().any(|byte| is_such(&byte));
    let has_words =
        has(|byte| *byte == b'_') || (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase));
    let is_known =
        has_words || digits == text.len() || judging::has_name(text) || vocabulary::has(text);
    !text.is_empty() && text.bytes().all(allowed) && digits <= MAX_DIGITS && is_known
}

#[cfg(test)]
mod tests;
