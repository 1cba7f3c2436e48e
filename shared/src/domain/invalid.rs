//! The one way in which the domain refuses a value.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// A value that breaks a rule of the domain.
///
/// `field` is a JSON pointer (RFC 6901) relative to the document that the value came from, so that
/// the edge can show it to a client unchanged; `reason` completes the sentence "`field` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    /// JSON pointer to the offending value, such as `/models/0/model`.
    pub field: String,
    /// What is wrong and what would be right, such as `must have 1 to 64 characters`. A constant
    /// text is borrowed. Any other text may quote the value.
    pub reason: Cow<'static, str>,
}

impl Invalid {
    /// Refuses the value at `field`.
    pub fn new(field: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// The most characters of a name.
const MAX_NAME_CHARS: usize = 64;

/// Checks a name for people: 1 to 64 characters without control characters, not all blank.
pub(super) fn name(field: &str, name: String) -> Result<String, Invalid> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > MAX_NAME_CHARS {
        return Err(Invalid::new(
            field,
            format!("must have 1 to {MAX_NAME_CHARS} characters, has {length}"),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid::new(field, "must not contain control characters"));
    }
    Ok(name)
}

/// Checks that `text` has 1 to 64 characters of `a-z`, `0-9` and `-`, which need no escape in a key, a
/// path or a search of the logs.
pub(super) fn slug(field: &str, text: String) -> Result<String, Invalid> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text);
    }
    Err(Invalid::new(
        field,
        "must have 1 to 64 characters of a-z, 0-9 and -",
    ))
}

/// Checks that `text` is not blank and has at most `max_bytes` bytes of UTF-8.
pub(super) fn text(field: &str, text: String, max_bytes: usize) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new(field, "must not be empty"));
    }
    if text.len() > max_bytes {
        return Err(Invalid::new(
            field,
            format!("must have at most {max_bytes} bytes, has {}", text.len()),
        ));
    }
    Ok(text)
}

/// Checks that `value` lies in `range`, both ends included.
pub(super) fn within<N: PartialOrd + Display>(
    field: &str,
    value: N,
    range: RangeInclusive<N>,
) -> Result<N, Invalid> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Invalid::new(
        field,
        format!("must be {} to {}, is {value}", range.start(), range.end()),
    ))
}
