//! How a task's changes and waits are spelled in records.
//!
//! The versions before `agent_disabled` can't read a record with a reason that they don't know. So a
//! reason that is new is written as one that they know, with its own name beside it as a detail. A
//! version that doesn't know a detail reads the reason.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};

use super::items::{Attributes, Fields, name, text};
use crate::domain::{Change, WaitReason};
use crate::ports::StoreError;

pub(super) const WAIT_REASON: &str = "wait_reason";
pub(super) const WAIT_DETAIL: &str = "wait_detail";

const REASON: &str = "reason";
const DETAIL: &str = "detail";

/// The reason as every version knows it, and its own name if that is another.
const fn spelled(reason: WaitReason) -> (WaitReason, Option<&'static str>) {
    match reason {
        WaitReason::RetryAfter
        | WaitReason::Breaker
        | WaitReason::RateLimit
        | WaitReason::SingleFlight
        | WaitReason::OutOfTime
        | WaitReason::Budget
        | WaitReason::Concurrency => (reason, None),
        WaitReason::AgentDisabled | WaitReason::NotBefore | WaitReason::TenantSuspended => {
            (WaitReason::Concurrency, Some(reason.as_str()))
        }
    }
}

/// The reason of a wait as attributes of a task's record.
pub(super) fn wait_reason(reason: WaitReason) -> Attributes {
    let (known, detail) = spelled(reason);
    let mut attributes = vec![(WAIT_REASON, name(&known))];
    attributes.extend(detail.map(|detail| (WAIT_DETAIL, text(detail))));
    attributes
}

/// The reason of a wait in a task's record. A version before may have left the detail of an earlier
/// wait.
pub(super) fn read_wait_reason(fields: &Fields<'_>) -> Result<WaitReason, StoreError> {
    let known: WaitReason = fields.name(WAIT_REASON)?;
    let detail: Option<WaitReason> = fields.optional(WAIT_DETAIL, Fields::name).ok().flatten();
    let fits = |detail: &WaitReason| spelled(*detail) == (known, Some(detail.as_str()));
    Ok(detail.filter(fits).unwrap_or(known))
}

/// A change as an entry of the list of changes.
pub(super) fn change(change: &Change) -> AttributeValue {
    let mut entry = json!(change);
    let reason = entry.get(REASON).and_then(named).map(spelled);
    if let (Some((known, Some(detail))), Some(members)) = (reason, entry.as_object_mut()) {
        members.insert(REASON.to_owned(), json!(known));
        members.insert(DETAIL.to_owned(), json!(detail));
    }
    text(entry.to_string())
}

/// The changes in the list of this name.
pub(super) fn read_changes(fields: &Fields<'_>, name: &str) -> Result<Vec<Change>, StoreError> {
    let entries: Vec<Value> = fields.json_list(name)?;
    let read = |mut entry: Value| {
        let members = entry.as_object_mut()?;
        if let Some(detail) = members.remove(DETAIL).as_ref().and_then(named) {
            members.insert(REASON.to_owned(), json!(detail));
        }
        serde_json::from_value(entry).ok()
    };
    let changes: Option<Vec<Change>> = entries.into_iter().map(read).collect();
    changes.ok_or_else(|| fields.corrupt(format!("an entry of {name} can't be used")))
}

fn named(value: &Value) -> Option<WaitReason> {
    serde_json::from_value(value.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::items::{self, Item};
    use super::*;
    use crate::domain::{Event, Timestamp};

    const REASONS: [WaitReason; 10] = [
        WaitReason::RetryAfter,
        WaitReason::Breaker,
        WaitReason::RateLimit,
        WaitReason::SingleFlight,
        WaitReason::OutOfTime,
        WaitReason::Budget,
        WaitReason::Concurrency,
        WaitReason::AgentDisabled,
        WaitReason::NotBefore,
        WaitReason::TenantSuspended,
    ];

    fn parked(reason: WaitReason) -> Change {
        let at = Timestamp::from_millis(7);
        Change::new(at, Event::Parked { reason, until: at })
    }

    fn record(attributes: Attributes) -> Item {
        let named = attributes.into_iter();
        named
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn changes_of(entries: Vec<AttributeValue>) -> Vec<Change> {
        let item = record(vec![("history", items::list(entries.into_iter()))]);
        read_changes(&Fields::of_index(&item), "history").unwrap()
    }

    #[test]
    fn every_reason_survives_its_record() {
        for reason in REASONS {
            let item = record(wait_reason(reason));
            assert_eq!(read_wait_reason(&Fields::of_index(&item)).unwrap(), reason);
            assert_eq!(changes_of(vec![change(&parked(reason))]), [parked(reason)]);
        }
    }

    /// What a version reads that knows neither the detail's name nor its value.
    #[test]
    fn every_reason_is_one_that_the_first_versions_know() {
        for reason in REASONS {
            let item = record(wait_reason(reason));
            let known: WaitReason = Fields::of_index(&item).name(WAIT_REASON).unwrap();
            assert_ne!(known, WaitReason::AgentDisabled);
            let entry = change(&parked(reason));
            let read: Change = serde_json::from_str(entry.as_s().unwrap()).unwrap();
            assert_eq!(read, parked(known));
        }
    }

    #[test]
    fn a_detail_that_is_unknown_or_of_an_earlier_wait_is_ignored() {
        for (reason, detail) in [
            ("concurrency", "tomorrow"),
            ("rate_limit", "agent_disabled"),
        ] {
            let item = record(vec![
                (WAIT_REASON, text(reason)),
                (WAIT_DETAIL, text(detail)),
            ]);
            let read = read_wait_reason(&Fields::of_index(&item)).unwrap();
            assert_eq!(read.as_str(), reason);
        }
        let entry =
            r#"{"at":7,"event":"parked","reason":"concurrency","detail":"tomorrow","until":7}"#;
        assert_eq!(
            changes_of(vec![text(entry)]),
            [parked(WaitReason::Concurrency)]
        );
    }
}
