//! What Lambda can return. A function's response document has at most [`MAX_DOCUMENT_BYTES`], and
//! in it our body is a JSON string: its quotes and backslashes are escaped once more. A larger
//! document is a `502` to the client.
//!
//! A response with texts of any size is measured as it will stand in the document, and its texts
//! are cut to what fits ([`fit`]). The whole of a text is read in parts ([`TextResponse`]). What is
//! still too large is refused in `edge.rs`.

use std::io;
use std::mem::take;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

use crate::openapi::parameters::number;
use crate::problem::Problem;
use crate::query::{Params, refused};

/// The largest response document that Lambda takes from a function: 6 MiB and 100 bytes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const MAX_DOCUMENT_BYTES: usize = 6_291_556;

/// The most bytes of the document around the body: the status and the headers.
const FRAME_BYTES: usize = 2_048;

/// The most bytes that a body may take in the document.
pub(crate) const MAX_BODY_BYTES: usize = MAX_DOCUMENT_BYTES - FRAME_BYTES;

/// The most bytes of a text in one part of it.
const MAX_PART_BYTES: usize = 4 * 1_024 * 1_024;

/// The longest character in UTF-8, so that each part has at least one.
const MIN_PART_BYTES: usize = 4;

/// The bytes of a part without its text.
const PART_FRAME_BYTES: usize = 256;

/// How many bytes this byte of a text takes in a JSON string.
const fn in_string(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    }
}

/// How many bytes this byte of a text takes in a JSON string that is part of a JSON string.
const fn in_nested_string(byte: u8) -> usize {
    match (byte, in_string(byte)) {
        (b'"' | b'\\', _) => 4,
        (_, 1) => 1,
        // The backslash of the escape is escaped.
        (_, escape) => escape + 1,
    }
}

/// How many bytes the body takes in the document.
pub(crate) fn bytes_of_body(body: &[u8]) -> usize {
    body.iter().map(|byte| in_string(*byte)).sum()
}

/// How many bytes the value takes in the document, as JSON.
pub(crate) fn bytes_of(value: &impl Serialize) -> usize {
    struct Counter(usize);

    impl io::Write for Counter {
        fn write(&mut self, written: &[u8]) -> io::Result<usize> {
            self.0 += bytes_of_body(written);
            Ok(written.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

/// How many bytes the text takes in the document.
fn bytes_of_text(text: &str) -> usize {
    text.bytes().map(in_nested_string).sum()
}

/// The longest beginning of the text that takes at most so many bytes in the document.
fn beginning(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        let mut bytes = [0; 4];
        taken += bytes_of_text(character.encode_utf8(&mut bytes));
        taken > room
    });
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// A text of any size as the member `name` of a response. If it is cut, `<name>_truncated` is true
/// and `<name>_bytes` is the size of the whole text.
pub(crate) struct LongText {
    name: &'static str,
    text: String,
    whole_bytes: usize,
}

impl LongText {
    /// The whole text.
    pub(crate) fn new(name: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            name,
            whole_bytes: text.len(),
            text,
        }
    }

    /// The text with at most so many of its bytes.
    pub(crate) fn at_most(mut self, bytes: usize) -> Self {
        self.text.truncate(self.text.floor_char_boundary(bytes));
        self
    }
}

impl Serialize for LongText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry(self.name, &self.text)?;
        if self.text.len() < self.whole_bytes {
            members.serialize_entry(&format!("{}_truncated", self.name), &true)?;
            members.serialize_entry(&format!("{}_bytes", self.name), &self.whole_bytes)?;
        }
        members.end()
    }
}

/// A response with texts of any size.
pub(crate) trait LongTexts: Serialize {
    /// All of them, each time in the same order.
    fn long_texts(&mut self) -> Vec<&mut LongText>;
}

