//! What one execution environment knows of one circuit, and what it has seen itself.

use std::time::Duration;

use super::BreakerSettings;
use crate::domain::{
    Admission, Circuit, CircuitCause, Deadline, Lease, TaskId, Timestamp, WorkerId,
};

/// The longest lease of a prober. A call may take longer: it continues, but another call may then
/// probe as well.
pub(super) const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// What the clocks of two functions may differ by: a prober's own end comes this much before that
/// of its lease.
pub(super) const SKEW: Duration = Duration::from_secs(5);

/// What one execution environment knows of one circuit, and what it has seen itself.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The circuit as it was stored when this process last read or wrote it.
    known: Circuit,
    /// When that was; `None` if never.
    known_at: Option<Timestamp>,
    /// Until when this process does not call the store, because the store has just failed.
    blind_until: Option<Timestamp>,
    /// The failures in a row that this process has counted.
    failures: u32,
    /// The task that got the last unreadable response, if the model has not answered since.
    unreadable_to: Option<TaskId>,
    /// Until when, and why, this process refuses calls, even if other processes do not.
    held: Option<(Timestamp, CircuitCause)>,
}

/// What a call says about its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallSignal {
    /// The provider works.
    Up,
    /// The provider is out of service.
    Down(CircuitCause),
    /// The provider limits the rate. It names this wait, if any.
    Limited(Option<Duration>),
    /// The call says nothing about the provider.
    Unclear,
}

/// What happens to a call.
#[derive(Debug)]
pub(super) enum Decision {
    /// The call is made.
    Pass,
    /// The call is not made.
    Refuse {
        /// When the caller should try again.
        until: Timestamp,
        /// Why the call is not made.
        cause: CircuitCause,
    },
    /// The call is made as a probe if its claim can be stored.
    Claim(ProbeClaim),
}

/// The change of a circuit that makes a call its probe, and the circuit before it.
#[derive(Debug, Clone)]
pub(super) struct ProbeClaim {
    pub(super) lease: Lease,
    pub(super) wanted: Circuit,
    seen: Circuit,
}

impl View {
    /// Whether the shared circuit has to be looked up before a call.
    pub(super) fn is_stale(&self, view_for: Duration, now: Timestamp) -> bool {
        // If the clock was set back, `known_at` is in the future. Then the circuit is read again.
        let fresh = self
            .known_at
            .is_some_and(|at| at <= now && now.since(at) < view_for);
        !fresh && !self.is_blind(now) && !self.is_held(now)
    }

    pub(super) fn is_blind(&self, now: Timestamp) -> bool {
        self.blind_until.is_some_and(|until| now < until)
    }

