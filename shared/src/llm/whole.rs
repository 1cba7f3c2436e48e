//! Collects the bytes of an answer in one piece, and finds its end: some servers leave the
//! connection open after it.

use serde::de::IgnoredAny;

use crate::runtime::computed;

/// The bytes of an answer so far.
///
/// Brackets are counted as they arrive. The text is parsed only once, when the last bracket is
/// closed. If it were parsed after each chunk that ends in a bracket, an answer of 8 MB in small
/// chunks would take minutes.
#[derive(Default)]
pub(super) struct Whole {
    bytes: Vec<u8>,
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
    object: Object,
}

/// How far the JSON object is.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Object {
    #[default]
    Open,
    /// Closed, with nothing but blanks after it.
    Closed,
    Complete,
    /// Something else than one JSON object.
    Broken,
}

impl Whole {
    /// Takes in the next bytes.
    pub(super) fn extend(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        for byte in chunk {
            self.follow(*byte);
        }
        if self.object == Object::Closed {
            let is_valid = computed(self.bytes.len(), || {
                serde_json::from_slice::<IgnoredAny>(&self.bytes).is_ok()
            });
            self.object = if is_valid {
                Object::Complete
            } else {
                Object::Broken
            };
        }
    }

    /// Counts the brackets outside of texts.
    fn follow(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_in_text => self.is_escaped = true,
            _ if !self.is_in_text && byte.is_ascii_whitespace() => {}
            _ if self.object != Object::Open => self.object = Object::Broken,
            b'"' => self.is_in_text = !self.is_in_text,
            _ if self.is_in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.object = if byte == b'}' {
                        Object::Closed
                    } else {
                        Object::Broken
                    };
                }
            }
            _ => {}
        }
    }

    /// Whether the bytes so far are one JSON object.
    pub(super) fn is_complete(&self) -> bool {
        self.object == Object::Complete
    }

    /// The bytes so far.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether it is complete after each of these pieces.
    fn check(pieces: &[&str], expected: &[bool]) {
        let mut whole = Whole::default();
        let mut complete = Vec::new();
        for piece in pieces {
            whole.extend(piece.as_bytes());
            complete.push(whole.is_complete());
        }
        assert_eq!(complete, expected, "{pieces:?}");
        assert_eq!(whole.into_bytes(), pieces.concat().as_bytes());
    }

    #[test]
    fn an_object_is_complete_with_its_last_bracket() {
        check(&["{\"a\":", "{}", "}", "\n "], &[false, false, true, true]);
        check(&[" {\"a\":\"}\\\"}", "\"}"], &[false, true]);
        check(&["{\"a\":[{},{}", ",{}]}"], &[false, true]);
    }

    #[test]
    fn what_is_no_object_is_never_complete() {
        for pieces in [
            ["[{}", "]"],
            ["{]", "}"],
            ["{}", "x"],
            ["{}", "\""],
            ["<p>{}", "</p>"],
            ["{\"a\":1", "}}"],
        ] {
            let mut whole = Whole::default();
            whole.extend(pieces[0].as_bytes());
            whole.extend(pieces[1].as_bytes());
            assert!(!whole.is_complete(), "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_complete_when_it_is_one_json_object(text in "[{}\\[\\]\",:a1 \\\\]{0,12}", cut in 0_usize..12) {
            let (start, end) = text.split_at(cut.min(text.len()));
            let mut whole = Whole::default();
            whole.extend(start.as_bytes());
            whole.extend(end.as_bytes());
            let is_object = text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(whole.is_complete(), is_object);
        }
    }
}
