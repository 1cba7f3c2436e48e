//! The caps on cost that a call is under.

use super::DailyCaps;
use crate::domain::{BudgetScope, Caller, CapKind, Caps, ModelRequest, Period, Timestamp};
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
    let Caller { tenant, task, key } = &request.caller;
    let of_period = |scope, (name, most), period, budget| Cap {
        scope,
        name,
        budget,
        allowance: Allowance {
            cap_micro_usd: most,
            spent_before_micro_usd: 0,
        },
        period: Some(period),
    };
    let mut caps = Vec::new();
    caps.extend(request.task_cap.map(|cap_micro_usd| Cap {
        scope: BudgetScope::Task,
        name: "max_cost_micro_usd",
        budget: BudgetKey::Task(*task),
        allowance: Allowance {
            cap_micro_usd,
            spent_before_micro_usd: request.task_spent,
        },
        period: None,
    }));
    let (day, month) = (Period::day(now), Period::month(now));
    let kinds = [(CapKind::CostOfDay, day), (CapKind::CostOfMonth, month)];
    let named = |caps: Caps, kind: CapKind| Some((kind.field(), caps.get(kind)?));
    for (kind, period) in kinds {
        caps.extend(key.zip(named(own.key, kind)).map(|(key, cap)| {
            let budget = BudgetKey::Key(tenant.clone(), key, period);
            of_period(BudgetScope::Key, cap, period, budget)
        }));
    }
    let default = daily.tenant.map(|most| ("TenantDailyBudgetMicroUsd", most));
    for (kind, period) in kinds {
        let default = default.filter(|_| kind == CapKind::CostOfDay);
        caps.extend(named(own.tenant, kind).or(default).map(|cap| {
            let budget = BudgetKey::Tenant(tenant.clone(), period);
            of_period(BudgetScope::Tenant, cap, period, budget)
        }));
    }
    caps.extend(daily.deployment.map(|most| {
        let cap = ("DeploymentDailyBudgetMicroUsd", most);
        of_period(
            BudgetScope::Deployment,
            cap,
            day,
            BudgetKey::Deployment(day),
        )
    }));
    caps
}
