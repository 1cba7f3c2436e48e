//! Text from outside, with a limit on the bytes that it takes in a JSON string.
//!
//! A limit on the bytes that are read is not enough, because the text can grow when it is stored
//! and sent: a control character takes six bytes in JSON, and a byte that is not UTF-8 becomes a
//! replacement character of three.

/// A text that takes at most so many bytes in a JSON string. The rest is cut.
#[derive(derive_more::Debug)]
pub struct BoundedText {
    #[debug(skip)]
    text: String,
    room: usize,
    is_cut: bool,
}

impl BoundedText {
    /// An empty text with room for `room` bytes of a JSON string, its quotes left out.
    pub const fn new(room: usize) -> Self {
        Self {
            text: String::new(),
            room,
            is_cut: false,
        }
    }

    /// Adds a text without its control characters, up to the first character that does not fit.
    /// Tabs, line feeds and carriage returns stay.
    pub fn push_str(&mut self, text: &str) {
        for character in text.chars().filter(|character| is_allowed(*character)) {
            let bytes = json_bytes(character);
            if self.is_cut || bytes > self.room {
                self.is_cut = true;
                return;
            }
            self.room -= bytes;
            self.text.push(character);
        }
    }

    /// Adds bytes that should be UTF-8; each part that is not becomes a replacement character.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.push_str("\u{fffd}");
            }
        }
    }

    /// Whether something was cut.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.text
    }
}

fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r') || !character.is_control()
}

/// How many bytes an allowed character takes in a JSON string (RFC 8259, section 7).
const fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\t' | '\n' | '\r' => 2,
        _ => character.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounded(room: usize, bytes: &[u8]) -> (String, bool) {
        let mut text = BoundedText::new(room);
        text.push_bytes(bytes);
        let is_cut = text.is_cut();
        (text.into_string(), is_cut)
    }

    #[test]
    fn control_characters_are_dropped_and_take_no_room() {
        let body = [
            b"\x00\x01\x1f\x7f\xc2\x85".repeat(1_000),
            b"a\tb\r\n".to_vec(),
        ]
        .concat();
        assert_eq!(bounded(8, &body), ("a\tb\r\n".to_owned(), false));
    }

    #[test]
    fn what_does_not_fit_is_cut_at_a_character_and_nothing_follows_it() {
        assert_eq!(bounded(5, "aüüb".as_bytes()), ("aüü".to_owned(), true));
        assert_eq!(bounded(4, "aüüb".as_bytes()), ("aü".to_owned(), true));
        assert_eq!(bounded(3, b"\"\"\""), ("\"".to_owned(), true));
        let mut text = BoundedText::new(2);
        text.push_str("aü");
        text.push_str("b");
        assert_eq!((text.is_cut(), text.into_string().as_str()), (true, "a"));
    }

    #[test]
    fn bytes_that_are_not_text_take_the_room_of_their_replacement() {
        assert_eq!(
            bounded(6, b"\xff\xff"),
            ("\u{fffd}\u{fffd}".to_owned(), false)
        );
        assert_eq!(
            bounded(6, b"\xff\xff\xff"),
            ("\u{fffd}\u{fffd}".to_owned(), true)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_take_more_room_in_json_than_there_is(
            bytes in proptest::collection::vec(any::<u8>(), 0..500),
            room in 0_usize..600,
        ) {
            let (text, is_cut) = bounded(room, &bytes);
            let encoded = serde_json::json!(text).to_string().len() - 2;
            prop_assert!(encoded <= room);
            prop_assert!(!text.contains(|character: char| character.is_control() && !"\t\r\n".contains(character)));
            prop_assert!(!is_cut || encoded + 4 > room);
        }
    }
}
