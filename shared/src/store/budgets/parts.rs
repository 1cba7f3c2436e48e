//! The records that a budget is split into. A part with too little room for a reservation takes
//! over room of the others.

use std::time::Duration;

use super::{COMMITTED, DynamoBudgets, Record, Room, read};
use crate::domain::{ReservationId, Timestamp};
use crate::ports::{BudgetKey, Reservation, Reserved, StoreError};
use crate::store::error::reasons_of_transaction;
use crate::store::items::{V, VERSION, number};
use crate::store::keys::{self, Key};
use crate::store::table::wait_before;

/// How many times a reservation is tried while others change the same records.
const TRIES: u32 = 12;

/// The longest wait before the second try. It grows by as much with each further try.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// The records of a budget, as one reservation sees them.
pub(super) struct Parts {
    /// The part that holds the reservation. The reservation's id decides which one.
    pub(super) own: Part,
    pub(super) others: Vec<Part>,
    cap: u64,
}

/// One record of a budget, and its share of the cap.
pub(super) struct Part {
    pub(super) record: Key,
    /// How much of the cap is for this part, in micro-USD.
    pub(super) share: u64,
}

/// The room that a part gives to the reservation's own part.
struct Donation<'a> {
    part: &'a Part,
    micro_usd: u64,
}

impl Parts {
    /// The parts of a budget with this cap. Together, their shares are the cap.
    pub(super) fn of(budget: &BudgetKey, reservation: ReservationId, cap: u64) -> Self {
        let records = keys::budget(budget);
        let count = records.len() as u64;
        let mut parts: Vec<Part> = (0..)
            .zip(records)
            .map(|(index, record)| Part {
                record,
                share: cap / count + u64::from(index < cap % count),
            })
            .collect();
        let [.., last] = reservation.as_bytes();
        let own = parts.swap_remove(usize::from(*last) % parts.len());
        Self {
            own,
            others: parts,
            cap,
        }
    }

    fn records(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.own)
            .chain(&self.others)
            .map(|part| &part.record)
    }

    /// The room that the own part lacks, taken from the parts with the most room first.
    fn donations(&self, lacking: i128, others: &[Record]) -> Vec<Donation<'_>> {
        let room = |(part, seen): (_, &Record)| {
            let part: &Part = part;
            (part, (i128::from(part.share) - seen.committed).max(0))
        };
        let mut rooms: Vec<(&Part, i128)> = self.others.iter().zip(others).map(room).collect();
        rooms.sort_by_key(|(_, room)| std::cmp::Reverse(*room));
        let mut lacking = lacking;
        let mut donations = Vec::new();
        for (part, room) in rooms {
            let given = room.min(lacking);
            if let Some(micro_usd) = u64::try_from(given).ok().filter(|given| *given > 0) {
                donations.push(Donation { part, micro_usd });
                lacking -= given;
            }
        }
        donations
    }
}

