//! Why and until when something waits without using compute.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// A wait that is better spent without compute: a task that meets one is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When it is over.
    pub until: Timestamp,
    /// What is waited for.
    pub reason: WaitReason,
}

impl Wait {
    /// The sooner end of two waits that may both bring an answer. If one wait is not caused by
    /// an outage, the result is no outage either.
    #[must_use]
    pub fn or_sooner(self, other: Self) -> Self {
        let (first, second) = if other.until < self.until {
            (other, self)
        } else {
            (self, other)
        };
        let reason = if second.reason.is_our_own() && !first.reason.is_our_own() {
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
    /// A provider asked for the wait, or failed and needs time to recover.
    RetryAfter,
    /// The breaker of every model that could answer is open.
    Breaker,
    /// A provider's or our own rate limit.
    RateLimit,
    /// Another worker is asking the very same question just now.
    SingleFlight,
    /// The invocation had no time left for the call; another one has.
    OutOfTime,
    /// Open calls have reserved what a cap on cost leaves, or the store can't say how much it
    /// leaves.
    Budget,
    /// As many of the tenant's tasks run as may run at once.
    Concurrency,
}

impl WaitReason {
    /// Whether the wait is of our own making, and says nothing about the providers.
    pub const fn is_our_own(self) -> bool {
        match self {
            Self::RetryAfter | Self::Breaker | Self::RateLimit => false,
            Self::SingleFlight | Self::OutOfTime | Self::Budget | Self::Concurrency => true,
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
        }
    }
}
