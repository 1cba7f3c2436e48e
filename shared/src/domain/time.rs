//! Moments in time. A port reads the clock, and the API prints dates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1_000;

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment and `duration` more; saturates at the latest moment.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// This moment, `duration` earlier; saturates at the epoch.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// The day that this moment is in, in UTC, as days since the epoch.
    pub const fn day(self) -> u64 {
        self.0 / MILLIS_PER_DAY
    }

    /// The beginning of the day that is so many days after the epoch; saturates at the end of time.
    pub const fn start_of_day(day: u64) -> Self {
        Self(day.saturating_mul(MILLIS_PER_DAY))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is the later one, as clocks of two
    /// machines may differ.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The duration in whole milliseconds; at most `u64::MAX`.
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
