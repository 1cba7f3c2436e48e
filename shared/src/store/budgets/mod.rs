//! Budgets on DynamoDB: one conditional write per reservation and per settlement.
//!
//! `committed` is the sum of spent and reserved cost. Each reservation is an attribute of its own,
//! so that no write has to create a map for it first. The amount of an expired reservation is in
//! `committed` already and counts as spent. So deleting the reservation changes no amount, and
//! nothing is lost if the deletion fails.
//!
//! A task's budget is one record. The budget of a day is split into eight records, each in its own
//! partition. Two facts require this: each open reservation adds about 90 bytes to its record, and
//! so to the price of each write, and one partition has 1,000 write units a second
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>).
//! Each part has its share of the cap. The reservation's id selects its part. A part without room
//! takes over room of other parts, in one transaction that moves as much of its `committed` to
//! them. So a reservation is refused only if all parts together have no room. The table has no TTL:
//! the small records of past days stay.

mod parts;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use self::parts::Parts;
use super::error::record_that_failed_update;
use super::items::{Fields, Item, V, VERSION, map, moment, number};
use super::keys::Key;
use super::table::Table;
use crate::domain::{ReservationId, Timestamp};
use crate::ports::{
    Allowance, Budget, BudgetKey, Budgets, Reservation, Reserved, Settled, StoreError,
};

const COMMITTED: &str = "committed";
/// What the names of the reservations' attributes begin with.
const HOLD_PREFIX: &str = "hold_";
const AMOUNT: &str = "amount";
const EXPIRES_AT: &str = "expires_at";

/// The most expired reservations that one write deletes: an expression has at most 4 KB.
const CLEARED_AT_ONCE: usize = 100;

/// Budgets in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoBudgets {
    table: Table,
}

/// One record of a budget, expired reservations included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Record {
    /// The sum of spent and reserved cost. Negative in a part of a day that took over more room
    /// than it needed.
    committed: i128,
    held: Vec<Reservation>,
}

/// When a record has room for a reservation.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// The most that may be committed before the reservation.
    most: i128,
    /// The amount that counts as committed if the record doesn't exist yet.
    before: u64,
    /// How much room the record takes over from other parts. Its `committed` falls by this.
    taken: u64,
}

impl DynamoBudgets {
    /// Stores budgets in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Reserves in one record if there is room.
    fn reserving(
        &self,
        record: Key,
        reservation: &Reservation,
        room: Room,
    ) -> UpdateItemFluentBuilder {
        let Room {
            most,
            before,
            taken,
        } = room;
        // DynamoDB can't compare two values of the request, so this comparison is made here.
        let has_room = if i128::from(before) <= most {
            "(attribute_not_exists(#committed) OR (#v <= :v AND #committed <= :room))"
        } else {
            "#v <= :v AND #committed <= :room"
        };
        let change = i128::from(reservation.amount_micro_usd) - i128::from(taken);
        self.table
            .update(record)
            .update_expression("SET #committed = if_not_exists(#committed, :before) + :change, #hold = :hold, #v = :v")
            .condition_expression(format!("{has_room} AND attribute_not_exists(#hold)"))
            .expression_attribute_names("#committed", COMMITTED)
            .expression_attribute_names("#hold", hold_name(reservation.id))
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":before", number(before))
            .expression_attribute_values(":change", number(change))
            .expression_attribute_values(":hold", hold(reservation))
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":room", number(most))
            .return_values(ReturnValue::AllNew)
    }

    /// Replaces a reservation by the actual cost, if the reservation is still there.
    fn settling(
        &self,
        record: Key,
        reservation: &Reservation,
        actual: u64,
    ) -> UpdateItemFluentBuilder {
        let difference = i128::from(actual) - i128::from(reservation.amount_micro_usd);
        self.table
            .update(record)
            .update_expression("SET #committed = #committed + :difference REMOVE #hold")
            .condition_expression("#v <= :v AND attribute_exists(#hold)")
            .expression_attribute_names("#committed", COMMITTED)
            .expression_attribute_names("#hold", hold_name(reservation.id))
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":difference", number(difference))
            .expression_attribute_values(":v", number(VERSION))
            .return_values(ReturnValue::AllNew)
    }

    /// Reserves in one record, in which at most `cap` may be committed. Returns the record if it
    /// has no room.
    async fn reserve_in(
        &self,
        record: &Key,
        reservation: &Reservation,
        Allowance {
            cap_micro_usd: cap,
            spent_before_micro_usd: before,
        }: Allowance,
        now: Timestamp,
    ) -> Result<Result<(), Record>, StoreError> {
        let Some(room) = cap.checked_sub(reservation.amount_micro_usd) else {
            let item = self.table.read(record.clone()).await?;
            let seen = item
                .as_ref()
                .map_or_else(|| Ok(Record::begun(before)), read)?;
            return Ok(if seen.holds(reservation) {
                Ok(())
            } else {
                Err(seen)
            });
        };
        let reserving = self.reserving(
            record.clone(),
            reservation,
            Room {
                most: room.into(),
                before,
                taken: 0,
            },
        );
        let (item, written) = match reserving.send().await {
            Ok(granted) => (granted.attributes, true),
            Err(error) => (record_that_failed_update(error)?, false),
        };
        let seen = item
            .as_ref()
            .map_or_else(|| Ok(Record::begun(before)), read)?;
        self.clear(record, &seen, now).await;
        // The SDK repeats a request whose response was lost. The first request may have been
        // granted.
        let granted = written || seen.holds(reservation);
        Ok(if granted { Ok(()) } else { Err(seen) })
    }

    /// Deletes expired reservations. If that fails, the next call of this record deletes them.
    async fn clear(&self, record: &Key, seen: &Record, now: Timestamp) {
        let expired = seen
            .held
            .iter()
            .filter(|held| held.expires_at <= now)
            .take(CLEARED_AT_ONCE);
        let names: Vec<String> = expired.map(|held| hold_name(held.id)).collect();
        if names.is_empty() {
            return;
        }
        let mut request = self.table.update(record.clone());
        let mut removed = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            removed.push(format!("#hold{index}"));
            request = request.expression_attribute_names(format!("#hold{index}"), name);
        }
        drop(
            request
                .update_expression(format!("REMOVE {}", removed.join(", ")))
                .send()
                .await,
        );
    }
}

