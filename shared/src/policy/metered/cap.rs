//! The caps on cost that a call is under.

use super::DailyCaps;
use crate::domain::{BudgetScope, CapKind, Caps, ModelRequest, Period, Timestamp};
use crate::ports::{Allowance, BudgetKey, CapsOfTask};

/// One cap that a call is under.
pub(super) struct Cap {
    pub(super) scope: BudgetScope,
    /// The setting that sets it.
    pub(super) name: &'static str,
    pub(super) budget: BudgetKey,
    pub(super) allowance: Allowance,
    /// When the budget begins anew; `None` for a task's.
    period: Option<Period>,
}

impl Cap {
    /// The cap of a period.
    fn of_period(
        scope: BudgetScope,
        name: &'static str,
        (budget, period): (BudgetKey, Period),
        cap_micro_usd: u64,
    ) -> Self {
        Self {
            scope,
            name,
            budget,
            allowance: Allowance {
                cap_micro_usd,
                spent_before_micro_usd: 0,
            },
            period: Some(period),
        }
    }

    /// Whether a call that may cost `bound` would pass the cap, with this much spent and nothing
    /// reserved.
    pub(super) const fn is_used_up(&self, spent: u64, bound: u64) -> bool {
        spent.saturating_add(bound) > self.allowance.cap_micro_usd
    }

    /// Whether the cap still refuses when `other` begins anew.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        match (self.period, other.period) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(other)) => own.end() > other.end(),
        }
    }

    /// Says which cap refuses a call that may cost `bound`, how much it leaves, and when it begins
    /// anew, if that helps.
    pub(super) fn refusal(&self, committed: u64, bound: u64) -> String {
        let Self { scope, name, .. } = self;
        let most = self.allowance.cap_micro_usd;
        if bound > most {
            return format!(
                "{name} of the {scope} is {most}, which is less than the call may cost: {bound}"
            );
        }
        let left = most.saturating_sub(committed);
        let reset = self.period.map_or_else(String::new, |period| {
            format!("; it begins anew on {} (UTC)", Period::day(period.end()))
        });
        format!(
            "{name} of the {scope} is {most}, {left} are left, and the call may cost {bound}{reset}"
        )
    }
}

/// All caps that the request is under, the narrowest first.
pub(super) fn all(
    request: &ModelRequest,
    own: CapsOfTask,
    daily: DailyCaps,
    now: Timestamp,
) -> Vec<Cap> {
    let caller = &request.caller;
    let task = request.task_cap.map(|cap_micro_usd| Cap {
        scope: BudgetScope::Task,
        name: "max_cost_micro_usd",
        budget: BudgetKey::Task(caller.task),
        allowance: Allowance {
            cap_micro_usd,
            spent_before_micro_usd: request.task_spent,
        },
        period: None,
    });
    let periods = [
        (CapKind::CostOfDay, Period::day(now)),
        (CapKind::CostOfMonth, Period::month(now)),
    ];
    let of_key = |(kind, period): (CapKind, Period)| {
        let budget = BudgetKey::Key(caller.tenant.clone(), caller.key?, period);
        own_cap(BudgetScope::Key, own.key, kind, (budget, period))
    };
    let of_tenant = |(kind, period): (CapKind, Period)| {
        let budget = BudgetKey::Tenant(caller.tenant.clone(), period);
        own_cap(BudgetScope::Tenant, own.tenant, kind, (budget, period))
    };
    let keys = periods.into_iter().filter_map(of_key);
    let tenants = periods.into_iter().filter_map(of_tenant);
    let default = daily
        .tenant
        .filter(|_| own.tenant.get(CapKind::CostOfDay).is_none())
        .map(|most| {
            let day = Period::day(now);
            let budget = BudgetKey::Tenant(caller.tenant.clone(), day);
            Cap::of_period(
                BudgetScope::Tenant,
                "TenantDailyBudgetMicroUsd",
                (budget, day),
                most,
            )
        });
    let deployment = daily.deployment.map(|most| {
        let day = Period::day(now);
        let budget = BudgetKey::Deployment(day);
        let name = "DeploymentDailyBudgetMicroUsd";
        Cap::of_period(BudgetScope::Deployment, name, (budget, day), most)
    });
    let all = task.into_iter().chain(keys).chain(tenants);
    all.chain(default).chain(deployment).collect()
}

fn own_cap(
    scope: BudgetScope,
    caps: Caps,
    kind: CapKind,
    budget: (BudgetKey, Period),
) -> Option<Cap> {
    let most = caps.get(kind)?;
    Some(Cap::of_period(scope, kind.field(), budget, most))
}
