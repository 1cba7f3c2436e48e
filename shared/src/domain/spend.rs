//! What model calls cost.

use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// The usage and cost of one or more attempts of model calls, failed ones included: their tokens
/// are billed too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Requests that went out to a provider.
    pub attempts: u32,
    /// The tokens of all attempts, as far as the provider reported them.
    pub usage: Usage,
    /// What these tokens cost.
    pub cost: Cost,
}

/// An amount of money, and what is missing from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// Unpriced calls: their cost is not zero, but `micro_usd` lacks all or a part of it. Their
    /// model has no price here, or their provider did not report the usage.
    #[serde(default)]
    pub unpriced_calls: u32,
}

impl Spend {
    /// Nothing.
    pub const NONE: Self = Self {
        attempts: 0,
        usage: Usage::NONE,
        cost: Cost {
            micro_usd: 0,
            unpriced_calls: 0,
        },
    };

    /// What is in this and not in `other`; no part is below 0.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(other.attempts),
            usage: self.usage.less(other.usage),
            cost: Cost {
                micro_usd: self.cost.micro_usd.saturating_sub(other.cost.micro_usd),
                unpriced_calls: self
                    .cost
                    .unpriced_calls
                    .saturating_sub(other.cost.unpriced_calls),
            },
        }
    }

    /// Both together; saturates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            usage: self.usage.plus(other.usage),
            cost: self.cost.plus(other.cost),
        }
    }
}

impl Cost {
    /// Both together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            micro_usd: self.micro_usd.saturating_add(other.micro_usd),
            unpriced_calls: self.unpriced_calls.saturating_add(other.unpriced_calls),
        }
    }
}
