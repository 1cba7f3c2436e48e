//! `/v1/agents`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::domain::{Agent, AgentConfig, AgentId, AgentName, Instructions, Invalid, Limits, ModelRef};
use shared::ports::Page;

use crate::Api;
use crate::auth::Caller;
use crate::body::{Body, Broken, Object, required};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::Params;
use crate::time::rfc3339;

/// `POST /v1/agents`: creates an agent.
pub(crate) async fn create_agent(
    State(api): State<Api>,
    Caller(tenant): Caller,
    params: Params,
    Body(request): Body<CreateAgentRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let agent = api.agents.create_agent(tenant, request.config()?).await?;
    let location = [(LOCATION, format!("/v1/agents/{}", agent.id))];
    Ok((StatusCode::CREATED, location, Json(AgentResponse::from(&agent))))
}

/// `GET /v1/agents/{id}`: the agent's newest version.
pub(crate) async fn find_agent(
    State(api): State<Api>,
    Caller(tenant): Caller,
    PathId(id): PathId<AgentId>,
    params: Params,
) -> Result<Json<AgentResponse>, Problem> {
    params.finish()?;
    let agent = api.agents.find_agent(&tenant, id).await?;
    Ok(Json(AgentResponse::from(&agent)))
}

/// `GET /v1/agents?limit=&cursor=`: the tenant's agents, oldest first.
pub(crate) async fn list_agents(
    State(api): State<Api>,
    Caller(tenant): Caller,
    mut params: Params,
) -> Result<Json<ListResponse<AgentResponse>>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    let agents = api.agents.list_agents(&tenant, &page).await?;
    Ok(Json(ListResponse::from(agents)))
}

/// The body of `POST /v1/agents`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateAgentRequest {
    name: Option<String>,
    instructions: Option<String>,
    models: Option<Vec<Object<ModelEntry>>>,
    max_output_tokens: Option<u32>,
    timeout_seconds: Option<u32>,
}

/// One model of an agent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    provider: Option<String>,
    model: Option<String>,
}

impl CreateAgentRequest {
    fn config(self) -> Result<AgentConfig, Problem> {
        let mut broken = Broken::default();
        let name = broken.keep(required("/name", self.name).and_then(AgentName::new));
        let instructions = broken.keep(Instructions::new(self.instructions.unwrap_or_default()));
        let entry = broken.keep(required("/models", self.models).and_then(only));
        let model = entry.and_then(|entry| entry.model(&mut broken));
        let mut limits = Limits::default();
        if let Some(tokens) = self.max_output_tokens {
            limits = broken.keep(limits.with_max_output_tokens(tokens)).unwrap_or(limits);
        }
        if let Some(seconds) = self.timeout_seconds {
            limits = broken.keep(limits.with_timeout_seconds(seconds)).unwrap_or(limits);
        }
        let config = match (name, instructions, model) {
            (Some(name), Some(instructions), Some(model)) => Some(AgentConfig { name, instructions, model, limits }),
            _ => None,
        };
        broken.finish(config)
    }
}

/// The one entry of the list: falling back along a chain of models is not there yet, so a longer list would promise too
/// much.
fn only(mut models: Vec<Object<ModelEntry>>) -> Result<ModelEntry, Invalid> {
    match (models.pop(), models.is_empty()) {
        (Some(Object(entry)), true) => Ok(entry),
        (Some(_) | None, _) => Err(Invalid::new("/models", "must have exactly 1 entry")),
    }
}

impl ModelEntry {
    fn model(self, broken: &mut Broken) -> Option<ModelRef> {
        let below = |invalid: Invalid| Invalid { field: format!("/models/0{}", invalid.field), ..invalid };
        let provider = required("/provider", self.provider).and_then(|name| name.parse());
        let (provider, name) = (provider.map_err(below), required("/model", self.model).map_err(below));
        let (Some(provider), Some(name)) = (broken.keep(provider), broken.keep(name)) else { return None };
        broken.keep(ModelRef::new(provider, name).map_err(below))
    }
}

/// An agent in its newest version.
#[derive(Serialize)]
pub(crate) struct AgentResponse {
    id: String,
    version: u32,
    name: String,
    instructions: String,
    models: [ModelResponse; 1],
    max_output_tokens: u32,
    timeout_seconds: u32,
    created_at: String,
}

#[derive(Serialize)]
struct ModelResponse {
    provider: &'static str,
    model: String,
}

impl From<&Agent> for AgentResponse {
    fn from(agent: &Agent) -> Self {
        let AgentConfig { name, instructions, model, limits } = &agent.config;
        Self {
            id: agent.id.to_string(),
            version: agent.version,
            name: name.as_str().to_owned(),
            instructions: instructions.as_str().to_owned(),
            models: [ModelResponse { provider: model.provider().as_str(), model: model.name().to_owned() }],
            max_output_tokens: limits.max_output_tokens(),
            timeout_seconds: limits.timeout_seconds(),
            created_at: rfc3339(agent.created_at),
        }
    }
}

/// A page of a list; `next_cursor` is null on the last.
#[derive(Serialize)]
pub(crate) struct ListResponse<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<E, T: for<'a> From<&'a E>> From<Page<E>> for ListResponse<T> {
    fn from(page: Page<E>) -> Self {
        Self { data: page.entries.iter().map(T::from).collect(), next_cursor: page.next }
    }
}
