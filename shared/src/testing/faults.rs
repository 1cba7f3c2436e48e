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

use std::sync::{Arc, Mutex};

use super::lock;

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
    struck: bool,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    call: u32,
    when: When,
    afterwards: Afterwards,
}

#[derive(Debug, Clone, Copy)]
enum Afterwards {
    Recovered,
    Dead,
}

impl Faults {
    /// The call with this number, counted from 1 and from now, fails; later ones work.
    pub fn fail_at(&self, call: u32, when: When) {
        self.replace(Some(Fault {
            call,
            when,
            afterwards: Afterwards::Recovered,
        }));
    }

    /// The call with this number, counted from 1 and from now, fails, and so does each later one:
    /// to the outside, the caller is dead.
    pub fn die_at(&self, call: u32, when: When) {
        self.replace(Some(Fault {
            call,
            when,
            afterwards: Afterwards::Dead,
        }));
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
        failure: impl FnOnce(Injected) -> E,
        effect: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        match self.strike() {
            None => effect(),
            Some(When::Before) => Err(failure(Injected)),
            Some(When::After) => effect().and_then(|_lost| Err(failure(Injected))),
        }
    }

    fn replace(&self, fault: Option<Fault>) {
        *lock(&self.plan) = Plan {
            fault,
            ..Plan::default()
        };
    }

    /// Counts a call, for fakes of tests' own: how it fails, if the plan says so.
    pub fn strike(&self) -> Option<When> {
        let mut plan = lock(&self.plan);
        plan.calls += 1;
        let when = plan.fault.and_then(|fault| fault.at(plan.calls));
        plan.struck |= when.is_some();
        when
    }
}

impl Fault {
    fn at(self, call: u32) -> Option<When> {
        match self.afterwards {
            _ if call == self.call => Some(self.when),
            Afterwards::Dead if call > self.call => Some(When::Before),
            Afterwards::Dead | Afterwards::Recovered => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(faults: &Faults) -> (Vec<bool>, u32) {
        let mut effects = 0;
        let mut call = || {
            faults.around(Some, || {
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
    fn the_dead_have_no_effect_any_more() {
        let faults = Faults::default();
        faults.die_at(2, When::After);
        assert_eq!(outcomes(&faults), (vec![true, false, false, false], 2));
        faults.clear();
        assert_eq!(outcomes(&faults), (vec![true; 4], 4));
    }
}
