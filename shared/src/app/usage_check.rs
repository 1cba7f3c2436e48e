//! The daily check of the tenants' usage: it adds what workers that were lost did not add.
//!
//! A task's record and its entry in the index of tasks have all that the task cost. So the sum over
//! the tasks of a day is what the day's rows of usage must add up to. The check writes what is
//! missing into rows of their own. Such a row only grows, because tasks may be deleted between two
//! checks. A check may run twice, also at the same time: both write the same rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{AgentId, KeyId, Spend, SpendKey, SpendPart, SpendRow, TenantId, Timestamp};
use crate::ports::{
    CheckPlace, Clock, PageRequest, StoreError, TaskFilter, TaskStore, TenantStore, UsageCheck,
    UsageStore,
};

/// How long after the end of a day its usage is first checked, so that most of its tasks have ended.
const AFTER_END: Duration = Duration::from_hours(1);

/// A task that changed since then is left to the next day's check: its worker may be about to add
/// what it cost.
const SETTLED_FOR: Duration = Duration::from_mins(15);

/// How many days back each check goes.
const DAYS: u64 = 2;

/// How many tasks are read at once.
const PAGE: u32 = 100;

/// The most rows of a tenant's day.
const MOST_ROWS: usize = 100_000;

/// Whose cost a row counts.
type Payer = (AgentId, Option<KeyId>);

/// Checks the usage of all tenants once a day.
pub struct UsageChecker {
    /// The usage.
    pub usage: Arc<dyn UsageStore>,
    /// The tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// All tenants but the deployment's own.
    pub tenants: Arc<dyn TenantStore>,
    /// The deployment's own tenant.
    pub home: TenantId,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The day whose check is known to have ended.
    pub ended: Mutex<Option<u64>>,
}

/// What one call of [`UsageChecker::check`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageCheckSummary {
    /// Tenants whose usage was checked.
    pub tenants: u32,
    /// Rows to which cost was added.
    pub corrected: u32,
    /// Tenants whose tasks of two days are too many to be read in one call.
    pub failed: u32,
    /// Whether tenants are left for the next call.
    pub unfinished: bool,
}

impl UsageChecker {
    /// Checks tenants, until all were checked on this day or the time is `until`.
    pub async fn check(&self, until: Timestamp) -> Result<UsageCheckSummary, StoreError> {
        let mut done = UsageCheckSummary::default();
        let now = self.clock.now();
        let today = now.day();
        if now.since(Timestamp::start_of_day(today)) < AFTER_END || self.has_ended(today) {
            return Ok(done);
        }
        let stored = self.usage.check().await?;
        let mut place = match stored {
            Some(check) if check.day == today => check.place,
            Some(_) | None => CheckPlace::Home,
        };
        while place != CheckPlace::End {
            if self.clock.now() >= until {
                done.unfinished = true;
                return Ok(done);
            }
            let (tenant, next) = self.tenant_at(&place).await?;
            if let Some(tenant) = tenant
                && !self.check_tenant(&tenant, today, until, &mut done).await?
            {
                done.unfinished = true;
                return Ok(done);
            }
            place = next;
            let check = UsageCheck {
                day: today,
                place: place.clone(),
            };
            self.usage.store_check(&check).await?;
        }
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(today);
        Ok(done)
    }

