//! `/v1/agents/{id}/versions`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use shared::domain::{AgentId, AgentVersion};

use super::response::{ListedVersionResponse, VersionResponse};
use super::version_tag;
use crate::Api;
use crate::auth::{AgentsRead, Caller};
use crate::delivery::{MAX_BODY_BYTES, fit};
use crate::etag::IfNoneMatch;
use crate::path::{PathId, PathNumber};
use crate::problem::Problem;
use crate::query::{ListResponse, PageParams, Params};

/// Lists the versions of an agent, newest first.
#[utoipa::path(
    get, path = "/v1/agents/{id}/versions",
    params(PageParams),
    responses((status = 200, body = ListResponse<ListedVersionResponse>))
)]
pub(crate) async fn list_versions(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    PathId(id): PathId<AgentId>,
    mut params: Params,
) -> Result<Json<ListResponse<ListedVersionResponse>>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    let versions = api.agents.list_versions(&access.tenant, id, &page).await?;
    Ok(Json(fit(ListResponse::from(versions), MAX_BODY_BYTES)))
}

/// Reads one version of an agent.
#[utoipa::path(
    get, path = "/v1/agents/{id}/versions/{number}",
    params(IfNoneMatch),
    responses((status = 200, body = VersionResponse, headers(("ETag"))), (status = 304, headers(("ETag"))))
)]
pub(crate) async fn find_version(
    State(api): State<Api>,
    Caller { access, .. }: Caller<AgentsRead>,
    (PathId(id), PathNumber(version)): (PathId<AgentId>, PathNumber),
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    params.finish()?;
    let version = AgentVersion { id, version };
    let agent = api.agents.find_version(&access.tenant, version).await?;
    let shown = Json(VersionResponse::from(&agent));
    Ok(version_tag(version).respond(&headers, shown))
}
