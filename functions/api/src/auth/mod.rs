//! Who calls: the API key or the JWT of a request, and what it may do.
//!
//! All refusals are the same `401`: a client does not learn whether a key exists, was revoked or has
//! expired. The log has the reason.

mod deployment_key;
mod rate;
mod scopes;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use shared::app::{Access, JwtCheck, KeyCheck, Refused, RequestRates};
use shared::domain::{ApiToken, KEY_PREFIX, Scope};
use shared::metric;
use tracing::Span;

pub use deployment_key::DeploymentKey;
pub(crate) use scopes::{
    AgentsRead, AgentsWrite, DeadLetters, Keys, Operator, Scoped, TasksRead, TasksSubmit,
};

use crate::Api;
use crate::problem::Problem;

/// Checks the API keys and JWTs of requests.
#[derive(Clone)]
pub struct Auth {
    /// The deployment's own key.
    pub deployment_key: DeploymentKey,
    /// The check of all other keys.
    pub keys: Arc<KeyCheck>,
    /// The check of JWTs, if this deployment accepts any.
    pub jwts: Option<Arc<JwtCheck>>,
    /// The limits on requests.
    pub rates: RequestRates,
}

impl Auth {
    async fn check(&self, headers: &HeaderMap) -> Result<Checked, Problem> {
        if !headers.contains_key(AUTHORIZATION) {
            return Err(refused("absent"));
        }
        let presented = bearer(headers).ok_or_else(|| refused("malformed"))?;
        let (access, credential) = if presented.starts_with(KEY_PREFIX) {
            let token: ApiToken = presented.parse().map_err(|_| refused("malformed"))?;
            let access = self.check_token(&token, Duration::ZERO).await?;
            (access, Some(Credential::Key(token)))
        } else if is_jwt(presented)
            && let Some(jwts) = &self.jwts
        {
            let (access, subject) = check_jwt(jwts, presented, Duration::ZERO).await?;
            Span::current().record("caller_subject", subject);
            (
                access,
                Some(Credential::Jwt(Arc::clone(jwts), presented.to_owned())),
            )
        } else {
            (self.deployment_key.check(presented).await?, None)
        };
        Ok(Checked { access, credential })
    }

    async fn check_token(&self, token: &ApiToken, lasting: Duration) -> Result<Access, Problem> {
        self.keys.check(token, lasting).await.map_err(problem)
    }

    /// Checks a credential that was valid a moment ago, for a request that lasts so long.
    async fn check_again(&self, credential: &Credential, lasting: Duration) -> Result<(), Problem> {
        match credential {
            Credential::Key(token) => self.check_token(token, lasting).await.map(drop),
            Credential::Jwt(jwts, token) => check_jwt(jwts, token, lasting).await.map(drop),
        }
    }
}

async fn check_jwt(
    jwts: &JwtCheck,
    token: &str,
    lasting: Duration,
) -> Result<(Access, Option<String>), Problem> {
    jwts.check(token, lasting).await.map_err(problem)
}

/// Whether a text has the three parts of a signed JWT (RFC 7515, section 7.1). No API key has a dot.
fn is_jwt(presented: &str) -> bool {
    presented.split('.').count() == 3
}

/// The response to a credential that is not accepted.
fn problem(why: Refused) -> Problem {
    match why {
        Refused::Invalid(reason) => refused(reason),
        Refused::Expired => {
            // Not counted: it is no attack.
            unauthorized("jwt_expired")
        }
        Refused::Suspended(tenant) => {
            Span::current().record("tenant_id", tenant.as_str());
            Problem::tenant_suspended()
        }
        Refused::Failed(error) => error.into(),
    }
}

/// Refuses a request whose key or JWT is not valid, for this reason, and logs and counts it: many of
/// them are an attack, or a client with an old key.
fn refused(reason: &'static str) -> Problem {
    metric::AUTH_FAILURES.add([reason], 1);
    unauthorized(reason)
}

/// The same response whatever the reason, which only the log has.
fn unauthorized(reason: &'static str) -> Problem {
    tracing::info!(reason, "API key or JWT refused");
    Problem::unauthorized()
}

/// The token of `Authorization: Bearer …` (RFC 6750). The scheme's case doesn't matter (RFC 9110).
/// `None` if there are several such headers.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets a request pass if its key or JWT is valid, and keeps what it may do for [`Caller`].
pub(crate) async fn require_key(
    State(auth): State<Auth>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let checked = auth.check(request.headers()).await?;
    let span = Span::current();
    span.record("tenant_id", checked.access.tenant.as_str());
    if let Some(key) = checked.access.key {
        span.record("caller_key_id", key.to_string());
    }
    let limits = if request.method().is_safe() {
        Vec::new()
    } else {
        auth.rates.count(&checked.access).await
    };
    request.extensions_mut().insert(checked);
    Ok(match rate::refusal(&limits) {
        Some(refused) => rate::describe(refused.into_response(), &limits),
        None => rate::describe(next.run(request).await, &limits),
    })
}

/// Fails if the key or JWT lacks the scope.
pub(crate) fn require_scope(access: &Access, scope: Scope) -> Result<(), Problem> {
    if access.scopes.contain(scope) {
        return Ok(());
    }
    tracing::info!(scope = scope.as_str(), "API key or JWT lacks a scope");
    Err(Problem::missing_scope(scope))
}

/// A request whose key or JWT is valid.
#[derive(Clone)]
struct Checked {
    access: Access,
    credential: Option<Credential>,
}

/// What is checked again in a request that waits. The deployment's own key is not.
#[derive(Clone)]
enum Credential {
    Key(ApiToken),
    Jwt(Arc<JwtCheck>, String),
}

/// The caller of a route that needs the scope `S`. A handler gets its tenant only from here, so no
/// handler can forget the check.
pub(crate) struct Caller<S> {
    /// The caller's tenant, key and scopes.
    pub(crate) access: Access,
    credential: Option<Credential>,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// Checks the caller's key or JWT again, if what was read of it would be too old at the end of a
    /// request that lasts so long.
    pub(crate) async fn check_for(&self, api: &Api, lasting: Duration) -> Result<(), Problem> {
        match &self.credential {
            Some(credential) => api.auth.check_again(credential, lasting).await,
            None => Ok(()),
        }
    }
}

impl<S: Scoped> FromRequestParts<Api> for Caller<S> {
    type Rejection = Problem;

    /// Fails if the credential lacks the scope, or on a route that [`require_key`] doesn't guard.
    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let checked = parts.extensions.remove::<Checked>();
        let Checked { access, credential } = checked.ok_or_else(Problem::unauthorized)?;
        require_scope(&access, S::SCOPE)?;
        Ok(Self {
            access,
            credential,
            scope: PhantomData,
        })
    }
}
