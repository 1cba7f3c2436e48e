//! `/v1/agents/{id}/aliases`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::domain::{AgentId, AliasName, AliasSet};
use shared::ports::Page;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{AgentsRead, AgentsWrite, Caller};
use crate::body::{Body, Broken, required};
use crate::json::whole;
use crate::openapi::values;
use crate::path::{PathAlias, PathId};
use crate::problem::Problem;
use crate::query::{ListResponse, Params};

/// The body of `PUT /v1/agents/{id}/aliases/{name}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "version": 1 })))]
pub(crate) struct SetAliasRequest {
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = values::Number, required = true)]
    version: Option<u32>,
}

/// An alias and the version that it names.
#[derive(Serialize, ToSchema)]
#[schema(as = Alias)]
pub(crate) struct AliasResponse {
    #[schema(value_type = values::AliasName)]
    name: AliasName,
    version: u32,
}

/// Lists all aliases of an agent, by their names.
#[utoipa::path(
    get, path = "/v1/agents/{id}/aliases",
    responses((status = 200, body = ListResponse<AliasResponse>))
)]
pub(crate) async fn list_aliases(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    PathId(id): PathId<AgentId>,
    params: Params,
) -> Result<Json<ListResponse<AliasResponse>>, Problem> {
    params.finish()?;
    let agent = api.agents.find_agent(&access.tenant, id).await?;
    let aliases = agent.aliases.into_iter();
    let entries = aliases.map(|(name, version)| AliasResponse { name, version });
    Ok(Json(ListResponse::of(Page {
        entries: entries.collect(),
        next: None,
    })))
}

/// Reads the version that an alias names.
#[utoipa::path(
    get, path = "/v1/agents/{id}/aliases/{name}",
    responses((status = 200, body = AliasResponse))
)]
pub(crate) async fn find_alias(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    (PathId(id), PathAlias(name)): (PathId<AgentId>, PathAlias),
    params: Params,
) -> Result<Json<AliasResponse>, Problem> {
    params.finish()?;
    let version = api.agents.find_alias(&access.tenant, id, &name).await?;
    Ok(Json(AliasResponse { name, version }))
}

/// Has an alias name a version.
#[utoipa::path(
    put, path = "/v1/agents/{id}/aliases/{name}",
    responses(
        (status = 200, body = AliasResponse, description = "The alias was there, and names this version now."),
        (status = 201, body = AliasResponse),
        (status = 409, description = "The agent has as many aliases as it may have, or is an inline agent."),
    )
)]
pub(crate) async fn set_alias(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    (PathId(id), PathAlias(name)): (PathId<AgentId>, PathAlias),
    params: Params,
    Body(request): Body<SetAliasRequest>,
) -> Result<(StatusCode, Json<AliasResponse>), Problem> {
    params.finish()?;
    let mut broken = Broken::default();
    let version = broken.keep(required("/version", request.version));
    let version = broken.finish(version)?;
    let status = match api
        .agents
        .set_alias(&access.tenant, id, (&name, version))
        .await?
    {
        AliasSet::Created => StatusCode::CREATED,
        AliasSet::Moved { .. } => StatusCode::OK,
    };
    Ok((status, Json(AliasResponse { name, version })))
}

/// Removes an alias.
#[utoipa::path(
    delete, path = "/v1/agents/{id}/aliases/{name}",
    responses((status = 204), (status = 409, description = "The agent is an inline agent."))
)]
pub(crate) async fn remove_alias(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    (PathId(id), PathAlias(name)): (PathId<AgentId>, PathAlias),
    params: Params,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    api.agents.remove_alias(&access.tenant, id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
