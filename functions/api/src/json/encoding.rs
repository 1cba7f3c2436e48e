//! The text of a body: UTF-8, with or without a byte order mark. What is compressed or in another
//! encoding is named.

use crate::problem::Problem;

/// How compressed bodies begin.
const COMPRESSED: [(&[u8], &str); 5] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x78, 0x01], "deflate"),
    (&[0x78, 0x9c], "deflate"),
    (&[0x78, 0xda], "deflate"),
];

const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// The text in these bytes.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if let Some((_, coding)) = COMPRESSED
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        let detail =
            format!("the body is compressed ({coding}); send it uncompressed, as JSON in UTF-8");
        return Err(Problem::unreadable_text(detail));
    }
    if let Some(encoding) = wide_encoding(bytes) {
        let detail = format!("the body is in {encoding}; send it in UTF-8");
        return Err(Problem::unreadable_text(detail));
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::malformed_json("is empty"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        if error.error_len().is_none() {
            return Problem::malformed_json("ends early, in the middle of a character");
        }
        let detail = format!(
            "the body is not in UTF-8 from byte {} on; send it in UTF-8",
            error.valid_up_to()
        );
        Problem::unreadable_text(detail)
    })
}

/// The encoding with several bytes a character that the bytes begin in. JSON begins with ASCII and
/// has no NUL (RFC 4627, section 3).
fn wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => {
            Some("UTF-32")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Some("UTF-16"),
        _ => None,
    }
}
