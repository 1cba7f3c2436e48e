//! Secrets in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::ports::{Secret, SecretError, Secrets};

/// Secrets in memory. Clones share the content. They are always fresh, and a value before ends only
/// by [`MemorySecrets::end_grace`], or without any `grace`.
#[derive(Debug, Clone, Default)]
pub struct MemorySecrets {
    /// The present value of each, then the one before.
    values: Arc<Mutex<BTreeMap<String, Vec<Secret>>>>,
    faults: Faults,
}

impl MemorySecrets {
    /// The same secrets, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// Sets a secret's value.
    pub fn set(&self, name: &str, value: &str) {
        lock(&self.values).insert(name.to_owned(), vec![Secret::new(value)]);
    }

    /// Puts a new value before the present one.
    pub fn rotate(&self, name: &str, value: &str) {
        let mut values = lock(&self.values);
        let versions = values.entry(name.to_owned()).or_default();
        versions.insert(0, Secret::new(value));
        versions.truncate(2);
    }

    /// Lets the value before the present one count no more.
    pub fn end_grace(&self, name: &str) {
        lock(&self.values)
            .entry(name.to_owned())
            .or_default()
            .truncate(1);
    }

    /// Removes a secret.
    pub fn remove(&self, name: &str) {
        lock(&self.values).remove(name);
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        let mut accepted = self.accepted(name, Duration::ZERO, Duration::ZERO).await?;
        Ok(accepted.swap_remove(0))
    }

    async fn accepted(
        &self,
        name: &str,
        grace: Duration,
        _max_age: Duration,
    ) -> Result<Vec<Secret>, SecretError> {
        self.faults.around(
            Call::Other,
            |fault| SecretError::Unavailable(Box::new(fault)),
            || {
                let missing = || SecretError::Missing {
                    name: name.to_owned(),
                    source: "no such secret is set".into(),
                };
                let versions = lock(&self.values).get(name).cloned().ok_or_else(missing)?;
                let most = if grace.is_zero() { 1 } else { 2 };
                Ok(versions.into_iter().take(most).collect())
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
        assert!(matches!(
            secrets.secret("key").await,
            Err(SecretError::Missing { .. })
        ));
    }

    #[tokio::test]
    async fn the_value_before_counts_until_its_grace_ends() {
        let (secrets, hour) = (MemorySecrets::default(), Duration::from_hours(1));
        secrets.set("key", "old");
        secrets.rotate("key", "new");
        let accepted = async |grace| {
            secrets
                .accepted("key", grace, Duration::ZERO)
                .await
                .unwrap()
        };
        assert_eq!(
            accepted(hour).await,
            [Secret::new("new"), Secret::new("old")]
        );
        assert_eq!(accepted(Duration::ZERO).await, [Secret::new("new")]);
        assert_eq!(secrets.secret("key").await.unwrap().expose(), "new");
        secrets.end_grace("key");
        assert_eq!(accepted(hour).await, [Secret::new("new")]);
    }
}
