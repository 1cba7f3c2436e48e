//! What a tenant's tasks cost, for its people.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::AppError;
use crate::domain::{AgentId, KeyId, ModelRef, Spend, SpendPart, TenantId};
use crate::ports::{StoreError, UsageStore};

/// The most rows that a report is made of: about 10 MB.
const MOST_ROWS: usize = 40_000;

/// Reports of usage.
#[derive(Clone)]
pub struct UsageReports {
    store: Arc<dyn UsageStore>,
}

/// Which usage is in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageFilter {
    /// The days on which the tasks were submitted, in UTC, as days since the Unix epoch.
    pub days: RangeInclusive<u64>,
    /// Only the tasks that this key submitted.
    pub key: Option<KeyId>,
}

/// What the usage in a report is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageGrouping {
    /// The agent.
    Agent,
    /// The API key that submitted the task.
    Key,
    /// The model.
    Model,
    /// The day on which the task was submitted.
    Day,
}

/// What the tasks of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageGroup {
    /// Their agent.
    Agent(AgentId),
    /// The API key that submitted them; `None` for the deployment's own key.
    Key(Option<KeyId>),
    /// The model of their calls; `None` for what lost workers spent.
    Model(Option<ModelRef>),
    /// The day on which they were submitted.
    Day(u64),
}

/// The usage of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The usage of each group, the most expensive first; days in their order.
    pub groups: Vec<(UsageGroup, Spend)>,
    /// All of it.
    pub total: Spend,
}

impl UsageReports {
    /// Reports on the usage in `store`.
    pub fn new(store: Arc<dyn UsageStore>) -> Self {
        Self { store }
    }

    /// The tenant's usage.
    pub async fn report(
        &self,
        tenant: &TenantId,
        filter: UsageFilter,
        by: UsageGrouping,
    ) -> Result<UsageReport, AppError> {
        let rows = match self.store.rows(tenant, filter.days, MOST_ROWS).await {
            Err(StoreError::TooLarge) => {
                let reason = "has more usage than one response can add up; ask for fewer days";
                return Err(AppError::invalid("/from", reason));
            }
            rows => rows?,
        };
        let is_wanted = |key| filter.key.is_none_or(|wanted| key == Some(wanted));
        let (mut groups, mut total) = (BTreeMap::<UsageGroup, Spend>::new(), Spend::NONE);
        for row in rows.into_iter().filter(|row| is_wanted(row.key.key)) {
            let group = match by {
                UsageGrouping::Agent => UsageGroup::Agent(row.key.agent),
                UsageGrouping::Key => UsageGroup::Key(row.key.key),
                UsageGrouping::Day => UsageGroup::Day(row.key.day),
                UsageGrouping::Model => UsageGroup::Model(match row.key.part {
                    SpendPart::Model(model) => Some(model),
                    SpendPart::Lost | SpendPart::Missing => None,
                }),
            };
            let sum = groups.entry(group).or_default();
            *sum = sum.plus(row.spend);
            total = total.plus(row.spend);
        }
        let mut groups: Vec<(UsageGroup, Spend)> = groups.into_iter().collect();
        if by != UsageGrouping::Day {
            groups.sort_by_key(|(_, spend)| std::cmp::Reverse(spend.cost.micro_usd));
        }
        Ok(UsageReport { groups, total })
    }
}
