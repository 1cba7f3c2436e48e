//! Why and until when a task waits without using compute.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A wait that is too long to spend in a running function: the task is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When it is over.
    pub until: Timestamp,
    /// What is waited for.
    pub reason: WaitReason,
}

impl Wait {
    /// The wait that ends first, if either may bring an answer. If one of them has a reason of the
    /// platform's own, the result has that reason, so that it is not taken for an outage.
    #[must_use]
    pub fn or_sooner(self, other: Self) -> Self {
        let (first, second) = if other.until < self.until {
            (other, self)
        } else {
            (self, other)
        };
        let reason = if second.reason.is_platforms_own() && !first.reason.is_platforms_own() {
            second.reason
        } else {
            first.reason
        };
        Self {
            until: first.until,
            reason,
        }
    }
}

/// What a parked task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// A provider named the wait, or failed and needs time to recover.
    RetryAfter,
    /// The circuit of every model that could answer is open.
    Breaker,
    /// A rate limit of a provider.
    RateLimit,
    /// Another worker is making an equal model request.
    SingleFlight,
    /// The invocation has no time left for the call; the next invocation has.
    OutOfTime,
    /// Open calls have reserved all that a cap on cost leaves, or the store can't say how much is
    /// left.
    Budget,
    /// The tenant's maximum of tasks is running, or the conversation does not fit into memory.
    Concurrency,
    /// The task's agent is disabled.
    AgentDisabled,
    /// Its client wants it to begin later.
    NotBefore,
    /// The operator suspended the task's tenant.
    TenantSuspended,
}

impl WaitReason {
    /// Whether the platform itself causes the wait, so that it is no sign of an outage.
    pub const fn is_platforms_own(self) -> bool {
        match self {
            Self::RetryAfter | Self::Breaker | Self::RateLimit => false,
            Self::SingleFlight
            | Self::OutOfTime
            | Self::Budget
            | Self::Concurrency
            | Self::AgentDisabled
            | Self::NotBefore
            | Self::TenantSuspended => true,
        }
    }

    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetryAfter => "retry_after",
            Self::Breaker => "breaker",
            Self::RateLimit => "rate_limit",
            Self::SingleFlight => "single_flight",
            Self::OutOfTime => "out_of_time",
            Self::Budget => "budget",
            Self::Concurrency => "concurrency",
            Self::AgentDisabled => "agent_disabled",
            Self::NotBefore => "not_before",
            Self::TenantSuspended => "tenant_suspended",
        }
    }
}
