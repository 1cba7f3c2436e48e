//! How many agents and API keys a tenant may have.

use super::invalid::{Invalid, within};
use super::patch::Patch;

const DEFAULT_AGENTS: MaxAgents = MaxAgents(1_000);
const DEFAULT_KEYS: MaxKeys = MaxKeys(100);

/// What a tenant has a limited number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Agents that are not archived. Inline agents are not among them.
    Agents,
    /// API keys that are not revoked, also expired ones.
    Keys,
}

/// The most agents of a tenant that are not archived: 1 to 100,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAgents(u32);

impl MaxAgents {
    const HIGHEST: Self = Self(100_000);

    /// Checks the number at `/max_agents`.
    pub fn new(agents: u32) -> Result<Self, Invalid> {
        within("/max_agents", agents, 1..=Self::HIGHEST.0).map(Self)
    }

    /// The number.
    pub const fn count(self) -> u32 {
        self.0
    }
}

/// The most API keys of a tenant that are not revoked: 1 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxKeys(u32);

impl MaxKeys {
    const HIGHEST: Self = Self(1_000);

    /// Checks the number at `/max_keys`.
    pub fn new(keys: u32) -> Result<Self, Invalid> {
        within("/max_keys", keys, 1..=Self::HIGHEST.0).map(Self)
    }

    /// The number.
    pub const fn count(self) -> u32 {
        self.0
    }
}

/// How many agents and keys a tenant may have. `None` is the default: 1,000 agents and 100 keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CountLimits {
    /// The limit on agents.
    pub max_agents: Option<MaxAgents>,
    /// The limit on keys.
    pub max_keys: Option<MaxKeys>,
}

impl CountLimits {
    /// The highest limits that can be set. The deployment's own tenant has them, because nobody can
    /// set its limits.
    pub const HIGHEST: Self = Self {
        max_agents: Some(MaxAgents::HIGHEST),
        max_keys: Some(MaxKeys::HIGHEST),
    };

    /// How many of these the tenant may have.
    pub fn most(self, counted: Counted) -> u32 {
        match counted {
            Counted::Agents => self.max_agents.unwrap_or(DEFAULT_AGENTS).count(),
            Counted::Keys => self.max_keys.unwrap_or(DEFAULT_KEYS).count(),
        }
    }
}

/// What changes about the limits of a tenant on numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountLimitChanges {
    /// The limit on agents.
    pub max_agents: Patch<MaxAgents>,
    /// The limit on keys.
    pub max_keys: Patch<MaxKeys>,
}

impl CountLimitChanges {
    /// The limits after the change of these.
    #[must_use]
    pub fn apply(self, before: CountLimits) -> CountLimits {
        CountLimits {
            max_agents: self.max_agents.apply(before.max_agents),
            max_keys: self.max_keys.apply(before.max_keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_default_unless_it_is_set() {
        let limits = CountLimits {
            max_keys: MaxKeys::new(7).ok(),
            ..CountLimits::default()
        };
        assert_eq!(limits.most(Counted::Agents), 1_000);
        assert_eq!(limits.most(Counted::Keys), 7);
        let changes = CountLimitChanges {
            max_agents: Patch::Set(MaxAgents(3)),
            max_keys: Patch::Clear,
        };
        let after = changes.apply(limits);
        assert_eq!(after.most(Counted::Agents), 3);
        assert_eq!(after.most(Counted::Keys), 100);
    }

    #[test]
    fn a_limit_is_in_its_range() {
        let agents = |number| MaxAgents::new(number).is_ok();
        assert_eq!(
            [0, 1, 100_000, 100_001].map(agents),
            [false, true, true, false]
        );
        let keys = |number| MaxKeys::new(number).is_ok();
        assert_eq!([0, 1, 1_000, 1_001].map(keys), [false, true, true, false]);
    }
}
