//! Failures by plan: any call to a fake can fail, before or after its effect, once or from then on.
//!
//! A test that walks through every call number covers every point at which a dependency can fail or
//! a worker can die, instead of the few that someone thought of:
//!
//! ```
//! use shared::testing::{Faults, When};
//!
//! for call in 1.. {
//!     let faults = Faults::default();
//!     faults.die_at(call, When::After);
//!     // … run the use case on fakes made with `faults`, then check that others can finish its work …
//!     if !faults.struck() {
//!         break;
//!     }
//! }
//! ```
//!
//! A test about one point names the call: `faults.die_at_nth(Call::Append, 2, When::After)`.

use std::sync::{Arc, Mutex};

use super::lock;

/// Calls that a plan can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A worker claims a task.
    Claim,
    /// A worker reads its task's agent; it does so after the claim.
    ReadAgent,
    /// A worker records a step of its own.
    Append,
    /// A task changes, with or without steps.
    Update,
    /// A task is purged.
    Purge,
    /// A message is sent.
    Send,
    /// Any other call.
    Other,
}

/// Whether a failing call still has its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// It has none: the request got lost.
    Before,
    /// It has its effect: the answer got lost.
    After,
}

/// The cause inside every injected error.
#[derive(Debug, thiserror::Error)]
#[error("the test's plan says so")]
pub struct Injected;

/// A plan of failure for the fakes that it is given to, which count their calls together. The
/// default never fails.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: u32,
    /// The calls that the fault counts.
    counted: u32,
    struck: bool,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    /// What the fault counts; `None` for all calls.
    of: Option<Call>,
    number: u32,
    when: When,
    afterwards: Afterwards,
}

#[derive(Debug, Clone, Copy)]
enum Afterwards {
    Recovered,
    Dead,
}

impl Faults {
    /// The call with this number, counted from 1 and from now, fails; later calls work. For tests
    /// that walk through all numbers.
    pub fn fail_at(&self, number: u32, when: When) {
        self.plan(None, number, when, Afterwards::Recovered);
    }

    /// The call with this number, counted from 1 and from now, fails, and so does each later call:
    /// to the outside, the caller is dead. For tests that walk through all numbers.
    pub fn die_at(&self, number: u32, when: When) {
        self.plan(None, number, when, Afterwards::Dead);
    }

    /// The next call fails; later calls work.
    pub fn fail_next(&self, when: When) {
        self.fail_at(1, when);
    }

    /// Every call fails from now on.
    pub fn die_now(&self) {
        self.die_at(1, When::Before);
    }

    /// The `number`-th of these calls, counted from 1 and from now, fails; all other calls work.
    pub fn fail_at_nth(&self, of: Call, number: u32, when: When) {
        self.plan(Some(of), number, when, Afterwards::Recovered);
    }

    /// The `number`-th of these calls, counted from 1 and from now, fails, and so does each later
    /// call of any kind.
    pub fn die_at_nth(&self, of: Call, number: u32, when: When) {
        self.plan(Some(of), number, when, Afterwards::Dead);
    }

    /// Nothing fails any more; calls are counted from 0 again.
    pub fn clear(&self) {
        self.replace(None);
    }

    /// The calls made since the plan was made.
    pub fn calls(&self) -> u32 {
        lock(&self.plan).calls
    }

    /// Whether the plan made a call fail.
    pub fn struck(&self) -> bool {
        lock(&self.plan).struck
    }

    /// Runs `effect` as one call under the plan.
    pub(super) fn around<T, E>(
        &self,
        call: Call,
        failure: impl FnOnce(Injected) -> E,
        effect: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        match self.strike(call) {
            None => effect(),
            Some(When::Before) => Err(failure(Injected)),
            Some(When::After) => effect().and_then(|_lost| Err(failure(Injected))),
        }
    }

    fn plan(&self, of: Option<Call>, number: u32, when: When, afterwards: Afterwards) {
        self.replace(Some(Fault {
            of,
            number,
            when,
            afterwards,
        }));
    }

    fn replace(&self, fault: Option<Fault>) {
        *lock(&self.plan) = Plan {
            fault,
            ..Plan::default()
        };
    }

    /// Counts a call, for fakes of tests' own: how it fails, if the plan says so.
    pub fn strike(&self, call: Call) -> Option<When> {
        let mut plan = lock(&self.plan);
        plan.calls += 1;
        let fault = plan.fault?;
        if plan.struck {
            return match fault.afterwards {
                Afterwards::Dead => Some(When::Before),
                Afterwards::Recovered => None,
            };
        }
        plan.counted += u32::from(fault.of.is_none_or(|of| of == call));
        plan.struck = plan.counted == fault.number;
        plan.struck.then_some(fault.when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(faults: &Faults) -> (Vec<bool>, u32) {
        let mut effects = 0;
        let mut call = || {
            faults.around(Call::Other, Some, || {
                effects += 1;
                Ok(())
            })
        };
        ((0..4).map(|_| call().is_ok()).collect(), effects)
    }

    #[test]
    fn a_fault_strikes_once_at_its_call() {
        let faults = Faults::default();
        assert_eq!(outcomes(&faults), (vec![true; 4], 4));
        assert!(!faults.struck());
        faults.fail_at(2, When::Before);
        assert_eq!(outcomes(&faults), (vec![true, false, true, true], 3));
        faults.fail_at(2, When::After);
        assert_eq!(outcomes(&faults), (vec![true, false, true, true], 4));
        assert!(faults.struck());
    }

    #[test]
    fn a_fault_counts_only_the_calls_that_it_names() {
        let faults = Faults::default();
        let calls = [Call::Append, Call::Update, Call::Append, Call::Update];
        let strikes = || calls.map(|call| faults.strike(call));
        faults.fail_at_nth(Call::Append, 2, When::After);
        assert_eq!(strikes(), [None, None, Some(When::After), None]);
        faults.die_at_nth(Call::Update, 1, When::After);
        let dead = Some(When::Before);
        assert_eq!(strikes(), [None, Some(When::After), dead, dead]);
        faults.die_now();
        assert_eq!(strikes(), [dead; 4]);
        faults.fail_next(When::After);
        assert_eq!(strikes(), [Some(When::After), None, None, None]);
    }

    #[test]
    fn the_dead_have_no_effect_any_more() {
        let faults = Faults::default();
        faults.die_at(2, When::After);
        assert_eq!(outcomes(&faults), (vec![true, false, false, false], 2));
        faults.clear();
        assert_eq!(outcomes(&faults), (vec![true; 4], 4));
    }
}
