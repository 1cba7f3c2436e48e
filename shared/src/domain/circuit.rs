//! The circuit of one model: whether any function calls the model at all.
//!
//! It opens when the model's provider is down. After a while it admits one probe at a time, and it
//! closes once enough probes succeeded. Every change makes a new revision, so that only one of two
//! concurrent changes takes effect.
//!
//! A rate limit with a very long wait is not believed on the word of one response: the circuit is
//! suspected, and all calls go through. The next answer clears it. If another call meets such a
//! limit first, the circuit opens, and one probe a minute finds out when the limit is over.

use std::time::Duration;

use super::id::WorkerId;
use super::task::Lease;
use super::time::Timestamp;

/// How often the time that a circuit stays open is doubled while probes fail.
const MAX_DOUBLINGS: u32 = 2;

/// How soon a caller that was refused because of a probe tries again.
const PROBE_TAKES: Duration = Duration::from_secs(5);

/// Why a circuit does not let all calls through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CircuitCause {
    /// The provider was unreachable, failed or stayed silent.
    #[default]
    Outage,
    /// The provider's responses were unreadable or empty.
    BadAnswer,
    /// The provider named a wait that is longer than a cooldown may be.
    RateLimit,
}

impl CircuitCause {
    /// The name in records and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::BadAnswer => "bad_answer",
            Self::RateLimit => "rate_limit",
        }
    }

    /// The cause of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Outage, Self::BadAnswer, Self::RateLimit]
            .into_iter()
            .find(|cause| cause.as_str() == name)
    }
}

/// A circuit as it stands. The default is one that never opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circuit {
    /// Counts the changes; 0 for a circuit without a record.
    pub revision: u64,
    /// The probes that failed since it opened.
    pub failed_probes: u32,
    /// Why it opened last.
    pub cause: CircuitCause,
    /// What it does with calls.
    pub state: CircuitState,
}

/// What a circuit does with calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// All go through.
    #[default]
    Closed,
    /// None goes through.
    Open {
        /// Until this moment; then the first that comes may be a probe.
        until: Timestamp,
    },
    /// One at a time goes through.
    HalfOpen {
        /// The probes that came back well.
        successes: u32,
        /// Who may probe. Past its end the lease counts as none: its holder died or takes too long.
        probe: Option<Lease>,
    },
}

/// What happens to a call at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It goes through.
    Pass,
    /// It is not made.
    Refuse {
        /// When another look makes sense.
        until: Timestamp,
    },
    /// The call may go through as a probe, if the caller gets the lease.
    Probe,
}

impl Circuit {
    /// How long a circuit is kept after its last change; longer than it is ever open or leased.
    pub const RETENTION: Duration = Duration::from_hours(1);

    /// What happens to a call at `now`.
    pub fn admission(&self, now: Timestamp) -> Admission {
        match self.state {
            _ if self.lets_all_through() => Admission::Pass,
            CircuitState::Closed => Admission::Pass,
            CircuitState::Open { until } if now < until => Admission::Refuse { until },
            CircuitState::HalfOpen {
                probe: Some(lease), ..
            } if now < lease.expires_at => {
                // A probe takes seconds; its lease lasts longer, for the worst case.
                Admission::Refuse {
                    until: lease.expires_at.min(now.plus(PROBE_TAKES)),
                }
            }
            CircuitState::Open { .. } | CircuitState::HalfOpen { .. } => Admission::Probe,
        }
    }

    /// The moment until which it refuses calls by itself: the end of its time, or of its prober's
    /// lease.
    pub fn refuses_until(&self) -> Option<Timestamp> {
        match self.state {
            CircuitState::Open { until } => Some(until),
            CircuitState::HalfOpen { probe, .. } => probe.map(|lease| lease.expires_at),
            CircuitState::Closed => None,
        }
    }

    /// The same circuit, to be probed at once.
    #[must_use]
    pub fn to_be_probed(self) -> Self {
        let state = match self.state {
            CircuitState::Closed => CircuitState::Closed,
            CircuitState::Open { .. } => CircuitState::Open {
                until: Timestamp::from_millis(0),
            },
            CircuitState::HalfOpen { successes, .. } => CircuitState::HalfOpen {
                successes,
                probe: None,
            },
        };
        Self { state, ..self }
    }