    fn has_ended(&self, today: u64) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) == Some(today)
    }

    /// The tenant at this place, and the place after it.
    async fn tenant_at(
        &self,
        place: &CheckPlace,
    ) -> Result<(Option<TenantId>, CheckPlace), StoreError> {
        let after = match place {
            CheckPlace::Home => return Ok((Some(self.home.clone()), CheckPlace::Tenants(None))),
            CheckPlace::Tenants(after) => after.clone(),
            CheckPlace::End => return Ok((None, CheckPlace::End)),
        };
        let page = self.tenants.list(&PageRequest { limit: 1, after }).await?;
        let next = page.next;
        let next = next.map_or(CheckPlace::End, |next| CheckPlace::Tenants(Some(next)));
        Ok((
            page.entries.into_iter().next().map(|tenant| tenant.id),
            next,
        ))
    }

    /// Checks a tenant. False if the time is over before the end, and another call may have the time.
    async fn check_tenant(
        &self,
        tenant: &TenantId,
        today: u64,
        until: Timestamp,
        done: &mut UsageCheckSummary,
    ) -> Result<bool, StoreError> {
        for day in today.saturating_sub(DAYS)..today {
            let Some(costs) = self.costs(tenant, day, until).await? else {
                // A call that began with this tenant had all its time.
                let had_all_its_time = done.tenants == 0 && done.failed == 0;
                if had_all_its_time {
                    tracing::error!(
                        tenant_id = tenant.as_str(),
                        "usage of a tenant not checked: it has too many tasks"
                    );
                    done.failed += 1;
                }
                return Ok(had_all_its_time);
            };
            done.corrected += self.correct(tenant, day, costs).await?;
        }
        done.tenants += 1;
        Ok(true)
    }

    /// What the tenant's tasks of the day cost, by payer; `None` if the time is over before the end.
    async fn costs(
        &self,
        tenant: &TenantId,
        day: u64,
        until: Timestamp,
    ) -> Result<Option<BTreeMap<Payer, Spend>>, StoreError> {
        let now = self.clock.now();
        let filter = TaskFilter {
            created_from: Some(Timestamp::start_of_day(day)),
            created_before: Some(Timestamp::start_of_day(day + 1)),
            ..TaskFilter::default()
        };
        let mut costs = BTreeMap::<Payer, Spend>::new();
        let mut after = None;
        loop {
            let page = PageRequest { limit: PAGE, after };
            let page = self.tasks.list(tenant, &filter, &page).await?;
            let settled = |at: Timestamp| now.since(at) >= SETTLED_FOR;
            for task in page.entries.iter().filter(|task| settled(task.updated_at)) {
                let cost = costs.entry((task.agent.id, task.submitted_by)).or_default();
                *cost = cost.plus(task.spend);
            }
            after = page.next;
            if after.is_none() {
                return Ok(Some(costs));
            }
            if self.clock.now() >= until {
                return Ok(None);
            }
        }
    }

    /// Adds what the day's rows lack of these costs. Returns to how many rows it added.
    async fn correct(
        &self,
        tenant: &TenantId,
        day: u64,
        costs: BTreeMap<Payer, Spend>,
    ) -> Result<u32, StoreError> {
        if costs.values().all(|cost| *cost == Spend::NONE) {
            return Ok(0);
        }
        let rows = self.usage.rows(tenant, day..=day, MOST_ROWS).await?;
        // What the rows have, and what checks before this one added to that.
        let mut counted = BTreeMap::<Payer, (Spend, Spend)>::new();
        for SpendRow { key, spend } in rows {
            let (sum, added) = counted.entry((key.agent, key.key)).or_default();
            *sum = sum.plus(spend);
            if key.part == SpendPart::Missing {
                *added = spend;
            }
        }
        let mut corrected = 0;
        for ((agent, key), cost) in costs {
            let (found, added) = counted.get(&(agent, key)).copied().unwrap_or_default();
            let missing = cost.less(found);
            if missing == Spend::NONE {
                continue;
            }
            tracing::warn!(
                tenant_id = tenant.as_str(),
                agent_id = %agent,
                cost_micro_usd = missing.cost.micro_usd,
                model_attempts = missing.attempts,
                "usage lacked what a lost worker spent"
            );
            let key = SpendKey {
                day,
                agent,
                key,
                part: SpendPart::Missing,
            };
            let spend = added.plus(missing);
            self.usage.replace(tenant, &SpendRow { key, spend }).await?;
            corrected += 1;
        }
        Ok(corrected)
    }
}
