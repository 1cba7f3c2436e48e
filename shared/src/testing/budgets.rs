//! Budgets in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::{TaskId, Timestamp};
use crate::ports::{
    Allowance, Budget, BudgetKey, Budgets, Reservation, Reserved, Settled, StoreError,
};

/// Budgets in memory with the conditional writes of the real ones. Clones share the content.
///
/// Each call yields to the runtime before its effect, so that concurrent calls interleave in tests
/// as well.
#[derive(Debug, Clone, Default)]
pub struct MemoryBudgets {
    records: Arc<Mutex<BTreeMap<BudgetKey, Budget>>>,
    faults: Faults,
}

impl MemoryBudgets {
    /// The same budgets, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// The budget's record, with what has expired and nobody has cleared away yet.
    pub fn record(&self, budget: &BudgetKey) -> Option<Budget> {
        lock(&self.records).get(budget).cloned()
    }

    /// Deletes the task's budget.
    pub(super) fn forget(&self, task: TaskId) {
        lock(&self.records).remove(&BudgetKey::Task(task));
    }

    async fn run<T>(
        &self,
        budget: &BudgetKey,
        effect: impl FnOnce(Option<&mut Budget>) -> (T, Option<Budget>),
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            Call::Other,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || {
                let mut records = lock(&self.records);
                let (outcome, new) = effect(records.get_mut(budget));
                if let Some(new) = new {
                    records.insert(budget.clone(), new);
                }
                Ok(outcome)
            },
        )
    }
}

#[async_trait]
impl Budgets for MemoryBudgets {
    async fn reserve(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        Allowance {
            cap_micro_usd,
            spent_before_micro_usd,
        }: Allowance,
        now: Timestamp,
    ) -> Result<Reserved, StoreError> {
        self.run(budget, |stored| {
            let begun = || Budget {
                committed_micro_usd: spent_before_micro_usd,
                held: Vec::new(),
            };
            let mut new = stored.as_deref().cloned().unwrap_or_else(begun);
            let committed_micro_usd = new.committed_micro_usd;
            let sum = u128::from(committed_micro_usd) + u128::from(reservation.amount_micro_usd);
            let is_held = new.held.iter().any(|held| held.id == reservation.id);
            let granted = is_held || sum <= u128::from(cap_micro_usd);
            if granted && !is_held {
                new.committed_micro_usd =
                    committed_micro_usd.saturating_add(reservation.amount_micro_usd);
                new.held.push(reservation.clone());
            }
            new.held.retain(|held| held.expires_at > now);
            let outcome = if granted {
                Reserved::Granted
            } else {
                new.refusal()
            };
            (outcome, (granted || stored.is_some()).then_some(new))
        })
        .await
    }

    async fn settle(
        &self,
        budget: &BudgetKey,
        reservation: &Reservation,
        actual_micro_usd: u64,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        self.run(budget, |stored| {
            let Some(stored) = stored else {
                return (Settled::Gone, None);
            };
            let before = stored.held.len();
            stored.held.retain(|held| held.id != reservation.id);
            let settled = if stored.held.len() < before {
                Settled::Done
            } else {
                Settled::Gone
            };
            if settled == Settled::Done {
                let rest = stored
                    .committed_micro_usd
                    .saturating_sub(reservation.amount_micro_usd);
                stored.committed_micro_usd = rest.saturating_add(actual_micro_usd);
            }
            stored.held.retain(|held| held.expires_at > now);
            (settled, None)
        })
        .await
    }

    async fn budget(&self, budget: &BudgetKey, now: Timestamp) -> Result<Budget, StoreError> {
        self.run(budget, |stored| {
            let mut budget = stored.as_deref().cloned().unwrap_or_default();
            budget.held.retain(|held| held.expires_at > now);
            (budget, None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contract;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_budgets() {
        contract::budgets(Arc::new(MemoryBudgets::default())).await;
    }
}
