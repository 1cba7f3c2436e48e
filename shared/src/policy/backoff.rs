//! How long to wait before the next attempt.
//!
//! Callers that failed at the same moment must not retry at the same moment, so waits have jitter.
//! A computed wait is random between zero and its maximum ("full jitter" in AWS's "Exponential
//! Backoff And Jitter"). A wait that the provider named is only prolonged, because no caller may
//! retry before its end.

use std::time::Duration;

/// The longest wait after the first failure; it doubles with each further one.
pub const BASE: Duration = Duration::from_millis(500);

/// The longest wait after any number of failures.
pub const CAP: Duration = Duration::from_secs(8);

/// The least time over which callers with the same named wait are spread.
const MIN_SPREAD: Duration = Duration::from_millis(250);

/// The most time over which callers with the same named wait are spread.
const MAX_SPREAD: Duration = Duration::from_secs(4);

/// Waits between attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backoff {
    /// Random waits.
    #[default]
    Jittered,
    /// No random part: a computed wait is the longest possible, and a named wait is not prolonged.
    /// For tests.
    Steady,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row, if the provider named none: up to 0.5, 1,
    /// 2, 4, 8, 8, … seconds.
    pub fn guess(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let longest = BASE
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(CAP);
        match self {
            Self::Jittered => share_of(longest),
            Self::Steady => longest,
        }
    }

    /// The wait if the provider named one: at least that, and up to a quarter more, which is 0.25
    /// to 4 seconds.
    pub fn from_hint(self, hint: Duration) -> Duration {
        match self {
            Self::Jittered => {
                hint.saturating_add(share_of((hint / 4).clamp(MIN_SPREAD, MAX_SPREAD)))
            }
            Self::Steady => hint,
        }
    }
}

/// A random duration from zero up to `whole`.
fn share_of(whole: Duration) -> Duration {
    whole.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_guess_doubles_up_to_its_cap() {
        let millis = [0, 1, 2, 3, 4, 5, 6, 33, u32::MAX]
            .map(|failures| Backoff::Steady.guess(failures).as_millis());
        assert_eq!(
            millis,
            [500, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000]
        );
    }

    #[test]
    fn jitter_uses_the_whole_wait() {
        fastrand::seed(7);
        let millis: Vec<_> = (0..1_000)
            .map(|_| Backoff::Jittered.guess(5).as_millis())
            .collect();
        let within = |from, to| {
            millis
                .iter()
                .filter(|wait| (from..to).contains(*wait))
                .count()
        };
        let quarters = [
            within(0, 2_000),
            within(2_000, 4_000),
            within(4_000, 6_000),
            within(6_000, 8_000),
        ];
        assert!(
            quarters.iter().all(|count| (200..300).contains(count)),
            "{quarters:?}"
        );
    }

    proptest! {
        #[test]
        fn a_guess_stays_within_its_bound(failures in any::<u32>()) {
            prop_assert!(Backoff::Jittered.guess(failures) <= Backoff::Steady.guess(failures));
            prop_assert!((BASE..=CAP).contains(&Backoff::Steady.guess(failures)));
        }

        #[test]
        fn a_hint_is_never_cut_and_little_is_added(millis in any::<u64>()) {
            let hint = Duration::from_millis(millis);
            let wait = Backoff::Jittered.from_hint(hint);
            prop_assert!(wait >= hint);
            prop_assert!(wait <= hint + (hint / 4).clamp(MIN_SPREAD, MAX_SPREAD));
            prop_assert_eq!(Backoff::Steady.from_hint(hint), hint);
        }
    }

    #[test]
    fn the_longest_hint_overflows_nothing() {
        assert_eq!(Backoff::Jittered.from_hint(Duration::MAX), Duration::MAX);
    }
}
