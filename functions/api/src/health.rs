//! `/healthz` and `/readyz`, which need no API key.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::problem::Problem;

/// The function runs.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthResponse {
    #[schema(value_type = String, pattern = "^ok$")]
    status: &'static str,
    /// The commit that the function was built from.
    version: &'static str,
}

/// Requests can be served.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadyResponse {
    #[schema(value_type = String, pattern = "^ready$")]
    status: &'static str,
}

/// Tells that the function runs, and its version.
///
/// Calls no dependency.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = HealthResponse)))]
pub(crate) async fn healthz(State(api): State<Api>) -> Json<HealthResponse> {
    Json(HealthResponse {
        status: "ok",
        version: api.version,
    })
}

/// Tells whether requests can be served.
///
/// The result may be a few seconds old.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = ReadyResponse), (status = 503)))]
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Json<ReadyResponse>, Problem> {
    let missing = api.readiness.missing().await;
    if missing.is_empty() {
        Ok(Json(ReadyResponse { status: "ready" }))
    } else {
        Err(Problem::not_ready(&missing))
    }
}
