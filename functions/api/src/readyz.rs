//! `/readyz`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::Api;
use crate::problem::Problem;

#[derive(Serialize)]
pub(crate) struct ReadyResponse {
    status: &'static str,
}

/// `GET /readyz`: whether requests can be served. The result may be a few seconds old. Needs no
/// key.
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Json<ReadyResponse>, Problem> {
    let missing = api.readiness.missing().await;
    if missing.is_empty() {
        Ok(Json(ReadyResponse { status: "ready" }))
    } else {
        Err(Problem::not_ready(&missing))
    }
}
