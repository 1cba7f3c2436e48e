//! Budgets: what model calls may cost, for a task, and for a tenant, a key and the deployment in a
//! day or a month.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{KeyId, Period, ReservationId, TaskId, TenantId, Timestamp};

/// The key of a budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetKey {
    /// A task's, from its first to its last call.
    Task(TaskId),
    /// A tenant's, for one period.
    Tenant(TenantId, Period),
    /// That of the tasks that were submitted with one key of a tenant, for one period.
    Key(TenantId, KeyId, Period),
    /// The budget of all tenants of the deployment together, for one period.
    Deployment(Period),
}

impl BudgetKey {
    /// The tenant's budget of the day that `now` is in.
    pub fn tenant_day(tenant: &TenantId, now: Timestamp) -> Self {
        Self::Tenant(tenant.clone(), Period::day(now))
    }

    /// The deployment's budget of the day that `now` is in.
    pub const fn deployment_day(now: Timestamp) -> Self {
        Self::Deployment(Period::day(now))
    }
}

/// The cost that is reserved for one attempt of a model call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// The most that the attempt can cost.
    pub amount_micro_usd: u64,
    /// When the worker that made it is certainly dead, and the amount counts as spent.
    pub expires_at: Timestamp,
}

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The most, in micro-USD.
    pub cap_micro_usd: u64,
    /// What a new budget begins with: the cost that was spent before there was a cap.
    pub spent_before_micro_usd: u64,
}

/// The result of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// The amount is reserved.
    Granted,
    /// The amount would exceed the cap; nothing changed.
    Refused {
        /// The sum of spent and reserved cost.
        committed_micro_usd: u64,
        /// The part of that which is only reserved, by reservations that have not expired.
        held_micro_usd: u64,
    },
}

/// The result of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The actual cost has replaced the reservation.
    Done,
    /// The reservation is not there, and nothing changed: it is settled already, or it expired and
    /// counts in full.
    Gone,
}

/// The present state of a budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// The sum of spent and reserved cost.
    pub committed_micro_usd: u64,
    /// The reservations, in no order.
    pub held: Vec<Reservation>,
}

impl Budget {
    /// The cost that is spent.
    pub fn spent_micro_usd(&self) -> u64 {
        self.committed_micro_usd
            .saturating_sub(self.held_micro_usd())
    }

    /// The cost that is reserved.
    pub fn held_micro_usd(&self) -> u64 {
        self.held
            .iter()
            .fold(0, |sum, held| sum.saturating_add(held.amount_micro_usd))
    }

    /// The refusal of a reservation for which the budget has no room.
    pub fn refusal(&self) -> Reserved {
        let (committed_micro_usd, held_micro_usd) =
            (self.committed_micro_usd, self.held_micro_usd());
        Reserved::Refused {
            committed_micro_usd,
            held_micro_usd,
        }
    }
}

/// Stores budgets. The sum of spent and reserved cost never exceeds the cap, for any number of
/// concurrent reservations, unless an attempt costs more than was reserved for it.
///
/// A reservation past its expiry belongs to a dead worker, whose call may have been billed. So its
/// amount counts as spent, and the next reservation or settlement in the same budget deletes it. A
/// caller whose clock is ahead deletes it too early: then too much is counted, never too little.
#[async_trait]
pub trait Budgets: Send + Sync {
    /// Reserves an amount if it fits under the cap. The very same reservation is granted again,
    /// because the response to a write can be lost. A caller must not repeat a settled
    /// reservation.
    async fn reserve(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        allowance: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, StoreError>;

    /// Replaces the reservation by the actual cost, once. The cost may be more than was reserved.
    async fn settle(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        actual_micro_usd: u64,
        now: Timestamp,
    ) -> Result<Settled, StoreError>;

    /// The budget at `now`. An expired reservation counts as spent.
    async fn budget(&self, budget: &BudgetKey, now: Timestamp) -> Result<Budget, StoreError>;
}
