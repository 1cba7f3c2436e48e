//! Who calls: the API key of a request, and what it may do.
//!
//! All refusals of a key are the same `401`: a client does not learn whether a key exists, was
//! revoked or has expired. The log has the reason.

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
use shared::app::{Access, KeyCheck, Refused, RequestRates};
use shared::domain::{ApiToken, KEY_PREFIX, Scope};
use shared::metric;
use tracing::Span;

pub use deployment_key::DeploymentKey;
pub(crate) use scopes::{
    AgentsRead, AgentsWrite, DeadLetters, Keys, Operator, Scoped, TasksRead, TasksSubmit,
};

use crate::Api;
use crate::problem::Problem;

/// Checks the API keys of requests.
#[derive(Clone)]
pub struct Auth {
    /// The deployment's own key.
    pub deployment_key: DeploymentKey,
    /// The check of all other keys.
    pub keys: Arc<KeyCheck>,
    /// The limits on requests.
    pub rates: RequestRates,
}

impl Auth {
    async fn check(&self, headers: &HeaderMap) -> Result<Checked, Problem> {
        if !headers.contains_key(AUTHORIZATION) {
            return Err(refused("absent"));
        }
        let presented = bearer(headers).ok_or_else(|| refused("malformed"))?;
        if !presented.starts_with(KEY_PREFIX) {
            let access = self.deployment_key.check(presented).await?;
            return Ok(Checked {
                access,
                token: None,
            });
        }
        let token: ApiToken = presented.parse().map_err(|_| refused("malformed"))?;
        let access = self.check_token(&token, Duration::ZERO).await?;
        Ok(Checked {
            access,
            token: Some(token),
        })
    }

    async fn check_token(&self, token: &ApiToken, lasting: Duration) -> Result<Access, Problem> {
        let checked = self.keys.check(token, lasting).await;
        checked.map_err(|why| match why {
            Refused::Invalid(reason) => refused(reason),
            Refused::Suspended(tenant) => {
                Span::current().record("tenant_id", tenant.as_str());
                Problem::tenant_suspended()
            }
            Refused::Failed(error) => error.into(),
        })
    }
}

/// Refuses a request whose key is not valid, for this reason, and logs and counts it: many of them
/// are an attack, or a client with an old key.
fn refused(reason: &'static str) -> Problem {
    metric::AUTH_FAILURES.add([reason], 1);
    tracing::info!(reason, "API key refused");
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

/// Lets a request pass if its key is valid, and keeps what the key may do for [`Caller`].
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

/// Fails if the key lacks the scope.
pub(crate) fn require_scope(access: &Access, scope: Scope) -> Result<(), Problem> {
    if access.scopes.contain(scope) {
        return Ok(());
    }
    tracing::info!(scope = scope.as_str(), "API key lacks a scope");
    Err(Problem::missing_scope(scope))
}

/// A request whose key is valid.
#[derive(Clone)]
struct Checked {
    access: Access,
    token: Option<ApiToken>,
}

/// The caller of a route that needs the scope `S`. A handler gets its tenant only from here, so no
/// handler can forget the check.
pub(crate) struct Caller<S> {
    /// The caller's tenant, key and scopes.
    pub(crate) access: Access,
    token: Option<ApiToken>,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// Checks the caller's key again, if what was read of it would be too old at the end of a
    /// request that lasts so long.
    pub(crate) async fn check_for(&self, api: &Api, lasting: Duration) -> Result<(), Problem> {
        match &self.token {
            Some(token) => api.auth.check_token(token, lasting).await.map(drop),
            None => Ok(()),
        }
    }
}

impl<S: Scoped> FromRequestParts<Api> for Caller<S> {
    type Rejection = Problem;

    /// Fails if the key lacks the scope, or on a route that [`require_key`] doesn't guard.
    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Problem> {
        let checked = parts.extensions.remove::<Checked>();
        let Checked { access, token } = checked.ok_or_else(Problem::unauthorized)?;
        require_scope(&access, S::SCOPE)?;
        Ok(Self {
            access,
            token,
            scope: PhantomData,
        })
    }
}
