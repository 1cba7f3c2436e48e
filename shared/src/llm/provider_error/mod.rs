//! What a provider's error means, for all providers. The error's names and text count more than the
//! HTTP status.
//!
//! Any server may send any provider's errors, because gateways pass them on. So there is one reader
//! for all forms of an error ([`reading`]), one table of names and words ([`rules`]), and one place
//! that decides which parts of an error may go into records and logs ([`detail`]).
//! `docs/model-errors.md` shows the table by provider, and a test compares it with this code.

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

/// How many names of one error are read.
const MAX_NAMES: usize = 3;

/// The most digits in a name of an error: an id or a key has more.
const MAX_DIGITS: usize = 4;

/// What a provider says about an error. The texts only serve to recognise it; they never go into
/// logs.
#[derive(Default)]
pub(super) struct ErrorBody {
    /// The error's names, outermost first: its type, its code, then the names of errors inside it.
    names: Vec<String>,
    /// The error's texts, outermost first.
    texts: Vec<String>,
    /// The HTTP status that a field of the body names.
    status: Option<u16>,
    /// The wait that a field of the body names.
    wait: Option<Duration>,
    /// The part of the request that a field of the body names.
    param: Option<String>,
    /// Whether the body is a web page, not a response of an API.
    is_page: bool,
}

/// The provider's own name for an error, such as `rate_limit_error/enforced_spend_limit_reached`.
#[derive(Debug, thiserror::Error)]
#[error("the provider calls it {0}")]
pub(super) struct ErrorName(String);

impl ErrorBody {
    /// What the error means, with this HTTP status and the wait that a header names.
    pub(super) fn kind(&self, status: u16, header_wait: Option<Duration>) -> ModelErrorKind {
        judging::kind(self, Some(status), header_wait.or_else(|| self.wait()))
    }

    /// What the error means in a response with status 200.
    pub(super) fn kind_despite_success(&self) -> ModelErrorKind {
        judging::kind(self, None, self.wait())
    }

    /// The wait that a field of the body names, or a text.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
            .or_else(|| self.texts.iter().find_map(|text| wait::in_words(text)))
    }

    /// The provider's own name for the error, fit for logs.
    pub(super) fn name(&self) -> Option<ErrorName> {
        self.code().map(ErrorName)
    }

    /// The first names joined by `/`, without texts that are no names, such as a sentence or a key.
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

/// Whether a text is the name of an error: several words in one identifier, or a known word.
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
