//! How long a task waits before its next attempt.

use std::time::Duration;

use super::Task;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// How long a task pauses whose models are all out of service; the pause doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The longest wait of a task whose provider limits the rate and names no wait.
const LONGEST_RATE_LIMIT_BACKOFF: Duration = Duration::from_mins(1);

/// How long a task pauses that found no slot among its tenant's running tasks; the pause doubles
/// each time.
const FIRST_TURN: Duration = Duration::from_secs(4);
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// The least time over which tasks come back that wait for the same moment.
const LEAST_STAGGER: Duration = Duration::from_millis(500);

impl Task {
    /// How long the task should pause if all its models are out of service: from 5 s on, twice as
    /// long each time up to 5 minutes, and up to a quarter less, so that tasks that were parked
    /// together come back one by one.
    pub fn outage_backoff(&self) -> Duration {
        let longest = FIRST_BACKOFF
            .saturating_mul(1 << self.progress.parkings.outages.min(8))
            .min(LONGEST_PAUSE);
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// How long the task should pause at least after a call that was paid for nothing: 5 s after
    /// the first attempt, and six times as long after each further one, up to a quarter less. So
    /// the five attempts that a task has take 20 minutes, and not the one or two in which hardly
    /// any outage ends.
    pub fn paid_backoff(&self) -> Duration {
        let longest = match self.progress.attempts {
            0 | 1 => FIRST_BACKOFF,
            2 => FIRST_BACKOFF * 6,
            3 => FIRST_BACKOFF * 36,
            _ => FIRST_BACKOFF * 216,
        };
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// How long the task should wait if a provider limits the rate and names no wait: from 5 s on,
    /// twice as long each time up to a minute, and up to a quarter less, so that tasks that were
    /// parked together come back one by one.
    pub fn rate_limit_backoff(&self) -> Duration {
        let doublings = self.progress.parkings.rate_limits.min(8);
        let longest = FIRST_BACKOFF
            .saturating_mul(1 << doublings)
            .min(LONGEST_RATE_LIMIT_BACKOFF);
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// How long the task should wait for a slot if its tenant's running tasks are at their cap:
    /// from 4 s on, twice as long each time up to a minute, and up to half less, so that tasks that
    /// were parked together come back one by one. At most half of the time that the task has left,
    /// so that it asks more often near its deadline; but at least a second.
    pub fn slot_backoff(&self, now: Timestamp) -> Duration {
        let longest = FIRST_TURN
            .saturating_mul(1 << self.progress.parkings.turns.min(8))
            .min(LONGEST_TURN);
        let pause = longest.mul_f64(1.0 - spread(self.spec.id) / 2.0);
        pause
            .min(self.progress.deadline.since(now) / 2)
            .max(Duration::from_secs(1))
    }

    /// When the task should come back if many tasks wait for the moment `until`: up to a quarter of
    /// the wait later, so that they come one by one, but before its deadline if `until` is before
    /// it.
    pub fn staggered(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        let over = (until.since(now) / 4)
            .max(LEAST_STAGGER)
            .min(self.progress.deadline.since(until) / 2);
        until.plus(over.mul_f64(spread(self.spec.id)))
    }
}

/// A number from 0 up to 1 that differs between tasks.
pub(super) fn spread(id: TaskId) -> f64 {
    let [.., last] = id.as_bytes();
    f64::from(*last) / 256.0
}
