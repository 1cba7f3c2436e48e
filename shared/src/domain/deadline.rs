//! The one deadline that everything below a use case obeys.

use std::time::Duration;

use super::time::Timestamp;

/// The moment by which work must have ended.
///
/// It is the smaller of the task's and this invocation's deadline, minus the time reserved for
/// recording the result. It is a moment, not a duration, so that passing it on loses no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Timestamp);

impl Deadline {
    /// Work must have ended at `moment`.
    pub const fn at(moment: Timestamp) -> Self {
        Self(moment)
    }

    /// The moment.
    pub const fn moment(self) -> Timestamp {
        self.0
    }

    /// The earlier of both.
    #[must_use]
    pub fn or_earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// This deadline, `reserve` earlier.
    #[must_use]
    pub fn less(self, reserve: Duration) -> Self {
        Self(self.0.minus(reserve))
    }

    /// The time that is left at `now`; zero once it has passed.
    pub fn left(self, now: Timestamp) -> Duration {
        self.0.since(now)
    }

    /// Whether a wait that begins at `now` ends before the deadline.
    pub fn allows(self, wait: Duration, now: Timestamp) -> bool {
        wait < self.left(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earlier_deadline_counts_and_a_reserve_brings_it_forward() {
        let (early, late) = (Timestamp::from_millis(5_000), Timestamp::from_millis(9_000));
        let deadline = Deadline::at(late)
            .or_earlier(Deadline::at(early))
            .less(SECOND);
        assert_eq!(deadline.moment(), Timestamp::from_millis(4_000));
        assert_eq!(
            Deadline::at(early).less(SECOND * 9).moment(),
            Timestamp::from_millis(0)
        );
    }

    #[test]
    fn a_wait_fits_only_if_something_is_left_after_it() {
        let now = Timestamp::from_millis(1_000);
        let deadline = Deadline::at(now.plus(SECOND));
        assert!(deadline.allows(Duration::from_millis(999), now));
        assert!(!deadline.allows(SECOND, now));
        assert!(!deadline.allows(Duration::ZERO, now.plus(SECOND)));
        assert_eq!(deadline.left(now.plus(SECOND * 2)), Duration::ZERO);
    }
}
