//! Secrets in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::Faults;
use super::lock;
use crate::ports::{Secret, SecretError, Secrets};

/// Secrets in memory. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct MemorySecrets {
    values: Arc<Mutex<BTreeMap<String, Secret>>>,
    faults: Faults,
}

impl MemorySecrets {
    /// The same secrets, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { faults, ..self.clone() }
    }

    /// Sets a secret's value.
    pub fn set(&self, name: &str, value: &str) {
        lock(&self.values).insert(name.to_owned(), Secret::new(value));
    }

    /// Removes a secret.
    pub fn remove(&self, name: &str) {
        lock(&self.values).remove(name);
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        self.faults.around(
            |fault| SecretError::Unavailable(Box::new(fault)),
            || {
                let missing = || SecretError::Missing { name: name.to_owned(), source: "no such secret is set".into() };
                lock(&self.values).get(name).cloned().ok_or_else(missing)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_there_while_it_is_set() {
        let secrets = MemorySecrets::default();
        secrets.set("key", "s3cret");
        assert_eq!(secrets.secret("key").await.unwrap().expose(), "s3cret");
        secrets.remove("key");
        assert!(matches!(secrets.secret("key").await, Err(SecretError::Missing { .. })));
    }
}