/// The response with its texts cut such that it takes at most `room` bytes in the document, if it
/// would take more. Every text may have an equal share; what a short text leaves of its share goes
/// to the others.
pub(crate) fn fit<T: LongTexts>(mut response: T, room: usize) -> T {
    if bytes_of(&response) <= room {
        return response;
    }
    let texts: Vec<String> = response
        .long_texts()
        .into_iter()
        .map(|member| take(&mut member.text))
        .collect();
    let rest = bytes_of(&response);
    let share = equal_share(
        texts.iter().map(|text| bytes_of_text(text)).collect(),
        room.saturating_sub(rest),
    );
    for (member, mut text) in response.long_texts().into_iter().zip(texts) {
        text.truncate(beginning(&text, share).len());
        member.text = text;
    }
    response
}

/// The largest size to which all of `sizes` can be cut so that their sum fits into `room`.
fn equal_share(mut sizes: Vec<usize>, mut room: usize) -> usize {
    sizes.sort_unstable();
    for (smaller, size) in sizes.iter().enumerate() {
        let share = room / (sizes.len() - smaller);
        if *size > share {
            return share;
        }
        room -= size;
    }
    usize::MAX
}

/// The part of a text that a client wants.
pub(crate) struct TextRange {
    offset: usize,
    limit: usize,
}

impl TextRange {
    /// Takes `offset` and `limit`, both in bytes of UTF-8.
    pub(crate) fn take(params: &mut Params) -> Result<Self, Problem> {
        let offset = params
            .take("offset", "must be a number of bytes, 0 or a next_offset")?
            .unwrap_or(0);
        let form = format!("must be a number of bytes from {MIN_PART_BYTES} to {MAX_PART_BYTES}");
        let limit = params.take("limit", &form)?.unwrap_or(MAX_PART_BYTES);
        if !(MIN_PART_BYTES..=MAX_PART_BYTES).contains(&limit) {
            return Err(refused("limit", &form));
        }
        Ok(Self { offset, limit })
    }
}

/// The parameters of a part of a text.
pub(crate) enum RangeParams {}

impl IntoParams for RangeParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let (least, most) = (MIN_PART_BYTES as u64, MAX_PART_BYTES as u64);
        let offset = "Where the part begins, in bytes: 0 or a `next_offset`.";
        vec![
            number("offset", offset, 0..=u64::MAX, 0),
            number("limit", "The most bytes of the part.", least..=most, most),
        ]
    }
}

/// A part of a text; `next_offset` is null in the last.
#[derive(Serialize, ToSchema)]
#[schema(as = TextPart)]
pub(crate) struct TextResponse {
    text: String,
    offset: usize,
    next_offset: Option<usize>,
    total_bytes: usize,
}