#[async_trait]
impl Budgets for DynamoBudgets {
    async fn reserve(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let parts = Parts::of(budget, reservation.id, allowance.cap_micro_usd);
        let share = Allowance {
            cap_micro_usd: parts.own.share,
            ..allowance
        };
        match self
            .reserve_in(&parts.own.record, reservation, share, now)
            .await?
        {
            Ok(()) => Ok(Reserved::Granted),
            Err(full) if parts.others.is_empty() => Ok(full.at(now).refusal()),
            Err(_) => self.reserve_across(&parts, reservation, now).await,
        }
    }

    async fn settle(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        actual_micro_usd: u64,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let record = Parts::of(budget, reservation.id, 0).own.record;
        let (item, settled) = match self
            .settling(record.clone(), reservation, actual_micro_usd)
            .send()
            .await
        {
            Ok(settled) => (settled.attributes, Settled::Done),
            Err(error) => (record_that_failed_update(error)?, Settled::Gone),
        };
        let seen = item.as_ref().map(read).transpose()?.unwrap_or_default();
        self.clear(&record, &seen, now).await;
        Ok(settled)
    }

    async fn budget(&self, budget: &BudgetKey, now: Timestamp) -> Result<Budget, StoreError> {
        Ok(self.read_all(budget).await?.at(now))
    }
}

impl Record {
    /// The content of a record that doesn't exist yet.
    fn begun(before: u64) -> Self {
        Self {
            committed: before.into(),
            held: Vec::new(),
        }
    }

    fn holds(&self, reservation: &Reservation) -> bool {
        self.held.iter().any(|held| held.id == reservation.id)
    }

    /// The budget at `now`. Expired reservations count as spent.
    fn at(mut self, now: Timestamp) -> Budget {
        self.held.retain(|held| held.expires_at > now);
        let committed_micro_usd = u64::try_from(self.committed.max(0)).unwrap_or(u64::MAX);
        Budget {
            committed_micro_usd,
            held: self.held,
        }
    }
}

fn hold_name(id: ReservationId) -> String {
    format!("{HOLD_PREFIX}{id}")
}

fn hold(reservation: &Reservation) -> AttributeValue {
    map([
        (AMOUNT, number(reservation.amount_micro_usd)),
        (EXPIRES_AT, moment(reservation.expires_at)),
    ])
}

fn read(item: &Item) -> Result<Record, StoreError> {
    let fields = Fields::of(item)?;
    // The reported usage can add up to more than the largest cap.
    let committed = fields.number(COMMITTED)?;
    let mut held = Vec::new();
    for (name, value) in item {
        let Some(id) = name.strip_prefix(HOLD_PREFIX) else {
            continue;
        };
        let AttributeValue::M(attributes) = value else {
            return Err(fields.corrupt(format!("{name} is not a map")));
        };
        let reservation = fields.within(attributes);
        held.push(Reservation {
            id: fields.valid(id.parse())?,
            amount_micro_usd: reservation.number(AMOUNT)?,
            expires_at: reservation.moment(EXPIRES_AT)?,
        });
    }
    Ok(Record { committed, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TaskId;
    use crate::store::items;
    use crate::testing::samples;

    fn key() -> BudgetKey {
        BudgetKey::Task(TaskId::new(samples::START))
    }

    fn record(reservation: &Reservation) -> Item {
        let mut record = items::item(
            Parts::of(&key(), reservation.id, 0).own.record,
            vec![(COMMITTED, number(70))],
        );
        record.insert(hold_name(reservation.id), hold(reservation));
        record
    }

    fn reservation() -> Reservation {
        let id = ReservationId::new(samples::START);
        Reservation {
            id,
            amount_micro_usd: 30,
            expires_at: samples::after(60),
        }
    }

    #[test]
    fn a_reservation_survives_its_record() {
        let reservation = reservation();
        let budget = read(&record(&reservation)).unwrap().at(samples::START);
        assert_eq!(
            budget,
            Budget {
                committed_micro_usd: 70,
                held: vec![reservation]
            }
        );
        assert_eq!(budget.spent_micro_usd(), 40);
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let reservation = reservation();
        let item = record(&reservation);
        items::checks::check_robustness(&item, &["v", "committed"], read);
        for broken in [number(1), AttributeValue::M(Item::new())] {
            let mut item = item.clone();
            item.insert(hold_name(reservation.id), broken);
            assert!(matches!(read(&item), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn more_than_fits_is_as_much_as_fits() {
        let mut item = record(&reservation());
        item.insert(COMMITTED.to_owned(), number(u128::from(u64::MAX) * 3));
        assert_eq!(
            read(&item).unwrap().at(samples::START).committed_micro_usd,
            u64::MAX
        );
        item.insert(COMMITTED.to_owned(), number(-7));
        assert_eq!(
            read(&item).unwrap().at(samples::START).committed_micro_usd,
            0,
            "a part that took over room"
        );
    }
}
