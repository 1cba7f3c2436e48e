//! Slots on DynamoDB, in the ephemeral table: one record per owner, changed by one conditional
//! write per slot.
//!
//! Each slot is an attribute of its own, so that no write depends on another one's having made a
//! map for it, and `held` counts them, because a condition can't. No write changes one without the
//! other, and each is conditional on the very slots that it changes, so that repeating one whose
//! answer got lost changes nothing.
//!
//! A record has some 80 bytes a slot, and DynamoDB charges each write, refused ones too, by its
//! size: with 100 slots it costs eight times as much as with ten, and takes 120 writes a second at
//! most. A record that has expired but is still there holds nothing but slots that have ended, and
//! those count as absent one by one.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::error::record_that_failed_update;
use super::items::{Fields, Item, V, VERSION, map, moment, number};
use super::keys::{self, EXPIRES_AT, Key};
use super::table::Table;
use crate::domain::{TaskId, Timestamp};
use crate::ports::{LimitOwner, Slot, Slots, StoreError, Taken};

const HELD: &str = "held";
/// What the names of the slots' attributes begin with.
const SLOT_PREFIX: &str = "slot_";
const FENCE: &str = "fence";
const UNTIL: &str = "until";

/// How long after the end of the last slot taken a record is stored. No other slot in it ends later
/// than that: an invocation lasts 15 minutes at most.
const RETENTION: Duration = Duration::from_hours(1);

/// The most ended slots that one write clears away: an expression has at most 4 KB.
const CLEARED_AT_ONCE: usize = 100;

/// How often a slot is tried for. Each time but the first, others changed what was seen, or ended
/// slots were cleared.
const TRIES: usize = 8;

/// Slots in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoSlots {
    table: Table,
    key: fn(&LimitOwner) -> Key,
}

/// What to do about a slot that could not be taken.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The task holds it already.
    Have,
    /// The task has this one, of an earlier worker or with another end.
    Replace(Slot),
    /// These have ended.
    Clear(Vec<Slot>),
    /// The record has changed meanwhile.
    Again,
    /// Nothing.
    Full,
}

impl DynamoSlots {
    /// Keeps the slots of running tasks in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
            key: keys::slots,
        }
    }

    /// Keeps the places of waiting clients in the table of this name.
    pub fn of_waits(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
            key: keys::waits,
        }
    }

    fn taking(&self, owner: &LimitOwner, slot: &Slot, most: u32) -> UpdateItemFluentBuilder {
        self.setting(owner, slot)
            .update_expression(
                "SET #held = if_not_exists(#held, :zero) + :one, #slot = :slot, #v = :v, #expires_at = :expires_at",
            )
            .condition_expression(
                "(attribute_not_exists(#held) OR (#v <= :v AND #held < :most)) AND attribute_not_exists(#slot)",
            )
            .expression_attribute_names("#held", HELD)
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(most))
            .expression_attribute_values(":v", number(VERSION))
    }

    fn replacing(&self, owner: &LimitOwner, slot: &Slot, seen: &Slot) -> UpdateItemFluentBuilder {
        self.setting(owner, slot)
            .update_expression("SET #slot = :slot, #expires_at = :expires_at")
            .condition_expression("#slot.#fence = :seen_fence AND #slot.#until = :seen_until")
            .expression_attribute_names("#fence", FENCE)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_values(":seen_fence", number(seen.fence))
            .expression_attribute_values(":seen_until", moment(seen.until))
    }

    fn setting(&self, owner: &LimitOwner, slot: &Slot) -> UpdateItemFluentBuilder {
        let expires_at = number(keys::seconds(slot.until.plus(RETENTION)));
        self.table
            .update((self.key)(owner))
            .expression_attribute_names("#slot", slot_name(slot.task))
            .expression_attribute_names("#expires_at", EXPIRES_AT)
            .expression_attribute_values(":slot", attribute(slot))
            .expression_attribute_values(":expires_at", expires_at)
    }

    /// Clears these slots away, unless one of them is no longer as it was seen.
    fn clearing(&self, owner: &LimitOwner, ended: &[Slot]) -> UpdateItemFluentBuilder {
        let mut request = self
            .table
            .update((self.key)(owner))
            .expression_attribute_names("#held", HELD)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_values(":cleared", number(ended.len()));
        let (mut removed, mut conditions) = (Vec::new(), Vec::new());
        for (index, slot) in ended.iter().enumerate() {
            removed.push(format!("#s{index}"));
            conditions.push(format!("#s{index}.#until = :u{index}"));
            request = request
                .expression_attribute_names(format!("#s{index}"), slot_name(slot.task))
                .expression_attribute_values(format!(":u{index}"), moment(slot.until));
        }
        request
            .update_expression(format!(
                "SET #held = #held - :cleared REMOVE {}",
                removed.join(", ")
            ))
            .condition_expression(conditions.join(" AND "))
    }
}

#[async_trait]
impl Slots for DynamoSlots {
    async fn take(
        &self,
        owner: &LimitOwner,
        slot: &Slot,
        most: u32,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        // An owner without a record has no count that could be held against a most of none.
        if most == 0 {
            return Ok(Taken::Full);
        }
        for _ in 0..TRIES {
            let Some(seen) = write(self.taking(owner, slot, most)).await? else {
                return Ok(Taken::Granted);
            };
            match next(&seen, slot, most, now)? {
                Next::Have => return Ok(Taken::Granted),
                Next::Full => return Ok(Taken::Full),
                Next::Replace(own) => {
                    if write(self.replacing(owner, slot, &own)).await?.is_none() {
                        return Ok(Taken::Granted);
                    }
                }
                Next::Clear(ended) => drop(write(self.clearing(owner, &ended)).await?),
                Next::Again => {}
            }
        }
        Ok(Taken::Full)
    }