impl TextResponse {
    /// The wanted part of the text, or less of it if Lambda can't return as much.
    pub(crate) fn of(text: &str, TextRange { offset, limit }: TextRange) -> Result<Self, Problem> {
        let total_bytes = text.len();
        if offset > total_bytes {
            return Err(refused(
                "offset",
                &format!("must be at most {total_bytes}, the size of the text in bytes"),
            ));
        }
        let Some(rest) = text.get(offset..) else {
            return Err(refused(
                "offset",
                "must not be inside a character: take a next_offset",
            ));
        };
        let wanted = rest.get(..rest.floor_char_boundary(limit)).unwrap_or(rest);
        let part = beginning(wanted, MAX_BODY_BYTES - PART_FRAME_BYTES);
        let end = offset + part.len();
        Ok(Self {
            text: part.to_owned(),
            offset,
            next_offset: (end < total_bytes).then_some(end),
            total_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Serialize)]
    struct Sample {
        #[serde(flatten)]
        a: LongText,
        #[serde(flatten)]
        b: LongText,
        rest: &'static str,
    }

    impl LongTexts for Sample {
        fn long_texts(&mut self) -> Vec<&mut LongText> {
            vec![&mut self.a, &mut self.b]
        }
    }

    fn sample(a: &str, b: &str) -> Sample {
        Sample {
            a: LongText::new("a", a),
            b: LongText::new("b", b),
            rest: "\"rest\"",
        }
    }

    /// All kinds of bytes and characters.
    fn texts() -> Vec<String> {
        let ascii = (0..=0x7f_u8).map(char::from);
        let others = "\u{80}é\u{2028}\u{fffd}🦀".chars();
        ascii
            .chain(others)
            .map(|character| character.to_string().repeat(100))
            .collect()
    }

    #[test]
    fn a_value_is_measured_as_it_stands_in_the_document() {
        for text in texts() {
            let body = json!({ "text": text }).to_string();
            let document = serde_json::to_string(&body).unwrap();
            let measured = bytes_of(&json!({ "text": text }));
            assert_eq!(
                (measured, bytes_of_body(body.as_bytes())),
                (document.len() - 2, measured),
                "{text:?}"
            );
            assert_eq!(
                bytes_of_text(&text),
                document.len() - r#""{\"text\":\"\"}""#.len(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn texts_are_cut_to_what_fits_and_say_so() {
        for text in texts() {
            for room in [200, 250, 300] {
                let cut = fit(sample(&text.repeat(3), "short"), room);
                // A text that may have to be cut has room for saying so, whether or not it is.
                let (bytes, spare) = (bytes_of(&cut), 48);
                assert!(
                    (room - spare..=room).contains(&bytes),
                    "{text:?} {room} {bytes}"
                );
                assert!(text.repeat(3).starts_with(&cut.a.text));
                let shown: Value = serde_json::to_value(&cut).unwrap();
                let whole = json!(text.len() * 3);
                assert_eq!(
                    (&shown["a_truncated"], &shown["a_bytes"]),
                    (&json!(true), &whole),
                    "{text:?}"
                );
                assert_eq!(
                    (&shown["b"], shown.get("b_truncated")),
                    (&json!("short"), None)
                );
            }
        }
        let whole = serde_json::to_value(fit(sample("a", "b"), 100)).unwrap();
        assert_eq!(whole, json!({ "a": "a", "b": "b", "rest": "\"rest\"" }));
    }

    #[test]
    fn what_a_short_text_leaves_goes_to_the_long_ones() {
        let table: [(&[usize], usize, usize); 5] = [
            (&[], 0, usize::MAX),
            (&[3, 4], 7, usize::MAX),
            (&[9, 9], 10, 5),
            (&[2, 9, 9], 10, 4),
            (&[1, 9], 0, 0),
        ];
        for (sizes, room, share) in table {
            assert_eq!(equal_share(sizes.to_vec(), room), share, "{sizes:?} {room}");
        }
    }

    #[test]
    fn the_parts_of_a_text_are_the_text() {
        let text: String = texts().concat();
        for limit in [4, 5, 7, 1_000, MAX_PART_BYTES] {
            let (mut read, mut next) = (String::new(), Some(0));
            while let Some(offset) = next {
                let Ok(part) = TextResponse::of(&text, TextRange { offset, limit }) else {
                    panic!("{offset}")
                };
                assert!(
                    part.text.len() <= limit
                        && part.total_bytes == text.len()
                        && part.offset == offset
                );
                read.push_str(&part.text);
                next = part.next_offset;
            }
            assert_eq!(read, text, "{limit}");
        }
    }

    #[test]
    fn a_part_of_the_costliest_text_still_fits() {
        for character in ["\u{1}", "\"", "\n", "é", "x"] {
            let text = character.repeat(8 * 1_024 * 1_024);
            let range = TextRange {
                offset: 0,
                limit: MAX_PART_BYTES,
            };
            let Ok(part) = TextResponse::of(&text, range) else {
                panic!("{character:?}")
            };
            assert!(
                bytes_of(&part) <= MAX_BODY_BYTES && part.text.len() > 800_000,
                "{character:?}"
            );
        }
    }
}
