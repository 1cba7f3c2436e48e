//! The keys of what counts against limits: budgets, slots, waits and requests.

use super::{Key, task_partition};
use crate::domain::TenantId;
use crate::ports::{BudgetKey, LimitOwner};

/// Into how many records the budget of a day is split. Changed, the day of the change would begin
/// again.
const BUDGET_PARTS: u8 = 8;

/// The records of a budget: a task's is with the task, a period's are in partitions of their own. The
/// budgets of keys are with those of their tenant, and are deleted with it.
pub(in crate::store) fn budget(budget: &BudgetKey) -> Vec<Key> {
    let (owner, sk) = match budget {
        BudgetKey::Task(id) => {
            return vec![Key {
                pk: task_partition(*id),
                sk: "BUDGET".to_owned(),
            }];
        }
        BudgetKey::Tenant(tenant, period) => (budgets_of(tenant), period.to_string()),
        BudgetKey::Key(tenant, key, period) => (budgets_of(tenant), format!("{key}#{period}")),
        BudgetKey::Deployment(period) => ("DEPLOYMENTBUDGET".to_owned(), period.to_string()),
    };
    let record = |pk| Key { pk, sk: sk.clone() };
    parts(owner).map(record).collect()
}

/// The partitions with the budgets of a tenant and its keys.
pub(super) fn tenant_budgets(tenant: &TenantId) -> impl Iterator<Item = String> {
    parts(budgets_of(tenant))
}

fn budgets_of(tenant: &TenantId) -> String {
    format!("BUDGET#{tenant}")
}

/// The partitions of an owner's budgets.
fn parts(owner: String) -> impl Iterator<Item = String> {
    (0..BUDGET_PARTS).map(move |part| format!("{owner}#{part}"))
}

/// An owner's slots, in a partition of their own, because they change with every run of a task.
pub(in crate::store) fn slots(owner: &LimitOwner) -> Key {
    Key {
        pk: format!("SLOTS#{}", id_of(owner)),
        sk: "HELD".to_owned(),
    }
}

/// The waits of an owner's clients, apart from its slots, because they change with requests.
pub(in crate::store) fn waits(owner: &LimitOwner) -> Key {
    Key {
        pk: format!("WAITS#{}", id_of(owner)),
        sk: "HELD".to_owned(),
    }
}

/// The owner's id. Only that of a key has an underscore.
fn id_of(owner: &LimitOwner) -> String {
    match owner {
        LimitOwner::Tenant(tenant) => tenant.to_string(),
        LimitOwner::Key(key) => key.to_string(),
    }
}

/// The requests of an owner in one minute.
pub(in crate::store) fn request_count(owner: &LimitOwner, minute: u64) -> Key {
    let owner = match owner {
        LimitOwner::Key(id) => id.to_string(),
        LimitOwner::Tenant(tenant) => format!("tenant#{tenant}"),
    };
    Key {
        pk: format!("RATE#{owner}"),
        sk: format!("{minute:010}"),
    }
}
