//! `DELETE /v1/cache`: the cached answers of an agent.

use axum::extract::State;
use axum::http::StatusCode;
use shared::domain::AgentId;

use crate::Api;
use crate::auth::{AgentsWrite, Caller};
use crate::openapi::values;
use crate::problem::Problem;
use crate::query::{Params, refused};

/// Clears the cache of an agent: its tasks no longer use answers that were cached before.
#[utoipa::path(
    delete, path = "/v1/cache",
    params(("agent_id" = values::AgentId, Query, description = "The agent.")),
    responses(
        (status = 204),
        (status = 404, description = "There is no such agent."),
        (status = 409, description = "The agent is an inline agent."),
    )
)]
pub(crate) async fn clear_cache(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsWrite>,
    mut params: Params,
) -> Result<StatusCode, Problem> {
    let agent: Option<AgentId> = params.take("agent_id", "must be an id of the form agt_…")?;
    params.finish()?;
    let agent = agent.ok_or_else(|| refused("agent_id", "is required"))?;
    api.agents.clear_cache(&access.tenant, agent).await?;
    Ok(StatusCode::NO_CONTENT)
}
