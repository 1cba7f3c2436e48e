//! What an API key may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::Invalid;

/// One thing that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Read agents.
    #[serde(rename = "agents:read")]
    AgentsRead,
    /// Create, change and delete agents.
    #[serde(rename = "agents:write")]
    AgentsWrite,
    /// Read tasks, with everything that is recorded of them.
    #[serde(rename = "tasks:read")]
    TasksRead,
    /// Submit tasks, send them tool results, resume, retry and cancel them.
    #[serde(rename = "tasks:submit")]
    TasksSubmit,
    /// Set limits of a task above those of its agent.
    #[serde(rename = "tasks:limits")]
    TasksLimits,
    /// List and redrive dead letters.
    #[serde(rename = "dead_letters")]
    DeadLetters,
    /// Manage the tenant's keys.
    #[serde(rename = "keys")]
    Keys,
    /// Manage tenants, and the first key of each.
    #[serde(rename = "operator")]
    Operator,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 8] = [
        Self::AgentsRead,
        Self::AgentsWrite,
        Self::TasksRead,
        Self::TasksSubmit,
        Self::TasksLimits,
        Self::DeadLetters,
        Self::Keys,
        Self::Operator,
    ];

    /// Its name in requests, responses and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentsRead => "agents:read",
            Self::AgentsWrite => "agents:write",
            Self::TasksRead => "tasks:read",
            Self::TasksSubmit => "tasks:submit",
            Self::TasksLimits => "tasks:limits",
            Self::DeadLetters => "dead_letters",
            Self::Keys => "keys",
            Self::Operator => "operator",
        }
    }
}

impl Scope {
    /// Whether a JWT can give it. Who issues JWTs must not become an operator, or make keys that
    /// outlast them.
    pub const fn is_for_jwts(self) -> bool {
        !matches!(self, Self::Keys | Self::Operator)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|scope| scope.as_str() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new("", format!("must be one of {names}"))
        })
    }
}

/// The scopes of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Self(Scope::ALL.into())
    }

    /// Whether they contain this one.
    pub fn contain(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// The first of these scopes that `granter` does not have.
    pub fn beyond(&self, granter: &Self) -> Option<Scope> {
        self.0.difference(&granter.0).next().copied()
    }

    /// All of them, in the order of [`Scope::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_one_name_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert_eq!(serde_json::json!(scope), scope.as_str());
        }
        for other in ["", "Agents:read", "agents:read ", "agents", "*"] {
            assert!(other.parse::<Scope>().is_err(), "{other}");
        }
    }

    #[test]
    fn no_scope_beyond_those_of_the_granter_is_granted() {
        let readers: Scopes = [Scope::AgentsRead, Scope::TasksRead].into_iter().collect();
        assert_eq!(readers.beyond(&Scopes::all()), None);
        assert_eq!(readers.beyond(&readers), None);
        assert_eq!(Scopes::all().beyond(&readers), Some(Scope::AgentsWrite));
    }
}
