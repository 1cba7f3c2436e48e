//! When an exchange has to be how far.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{ModelRequest, Timestamp};
use crate::ports::Clock;

/// How long usage is waited for after the reason to stop.
const USAGE_WAIT: Duration = Duration::from_secs(2);

/// How long the mark of the end is waited for after the reason to stop and the usage.
const END_WAIT: Duration = Duration::from_millis(250);

/// How long a provider may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request to the first byte of a stream.
    pub first_byte: Duration,
    /// From each event of a stream to the next, and before the first one from byte to byte.
    pub idle: Duration,
    /// From the request to the answer's end.
    pub overall: Duration,
}

impl Default for Timeouts {
    /// A minute, half a minute, and ten minutes as in the providers' own clients.
    fn default() -> Self {
        Self {
            first_byte: Duration::from_mins(1),
            idle: Duration::from_secs(30),
            overall: Duration::from_mins(10),
        }
    }
}

/// The moments by which one exchange has to be how far.
pub(super) struct Pace<'a> {
    clock: &'a dyn Clock,
    timeouts: Timeouts,
    begun: Instant,
    end: Instant,
    /// Who sets the end.
    ender: Ender,
}

/// Who sets a limit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ender {
    /// The provider may take no longer.
    Timeouts,
    /// The request has to be answered by then.
    Deadline,
}

/// What a provider had to do within a limit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Limit {
    /// [`Timeouts::first_byte`].
    #[error("no response began within {} s", .0.as_secs_f64())]
    FirstByte(Duration),
    /// [`Timeouts::idle`].
    #[error("the stream was silent for {} s", .0.as_secs_f64())]
    Silence(Duration),
    /// [`Timeouts::overall`].
    #[error("the answer was not complete within {} s", .0.as_secs_f64())]
    Whole(Duration),
    /// The usage or the mark of the end, after the answer.
    #[error("the response did not end within {} s after its answer", .0.as_secs_f64())]
    Rest(Duration),
}

/// A moment by which something must have happened, and the limit that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    at: Instant,
    limit: Limit,
}

impl Due {
    fn after(wait: Duration, limit: impl FnOnce(Duration) -> Limit) -> Self {
        Self {
            at: Instant::now() + wait,
            limit: limit(wait),
        }
    }
}

/// Something did not happen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    /// Who sets the limit that was exceeded.
    pub(super) ender: Ender,
    /// The limit, if the provider's timeouts set it.
    pub(super) limit: Limit,
    /// The present moment.
    pub(super) now: Timestamp,
}

impl<'a> Pace<'a> {
    /// The pace of an exchange that begins now.
    pub(super) fn new(request: &ModelRequest, timeouts: Timeouts, clock: &'a dyn Clock) -> Self {
        let (begun, left) = (Instant::now(), request.deadline.left(clock.now()));
        let ender = if left < timeouts.overall {
            Ender::Deadline
        } else {
            Ender::Timeouts
        };
        Self {
            clock,
            timeouts,
            begun,
            end: begun + left.min(timeouts.overall),
            ender,
        }
    }

    /// The end of the exchange.
    pub(super) const fn end(&self) -> Due {
        Due {
            at: self.end,
            limit: Limit::Whole(self.timeouts.overall),
        }
    }

    /// When the answer must have begun.
    pub(super) fn first_byte(&self) -> Due {
        Due {
            at: self.begun + self.timeouts.first_byte,
            limit: Limit::FirstByte(self.timeouts.first_byte),
        }
    }

    /// When the event after one that comes now must be there.
    pub(super) fn next_event(&self) -> Due {
        Due::after(self.timeouts.idle, Limit::Silence)
    }

    /// Until when usage is waited for if the reason to stop comes now.
    pub(super) fn usage() -> Due {
        Due::after(USAGE_WAIT, Limit::Rest)
    }

    /// Until when the mark of the end is waited for if nothing else is missing now.
    pub(super) fn end_mark() -> Due {
        Due::after(END_WAIT, Limit::Rest)
    }

    /// Waits for `work` until `due`, but not beyond the end of the exchange; after that, it is not
    /// even begun.
    pub(super) async fn by<T>(&self, due: Due, work: impl Future<Output = T>) -> Result<T, Late> {
        let (ender, limit) = if due.at < self.end {
            (Ender::Timeouts, due.limit)
        } else {
            (self.ender, self.end().limit)
        };
        let late = || Late {
            ender,
            limit,
            now: self.clock.now(),
        };
        if Instant::now() >= self.end {
            return Err(late());
        }
        tokio::time::timeout_at(due.at.min(self.end), work)
            .await
            .map_err(|_| late())
    }
}
