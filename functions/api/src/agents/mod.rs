//! `/v1/agents`.

pub(crate) mod aliases;
mod patch;
mod request;
mod response;
mod tools;
pub(crate) mod versions;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use shared::domain::{AgentHead, AgentId, AgentVersion, Switch};

use crate::Api;
use crate::auth::{AgentsRead, AgentsWrite, Caller};
use crate::body::{Body, MergePatch};
use crate::delivery::{MAX_BODY_BYTES, fit};
use crate::etag::{EntityTag, IfMatch, IfNoneMatch, is_match};
use crate::json::{parse, value};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{PageParams, Params};
pub(crate) use patch::AgentPatch;
pub(crate) use request::AgentRequest;
use response::{AgentListResponse, AgentResponse};

/// Creates an agent.
#[utoipa::path(
    post, path = "/v1/agents",
    responses(
        (status = 201, body = AgentResponse, headers(("ETag"), ("Location"))),
        (status = 409, description = "The tenant has as many agents as it may have."),
    )
)]
pub(crate) async fn create_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    params: Params,
    Body(request): Body<AgentRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let agent = api
        .agents
        .create_agent(access, request.draft(|_| true)?)
        .await?;
    let location = format!("/v1/agents/{}", agent.newest.id);
    let headers = [(LOCATION, location), (ETAG, tag(&agent).into())];
    Ok((
        StatusCode::CREATED,
        headers,
        Json(AgentResponse::from(&agent)),
    ))
}

/// Reads an agent in its newest version.
#[utoipa::path(
    get, path = "/v1/agents/{id}",
    params(IfNoneMatch),
    responses((status = 200, body = AgentResponse, headers(("ETag"))), (status = 304, headers(("ETag"))))
)]
pub(crate) async fn find_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    PathId(id): PathId<AgentId>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let agent = api.agents.find_agent(&access.tenant, id).await?;
    let shown = Json(AgentResponse::from(&agent));
    Ok(tag(&agent).respond(&headers, shown))
}

/// Lists the agents, oldest first.
#[utoipa::path(
    get, path = "/v1/agents",
    params(PageParams),
    responses((status = 200, body = AgentListResponse))
)]
pub(crate) async fn list_agents(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    mut params: Params,
) -> Result<Json<AgentListResponse>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    let agents = api.agents.list_agents(&access.tenant, &page).await?;
    Ok(Json(fit(AgentListResponse::from(agents), MAX_BODY_BYTES)))
}

/// Changes an agent by a JSON merge patch (RFC 7396).
///
/// If its configuration changes, the agent has a new version.
#[utoipa::path(
    patch, path = "/v1/agents/{id}",
    params(IfMatch),
    responses(
        (status = 200, body = AgentResponse, headers(("ETag"))),
        (status = 409, description = "The agent is an inline agent."),
        (status = 412, description = "`If-Match` does not name the agent as it is."),
    )
)]
pub(crate) async fn patch_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    (PathId(id), headers): (PathId<AgentId>, HeaderMap),
    params: Params,
    MergePatch(bytes): MergePatch,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    // The patch has the form of an agent in which everything may be absent or null.
    parse::<AgentRequest>(&bytes)?;
    let patch = value(&bytes)?;
    let patched = |agent: &AgentHead| {
        let version = version_tag(agent.newest.version_ref());
        if !is_match(&headers, &[version, tag(agent)]) {
            return Err(Problem::precondition_failed(agent.newest.version));
        }
        patch::patched(agent, patch.clone())
    };
    let agent = api.agents.patch_agent(&access.tenant, id, patched).await?;
    let headers = [(ETAG, String::from(tag(&agent)))];
    Ok((headers, Json(AgentResponse::from(&agent))))
}

/// Archives an agent.
///
/// It accepts no more tasks, is in no list, and cannot be changed or brought back.
#[utoipa::path(
    delete, path = "/v1/agents/{id}",
    responses((status = 204), (status = 409, description = "The agent is an inline agent."))
)]
pub(crate) async fn archive_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    PathId(id): PathId<AgentId>,
    params: Params,
) -> Result<StatusCode, Problem> {
    params.finish()?;
    api.agents.archive_agent(&access.tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tag of the agent as a whole: while it is disabled, it looks different.
fn tag(agent: &AgentHead) -> EntityTag {
    match agent.switch {
        Switch::Enabled => version_tag(agent.newest.version_ref()),
        Switch::Disabled => {
            let AgentVersion { id, version } = agent.newest.version_ref();
            EntityTag::of(&format!("{id}-{version}-disabled"))
        }
    }
}

/// The tag of one version.
fn version_tag(AgentVersion { id, version }: AgentVersion) -> EntityTag {
    EntityTag::of(&format!("{id}-{version}"))
}
