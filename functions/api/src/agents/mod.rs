//! `/v1/agents`.

mod builtin_tools;
mod request;
mod response;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use shared::domain::AgentId;

use crate::Api;
use crate::auth::{AgentsRead, AgentsWrite, Caller};
use crate::body::Body;
use crate::delivery::{MAX_BODY_BYTES, fit};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::Params;
use request::CreateAgentRequest;
use response::{AgentListResponse, AgentResponse};

/// `POST /v1/agents`: creates an agent.
pub(crate) async fn create_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    params: Params,
    Body(request): Body<CreateAgentRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let agent = api
        .agents
        .create_agent(access.tenant, request.config(&api.agents)?)
        .await?;
    let location = [(LOCATION, format!("/v1/agents/{}", agent.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(AgentResponse::from(&agent)),
    ))
}

/// `GET /v1/agents/{id}`: the agent's newest version.
pub(crate) async fn find_agent(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    PathId(id): PathId<AgentId>,
    params: Params,
) -> Result<Json<AgentResponse>, Problem> {
    params.finish()?;
    let agent = api.agents.find_agent(&access.tenant, id).await?;
    Ok(Json(AgentResponse::from(&agent)))
}

/// `GET /v1/agents?limit=&cursor=`: the tenant's agents, oldest first, and the ids of agents that
/// can't be read.
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