impl DynamoBudgets {
    /// Reserves in the own part. If its room is too small, it takes over room of the others.
    pub(super) async fn reserve_across(
        &self,
        parts: &Parts,
        reservation: &Reservation,
        now: Timestamp,
    ) -> Result<Reserved, StoreError> {
        for attempt in 0..TRIES {
            wait_before(attempt, LONGEST_WAIT).await;
            let seen = match self.read_together(parts.records()).await {
                Ok(seen) => seen,
                Err(StoreError::Conflict) => continue,
                Err(error) => return Err(error),
            };
            let (Some((own, others)), all) = (seen.split_first(), sum(&seen)) else {
                continue;
            };
            if own.holds(reservation) {
                return Ok(Reserved::Granted);
            }
            if all.committed + i128::from(reservation.amount_micro_usd) > i128::from(parts.cap) {
                for (record, seen) in parts.records().zip(&seen) {
                    self.clear(record, seen, now).await;
                }
                return Ok(all.at(now).refusal());
            }
            let lacking = own.committed + i128::from(reservation.amount_micro_usd)
                - i128::from(parts.own.share);
            let moved = self
                .reserve_with(parts, &parts.donations(lacking.max(0), others), reservation)
                .await;
            match moved {
                Ok(true) => return Ok(Reserved::Granted),
                Ok(false) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Throttled(
            "a budget's records changed during each try to reserve".into(),
        ))
    }

    /// Reserves in the own part and takes over the donations, in one transaction. False if a record
    /// has changed since it was read.
    async fn reserve_with(
        &self,
        parts: &Parts,
        donations: &[Donation<'_>],
        reservation: &Reservation,
    ) -> Result<bool, StoreError> {
        let taken = donations.iter().map(|donation| donation.micro_usd).sum();
        let most = i128::from(parts.own.share) + i128::from(taken)
            - i128::from(reservation.amount_micro_usd);
        let own = self.reserving(
            parts.own.record.clone(),
            reservation,
            Room {
                most,
                before: 0,
                taken,
            },
        );
        let mut transaction = self
            .table
            .client
            .transact_write_items()
            .transact_items(self.table.transact_update(&own)?);
        for Donation { part, micro_usd } in donations {
            let giving = self
                .table
                .update(part.record.clone())
                .update_expression(
                    "SET #committed = if_not_exists(#committed, :zero) + :given, #v = :v",
                )
                .condition_expression(
                    "attribute_not_exists(#committed) OR (#v <= :v AND #committed <= :room)",
                )
                .expression_attribute_names("#committed", COMMITTED)
                .expression_attribute_names("#v", V)
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":given", number(micro_usd))
                .expression_attribute_values(":room", number(part.share.saturating_sub(*micro_usd)))
                .expression_attribute_values(":v", number(VERSION));
            transaction = transaction.transact_items(self.table.transact_update(&giving)?);
        }
        match transaction.send().await {
            Ok(_) => Ok(true),
            Err(error) => reasons_of_transaction(error).map(|_| false),
        }
    }

    /// The sum of all records of the budget.
    pub(super) async fn read_all(&self, budget: &BudgetKey) -> Result<Record, StoreError> {
        let records = keys::budget(budget);
        if let [record] = records.as_slice() {
            return self
                .table
                .read(record.clone())
                .await?
                .as_ref()
                .map_or_else(|| Ok(Record::default()), read);
        }
        Ok(sum(&self.read_together(records.iter()).await?))
    }

    /// The records as they are at one moment.
    async fn read_together(
        &self,
        records: impl Iterator<Item = &Key>,
    ) -> Result<Vec<Record>, StoreError> {
        let items = self.table.read_together(records).await?;
        items
            .iter()
            .map(|item| item.as_ref().map_or_else(|| Ok(Record::default()), read))
            .collect()
    }
}

fn sum(parts: &[Record]) -> Record {
    parts.iter().fold(Record::default(), |mut sum, part| {
        sum.committed += part.committed;
        sum.held.extend_from_slice(&part.held);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TaskId, TenantId};
    use crate::testing::samples::START;

    fn day() -> BudgetKey {
        BudgetKey::tenant_day(&"acme".parse::<TenantId>().unwrap(), START)
    }

    fn reservation(last: u8) -> ReservationId {
        ReservationId::derived([last; 16])
    }

    fn committed(amounts: [i128; 7]) -> Vec<Record> {
        amounts
            .map(|committed| Record {
                committed,
                held: Vec::new(),
            })
            .into()
    }

    #[test]
    fn a_task_has_one_record_and_a_day_has_eight_that_share_the_cap() {
        let task = Parts::of(&BudgetKey::Task(TaskId::new(START)), reservation(9), 100);
        assert_eq!((task.own.share, task.others.len()), (100, 0));
        for cap in [0, 1, 100, u64::MAX] {
            let mut own = std::collections::BTreeSet::new();
            for last in 0..=u8::MAX {
                let parts = Parts::of(&day(), reservation(last), cap);
                let shares = parts
                    .others
                    .iter()
                    .map(|part| part.share)
                    .chain([parts.own.share]);
                assert_eq!(shares.map(u128::from).sum::<u128>(), cap.into());
                own.insert(parts.own.record.to_string());
            }
            assert_eq!(own.len(), 8);
        }
    }

    #[test]
    fn the_parts_with_the_most_room_give_first() {
        let parts = Parts::of(&day(), reservation(0), 800);
        let given = |lacking, amounts| {
            let others = committed(amounts);
            let donations = parts.donations(lacking, &others);
            donations
                .iter()
                .map(|donation| donation.micro_usd)
                .collect::<Vec<_>>()
        };
        assert_eq!(given(50, [90, 20, 100, 100, 100, 100, 130]), [50]);
        assert_eq!(given(85, [90, 20, 100, 100, 100, 100, 130]), [80, 5]);
        assert_eq!(given(120, [0, -20, 0, 0, 0, 0, 0]), [120]);
        assert_eq!(given(121, [0, -20, 0, 0, 0, 0, 0]), [120, 1]);
        assert_eq!(given(9, [100; 7]), [0; 0]);
        assert_eq!(given(0, [0; 7]), [0; 0]);
    }
}
