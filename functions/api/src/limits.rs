//! A task's limits in the bodies of requests and in responses.

use serde::{Deserialize, Serialize};
use shared::app::Access;
use shared::domain::{LimitBound, LimitChanges, Limits, OnLimit, Scope};
use utoipa::ToSchema;

use crate::json::whole;
use crate::openapi::values;

/// The limits that a body changes. An absent limit stays.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LimitChanges)]
pub(crate) struct LimitsEntry {
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 10, maximum = 86_400)]
    timeout_seconds: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_cost_micro_usd: Option<u64>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000)]
    max_steps: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 1_000)]
    max_tool_calls: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_tokens: Option<u64>,
}

impl LimitsEntry {
    /// The changes, bounded by what the caller may do.
    pub(crate) fn changes(self, access: &Access) -> LimitChanges {
        let Self {
            timeout_seconds,
            max_cost_micro_usd,
            max_steps,
            max_tool_calls,
            max_tokens,
        } = self;
        let bound = if access.scopes.contain(Scope::TasksLimits) {
            LimitBound::Platform
        } else {
            LimitBound::Agent
        };
        LimitChanges {
            timeout_seconds,
            max_cost_micro_usd,
            max_steps,
            max_tool_calls,
            max_tokens,
            bound,
        }
    }
}

/// All limits; null for a limit that is not set.
#[derive(Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsResponse {
    max_output_tokens: u32,
    timeout_seconds: u32,
    max_cost_micro_usd: Option<u64>,
    max_steps: u32,
    max_tool_calls: u32,
    max_blocked_calls: u32,
    max_tokens: Option<u64>,
    input_timeout_seconds: u32,
    #[schema(value_type = values::OnLimit)]
    on_limit: OnLimit,
}

impl From<Limits> for LimitsResponse {
    fn from(limits: Limits) -> Self {
        Self {
            max_output_tokens: limits.max_output_tokens(),
            timeout_seconds: limits.timeout_seconds(),
            max_cost_micro_usd: limits.max_cost_micro_usd(),
            max_steps: limits.max_steps(),
            max_tool_calls: limits.max_tool_calls(),
            max_blocked_calls: limits.max_blocked_calls(),
            max_tokens: limits.max_tokens(),
            input_timeout_seconds: limits.input_timeout_seconds(),
            on_limit: limits.on_limit,
        }
    }
}
