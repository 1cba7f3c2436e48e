//! Content that no log may have.

use std::fmt;

/// What `Debug` shows of a text that a person, a model or a tool wrote: its length and nothing
/// else. So a log line or a panic message that contains such a value by mistake reveals no secret.
pub struct Hidden<'a>(pub &'a str);

impl fmt::Display for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
