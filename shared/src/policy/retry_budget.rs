//! Limits retries to a share of all calls.
//!
//! A limit on the attempts of one call doesn't protect a provider that is down: every call uses it
//! up, and traffic triples just then. So all calls of a process to a provider share a bucket: each
//! call puts a fraction of a retry in, each retry takes one out, and an empty bucket means that a
//! failure is final (AWS Builders' Library, "Timeouts, retries, and backoff with jitter"; the retry
//! budgets of Finagle and tower). It needs no clock and no store.
//!
//! One bucket per provider: a provider in trouble doesn't use up the retries of another, and the
//! number of buckets doesn't grow with the names of models. The circuit breaker handles a failure
//! of one model only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::{Invalid, Provider};

/// What one retry takes out; a call puts `percent` of it in.
const RETRY: u32 = 100;

/// The retries that the process may make at each provider.
///
/// The default is 10 retries at the start and at most, and three more for every ten calls. A
/// process works on ten tasks at a time, so each of its first calls may be retried once although it
/// has no history. When three of ten attempts fail, which is bad but no outage, a simulation of 5
/// processes with 100 calls each grants about 35 of 40 retries. When all fail, 100 calls make 39
/// more instead of 200, and from then on 1.3 times the traffic rather than three times.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u32,
    capacity: u32,
    balances: HashMap<Provider, AtomicU32>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::of(30, 10)
    }
}

impl RetryBudget {
    /// A budget of 1 to 100 retries (`percent`) per 100 calls. A new process starts with 1 to 1,000
    /// retries (`reserve`), which are also the most that it can save up.
    pub fn new(percent: u32, reserve: u32) -> Result<Self, Invalid> {
        if !(1..=100).contains(&percent) {
            return Err(Invalid::new(
                "/percent",
                format!("must be 1 to 100, is {percent}"),
            ));
        }
        if !(1..=1_000).contains(&reserve) {
            return Err(Invalid::new(
                "/reserve",
                format!("must be 1 to 1000, is {reserve}"),
            ));
        }
        Ok(Self::of(percent, reserve))
    }

    fn of(percent: u32, reserve: u32) -> Self {
        let capacity = reserve * RETRY;
        let full = |provider| (provider, AtomicU32::new(capacity));
        Self {
            percent,
            capacity,
            balances: Provider::ALL.into_iter().map(full).collect(),
        }
    }

    /// Counts a call, however many attempts it will take.
    pub(super) fn deposit(&self, provider: Provider) {
        let more = |balance: u32| balance.saturating_add(self.percent).min(self.capacity);
        if let Some(balance) = self.balances.get(&provider) {
            balance.update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    /// Takes one retry out. False if the budget has none.
    pub(super) fn withdraw(&self, provider: Provider) -> bool {
        let less = |balance: u32| balance.checked_sub(RETRY);
        self.balances.get(&provider).is_some_and(|balance| {
            balance
                .try_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn withdrawn(budget: &RetryBudget, provider: Provider) -> usize {
        (0..10_000)
            .take_while(|_| budget.withdraw(provider))
            .count()
    }

    /// The retries that `calls` calls wanted and got, with three attempts each; an attempt fails by
    /// `fails`.
    fn simulate(calls: u32, mut fails: impl FnMut() -> bool) -> (u32, u32) {
        let budget = RetryBudget::default();
        let (mut wanted, mut got) = (0, 0);
        for _ in 0..calls {
            budget.deposit(Provider::OpenAi);
            for _ in 0..2 {
                if !fails() {
                    break;
                }
                wanted += 1;
                if !budget.withdraw(Provider::OpenAi) {
                    break;
                }
                got += 1;
            }
        }
        (wanted, got)
    }

    #[test]
    fn nonsense_is_refused() {
        for (percent, reserve, field) in [
            (0, 10, "/percent"),
            (101, 10, "/percent"),
            (25, 0, "/reserve"),
            (25, 1_001, "/reserve"),
        ] {
            assert_eq!(RetryBudget::new(percent, reserve).unwrap_err().field, field);
        }
        assert_eq!(
            withdrawn(&RetryBudget::new(100, 1_000).unwrap(), Provider::OpenAi),
            1_000
        );
    }

    #[test]
    fn a_fresh_process_may_retry_at_each_provider() {
        let budget = RetryBudget::new(25, 3).unwrap();
        assert_eq!(
            Provider::ALL.map(|provider| withdrawn(&budget, provider)),
            [3, 3, 3]
        );
    }

    #[test]
    fn four_calls_pay_for_one_retry_at_their_own_provider() {
        let budget = RetryBudget::new(25, 1).unwrap();
        assert_eq!(
            Provider::ALL.map(|provider| withdrawn(&budget, provider)),
            [1, 1, 1]
        );
        (0..3).for_each(|_| budget.deposit(Provider::OpenAi));
        assert_eq!(withdrawn(&budget, Provider::OpenAi), 0);
        budget.deposit(Provider::OpenAi);
        assert_eq!(
            Provider::ALL.map(|provider| withdrawn(&budget, provider)),
            [0, 1, 0]
        );
    }

    #[test]
    fn quiet_times_save_up_no_storm() {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|_| budget.deposit(Provider::OpenAi));
        assert_eq!(withdrawn(&budget, Provider::OpenAi), 10);
    }

    #[test]
    fn most_retries_are_made_when_three_of_ten_attempts_fail() {
        let mut random = fastrand::Rng::with_seed(3);
        let processes: Vec<_> = (0..5)
            .map(|_| simulate(100, || random.u8(0..10) < 3))
            .collect();
        let (wanted, got) = processes
            .iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(got * 100 >= wanted * 85, "{processes:?}");
        assert!((500 + got) * 10 <= 500 * 16, "{processes:?}");
    }

    #[test]
    fn an_outage_does_not_multiply_the_traffic() {
        assert_eq!(simulate(10, || true).1, 10 + 2);
        assert_eq!(simulate(100, || true).1, 10 + 29);
    }

    proptest! {
        /// For any order of calls and retries: there are no more retries than were paid for.
        #[test]
        fn retries_stay_a_share_of_calls(percent in 1..=100_u32, reserve in 1..=20_u32, acts in prop::collection::vec(any::<bool>(), 0..500)) {
            let budget = RetryBudget::new(percent, reserve).unwrap();
            let (mut calls, mut retries) = (0, 0);
            for act in acts {
                if act {
                    budget.deposit(Provider::OpenAi);
                    calls += 1;
                } else if budget.withdraw(Provider::OpenAi) {
                    retries += 1;
                }
                prop_assert!(retries * 100 <= reserve * 100 + calls * percent);
            }
        }
    }
}
