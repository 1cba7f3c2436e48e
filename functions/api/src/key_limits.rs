//! The limits of keys in requests and responses. Those of tenants begin with the same.

use serde::{Deserialize, Serialize};
use shared::domain::{CapChanges, CapKind, Caps, Patch, RequestRate};
use utoipa::ToSchema;

use crate::body::{Broken, Object};
use crate::json::Whole;

/// The limits of a key in a body. Null is none.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyLimitsChange)]
pub(crate) struct LimitsEntry {
    /// Requests that change something, in a minute.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    pub(crate) requests_per_minute: Patch<Whole<u32>>,
    /// Tasks that run at once. Further tasks wait.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_000)]
    pub(crate) max_running_tasks: Patch<Whole<u64>>,
    /// The cost of model calls in a day (UTC). Calls that could pass it are not made.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000_000_000_u64)]
    pub(crate) max_cost_micro_usd_per_day: Patch<Whole<u64>>,
    /// The cost of model calls in a month (UTC). Calls that could pass it are not made.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000_000_000_u64)]
    pub(crate) max_cost_micro_usd_per_month: Patch<Whole<u64>>,
}

impl LimitsEntry {
    /// What the body says about the limits.
    pub(crate) fn changes(
        entry: Option<Object<Self>>,
        broken: &mut Broken,
    ) -> (Patch<RequestRate>, CapChanges) {
        let Object(entry) = entry.unwrap_or_default();
        let rate = entry.requests_per_minute;
        let rate = rate.try_map(|Whole(requests)| RequestRate::per_minute(requests));
        let caps = [
            (CapKind::RunningTasks, entry.max_running_tasks),
            (CapKind::CostOfDay, entry.max_cost_micro_usd_per_day),
            (CapKind::CostOfMonth, entry.max_cost_micro_usd_per_month),
        ];
        broken.below("/limits", |broken| {
            let mut changes = CapChanges::default();
            for (kind, change) in caps {
                let change = change.map(|Whole(most)| most);
                changes = broken.keep(changes.with(kind, change)).unwrap_or(changes);
            }
            (broken.keep(rate).unwrap_or_default(), changes)
        })
    }
}

/// The limits of a key, or of a tenant. Null is none; for a tenant, the deployment's default.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyLimits)]
pub(crate) struct LimitsResponse {
    requests_per_minute: Option<u32>,
    max_running_tasks: Option<u64>,
    max_cost_micro_usd_per_day: Option<u64>,
    max_cost_micro_usd_per_month: Option<u64>,
}

impl LimitsResponse {
    pub(crate) fn new(rate: Option<RequestRate>, caps: Caps) -> Self {
        Self {
            requests_per_minute: rate.map(RequestRate::requests),
            max_running_tasks: caps.get(CapKind::RunningTasks),
            max_cost_micro_usd_per_day: caps.get(CapKind::CostOfDay),
            max_cost_micro_usd_per_month: caps.get(CapKind::CostOfMonth),
        }
    }
}
