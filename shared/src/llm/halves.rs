//! Half characters: escapes such as `\ud83d` that stand for one half of a UTF-16 surrogate pair.
//!
//! Servers that cut text between the halves send one at the end of a delta and the other at the
//! start of the next. A Rust string can't hold a half, so [`marked`] replaces each lone one by a
//! private character, and [`join`] makes whole characters of neighbours once the text is together.
//! A half that stays alone becomes U+FFFD.

use std::borrow::Cow;

use serde_json::Value;

/// The first of the 2,048 private characters that stand for halves: the last ones that there are.
const FIRST_MARK: u32 = 0x0010_F800;

const HIGH: std::ops::Range<u32> = 0xD800..0xDC00;
const LOW: std::ops::Range<u32> = 0xDC00..0xE000;

/// The JSON with each lone half replaced by its mark; `None` if there is no lone half.
pub(super) fn marked(json: &str) -> Option<String> {
    let (mut out, mut rest, mut has_marks) = (String::new(), json, false);
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let next = escape.get(6..).and_then(unit);
        let is_pair =
            |left: u32| HIGH.contains(&left) && next.is_some_and(|right| LOW.contains(&right));
        // How many bytes of the escape, or of both escapes of a pair, stay as they are.
        let unchanged = match unit(escape) {
            Some(left) if is_pair(left) => 12,
            Some(half) if (HIGH.start..LOW.end).contains(&half) => {
                out.extend(char::from_u32(FIRST_MARK + (half - HIGH.start)));
                has_marks = true;
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            Some(_) | None => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (escape, after) = escape.split_at_checked(unchanged).unwrap_or((escape, ""));
        out.push_str(escape);
        rest = after;
    }
    out.push_str(rest);
    has_marks.then_some(out)
}

/// The UTF-16 unit of the escape `\uXXXX` that the text starts with.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        u32::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// Joins the marked halves of a text.
pub(super) fn join(text: &mut String) {
    if let Cow::Owned(joined) = joined(text) {
        *text = joined;
    }
}

/// Joins the marked halves in all texts of a value; names of fields stay.
pub(super) fn join_all(value: &mut Value) {
    match value {
        Value::String(text) => join(text),
        Value::Array(elements) => elements.iter_mut().for_each(join_all),
        Value::Object(fields) => fields.values_mut().for_each(join_all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn joined(text: &str) -> Cow<'_, str> {
    if half(text.chars().max().unwrap_or_default()).is_none() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let Some(left) = half(char) else {
            out.push(char);
            continue;
        };
        let right = chars
            .peek()
            .copied()
            .and_then(half)
            .filter(|right| LOW.contains(right) && HIGH.contains(&left));
        let whole = right.and_then(|right| {
            char::from_u32(0x1_0000 + ((left - HIGH.start) << 10) + (right - LOW.start))
        });
        if whole.is_some() {
            chars.next();
        }
        out.push(whole.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out.into()
}

/// The half that a mark stands for.
fn half(mark: char) -> Option<u32> {
    u32::from(mark)
        .checked_sub(FIRST_MARK)
        .map(|offset| HIGH.start + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON texts, each read and added to the last, with halves joined.
    fn together(pieces: &[&str]) -> String {
        let read = |json: &&str| {
            let marked = marked(json);
            serde_json::from_str::<String>(marked.as_deref().unwrap_or(json)).unwrap()
        };
        let mut text: String = pieces.iter().map(read).collect();
        join(&mut text);
        text
    }

    #[test]
    fn halves_next_to_each_other_are_joined_and_lone_ones_replaced() {
        assert_eq!(together(&[r#""a\ud83d""#, r#""\ude00b""#]), "a😀b");
        assert_eq!(
            together(&[r#""a\uD83D""#, r#""""#, r#""\uDE00\ud83d\ude00""#]),
            "a😀😀"
        );
        assert_eq!(together(&[r#""\ud83d""#, r#""b""#]), "\u{fffd}b");
        assert_eq!(together(&[r#""\ude00\ud83d""#]), "\u{fffd}\u{fffd}");
        assert_eq!(
            together(&[r#""\ud83d\ud83d""#, r#""\ude00""#]),
            "\u{fffd}😀"
        );
        assert_eq!(together(&[r#""\ud83d\n\u00fc""#]), "\u{fffd}\nü");
        assert_eq!(
            together(&[r#""\udfff""#, r#""\udbff""#, r#""\udfff""#]),
            "\u{fffd}\u{10ffff}"
        );
    }

    #[test]
    fn json_without_a_lone_half_is_left_alone() {
        for json in [
            r#""😀""#,
            r#""\ud83d\ude00""#,
            r#""\\ud83d""#,
            r#""\u00fc\"""#,
            "{",
            "\\",
            r"\ud8",
            r"\u😀😀",
            r#""\"#,
        ] {
            assert_eq!(marked(json), None, "{json}");
        }
        let mut private = "\u{10F7FF}é".to_owned();
        join(&mut private);
        assert_eq!(private, "\u{10F7FF}é");
    }

    #[test]
    fn all_texts_of_a_value_are_joined() {
        let json = marked(r#"{"a": ["\ud83d", {"b": "\ude00"}], "c": 1}"#).unwrap();
        let mut value: Value = serde_json::from_str(&json).unwrap();
        join_all(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"a": ["\u{fffd}", {"b": "\u{fffd}"}], "c": 1})
        );
    }
}
