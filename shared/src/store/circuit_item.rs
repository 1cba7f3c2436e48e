//! The form of a circuit's record.

use super::items::{self, Fields, Item, moment, number, text};
use super::keys::{self, EXPIRES_AT};
use crate::domain::{Circuit, CircuitCause, CircuitState, Lease, ModelRef, Timestamp};
use crate::ports::StoreError;

pub(super) const REVISION: &str = "revision";
const FAILED_PROBES: &str = "failed_probes";
const CAUSE: &str = "cause";
const STATE: &str = "state";
const OPEN_UNTIL: &str = "open_until";
const SUCCESSES: &str = "successes";
const PROBER: &str = "prober";
const PROBE_UNTIL: &str = "probe_until";

const CLOSED: &str = "closed";
const OPEN: &str = "open";
const HALF_OPEN: &str = "half_open";

/// The circuit as a record that is written at `now`.
pub(super) fn write(model: &ModelRef, circuit: &Circuit, now: Timestamp) -> Item {
    let mut attributes = vec![
        (REVISION, number(circuit.revision)),
        (FAILED_PROBES, number(circuit.failed_probes)),
        (CAUSE, text(circuit.cause.as_str())),
        (
            EXPIRES_AT,
            number(keys::seconds(now.plus(Circuit::RETENTION))),
        ),
    ];
    match circuit.state {
        CircuitState::Closed => attributes.push((STATE, text(CLOSED))),
        CircuitState::Open { until } => {
            attributes.extend([(STATE, text(OPEN)), (OPEN_UNTIL, moment(until))]);
        }
        CircuitState::HalfOpen { successes, probe } => {
            attributes.extend([(STATE, text(HALF_OPEN)), (SUCCESSES, number(successes))]);
            if let Some(Lease { worker, expires_at }) = probe {
                attributes.extend([
                    (PROBER, text(worker.to_string())),
                    (PROBE_UNTIL, moment(expires_at)),
                ]);
            }
        }
    }
    items::item(keys::circuit(model), attributes)
}

/// The circuit in a record; the default if there is none, or an expired one.
pub(super) fn read(item: Option<&Item>, now: Timestamp) -> Result<Circuit, StoreError> {
    let Some(item) = item else {
        return Ok(Circuit::default());
    };
    let fields = Fields::of(item)?;
    if fields.number::<u64>(EXPIRES_AT)? <= keys::seconds(now) {
        return Ok(Circuit::default());
    }
    let (revision, failed_probes) = (fields.number(REVISION)?, fields.number(FAILED_PROBES)?);
    Ok(Circuit {
        revision,
        failed_probes,
        cause: cause(&fields)?,
        state: state(&fields)?,
    })
}

/// Records of the version before have no cause, and those of the next one may have a new cause:
/// both count as an outage.
fn cause(fields: &Fields<'_>) -> Result<CircuitCause, StoreError> {
    let named = fields
        .optional(CAUSE, Fields::text)?
        .and_then(CircuitCause::named);
    Ok(named.unwrap_or_default())
}

fn state(fields: &Fields<'_>) -> Result<CircuitState, StoreError> {
    match fields.text(STATE)? {
        CLOSED => Ok(CircuitState::Closed),
        OPEN => Ok(CircuitState::Open {
            until: fields.moment(OPEN_UNTIL)?,
        }),
        HALF_OPEN => {
            let probe = fields.optional(PROBER, |fields, prober| {
                Ok(Lease {
                    worker: fields.parsed(prober)?,
                    expires_at: fields.moment(PROBE_UNTIL)?,
                })
            })?;
            Ok(CircuitState::HalfOpen {
                successes: fields.number(SUCCESSES)?,
                probe,
            })
        }
        other => Err(fields.corrupt(format!("its state is {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::samples::{self, START};

    fn in_state(state: CircuitState) -> Circuit {
        Circuit {
            revision: 7,
            failed_probes: 3,
            cause: CircuitCause::RateLimit,
            state,
        }
    }

    fn probed() -> Circuit {
        in_state(CircuitState::HalfOpen {
            successes: 1,
            probe: Some(samples::lease_until(samples::after(60))),
        })
    }

    #[test]
    fn a_circuit_survives_its_record() {
        let states = [
            CircuitState::Closed,
            CircuitState::Open {
                until: samples::after(30),
            },
            CircuitState::HalfOpen {
                successes: 0,
                probe: None,
            },
        ];
        for circuit in states.map(in_state).into_iter().chain([probed()]) {
            assert_eq!(
                read(Some(&write(&samples::model(), &circuit, START)), START).unwrap(),
                circuit
            );
        }
    }

    #[test]
    fn a_record_without_a_cause_is_one_of_an_outage() {
        let mut item = write(&samples::model(), &in_state(CircuitState::Closed), START);
        for cause in [Some("invented_later"), None] {
            item.remove(CAUSE);
            item.extend(cause.map(|cause| (CAUSE.to_owned(), text(cause))));
            let expected = Circuit {
                cause: CircuitCause::Outage,
                ..in_state(CircuitState::Closed)
            };
            assert_eq!(read(Some(&item), START).unwrap(), expected);
        }
    }

    #[test]
    fn an_expired_record_counts_as_none_and_its_time_is_in_seconds() {
        let probed = probed();
        let item = write(&samples::model(), &probed, START);
        assert_eq!(item[EXPIRES_AT].as_n().unwrap(), "1795003600");
        let end = START.plus(Circuit::RETENTION);
        assert_eq!(
            read(Some(&item), end.minus(Duration::from_millis(1))).unwrap(),
            probed
        );
        assert_eq!(read(Some(&item), end).unwrap(), Circuit::default());
        assert_eq!(read(None, START).unwrap(), Circuit::default());
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let open = write(
            &samples::model(),
            &in_state(CircuitState::Open { until: START }),
            START,
        );
        let required = [
            "v",
            "revision",
            "failed_probes",
            "expires_at",
            "state",
            "open_until",
        ];
        items::checks::check_robustness(&open, &required, |item| read(Some(item), START));
        let probed = write(&samples::model(), &probed(), START);
        items::checks::check_robustness(&probed, &["successes", "probe_until"], |item| {
            read(Some(item), START)
        });
    }
}