    async fn give_back(&self, owner: &LimitOwner, slot: &Slot) -> Result<(), StoreError> {
        let request = self
            .table
            .update((self.key)(owner))
            .update_expression("SET #held = #held - :one REMOVE #slot")
            .condition_expression("#v <= :v AND #slot.#fence = :fence")
            .expression_attribute_names("#held", HELD)
            .expression_attribute_names("#slot", slot_name(slot.task))
            .expression_attribute_names("#fence", FENCE)
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":fence", number(slot.fence))
            .expression_attribute_values(":v", number(VERSION));
        write(request).await.map(drop)
    }
}

/// Makes the change. If its condition fails, the record comes back as it stands; an empty one if
/// there is none.
async fn write(request: UpdateItemFluentBuilder) -> Result<Option<Item>, StoreError> {
    match request.send().await {
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(record_that_failed_update(error)?.unwrap_or_default())),
    }
}

/// What to do about a slot that could not be taken from this record.
fn next(record: &Item, slot: &Slot, most: u32, now: Timestamp) -> Result<Next, StoreError> {
    if record.is_empty() {
        return Ok(Next::Again);
    }
    let (held, slots) = read(record)?;
    if let Some(own) = slots.iter().find(|own| own.task == slot.task) {
        // The SDK sends a request again when its answer is lost; the first one may have been
        // granted.
        let have = own == slot || own.fence > slot.fence;
        return Ok(if have {
            Next::Have
        } else {
            Next::Replace(*own)
        });
    }
    if held < u64::from(most) {
        return Ok(Next::Again);
    }
    let ended: Vec<Slot> = slots
        .into_iter()
        .filter(|held| held.until <= now)
        .take(CLEARED_AT_ONCE)
        .collect();
    Ok(if ended.is_empty() {
        Next::Full
    } else {
        Next::Clear(ended)
    })
}

/// The count and the slots in a record, ended ones included.
fn read(record: &Item) -> Result<(u64, Vec<Slot>), StoreError> {
    let fields = Fields::of(record)?;
    let mut slots = Vec::new();
    for (name, value) in record {
        let Some(task) = name.strip_prefix(SLOT_PREFIX) else {
            continue;
        };
        let AttributeValue::M(attributes) = value else {
            return Err(fields.corrupt(format!("{name} is not a map")));
        };
        let slot = fields.within(attributes);
        slots.push(Slot {
            task: fields.valid(task.parse())?,
            fence: slot.number(FENCE)?,
            until: slot.moment(UNTIL)?,
        });
    }
    Ok((fields.number(HELD)?, slots))
}

fn slot_name(task: TaskId) -> String {
    format!("{SLOT_PREFIX}{task}")
}

fn attribute(slot: &Slot) -> AttributeValue {
    map([(FENCE, number(slot.fence)), (UNTIL, moment(slot.until))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::items;
    use crate::testing::samples::{self, START, after};

    fn slot(until: u64) -> Slot {
        Slot {
            task: TaskId::new(START),
            fence: 3,
            until: after(until),
        }
    }

    fn owner() -> LimitOwner {
        LimitOwner::Tenant(samples::tenant("acme"))
    }

    fn record(slots: &[Slot]) -> Item {
        let held = vec![(HELD, number(slots.len()))];
        let mut record = items::item(keys::slots(&owner()), held);
        record.extend(
            slots
                .iter()
                .map(|slot| (slot_name(slot.task), attribute(slot))),
        );
        record
    }

    #[test]
    fn a_slot_survives_its_record() {
        let slot = slot(60);
        assert_eq!(read(&record(&[slot])).unwrap(), (1, vec![slot]));
    }

    #[test]
    fn what_is_next_depends_on_who_holds_what() {
        let (ended, living, ours) = (slot(30), slot(60), slot(90));
        let later = Slot { fence: 4, ..ours };
        for (held, slot, most, expected) in [
            (vec![ended, living], ours, 2, Next::Clear(vec![ended])),
            (vec![ended, living], ours, 3, Next::Again),
            (vec![living], ours, 1, Next::Full),
            (vec![ended, ours], ours, 1, Next::Have),
            (vec![later], ours, 1, Next::Have),
            (vec![ours, living], later, 1, Next::Replace(ours)),
            (
                vec![ours],
                Slot {
                    until: after(91),
                    ..ours
                },
                1,
                Next::Replace(ours),
            ),
        ] {
            assert_eq!(
                next(&record(&held), &slot, most, after(30)).unwrap(),
                expected,
                "{held:?}"
            );
        }
        assert_eq!(next(&Item::new(), &ours, 1, START).unwrap(), Next::Again);
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let slot = slot(60);
        let item = record(&[slot]);
        items::checks::check_robustness(&item, &["v", "held"], read);
        for broken in [number(1), AttributeValue::M(Item::new())] {
            let mut item = item.clone();
            item.insert(slot_name(slot.task), broken);
            assert!(matches!(read(&item), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn clearing_as_much_as_one_write_can_fits_into_an_expression() {
        let client = Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .behavior_version_latest()
                .build(),
        );
        let slots: Vec<Slot> = (0..CLEARED_AT_ONCE).map(|_| slot(0)).collect();
        let request = DynamoSlots::new(client, "ephemeral").clearing(&owner(), &slots);
        for expression in [
            request.get_condition_expression(),
            request.get_update_expression(),
        ] {
            assert!(
                expression
                    .as_ref()
                    .is_some_and(|text| (500..4_096).contains(&text.len())),
                "{expression:?}"
            );
        }
    }
}
