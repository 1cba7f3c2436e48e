//! An agent as a whole: its newest version, and what holds for all of its versions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentConfig};
use super::invalid::Invalid;
use super::time::Timestamp;

/// The most aliases of one agent.
pub const MAX_ALIASES: usize = 20;

/// Whether an agent works: the kill switch of all its versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// It accepts tasks, and its tasks run.
    #[default]
    Enabled,
    /// It accepts no tasks, and its tasks wait.
    Disabled,
}

/// A client's name for one version of an agent: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(String);

impl AliasName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AliasName {
    type Err = Invalid;

    /// Checks the name at `/alias`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "/alias",
            "must have 1 to 64 characters of A-Z, a-z, 0-9, _ and -",
        ))
    }
}

impl TryFrom<String> for AliasName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AliasName> for String {
    fn from(AliasName(text): AliasName) -> Self {
        text
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An agent as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentHead {
    /// Its newest version. The versions before it have all the numbers from 1.
    pub newest: Agent,
    /// Whether it works.
    pub switch: Switch,
    /// The version that each alias names. An alias changes only when a client sets it.
    pub aliases: BTreeMap<AliasName, u32>,
    /// Which cached answers its tasks may get: those of the same generation. 0 until the first
    /// [`clear_cache`](Self::clear_cache).
    pub cache_generation: u64,
    /// Raised by one with each change of the agent.
    pub revision: u64,
}

/// What became of an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasSet {
    /// It is new.
    Created,
    /// It named this version before.
    Moved {
        /// The version.
        from: u32,
    },
}

/// An alias can't be set like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AliasRefused {
    /// The agent has no such version.
    #[error("the agent has the versions 1 to {newest}")]
    NoVersion {
        /// The number of its newest version.
        newest: u32,
    },
    /// The agent has [`MAX_ALIASES`] others.
    #[error("the agent has {MAX_ALIASES} aliases")]
    TooMany,
}

impl AgentHead {
    /// The agent whose first version this is: enabled, and without aliases.
    pub const fn of(newest: Agent) -> Self {
        Self {
            newest,
            switch: Switch::Enabled,
            aliases: BTreeMap::new(),
            cache_generation: 0,
            revision: 1,
        }
    }

    /// Clears the agent's cache: its tasks no longer use answers that were cached before. The generation is the moment in
    /// milliseconds, so that no other agent, and no agent that lost its generation, has had it before.
    pub fn clear_cache(&mut self, now: Timestamp) {
        self.cache_generation = now.as_millis().max(self.cache_generation + 1);
    }

    /// Makes the next version if the configuration differs from that of the newest version.
    pub fn configure(&mut self, config: AgentConfig, now: Timestamp) {
        if config != self.newest.config {
            self.newest.config = config;
            self.newest.version += 1;
            self.newest.created_at = now;
        }
    }

    /// Whether the agent has a version of this number.
    pub fn has_version(&self, number: u32) -> bool {
        (1..=self.newest.version).contains(&number)
    }

    /// Has the alias name this version.
    pub fn set_alias(&mut self, name: &AliasName, version: u32) -> Result<AliasSet, AliasRefused> {
        if !self.has_version(version) {
            let newest = self.newest.version;
            return Err(AliasRefused::NoVersion { newest });
        }
        if !self.aliases.contains_key(name) && self.aliases.len() >= MAX_ALIASES {
            return Err(AliasRefused::TooMany);
        }
        Ok(match self.aliases.insert(name.clone(), version) {
            Some(from) => AliasSet::Moved { from },
            None => AliasSet::Created,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_name_has_only_characters_that_need_no_escape() {
        for name in ["a", "Prod_2-eu", &"x".repeat(64)] {
            assert_eq!(name.parse::<AliasName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "é", "a/b", "a.b", &"x".repeat(65)] {
            assert_eq!(name.parse::<AliasName>().unwrap_err().field, "/alias");
        }
    }
}
