//! Reading ids and numbers from paths.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use shared::domain::{AgentId, AliasName, Invalid, KeyId, TaskId, TenantId};
use tracing::Span;

use crate::problem::Problem;
use crate::query::refused;

/// What a route's id is the id of.
pub(crate) trait Subject {
    /// Its name in the request's spans.
    const FIELD: &'static str;
}

impl Subject for AgentId {
    const FIELD: &'static str = "agent_id";
}

impl Subject for TaskId {
    const FIELD: &'static str = "task_id";
}

impl Subject for KeyId {
    const FIELD: &'static str = "key_id";
}

impl Subject for TenantId {
    const FIELD: &'static str = "subject_tenant_id";
}

/// The `{id}` of a route. A text that can't be an id is one that doesn't exist.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: Subject + FromStr + ToString, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id: T = parameter(parts, state, "id").await?;
        Span::current().record(T::FIELD, id.to_string());
        Ok(Self(id))
    }
}

/// The `{number}` of a route, likewise.
pub(crate) struct PathNumber(pub(crate) u32);

impl<S: Send + Sync> FromRequestParts<S> for PathNumber {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        parameter(parts, state, "number").await.map(Self)
    }
}

/// The `{name}` of a route: the name of an alias. A text that no alias can have is refused.
pub(crate) struct PathAlias(pub(crate) AliasName);

impl<S: Send + Sync> FromRequestParts<S> for PathAlias {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name: String = parameter(parts, state, "name").await?;
        name.parse()
            .map(Self)
            .map_err(|Invalid { reason, .. }| refused("name", &reason))
    }
}

async fn parameter<T: FromStr, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<T, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::unknown_id())?;
    let text = params
        .iter()
        .find_map(|(key, text)| (key == name).then_some(text))
        .ok_or_else(Problem::unknown_id)?;
    text.parse().map_err(|_| Problem::malformed_id(name))
}
