//! When a breaker opens and closes.

use std::time::Duration;

use crate::domain::Invalid;

/// The longest cooldown of a model, even if its provider names a longer wait: a quota that was
/// raised is noticed within a minute.
const LONGEST_COOLDOWN: Duration = Duration::from_mins(1);

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    failures: u32,
    open_for: Duration,
    successes: u32,
    view_for: Duration,
}

impl Default for BreakerSettings {
    /// A circuit opens after 5 failures for 30 s and closes after 2 good probes. A process reads
    /// the shared circuit every 5 s.
    fn default() -> Self {
        let (open_for, view_for) = (Duration::from_secs(30), Duration::from_secs(5));
        Self {
            failures: 5,
            open_for,
            successes: 2,
            view_for,
        }
    }
}

impl BreakerSettings {
    /// These settings with 1 to 100 failures in a row, counted in one execution environment, that
    /// open the circuit.
    pub fn with_failures(self, failures: u32) -> Result<Self, Invalid> {
        Ok(Self {
            failures: within("/failures", failures, 1..=100)?,
            ..self
        })
    }

    /// These settings with 1 to 300 s for which the circuit opens; each failed probe doubles them,
    /// up to four times as long.
    pub fn with_open_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        let open_for = Duration::from_secs(within("/open_seconds", seconds, 1..=300)?.into());
        Ok(Self { open_for, ..self })
    }

    /// These settings with 1 to 10 good probes that close the circuit.
    pub fn with_successes(self, successes: u32) -> Result<Self, Invalid> {
        Ok(Self {
            successes: within("/successes", successes, 1..=10)?,
            ..self
        })
    }

    /// These settings with 1 to 60 s for which what is known of the shared circuit is not looked up
    /// again.
    pub fn with_view_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        let view_for = Duration::from_secs(within("/view_seconds", seconds, 1..=60)?.into());
        Ok(Self { view_for, ..self })
    }

    /// The failures in a row that open the circuit.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long it opens the first time.
    pub const fn open_for(&self) -> Duration {
        self.open_for
    }

    /// The longest time for which anything opens the circuit: four times
    /// [`open_for`](Self::open_for).
    pub const fn longest_open(&self) -> Duration {
        self.open_for.saturating_mul(4)
    }

    /// The longest time for which nobody checks a wait that a provider named:
    /// [`longest_open`](Self::longest_open), and at most a minute.
    pub fn longest_cooldown(&self) -> Duration {
        self.longest_open().min(LONGEST_COOLDOWN)
    }

    /// The good probes that close it.
    pub const fn successes(&self) -> u32 {
        self.successes
    }

    /// How long the shared circuit is not looked up again.
    pub const fn view_for(&self) -> Duration {
        self.view_for
    }
}

fn within(field: &str, value: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, Invalid> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Invalid::new(
        field,
        format!("must be {} to {}, is {value}", range.start(), range.end()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Circuit;

    #[test]
    fn nonsense_is_refused_by_its_name() {
        let settings = BreakerSettings::default();
        let refused = [
            (settings.with_failures(0), "/failures"),
            (settings.with_failures(101), "/failures"),
            (settings.with_open_seconds(0), "/open_seconds"),
            (settings.with_open_seconds(301), "/open_seconds"),
            (settings.with_successes(0), "/successes"),
            (settings.with_successes(11), "/successes"),
            (settings.with_view_seconds(0), "/view_seconds"),
            (settings.with_view_seconds(61), "/view_seconds"),
        ];
        for (outcome, field) in refused {
            assert_eq!(outcome.unwrap_err().field, field);
        }
    }

    #[test]
    fn no_circuit_is_open_for_longer_than_it_is_stored() {
        let longest = BreakerSettings::default().with_open_seconds(300).unwrap();
        assert!(longest.open_for() * 4 < Circuit::RETENTION);
    }

    #[test]
    fn a_cooldown_is_four_times_an_open_circuit_and_at_most_a_minute() {
        for (open_seconds, expected) in [(1, 4), (3, 12), (15, 60), (30, 60), (300, 60)] {
            let settings = BreakerSettings::default()
                .with_open_seconds(open_seconds)
                .unwrap();
            assert_eq!(settings.longest_cooldown(), Duration::from_secs(expected));
        }
    }
}
