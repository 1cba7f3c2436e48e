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

/// Something did not happen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Late {
    /// The limit that was exceeded.
    pub(super) ender: Ender,
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
    pub(super) const fn end(&self) -> Instant {
        self.end
    }

    /// When the answer must have begun.
    pub(super) fn first_byte(&self) -> Instant {
        self.begun + self.timeouts.first_byte
    }

    /// When the event after one that comes now must be there.
    pub(super) fn next_event(&self) -> Instant {
        Instant::now() + self.timeouts.idle
    }

    /// Until when usage is waited for if the reason to stop comes now.
    pub(super) fn usage() -> Instant {
        Instant::now() + USAGE_WAIT
    }

    /// Until when the mark of the end is waited for if nothing else is missing now.
    pub(super) fn end_mark() -> Instant {
        Instant::now() + END_WAIT
    }

    /// Waits for `work` until `moment`, but not beyond the end of the exchange; after that, it is
    /// not even begun.
    pub(super) async fn by<T>(
        &self,
        moment: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, Late> {
        let ender = if moment < self.end {
            Ender::Timeouts
        } else {
            self.ender
        };
        let late = || Late {
            ender,
            now: self.clock.now(),
        };
        if Instant::now() >= self.end {
            return Err(late());
        }
        tokio::time::timeout_at(moment.min(self.end), work)
            .await
            .map_err(|_| late())
    }
}
