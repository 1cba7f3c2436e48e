//! The names of credentials: secrets that the operator stores, and that an agent's tools may use.
//!
//! The value, and the hosts that may get it, are in the secret. So an agent names a credential and
//! can't say where it is sent.

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, slug};

/// The most credentials that a tool may use.
pub const MAX_CREDENTIALS: usize = 8;

/// The name of a credential within its tenant: 1 to 64 of `a-z`, `0-9` and `-`. So no name leads out
/// of the tenant's part of the secrets' names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(String);

impl CredentialName {
    /// Checks the name; its place is the caller's to name.
    pub fn new(name: String) -> Result<Self, Invalid> {
        slug("", name).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CredentialName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_lead_to_another_tenants_secret() {
        let long = "x".repeat(64);
        for name in ["github", "a", "0-9", &long] {
            assert_eq!(CredentialName::new(name.to_owned()).unwrap().as_str(), name);
        }
        let longer = "x".repeat(65);
        for name in [
            "",
            "GitHub",
            "a/b",
            "../other/github",
            "a.b",
            "a b",
            "a_b",
            "é",
            &longer,
        ] {
            let refused = CredentialName::new(name.to_owned()).unwrap_err();
            assert_eq!(refused.field, "", "{name}");
            let read = serde_json::from_value::<CredentialName>(name.into());
            assert!(read.is_err(), "{name}");
        }
    }
}
