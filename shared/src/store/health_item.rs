//! The form of the record of a model's health.
//!
//! A note replaces the part of its kind as a whole, so processes need no agreement about it.

use super::items::{Attributes, Fields, Item, map, moment, name, number};
use crate::domain::{HealthNote, LastFailure, Latency, ModelHealth, Timestamp};
use crate::ports::StoreError;

const LATENCY: &str = "latency";
const MEAN_MS: &str = "mean_ms";
const LONGEST_MS: &str = "longest_ms";
const FAILURE: &str = "failure";
const CODE: &str = "code";
const STATUS: &str = "status";
const COOLDOWN_UNTIL: &str = "cooldown_until";
/// When the calls of a part were.
pub(super) const AT: &str = "at";

/// A note as changes of the record.
pub(super) struct Changes {
    /// The part that the note replaces, unless the part is newer.
    pub(super) part: &'static str,
    /// The moment of the note.
    pub(super) at: Timestamp,
    /// The attributes that are set.
    pub(super) set: Attributes,
}

/// The note as changes of the record.
pub(super) fn changes(note: HealthNote) -> Changes {
    match note {
        HealthNote::Answered(latency) => {
            let Latency {
                at,
                mean_ms,
                longest_ms,
            } = latency;
            let part = map([
                (AT, moment(at)),
                (MEAN_MS, number(mean_ms)),
                (LONGEST_MS, number(longest_ms)),
            ]);
            Changes {
                part: LATENCY,
                at,
                set: vec![(LATENCY, part)],
            }
        }
        HealthNote::Failed {
            failure,
            cooldown_until,
        } => {
            let LastFailure { at, code, status } = failure;
            let known = [(AT, moment(at)), (CODE, name(&code))];
            let status = status.map(|status| (STATUS, number(status)));
            let part = map(known.into_iter().chain(status));
            let wait = cooldown_until.map(|until| (COOLDOWN_UNTIL, moment(until)));
            let set = [(FAILURE, part)].into_iter().chain(wait).collect();
            Changes {
                part: FAILURE,
                at,
                set,
            }
        }
    }
}

/// The health in a record.
pub(super) fn read(item: &Item) -> Result<ModelHealth, StoreError> {
    let fields = Fields::of(item)?;
    Ok(ModelHealth {
        latency: fields.optional(LATENCY, |fields, name| {
            let part = fields.map(name)?;
            Ok(Latency {
                at: part.moment(AT)?,
                mean_ms: part.number(MEAN_MS)?,
                longest_ms: part.number(LONGEST_MS)?,
            })
        })?,
        last_failure: fields.optional(FAILURE, |fields, name| {
            let part = fields.map(name)?;
            Ok(LastFailure {
                at: part.moment(AT)?,
                code: part.name(CODE)?,
                status: part.optional(STATUS, Fields::number)?,
            })
        })?,
        cooldown_until: fields.optional(COOLDOWN_UNTIL, Fields::moment)?,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::super::{items, keys};
    use super::*;
    use crate::domain::{FailureCode, HealthKey};
    use crate::testing::samples::{START, after, model};

    fn answered() -> HealthNote {
        HealthNote::Answered(Latency {
            at: START,
            mean_ms: 900,
            longest_ms: 1_500,
        })
    }

    fn failed(status: Option<u16>) -> HealthNote {
        let failure = LastFailure {
            at: after(1),
            code: FailureCode::ModelRateLimited,
            status,
        };
        HealthNote::Failed {
            failure,
            cooldown_until: Some(after(60)),
        }
    }

    fn record(notes: impl IntoIterator<Item = HealthNote>) -> Item {
        let set = notes.into_iter().flat_map(|note| changes(note).set);
        items::item(keys::health(&HealthKey::Model(model())), set.collect())
    }

    #[test]
    fn health_survives_its_record() {
        for notes in [
            vec![],
            vec![answered()],
            vec![failed(None)],
            vec![answered(), failed(Some(429))],
        ] {
            let mut expected = ModelHealth::default();
            for note in &notes {
                expected.add(*note);
            }
            assert_eq!(read(&record(notes)).unwrap(), expected);
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let whole = record([answered(), failed(Some(429))]);
        items::checks::check_robustness(&whole, &["v"], read);
        for (part, fields) in [
            (LATENCY, [AT, MEAN_MS, LONGEST_MS].as_slice()),
            (FAILURE, &[AT, CODE]),
        ] {
            for field in fields {
                let mut broken = whole.clone();
                let AttributeValue::M(map) = broken.get_mut(part).unwrap() else {
                    panic!("{part} is no map")
                };
                map.remove(*field);
                assert!(read(&broken).is_err(), "{part} {field}");
            }
        }
    }
}
