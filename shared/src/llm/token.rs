//! Short names in a provider's response that are fit for logs and records.

use reqwest::header::HeaderMap;

/// The longest name of an error, or id of an exchange, that is believed to be one.
pub(super) const MAX_NAME_BYTES: usize = 128;

/// The value of a header, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a text of the provider's is fit for logs and records: short, and not a sentence.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}
