//! The deployment's own key, which may do everything in the deployment's own tenant, and manages all
//! tenants.
//!
//! For a while after a rotation, the earlier key is accepted too, so that clients can change theirs
//! one after another. A new key is accepted at once: before a key is refused, the secret is read
//! again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::app::Access;
use shared::domain::{Caps, Causes, CountLimits, Scopes, TenantId};
use shared::ports::{Dependency, NoAnswer, Secret, SecretError, Secrets};
use subtle::{Choice, ConstantTimeEq};

use super::refused;
use crate::problem::Problem;

/// How old the keys may be that a request's key is compared with, and how old if it equals none of
/// them. Wrong keys make the platform read the secret no more often than that.
const MAX_AGES: [Duration; 2] = [Duration::from_mins(5), Duration::from_secs(10)];

/// The deployment's own key: the value of one secret, for one tenant.
#[derive(Clone)]
pub struct DeploymentKey {
    secrets: Arc<dyn Secrets>,
    secret_name: String,
    grace: Duration,
    tenant: TenantId,
}

impl DeploymentKey {
    /// The key in the secret `secret_name` acts for `tenant`. So does the earlier key while the
    /// present one is younger than `grace`.
    pub fn new(
        secrets: Arc<dyn Secrets>,
        secret_name: String,
        grace: Duration,
        tenant: TenantId,
    ) -> Self {
        Self {
            secrets,
            secret_name,
            grace,
            tenant,
        }
    }

    /// What the owner of this key may do.
    pub(super) async fn check(&self, presented: &str) -> Result<Access, Problem> {
        for max_age in MAX_AGES {
            let keys = self
                .secrets
                .accepted(&self.secret_name, self.grace, max_age)
                .await;
            if is_one_of(presented, &keys.map_err(|error| refuse_all(&error))?) {
                return Ok(Access {
                    tenant: self.tenant.clone(),
                    key: None,
                    scopes: Scopes::all(),
                    key_rate: None,
                    tenant_rate: None,
                    tenant_caps: Caps::NONE,
                    count_limits: CountLimits::HIGHEST,
                });
            }
        }
        Err(refused("wrong"))
    }
}

#[async_trait]
impl Dependency for DeploymentKey {
    /// Reads the secret, or what was read of it within five minutes.
    async fn answer(&self) -> Result<(), NoAnswer> {
        let [usual, _] = MAX_AGES;
        Ok(self
            .secrets
            .accepted(&self.secret_name, self.grace, usual)
            .await
            .map(drop)?)
    }
}

/// Whether the token is one of the keys, in a time that doesn't tell which one or how much of it is
/// right.
fn is_one_of(presented: &str, keys: &[Secret]) -> bool {
    let is_key = |key: &Secret| presented.as_bytes().ct_eq(key.expose().trim().as_bytes());
    keys.iter()
        .fold(Choice::from(0), |found, key| found | is_key(key))
        .into()
}

fn refuse_all(error: &SecretError) -> Problem {
    tracing::error!(error = %Causes(error), "API key can't be read");
    Problem::keyless("deployment's key", error)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use shared::testing::samples;

    use super::*;

    const GRACE: Duration = Duration::from_hours(1);

    /// A secret that was rotated from the first key to the second a moment ago, which only who
    /// reads it again knows.
    #[derive(Default)]
    struct Rotated(Mutex<Vec<Duration>>);

    #[async_trait]
    impl Secrets for Rotated {
        async fn secret(&self, _name: &str) -> Result<Secret, SecretError> {
            Ok(Secret::new("first"))
        }

        async fn accepted(
            &self,
            _: &str,
            grace: Duration,
            max_age: Duration,
        ) -> Result<Vec<Secret>, SecretError> {
            assert_eq!(grace, GRACE);
            self.0.lock().unwrap().push(max_age);
            let known: &[&str] = if max_age < Duration::from_mins(1) {
                &["second", "first"]
            } else {
                &["first"]
            };
            Ok(known.iter().map(|key| Secret::new(*key)).collect())
        }
    }

    async fn check_accepted(key: &str, is_accepted: bool, reads: &[Duration]) {
        let secrets = Arc::new(Rotated::default());
        let asked: Arc<dyn Secrets> = Arc::<Rotated>::clone(&secrets);
        let keys = DeploymentKey::new(
            asked,
            "api-key".to_owned(),
            GRACE,
            samples::tenant("default"),
        );
        assert_eq!(keys.check(key).await.is_ok(), is_accepted, "{key}");
        assert_eq!(*secrets.0.lock().unwrap(), reads, "{key}");
    }

    #[tokio::test]
    async fn the_secret_is_read_once_more_before_a_key_is_refused() {
        let [usual, again] = MAX_AGES;
        check_accepted("first", true, &[usual]).await;
        check_accepted("second", true, &[usual, again]).await;
        check_accepted("third", false, &[usual, again]).await;
    }

    #[test]
    fn a_token_is_compared_with_every_key() {
        let keys = ["new\n", "old"].map(Secret::new);
        for (token, is_key) in [
            ("new", true),
            ("old", true),
            ("ol", false),
            ("older", false),
            ("", false),
        ] {
            assert_eq!(is_one_of(token, &keys), is_key, "{token}");
        }
        assert!(!is_one_of("", &[]));
    }
}
