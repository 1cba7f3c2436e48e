//! What a task's model calls cost under one lease, by model, for the tenant's usage.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::runner::Runner;
use crate::domain::{Causes, ModelRef, Spend, SpendKey, SpendPart, SpendRow, Task};
use crate::metric;

/// What a worker spent on its task.
pub(super) struct Ledger {
    /// What the task had cost when the worker claimed it.
    before: Spend,
    by_model: BTreeMap<ModelRef, Spend>,
}

impl Ledger {
    /// The ledger of a task that was just claimed.
    pub(super) const fn of(task: &Task) -> Self {
        Self {
            before: task.spend(),
            by_model: BTreeMap::new(),
        }
    }

    /// Notes what a call of the model cost.
    pub(super) fn note(&mut self, model: &ModelRef, spend: Spend) {
        let noted = self.by_model.entry(model.clone()).or_default();
        *noted = noted.plus(spend);
    }

    /// All that the task's record has gained under this lease. What no call of this worker cost was
    /// spent by a worker that was lost.
    fn rows(self, task: &Task) -> Vec<SpendRow> {
        let gained = task.spend().less(self.before);
        let noted = self.by_model.values().copied();
        let lost = gained.less(noted.fold(Spend::NONE, Spend::plus));
        let models = self.by_model.into_iter();
        let parts = models.map(|(model, spend)| (SpendPart::Model(model), spend));
        let spec = task.spec();
        parts
            .chain([(SpendPart::Lost, lost)])
            .filter(|(_, spend)| *spend != Spend::NONE)
            .map(|(part, spend)| SpendRow {
                key: SpendKey {
                    day: spec.created_at.day(),
                    agent: spec.agent.id,
                    key: spec.submitted_by,
                    part,
                },
                spend,
            })
            .collect()
    }
}

impl Runner {
    /// Adds what the worker spent to the usage of the task's tenant, after the task was stored. If
    /// that fails, the daily check adds it.
    pub(super) async fn add_usage(&self, task: &Task, ledger: Ledger) {
        let tenant = &task.spec().tenant;
        let rows = ledger.rows(task);
        let adding = rows.iter().map(|row| self.usage.add(tenant, row));
        for (row, added) in rows.iter().zip(join_all(adding).await) {
            if let Err(error) = added {
                metric::STORE_FAILURES.add([], 1);
                tracing::warn!(
                    error = %Causes(&error),
                    cost_micro_usd = row.spend.cost.micro_usd,
                    "usage could not be added; the daily check will add it"
                );
            }
        }
    }
}
