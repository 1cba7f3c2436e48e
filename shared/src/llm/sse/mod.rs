//! Parses server-sent events out of a stream of bytes, by the [WHATWG
//! specification](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).
//!
//! The stream may arrive in parts that are cut anywhere; this does not change the events. Each byte
//! is read once, and the buffered part of an event is bounded. The parser does not reconnect, so it
//! ignores `id` and `retry`. If the stream ends inside an event, only [`Parser::finish`] returns
//! that event: the specification drops it, but servers leave out the last blank line.

use std::borrow::Cow;
use std::{mem, str};

use crate::domain::Hidden;

/// The byte order mark in UTF-8, which some editors write at the start of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type: `message` unless the stream says otherwise.
    pub name: String,
    /// Its lines of data, joined by line feeds.
    #[debug("{}", Hidden(data))]
    pub data: String,
}

/// The stream has an event, or a line, that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {limit_bytes} bytes")]
pub struct TooLarge {
    /// The most bytes that an event may have.
    pub limit_bytes: usize,
}

/// Reads one stream.
#[derive(derive_more::Debug)]
pub struct Parser {
    limit_bytes: usize,
    /// The line being read, without its end.
    #[debug(skip)]
    line: Vec<u8>,
    is_first_line: bool,
    /// Whether a line feed that comes next belongs to the carriage return before it.
    is_after_return: bool,
    #[debug(skip)]
    event: PartialEvent,
}

/// The event being read: its complete lines so far.
#[derive(Default)]
struct PartialEvent {
    name: String,
    /// Each line of data and a line feed.
    data: String,
}

/// The events that some bytes complete; see [`Parser::feed`].
#[must_use = "the bytes are read as the events are taken"]
#[derive(derive_more::Debug)]
pub struct Events<'a> {
    parser: &'a mut Parser,
    #[debug(skip)]
    bytes: &'a [u8],
}

impl Parser {
    /// A parser at the start of a stream, for events of at most `limit_bytes`: name, data and the
    /// line being read.
    pub const fn new(limit_bytes: usize) -> Self {
        let event = PartialEvent {
            name: String::new(),
            data: String::new(),
        };
        Self {
            limit_bytes,
            line: Vec::new(),
            is_first_line: true,
            is_after_return: false,
            event,
        }
    }

    /// Reads the next bytes of the stream, as the caller takes the events.
    ///
    /// Returns every event before an event that is too large, and nothing after it.
    pub const fn feed<'a>(&'a mut self, bytes: &'a [u8]) -> Events<'a> {
        Events {
            parser: self,
            bytes,
        }
    }

    /// Whether the stream is inside an event or a line, which is lost if the stream ends here.
    pub fn is_mid_event(&self) -> bool {
        self.held_bytes() > 0
    }

    /// Ends the stream, and returns the event that it ended in, if that has data. The caller must
    /// check whether the data is complete.
    pub fn finish(&mut self) -> Option<Event> {
        if self.held_bytes() > self.limit_bytes {
            return None;
        }
        let event = if self.line.is_empty() {
            None
        } else {
            self.end_line()
        };
        event.or_else(|| self.event.finish())
    }

    /// Reads to the end of the line, or to the end of the bytes. Returns the event that this
    /// completes, and the bytes that are left.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<(Option<Event>, &'a [u8]), TooLarge> {
        let ends_return = mem::take(&mut self.is_after_return);
        let bytes = bytes
            .strip_prefix(b"\n")
            .filter(|_| ends_return)
            .unwrap_or(bytes);
        let end = bytes
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let (part, rest) = bytes.split_at(end);
        self.hold(part)?;
        let Some((end, rest)) = rest.split_first() else {
            return Ok((None, rest));
        };
        self.is_after_return = *end == b'\r';
        Ok((self.end_line(), rest))
    }

    /// Adds to the line. Buffers one byte over the limit, so that later bytes fail too.
    fn hold(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        let room = self
            .limit_bytes
            .saturating_add(1)
            .saturating_sub(self.held_bytes());
        self.line
            .extend_from_slice(part.get(..room).unwrap_or(part));
        if self.held_bytes() > self.limit_bytes {
            Err(TooLarge {
                limit_bytes: self.limit_bytes,
            })
        } else {
            Ok(())
        }
    }

    fn held_bytes(&self) -> usize {
        self.line.len() + self.event.name.len() + self.event.data.len()
    }

    fn end_line(&mut self) -> Option<Event> {
        let is_first = mem::take(&mut self.is_first_line);
        let line = self
            .line
            .strip_prefix(BYTE_ORDER_MARK)
            .filter(|_| is_first)
            .unwrap_or(&self.line);
        let event = if line.is_empty() {
            self.event.finish()
        } else {
            self.event.add(line);
            None
        };
        self.line.clear();
        event
    }
}

impl PartialEvent {
    /// Adds a line `field`, `field:value` or `field: value`. A comment is a field without a name.
    ///
    /// No byte of a longer UTF-8 sequence looks like a colon or an end of line, so values decode
    /// the same on their own as in the whole stream.
    fn add(&mut self, line: &[u8]) {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // Checking UTF-8 first is several times as fast as the lossy conversion.
        let value =
            str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed);
        match field {
            b"data" => {
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"event" => self.name = value.into_owned(),
            _ => {}
        }
    }

    /// Ends the event. Without a line of data there is no event.
    fn finish(&mut self) -> Option<Event> {
        let Self { name, mut data } = mem::take(self);
        data.pop()?;
        Some(Event {
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data,
        })
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, TooLarge>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.bytes.is_empty() {
            match self.parser.read_line(mem::take(&mut self.bytes)) {
                Ok((event, rest)) => {
                    self.bytes = rest;
                    if let Some(event) = event {
                        return Some(Ok(event));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
