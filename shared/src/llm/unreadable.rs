//! Why the body of a response with status 200 can't be read, in words for the operator that quote
//! nothing of it.

use serde_json::error::Category;

use super::dialect::Malformed;

/// The compressions that a `Content-Encoding` can name (RFC 9110, section 8.4.1, and the IANA
/// registry of content codings).
const COMPRESSIONS: [&str; 7] = [
    "gzip",
    "x-gzip",
    "br",
    "deflate",
    "zstd",
    "compress",
    "x-compress",
];

/// What is wrong with a body, or with an event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the response body is empty")]
    Empty,
    #[error("the response body is HTML, not JSON")]
    Html,
    #[error("the response body is compressed, which was not requested")]
    Compressed,
    #[error("the response body is compressed ({0}), which was not requested")]
    CompressedAs(&'static str),
    #[error("the response body is neither JSON nor an event stream")]
    Foreign,
    #[error("the response ended inside its JSON")]
    Cut,
    #[error("the response body is not valid JSON at line {line} column {column}")]
    Invalid { line: usize, column: usize },
    #[error(
        "the response body is JSON, but not in the documented form, at line {line} column {column}"
    )]
    Undocumented { line: usize, column: usize },
    #[error("an event of the response ended inside its JSON")]
    CutEvent,
    #[error("an event of the response is not valid JSON at column {column}")]
    InvalidEvent { column: usize },
    #[error("an event of the response is JSON, but not in the documented form, at column {column}")]
    UndocumentedEvent { column: usize },
}

impl Unreadable {
    /// What is wrong with a body that has this `Content-Encoding`: `None` if it names no compression.
    /// Some gateways put a character set there, which changes nothing.
    pub(super) fn encoding(content_encoding: &str) -> Option<Self> {
        let mut names = content_encoding.split(',').map(str::trim);
        let known = |name: &str| {
            COMPRESSIONS
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(name))
        };
        names.find_map(known).map(Self::CompressedAs)
    }

    /// What is wrong with a body that is not the JSON which was expected.
    pub(super) fn body(body: &str, error: &Malformed) -> Self {
        let (line, column) = (error.line, error.column);
        match (body.trim_start().as_bytes(), error.category) {
            ([], _) => Self::Empty,
            ([b'<', ..], _) => Self::Html,
            ([0x1f, ..], _) => Self::Compressed,
            (_, Category::Data) => Self::Undocumented { line, column },
            ([b'{' | b'[', ..], Category::Eof) => Self::Cut,
            ([b'{' | b'[', ..], Category::Syntax | Category::Io) => Self::Invalid { line, column },
            (_, Category::Eof | Category::Syntax | Category::Io) => Self::Foreign,
        }
    }

    /// What is wrong with an event that is not the JSON which was expected.
    pub(super) const fn event(error: &Malformed) -> Self {
        let column = error.column;
        match error.category {
            Category::Eof => Self::CutEvent,
            Category::Syntax | Category::Io => Self::InvalidEvent { column },
            Category::Data => Self::UndocumentedEvent { column },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Form {
        #[expect(dead_code, reason = "it is only read")]
        id: u8,
    }

    #[test]
    fn each_fault_of_a_body_has_plain_words() {
        for (body, words) in [
            ("", "the response body is empty"),
            (" \n", "the response body is empty"),
            ("<html>", "the response body is HTML, not JSON"),
            (" <!DOCTYPE html>", "the response body is HTML, not JSON"),
            (
                "\u{1f}\u{fffd}",
                "the response body is compressed, which was not requested",
            ),
            (
                "Bad gateway",
                "the response body is neither JSON nor an event stream",
            ),
            ("{\"id", "the response ended inside its JSON"),
            (
                "{\"id\":1}}",
                "the response body is not valid JSON at line 1 column 9",
            ),
            (
                "{\"id\":\"x\"}",
                "the response body is JSON, but not in the documented form, at line 1 column 9",
            ),
        ] {
            let error = Malformed::from(serde_json::from_str::<Form>(body).unwrap_err());
            assert_eq!(Unreadable::body(body, &error).to_string(), words);
        }
    }

    #[test]
    fn each_fault_of_an_event_has_plain_words() {
        for (data, words) in [
            ("{", "an event of the response ended inside its JSON"),
            (
                "x",
                "an event of the response is not valid JSON at column 1",
            ),
            (
                "{}",
                "an event of the response is JSON, but not in the documented form, at column 2",
            ),
        ] {
            let error = Malformed::from(serde_json::from_str::<Form>(data).unwrap_err());
            assert_eq!(Unreadable::event(&error).to_string(), words);
        }
    }
}