    /// The failures in a row that this process has counted.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    fn is_held(&self, now: Timestamp) -> bool {
        self.held.is_some_and(|(until, _)| now < until)
    }

    /// Whether the view has information that the store does not have, or that is fresh.
    pub(super) fn matters(&self, view_for: Duration, now: Timestamp) -> bool {
        self.failures > 0 || !self.is_stale(view_for, now)
    }

    /// Decides about a call. If several calls of this process could probe, only the first may claim
    /// to: for the others, it has the lease already. While the store fails, no claim can be stored,
    /// and calls are made.
    pub(super) fn decide(&mut self, deadline: Deadline, now: Timestamp) -> Decision {
        if let Some((until, cause)) = self.held.filter(|(until, _)| now < *until) {
            return Decision::Refuse { until, cause };
        }
        match self.known.admission(now) {
            Admission::Pass => Decision::Pass,
            Admission::Refuse { until } => Decision::Refuse {
                until,
                cause: self.known.cause,
            },
            Admission::Probe if self.is_blind(now) => Decision::Pass,
            Admission::Probe => self.claim_probe(deadline, now),
        }
    }

    fn claim_probe(&mut self, deadline: Deadline, now: Timestamp) -> Decision {
        let expires_at = deadline.moment().min(now.plus(LONGEST_LEASE)).plus(SKEW);
        let lease = Lease {
            worker: WorkerId::new(now),
            expires_at,
        };
        let Some(wanted) = self.known.try_probe(lease, now) else {
            return Decision::Pass;
        };
        let seen = std::mem::replace(&mut self.known, wanted.clone());
        self.known_at = Some(now);
        Decision::Claim(ProbeClaim {
            lease,
            wanted,
            seen,
        })
    }

    /// Forgets a claim that could not be stored.
    pub(super) fn withdraw(&mut self, claim: ProbeClaim) {
        if self.known == claim.wanted {
            self.known = claim.seen;
        }
    }

    /// Counts the signal of a task's call. Several unreadable responses to one task count once: the
    /// task's prompt may cause them. Returns the change that the shared circuit needs, if any.
    pub(super) fn count(
        &mut self,
        signal: CallSignal,
        task: TaskId,
        settings: &BreakerSettings,
        now: Timestamp,
    ) -> Option<Circuit> {
        // Only a circuit that lets all calls through is opened here: the prober changes any other.
        // While the store fails, this process cannot know the circuit's state, so it refuses calls
        // by its own count.
        let may_open = !self.is_held(now) && (self.known.lets_all_through() || self.is_blind(now));
        match signal {
            CallSignal::Up => {
                (self.failures, self.unreadable_to) = (0, None);
                self.known.clear()
            }
            CallSignal::Down(cause) => {
                if cause == CircuitCause::BadAnswer
                    && self.unreadable_to.replace(task) == Some(task)
                {
                    return None;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures < settings.failures() || !may_open {
                    return None;
                }
                self.held = Some((now.plus(settings.open_for()), cause));
                self.known.trip(cause, settings.open_for(), now)
            }
            CallSignal::Limited(Some(wait)) if wait > settings.longest_cooldown() && may_open => {
                if self.is_blind(now) {
                    self.hold(CircuitCause::RateLimit, settings.longest_cooldown(), now);
                }
                self.known.limit(now.plus(settings.longest_cooldown()))
            }
            CallSignal::Limited(_) | CallSignal::Unclear => None,
        }
    }

    /// Refuses calls of this process for `wait`, even if the shared circuit is closed.
    pub(super) fn hold(&mut self, cause: CircuitCause, wait: Duration, now: Timestamp) {
        self.held = Some((now.plus(wait), cause));
    }

    /// Takes over the circuit that a read which began at `begun` found, unless a newer one is
    /// known.
    pub(super) fn read(&mut self, found: Circuit, begun: Timestamp, now: Timestamp) {
        if self.known_at.is_none_or(|at| at < begun || now < at) {
            self.take(found, now);
        }
    }

    /// Takes over the stored circuit after this process tried to change it: from now on, all
    /// processes can know it.
    pub(super) fn learn(&mut self, stored: Circuit, now: Timestamp) {
        self.held = None;
        self.take(stored, now);
    }

    fn take(&mut self, circuit: Circuit, now: Timestamp) {
        // Another process has closed the circuit, so the failures that were counted here are over.
        if circuit.is_closed() && circuit.revision != self.known.revision {
            self.failures = 0;
        }
        (self.known, self.known_at, self.blind_until) = (circuit, Some(now), None);
    }

    /// The store failed: it is not called for `view_for`. False if it had failed before.
    pub(super) fn blinded(&mut self, view_for: Duration, now: Timestamp) -> bool {
        let is_new = !self.is_blind(now);
        if is_new {
            self.blind_until = Some(now.plus(view_for));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples::{START, after};

    const VIEW_FOR: Duration = Duration::from_secs(5);

    fn open() -> Circuit {
        Circuit::default()
            .trip(CircuitCause::Outage, Duration::from_secs(30), START)
            .unwrap()
    }

    #[test]
    fn a_look_up_that_is_overtaken_by_news_changes_nothing() {
        let mut view = View::default();
        view.learn(open(), after(10));
        view.read(Circuit::default(), after(9), after(11));
        assert_eq!(view.known, open());
        view.read(Circuit::default(), after(15), after(16));
        assert_eq!(view.known, Circuit::default());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_view_fresh() {
        let mut view = View::default();
        view.read(open(), after(100), after(100));
        assert!(!view.is_stale(VIEW_FOR, after(104)));
        assert!(view.is_stale(VIEW_FOR, after(105)));
        assert!(view.is_stale(VIEW_FOR, after(50)));
        view.read(Circuit::default(), after(50), after(51));
        assert_eq!(view.known, Circuit::default());
    }

    #[test]
    fn a_failing_store_is_news_once_per_view() {
        let mut view = View::default();
        let news = [0, 1, 4, 5, 9, 10].map(|second| view.blinded(VIEW_FOR, after(second)));
        assert_eq!(news, [true, false, false, true, false, true]);
        assert!(!view.is_stale(VIEW_FOR, after(14)));
    }
}
