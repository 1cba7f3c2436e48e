//! Budgets on DynamoDB: one record each, changed by one conditional write per reservation and per settlement.
//!
//! `committed` counts what is spent and what is set aside; each reservation is an attribute of its own, so that no write
//! depends on another one's having made a map for it. What an expired reservation set aside is in `committed` already, so
//! that clearing it away changes no amount, and nothing is lost when that fails. A record stays small as long as
//! few reserve at once: with 1,000 open reservations it has 90 KB, and each write of it costs as much as 90 small ones; with
//! some 4,000 it is full, and reserving fails until others settle. The table has no TTL: a tenant's days stay, at one small
//! record a day.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::error::kept_instead_of_update;
use super::items::{Fields, Item, V, VERSION, moment, number};
use super::keys;
use super::table::Table;
use crate::domain::{ReservationId, Timestamp};
use crate::ports::{Allowance, Budget, BudgetKey, Budgets, Reservation, Reserved, Settled, StoreError};

const COMMITTED: &str = "committed";
/// What the names of the reservations' attributes begin with.
const HOLD_PREFIX: &str = "hold_";
const AMOUNT: &str = "amount";
const EXPIRES_AT: &str = "expires_at";

/// The most expired reservations that one write clears away: an expression has at most 4 KB.
const CLEARED_AT_ONCE: usize = 100;

/// Budgets in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoBudgets {
    table: Table,
}

impl DynamoBudgets {
    /// Keeps budgets in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }

    /// Reserves where `room` is the most that may be committed already. A budget that isn't there begins with `before`.
    fn reserving(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        room: u64,
        before: u64,
    ) -> UpdateItemFluentBuilder {
        // DynamoDB compares no two values that both come with the request.
        let room_left = if before <= room {
            "(attribute_not_exists(#committed) OR (#v <= :v AND #committed <= :room))"
        } else {
            "#v <= :v AND #committed <= :room"
        };
        self.table
            .update(keys::budget(budget))
            .update_expression("SET #committed = if_not_exists(#committed, :before) + :amount, #hold = :hold, #v = :v")
            .condition_expression(format!("{room_left} AND attribute_not_exists(#hold)"))
            .expression_attribute_names("#committed", COMMITTED)
            .expression_attribute_names("#hold", hold_name(reservation.id))
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":before", number(before))
            .expression_attribute_values(":amount", number(reservation.amount_micro_usd))
            .expression_attribute_values(":hold", hold(reservation))
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":room", number(room))
            .return_values(ReturnValue::AllNew)
    }

    fn settling(&self, budget: &BudgetKey, reservation: &Reservation, actual: u64) -> UpdateItemFluentBuilder {
        let difference = i128::from(actual) - i128::from(reservation.amount_micro_usd);
        self.table
            .update(keys::budget(budget))
            .update_expression("SET #committed = #committed + :difference REMOVE #hold")
            .condition_expression("#v <= :v AND attribute_exists(#hold)")
            .expression_attribute_names("#committed", COMMITTED)
            .expression_attribute_names("#hold", hold_name(reservation.id))
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":difference", number(difference))
            .expression_attribute_values(":v", number(VERSION))
            .return_values(ReturnValue::AllNew)
    }

    /// Clears away what has expired. If that fails, it is left to the next one who looks.
    async fn clear(&self, budget: &BudgetKey, seen: &Budget, now: Timestamp) {
        let expired = seen.held.iter().filter(|held| held.expires_at <= now).take(CLEARED_AT_ONCE);
        let names: Vec<String> = expired.map(|held| hold_name(held.id)).collect();
        if names.is_empty() {
            return;
        }
        let mut request = self.table.update(keys::budget(budget));
        let mut removed = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            removed.push(format!("#hold{index}"));
            request = request.expression_attribute_names(format!("#hold{index}"), name);
        }
        drop(request.update_expression(format!("REMOVE {}", removed.join(", "))).send().await);
    }
}