    /// Whether all calls go through.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, CircuitState::Closed)
    }

    /// Whether one call met a rate limit with a very long wait, which the next calls confirm or
    /// refute.
    pub const fn is_suspected(&self) -> bool {
        matches!(
            (self.state, self.cause),
            (CircuitState::HalfOpen { .. }, CircuitCause::RateLimit)
        ) && self.failed_probes == 0
    }

    /// Opens a closed or suspected circuit for `open_for`; `None` if it is open or probed already.
    pub fn trip(&self, cause: CircuitCause, open_for: Duration, now: Timestamp) -> Option<Self> {
        let open = CircuitState::Open {
            until: now.plus(open_for),
        };
        self.lets_all_through().then(|| Self {
            cause,
            ..self.next(0, open)
        })
    }

    /// Takes note of a call that met a rate limit with a very long wait: the first one makes the
    /// circuit suspected, the second one opens it until `until`. `None` if the circuit is open or
    /// probed already.
    pub fn limit(&self, until: Timestamp) -> Option<Self> {
        if self.is_suspected() {
            return self.probe_was_limited(until);
        }
        let suspected = CircuitState::HalfOpen {
            successes: 0,
            probe: None,
        };
        self.is_closed().then(|| Self {
            cause: CircuitCause::RateLimit,
            ..self.next(0, suspected)
        })
    }

    /// Closes a suspected circuit, because a call was answered; `None` if it isn't suspected.
    pub fn clear(&self) -> Option<Self> {
        self.is_suspected()
            .then(|| self.next(0, CircuitState::Closed))
    }

    /// Whether it is closed or only suspected.
    pub const fn lets_all_through(&self) -> bool {
        self.is_closed() || self.is_suspected()
    }

    /// Opens until `until` after a probe that met a rate limit; `None` if the circuit is not half
    /// open any more.
    pub fn probe_was_limited(&self, until: Timestamp) -> Option<Self> {
        let CircuitState::HalfOpen { .. } = self.state else {
            return None;
        };
        let failed_probes = self.failed_probes.saturating_add(1);
        Some(Self {
            cause: CircuitCause::RateLimit,
            ..self.next(failed_probes, CircuitState::Open { until })
        })
    }

    /// Gives the lease to a prober; `None` if the circuit is not to be probed at `now`.
    pub fn try_probe(&self, lease: Lease, now: Timestamp) -> Option<Self> {
        let successes = match self.state {
            CircuitState::HalfOpen { successes, .. } => successes,
            CircuitState::Closed | CircuitState::Open { .. } => 0,
        };
        let half_open = CircuitState::HalfOpen {
            successes,
            probe: Some(lease),
        };
        (self.admission(now) == Admission::Probe).then(|| self.next(self.failed_probes, half_open))
    }

    /// Counts a probe that came back well, and closes with the last of the `needed` ones; `None` if
    /// the circuit is not half open any more. A prober whose lease has passed on counts too, as it
    /// says the same about the provider.
    pub fn probe_succeeded(&self, worker: WorkerId, needed: u32) -> Option<Self> {
        let CircuitState::HalfOpen { successes, probe } = self.state else {
            return None;
        };
        let successes = successes.saturating_add(1);
        if successes >= needed {
            return Some(self.next(0, CircuitState::Closed));
        }
        let probe = probe.filter(|lease| lease.worker != worker);
        Some(self.next(
            self.failed_probes,
            CircuitState::HalfOpen { successes, probe },
        ))
    }

    /// Opens again after a probe that failed, each time for twice as long, up to four times
    /// `open_for`; `None` if the circuit is not half open any more.
    pub fn probe_failed(&self, open_for: Duration, now: Timestamp) -> Option<Self> {
        let CircuitState::HalfOpen { .. } = self.state else {
            return None;
        };
        let failed_probes = self.failed_probes.saturating_add(1);
        let open_for = open_for.saturating_mul(1 << failed_probes.min(MAX_DOUBLINGS));
        Some(self.next(
            failed_probes,
            CircuitState::Open {
                until: now.plus(open_for),
            },
        ))
    }

    /// Takes the lease back from a prober that learnt nothing; `None` if it has none any more.
    pub fn probe_was_unclear(&self, worker: WorkerId) -> Option<Self> {
        let CircuitState::HalfOpen {
            successes,
            probe: Some(lease),
        } = self.state
        else {
            return None;
        };
        let half_open = CircuitState::HalfOpen {
            successes,
            probe: None,
        };
        (lease.worker == worker).then(|| self.next(self.failed_probes, half_open))
    }

    const fn next(&self, failed_probes: u32, state: CircuitState) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            failed_probes,
            cause: self.cause,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(30);
    const NEEDED: u32 = 2;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn lease_until(seconds: u64) -> Lease {
        Lease {
            worker: WorkerId::new(at(0)),
            expires_at: at(seconds),
        }
    }

    fn open() -> Circuit {
        Circuit::default()
            .trip(CircuitCause::Outage, OPEN_FOR, at(0))
            .unwrap()
    }

    #[test]
    fn an_open_circuit_refuses_until_its_time_has_come() {
        assert_eq!(Circuit::default().admission(at(0)), Admission::Pass);
        assert_eq!(
            open().admission(at(29)),
            Admission::Refuse { until: at(30) }
        );
        assert_eq!(open().admission(at(30)), Admission::Probe);
        assert_eq!(open().trip(CircuitCause::Outage, OPEN_FOR, at(40)), None);
    }

    #[test]
    fn a_prober_holds_the_others_off_until_its_lease_ends() {
        let (first, second) = (lease_until(90), lease_until(150));
        assert_eq!(open().try_probe(first, at(29)), None);
        let probed = open().try_probe(first, at(30)).unwrap();
        assert_eq!(
            probed.admission(at(89)),
            Admission::Refuse { until: at(90) }
        );
        assert_eq!(probed.try_probe(second, at(89)), None);
        let taken_over = probed.try_probe(second, at(90)).unwrap();
        assert_eq!(
            taken_over.admission(at(100)),
            Admission::Refuse { until: at(105) },
            "to look again soon"
        );
        assert_eq!(taken_over.probe_was_unclear(first.worker), None);
    }

    #[test]
    fn enough_good_probes_close_it_and_forget_the_failed_ones() {
        let lease = lease_until(90);
        let again = open()
            .try_probe(lease, at(30))
            .unwrap()
            .probe_failed(OPEN_FOR, at(31))
            .unwrap();
        let once = again
            .try_probe(lease, at(91))
            .unwrap()
            .probe_succeeded(lease.worker, NEEDED)
            .unwrap();
        assert_eq!(
            (once.admission(at(91)), once.failed_probes),
            (Admission::Probe, 1)
        );
        let twice = once
            .try_probe(lease, at(91))
            .unwrap()
            .probe_succeeded(lease.worker, NEEDED)
            .unwrap();
        assert_eq!(
            twice,
            Circuit {
                revision: 7,
                ..Circuit::default()
            }
        );
    }

    #[test]
    fn a_late_prober_counts_and_leaves_the_lease_to_its_successor() {
        let (late, successor) = (lease_until(90), lease_until(150));
        let probed = open()
            .try_probe(late, at(30))
            .unwrap()
            .try_probe(successor, at(90))
            .unwrap();
        let counted = probed.probe_succeeded(late.worker, NEEDED).unwrap();
        assert_eq!(
            counted.state,
            CircuitState::HalfOpen {
                successes: 1,
                probe: Some(successor)
            }
        );
        assert!(
            counted
                .probe_succeeded(successor.worker, NEEDED)
                .unwrap()
                .is_closed()
        );
        assert_eq!(open().probe_succeeded(late.worker, NEEDED), None);
        assert_eq!(Circuit::default().probe_failed(OPEN_FOR, at(91)), None);
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_four_times() {
        let mut circuit = open();
        for (failures, seconds) in [(1, 60), (2, 120), (3, 120), (4, 120)] {
            let probed = circuit.try_probe(lease_until(1_090), at(1_000)).unwrap();
            circuit = probed.probe_failed(OPEN_FOR, at(1_000)).unwrap();
            assert_eq!(circuit.failed_probes, failures);
            assert_eq!(
                circuit.admission(at(1_000)),
                Admission::Refuse {
                    until: at(1_000 + seconds)
                }
            );
            circuit.state = CircuitState::Open { until: at(0) };
        }
    }

    #[test]
    fn a_long_wait_is_believed_when_a_second_call_meets_one() {
        let suspected = Circuit::default().limit(at(60)).unwrap();
        assert!(suspected.is_suspected() && suspected.admission(at(0)) == Admission::Pass);
        assert!(suspected.clear().unwrap().is_closed());
        assert_eq!(Circuit::default().clear(), None);
        assert_eq!(suspected.try_probe(lease_until(90), at(0)), None);

        let limited = suspected.limit(at(60)).unwrap();
        assert_eq!(
            limited.admission(at(59)),
            Admission::Refuse { until: at(60) }
        );
        assert_eq!((limited.limit(at(90)), limited.clear()), (None, None));
        let probed = limited.try_probe(lease_until(120), at(60)).unwrap();
        assert!(!probed.is_suspected() && probed.cause == CircuitCause::RateLimit);
        assert_eq!(
            probed.admission(at(61)),
            Admission::Refuse { until: at(66) }
        );
        let again = probed.probe_was_limited(at(120)).unwrap();
        assert_eq!(
            again.admission(at(119)),
            Admission::Refuse { until: at(120) }
        );
        assert_eq!(Circuit::default().probe_was_limited(at(60)), None);

        let outage = suspected
            .trip(CircuitCause::Outage, OPEN_FOR, at(0))
            .unwrap();
        assert_eq!(
            (outage.cause, outage.admission(at(29))),
            (CircuitCause::Outage, Admission::Refuse { until: at(30) })
        );
    }

    proptest! {
        /// In any sequence of events, each change is one revision, no two probers hold a lease at
        /// once, and no time is longer than the circuit is kept.
        #[test]
        fn the_rules_hold_after_any_history(moves in prop::collection::vec((0..8_u8, 0..40_u64), 0..60)) {
            let (mut circuit, mut now, mut holder) = (Circuit::default(), at(0), None::<Lease>);
            for (step, seconds) in moves {
                now = now.plus(Duration::from_secs(seconds));
                let lease = Lease { worker: WorkerId::new(now), expires_at: now.plus(OPEN_FOR) };
                let prober = holder.map_or(lease.worker, |held| held.worker);
                let next = match step {
                    0 => circuit.trip(CircuitCause::BadAnswer, OPEN_FOR, now),
                    1 => circuit.try_probe(lease, now),
                    2 => circuit.probe_succeeded(prober, NEEDED),
                    3 => circuit.probe_failed(OPEN_FOR, now),
                    4 => circuit.limit(now.plus(OPEN_FOR)),
                    5 => circuit.clear(),
                    6 => circuit.probe_was_limited(now.plus(OPEN_FOR)),
                    _ => circuit.probe_was_unclear(prober),
                };
                let Some(next) = next else { continue };
                prop_assert_eq!(next.revision, circuit.revision + 1);
                if step == 1 {
                    prop_assert!(circuit.admission(now) == Admission::Probe);
                    prop_assert!(holder.is_none_or(|held| held.expires_at <= now));
                }
                holder = match next.state {
                    CircuitState::HalfOpen { probe, successes } => {
                        prop_assert!(successes < NEEDED);
                        probe
                    }
                    CircuitState::Closed | CircuitState::Open { .. } => None,
                };
                if let Admission::Refuse { until } = next.admission(now) {
                    prop_assert!(now < until && until.since(now) <= OPEN_FOR * 4);
                    prop_assert!(until.since(now) < Circuit::RETENTION);
                }
                circuit = next;
            }
        }
    }
}
