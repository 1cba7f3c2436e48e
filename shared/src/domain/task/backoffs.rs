//! How long a task is parked before its next attempt.

use std::time::Duration;

use super::{LONGEST_MESSAGE_DELAY, Task};
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// The first backoff of a task whose models are all out of service. It doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_OUTAGE_BACKOFF: Duration = Duration::from_mins(5);

/// The longest backoff of a task whose provider limits the rate and names no wait.
const LONGEST_RATE_LIMIT_BACKOFF: Duration = Duration::from_mins(1);

/// The first backoff of a task whose tenant has no free slot. It doubles each time.
const FIRST_SLOT_BACKOFF: Duration = Duration::from_secs(4);
const LONGEST_SLOT_BACKOFF: Duration = Duration::from_mins(1);

/// The least time over which tasks that wait for the same moment are spread.
const LEAST_STAGGER: Duration = Duration::from_millis(500);

impl Task {
    /// The backoff if all models are out of service: 5 s, twice as long each time, up to 5 minutes.
    /// It is up to a quarter shorter, so that tasks that were parked together continue one by one.
    pub fn outage_backoff(&self) -> Duration {
        let longest = FIRST_BACKOFF
            .saturating_mul(1 << self.progress.parkings.outages.min(8))
            .min(LONGEST_OUTAGE_BACKOFF);
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// The least backoff after a failed call that was billed: 5 s after the first attempt, and six
    /// times as long after each further one, up to a quarter less. So a task's five attempts take
    /// 20 minutes, in which most outages end.
    pub fn paid_backoff(&self) -> Duration {
        let longest = match self.progress.attempts {
            0 | 1 => FIRST_BACKOFF,
            2 => FIRST_BACKOFF * 6,
            3 => FIRST_BACKOFF * 36,
            _ => FIRST_BACKOFF * 216,
        };
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// The backoff if a provider limits the rate and names no wait: 5 s, twice as long each time,
    /// up to a minute. It is up to a quarter shorter, so that tasks that were parked together
    /// continue one by one.
    pub fn rate_limit_backoff(&self) -> Duration {
        let doublings = self.progress.parkings.rate_limits.min(8);
        let longest = FIRST_BACKOFF
            .saturating_mul(1 << doublings)
            .min(LONGEST_RATE_LIMIT_BACKOFF);
        longest.mul_f64(1.0 - spread(self.spec.id) / 4.0)
    }

    /// The backoff if the tenant has no free slot: 4 s, twice as long each time, up to a minute. It
    /// is up to half shorter, so that tasks that were parked together continue one by one. It is at
    /// most half of the time to the task's deadline, so that the task tries more often near the
    /// deadline; but at least a second.
    pub fn slot_backoff(&self, now: Timestamp) -> Duration {
        let longest = FIRST_SLOT_BACKOFF
            .saturating_mul(1 << self.progress.parkings.turns.min(8))
            .min(LONGEST_SLOT_BACKOFF);
        let backoff = longest.mul_f64(1.0 - spread(self.spec.id) / 2.0);
        backoff
            .min(self.progress.deadline.since(now) / 2)
            .max(Duration::from_secs(1))
    }

    /// The backoff while the task's tenant is suspended: 15 minutes, up to half shorter, so that the
    /// tasks of a large backlog cost little and do not continue together. It is at most half of the
    /// time to the task's deadline, but at least a second.
    pub fn suspension_backoff(&self, now: Timestamp) -> Duration {
        LONGEST_MESSAGE_DELAY
            .mul_f64(1.0 - spread(self.spec.id) / 2.0)
            .min(self.progress.deadline.since(now) / 2)
            .max(Duration::from_secs(1))
    }

    /// When the task continues if many tasks wait for the moment `until`: up to a quarter of the
    /// wait later, so that the tasks continue one by one. If `until` is before the task's deadline,
    /// so is the result.
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
