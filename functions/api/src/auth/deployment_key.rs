//! Who calls: the API key of the deployment, which stands for its one tenant.
//!
//! For a while after a rotation, the key before opens the API as well, so that clients change
//! theirs one after another. A new key opens it at once: before a key is refused, the secret is
//! read again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use shared::domain::{Causes, TenantId};
use shared::metric;
use shared::ports::{Dependency, NoAnswer, Secret, SecretError, Secrets};
use subtle::{Choice, ConstantTimeEq};
use tracing::Span;

use crate::problem::Problem;

/// How old the keys may be that a request is held against, and how old when they don't open it: so
/// often can wrong keys have the secret read.
const MAX_AGES: [Duration; 2] = [Duration::from_mins(5), Duration::from_secs(10)];

/// The keys that open the API: one secret's, for one tenant.
#[derive(Clone)]
pub struct ApiKeys {
    secrets: Arc<dyn Secrets>,
    secret_name: String,
    grace: Duration,
    tenant: TenantId,
}

impl ApiKeys {
    /// The key kept in `secrets` under `secret_name` opens the API for `tenant`, and so does the
    /// key before it while the present one is younger than `grace`.
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

    async fn tenant_of(&self, headers: &HeaderMap) -> Result<TenantId, Problem> {
        if !headers.contains_key(AUTHORIZATION) {
            return Err(refused("absent"));
        }
        let presented = bearer(headers).ok_or_else(|| refused("malformed"))?;
        for max_age in MAX_AGES {
            let keys = self
                .secrets
                .accepted(&self.secret_name, self.grace, max_age)
                .await;
            if is_one_of(presented, &keys.map_err(|error| refuse_all(&error))?) {
                return Ok(self.tenant.clone());
            }
        }
        Err(refused("wrong"))
    }
}

/// Refuses a request whose key is wrong in this way, and leaves a trace of it: many of them are an
/// attack, or a client with an old key.
fn refused(reason: &'static str) -> Problem {
    metric::AUTH_FAILURES.add([reason], 1);
    tracing::info!(reason, "API key refused");
    Problem::unauthorized()
}

#[async_trait]
impl Dependency for ApiKeys {
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

/// The token of `Authorization: Bearer …` (RFC 6750); the scheme's case doesn't matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse_all(error: &SecretError) -> Problem {
    tracing::error!(error = %Causes(error), "API key can't be read");
    Problem::keyless(error)
}

/// Lets a request pass if it has a key, and notes its tenant for handlers and logs.
pub(crate) async fn require_key(
    State(keys): State<ApiKeys>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let tenant = keys.tenant_of(request.headers()).await?;
    Span::current().record("tenant_id", tenant.as_str());
    request.extensions_mut().insert(Authenticated(tenant));
    Ok(next.run(request).await)
}

/// The tenant on whose behalf a request is made.
#[derive(Clone)]
pub(crate) struct Authenticated(pub(crate) TenantId);

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Problem;

    /// Fails only on a route that [`require_key`] doesn't guard.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(Problem::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::http::HeaderValue;
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

    async fn check_opened(key: &'static str, is_open: bool, reads: &[Duration]) {
        let secrets = Arc::new(Rotated::default());
        let asked: Arc<dyn Secrets> = Arc::<Rotated>::clone(&secrets);
        let keys = ApiKeys::new(
            asked,
            "api-key".to_owned(),
            GRACE,
            samples::tenant("default"),
        );
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(key))]);
        assert_eq!(keys.tenant_of(&headers).await.is_ok(), is_open, "{key}");
        assert_eq!(*secrets.0.lock().unwrap(), reads, "{key}");
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_is_looked_for_once_more_before_it_is_refused() {
        let [usual, again] = MAX_AGES;
        check_opened("Bearer first", true, &[usual]).await;
        check_opened("Bearer second", true, &[usual, again]).await;
        check_opened("Bearer third", false, &[usual, again]).await;
        check_opened("Basic first", false, &[]).await;
    }

    #[test]
    fn a_token_is_held_against_every_key() {
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
