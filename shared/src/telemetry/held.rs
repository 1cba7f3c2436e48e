//! Holds back log lines below the configured level until they are useful.
//!
//! A warning or an error releases the lines before it. So does an invocation that fails or runs out
//! of time. If an invocation succeeds, its lines are dropped. A function works on one invocation at
//! a time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The most that is held; the oldest lines are dropped first.
const MOST_BYTES: usize = 20 * 1_024;

/// The held lines of the present invocation. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct HeldLines(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl HeldLines {
    /// Drops all lines.
    pub(super) fn forget(&self) {
        *self.lock() = Lines::default();
    }

    /// Writes all lines, oldest first, and drops them.
    pub(super) fn release(&self, writer: &mut impl Write) -> io::Result<()> {
        let Lines { lines, .. } = std::mem::take(&mut *self.lock());
        lines
            .iter()
            .try_for_each(|line| writer.write_all(&raised(line)))
    }

    fn hold(&self, line: &[u8]) {
        let mut held = self.lock();
        held.bytes += line.len();
        held.lines.push_back(line.to_vec());
        while held.bytes > MOST_BYTES {
            let Some(oldest) = held.lines.pop_front() else {
                return;
            };
            held.bytes -= oldest.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A held line as it is released. Lambda drops a JSON line whose `level` is below the configured
/// level (Lambda developer guide, "Log-level filtering"). So its `level` becomes `INFO`, and
/// another field has the original level.
fn raised(line: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(line) else {
        return Cow::Borrowed(line);
    };
    // Within a text of the line, the quotes would be escaped.
    for level in ["DEBUG", "TRACE"] {
        if let Some((before, after)) = text.split_once(&format!(r#""level":"{level}""#)) {
            return Cow::Owned(
                format!(r#"{before}"level":"INFO","held_level":"{level}"{after}"#).into_bytes(),
            );
        }
    }
    Cow::Borrowed(line)
}

/// Writes lines of the `level` and above, and holds the others.
pub(super) struct Holding<W> {
    pub(super) writer: W,
    pub(super) level: LevelFilter,
    pub(super) held: HeldLines,
}

/// Where one line goes.
pub(super) enum Line<'a, W> {
    Written(W),
    Held(&'a HeldLines),
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Holding<W> {
    type Writer = Line<'a, W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line::Written(self.writer.make_writer())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        if *metadata.level() > self.level {
            return Line::Held(&self.held);
        }
        let mut writer = self.writer.make_writer_for(metadata);
        if *metadata.level() <= Level::WARN {
            // The log itself can't be written, so the failure can't be logged.
            drop(self.held.release(&mut writer));
        }
        Line::Written(writer)
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Written(writer) => writer.write(line),
            Self::Held(held) => {
                held.hold(line);
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Written(writer) => writer.flush(),
            Self::Held(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_held_up_to_a_bound() {
        let held = HeldLines::default();
        for number in 0..1_000 {
            held.hold(format!("{number:099}\n").as_bytes());
        }
        let mut released = Vec::new();
        held.release(&mut released).unwrap();
        let lines: Vec<_> = released
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(
            (lines.len(), lines[203]),
            (204, format!("{:099}", 999).as_bytes())
        );
        held.release(&mut released).unwrap();
        assert_eq!(released.len(), 20_400);
    }
}