#[async_trait]
impl Budgets for DynamoBudgets {
    async fn reserve(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        Allowance { cap_micro_usd, spent_before_micro_usd: before }: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, StoreError> {
        let Some(room) = cap_micro_usd.checked_sub(reservation.amount_micro_usd) else {
            let item = self.table.read(keys::budget(budget)).await?;
            return Ok(seen(item.as_ref(), before, now)?.refusal());
        };
        let (item, written) = match self.reserving(budget, reservation, room, before).send().await {
            Ok(granted) => (granted.attributes, true),
            Err(error) => (kept_instead_of_update(error)?, false),
        };
        let mut seen = item.as_ref().map_or_else(|| Ok(begun(before)), read)?;
        self.clear(budget, &seen, now).await;
        // The SDK sends a request again when its answer is lost; the first one may have been granted.
        let granted = written || seen.held.iter().any(|held| held.id == reservation.id);
        seen.held.retain(|held| held.expires_at > now);
        Ok(if granted { Reserved::Granted } else { seen.refusal() })
    }

    async fn settle(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        actual_micro_usd: u64,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let (item, settled) = match self.settling(budget, reservation, actual_micro_usd).send().await {
            Ok(settled) => (settled.attributes, Settled::Done),
            Err(error) => (kept_instead_of_update(error)?, Settled::Gone),
        };
        let seen = item.as_ref().map(read).transpose()?.unwrap_or_default();
        self.clear(budget, &seen, now).await;
        Ok(settled)
    }

    async fn budget(&self, budget: &BudgetKey, now: Timestamp) -> Result<Budget, StoreError> {
        let item = self.table.read(keys::budget(budget)).await?;
        seen(item.as_ref(), 0, now)
    }
}

/// A budget that isn't kept yet.
fn begun(before: u64) -> Budget {
    Budget { committed_micro_usd: before, held: Vec::new() }
}

/// The budget in the record, if there is one; what has expired is spent.
fn seen(item: Option<&Item>, before: u64, now: Timestamp) -> Result<Budget, StoreError> {
    let mut seen = item.map_or_else(|| Ok(begun(before)), read)?;
    seen.held.retain(|held| held.expires_at > now);
    Ok(seen)
}

fn hold_name(id: ReservationId) -> String {
    format!("{HOLD_PREFIX}{id}")
}

fn hold(reservation: &Reservation) -> AttributeValue {
    let amount = number(reservation.amount_micro_usd);
    let fields = [(AMOUNT, amount), (EXPIRES_AT, moment(reservation.expires_at))];
    AttributeValue::M(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

/// The budget in a record, expired reservations included.
fn read(item: &Item) -> Result<Budget, StoreError> {
    let fields = Fields::of(item)?;
    // What vendors claim to have used can add up to more than fits.
    let committed: u128 = fields.number(COMMITTED)?;
    let mut held = Vec::new();
    for (name, value) in item {
        let Some(id) = name.strip_prefix(HOLD_PREFIX) else { continue };
        let AttributeValue::M(attributes) = value else { return Err(fields.corrupt(format!("{name} is not a map"))) };
        let reservation = fields.within(attributes);
        held.push(Reservation {
            id: fields.valid(id.parse())?,
            amount_micro_usd: reservation.number(AMOUNT)?,
            expires_at: reservation.moment(EXPIRES_AT)?,
        });
    }
    Ok(Budget { committed_micro_usd: u64::try_from(committed).unwrap_or(u64::MAX), held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TaskId;
    use crate::store::items;
    use crate::testing::samples;

    fn record(reservation: &Reservation) -> Item {
        let mut record =
            items::item(keys::budget(&BudgetKey::Task(TaskId::new(samples::START))), vec![(COMMITTED, number(70))]);
        record.insert(hold_name(reservation.id), hold(reservation));
        record
    }

    fn reservation() -> Reservation {
        let id = ReservationId::new(samples::START);
        Reservation { id, amount_micro_usd: 30, expires_at: samples::after(60) }
    }

    #[test]
    fn a_reservation_survives_its_record() {
        let reservation = reservation();
        let budget = read(&record(&reservation)).unwrap();
        assert_eq!(budget, Budget { committed_micro_usd: 70, held: vec![reservation] });
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
        assert_eq!(read(&item).unwrap().committed_micro_usd, u64::MAX);
    }
}
