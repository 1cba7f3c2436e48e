//! Who calls: the API key of the deployment, which stands for its one tenant.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use shared::domain::{Causes, TenantId};
use shared::ports::{SecretError, Secrets};
use subtle::ConstantTimeEq;
use tracing::Span;

use crate::problem::Problem;
use crate::trace::RequestSpan;

/// The keys that open the API: one, for one tenant.
#[derive(Clone)]
pub struct ApiKeys {
    secrets: Arc<dyn Secrets>,
    secret_name: String,
    tenant: TenantId,
}

impl ApiKeys {
    /// The key kept in `secrets` under `secret_name` opens the API for `tenant`.
    pub fn new(secrets: Arc<dyn Secrets>, secret_name: String, tenant: TenantId) -> Self {
        Self { secrets, secret_name, tenant }
    }

    async fn tenant_of(&self, headers: &HeaderMap) -> Result<TenantId, Problem> {
        let presented = bearer(headers).ok_or_else(Problem::unauthorized)?;
        let key = self.secrets.secret(&self.secret_name).await.map_err(|error| refuse_all(&error))?;
        if bool::from(presented.as_bytes().ct_eq(key.expose().trim().as_bytes())) {
            return Ok(self.tenant.clone());
        }
        Err(Problem::unauthorized())
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750); the scheme's case doesn't matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refuse_all(error: &SecretError) -> Problem {
    tracing::error!(error = %Causes(error), "the api key can't be read");
    match error {
        SecretError::Missing { .. } => Problem::internal(),
        SecretError::Unavailable(_) => Problem::unavailable(),
    }
}

/// Lets a request pass if it has a key, and notes its tenant for handlers and logs.
pub(crate) async fn require_key(
    State(keys): State<ApiKeys>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let tenant = keys.tenant_of(request.headers()).await?;
    Span::current().record("tenant_id", tenant.as_str());
    RequestSpan::of(request.extensions()).0.record("tenant_id", tenant.as_str());
    request.extensions_mut().insert(Caller(tenant));
    Ok(next.run(request).await)
}

/// The tenant on whose behalf a request is made.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) TenantId);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// Fails only on a route that [`require_key`] doesn't guard.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}
