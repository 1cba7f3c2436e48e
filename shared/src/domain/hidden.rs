//! Content that no log may have.

use std::fmt;

/// What `Debug` shows of a text that a person, a model or a tool wrote: how long it is, and nothing
/// of it. So whoever logs a value that has one, by mistake or in a panic, tells nobody's secrets.
pub struct Hidden<'a>(pub &'a str);

impl fmt::Display for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
