//! The pepper, in the versions that seals may have.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Pepper;
use crate::ports::{SealedCredential, Secret, SecretError, Secrets};

/// How old the pepper may be that a seal is checked with, and how old if that one did not make the
/// seal: another function may have sealed with a newer one.
const MAX_AGES: [Duration; 2] = [Duration::from_mins(5), Duration::from_secs(10)];

/// For how long the pepper before the present one is valid: until the next rotation. Every seal of
/// it is renewed when its key is used.
const GRACE: Duration = Duration::from_hours(24 * 365 * 100);

/// Reads the pepper from its secret.
#[derive(Clone)]
pub(super) struct Peppers {
    secrets: Arc<dyn Secrets>,
    secret_name: String,
}

/// Whether a seal is valid.
pub(super) enum SealState {
    /// It is, and the present pepper made it.
    Current,
    /// It is, and the pepper before made it: it must be renewed before the next rotation.
    Outdated,
    /// No pepper made it for this credential.
    Invalid,
}

impl Peppers {
    /// The pepper in the secret of this name.
    pub(super) fn new(secrets: Arc<dyn Secrets>, secret_name: String) -> Self {
        Self {
            secrets,
            secret_name,
        }
    }

    /// The pepper that seals now.
    pub(super) async fn current(&self) -> Result<Pepper, SecretError> {
        let [_, fresh] = MAX_AGES;
        let accepted = self.accepted(fresh).await?;
        accepted
            .into_iter()
            .next()
            .ok_or_else(|| SecretError::Missing {
                name: self.secret_name.clone(),
                source: "it has no value".into(),
            })
    }

    /// Whether the credential has a valid seal.
    pub(super) async fn check(&self, sealed: &SealedCredential) -> Result<SealState, SecretError> {
        let SealedCredential { credential, seal } = sealed;
        for max_age in MAX_AGES {
            let mut peppers = self.accepted(max_age).await?.into_iter();
            if peppers
                .next()
                .is_some_and(|current| current.is_seal_of(seal, credential))
            {
                return Ok(SealState::Current);
            }
            if peppers.any(|earlier| earlier.is_seal_of(seal, credential)) {
                return Ok(SealState::Outdated);
            }
        }
        Ok(SealState::Invalid)
    }

    /// The pepper, then the one before, read within `max_age`.
    async fn accepted(&self, max_age: Duration) -> Result<Vec<Pepper>, SecretError> {
        let secrets = self
            .secrets
            .accepted(&self.secret_name, GRACE, max_age)
            .await?;
        Ok(secrets
            .iter()
            .map(Secret::expose)
            .map(str::trim)
            .map(Pepper::new)
            .collect())
    }
}
