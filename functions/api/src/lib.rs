//! The HTTP API: routes, and the form of requests and responses. The use cases are in
//! `shared::app`.
//!
//! [`router`] is a plain axum router, so tests drive it without Lambda. Every route under `/v1`
//! needs an API key. Every failure is an `application/problem+json` document. Only `problem` maps
//! failures to status codes.

mod agents;
mod auth;
mod body;
pub mod config;
mod dead_letters;
mod delivery;
mod edge;
mod etag;
mod json;
mod keys;
mod limits;
mod models;
mod path;
mod problem;
mod query;
mod readyz;
mod tasks;
mod tenants;
mod time;
mod trace;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use shared::app::{Agents, Keys, Readiness, Tasks, Tenants, Waits};

pub use auth::{Auth, DeploymentKey};
use edge::Runbook;
use problem::Problem;

/// The state that all routes share.
#[derive(Clone)]
pub struct Api {
    /// The use cases on agents.
    pub agents: Agents,
    /// The use cases on tasks.
    pub tasks: Tasks,
    /// The waits of clients for their tasks.
    pub waits: Waits,
    /// Checks that the dependencies answer, for `/readyz`.
    pub readiness: Arc<Readiness>,
    /// The use cases on API keys.
    pub keys: Keys,
    /// The use cases on tenants.
    pub tenants: Tenants,
    /// Checks the API keys of requests.
    pub auth: Auth,
    /// The commit that the API was built from, which `/healthz` returns.
    pub version: &'static str,
    /// The URL of the runbook. Problem documents link to it if it begins with `https://`.
    pub runbook_url: String,
}

/// The router with all routes.
pub fn router(api: Api) -> Router {
    let runbook = Some(api.runbook_url.as_str()).filter(|url| url.starts_with("https://"));
    let runbook = Runbook(runbook.map(Arc::from));
    let v1 = Router::new()
        .route(
            "/agents",
            get(agents::list_agents).post(agents::create_agent),
        )
        .route(
            "/agents/{id}",
            get(agents::find_agent)
                .patch(agents::patch_agent)
                .delete(agents::archive_agent),
        )
        .route("/agents/{id}/execute", post(tasks::execute_agent))
        .route("/agents/{id}/versions", get(agents::list_versions))
        .route("/agents/{id}/versions/{number}", get(agents::find_version))
        .route("/agents/{id}/aliases", get(agents::list_aliases))
        .route(
            "/agents/{id}/aliases/{name}",
            get(agents::find_alias)
                .put(agents::set_alias)
                .delete(agents::remove_alias),
        )
        .route("/models", get(models::list_models))
        .route("/dead-letters", get(dead_letters::list_dead_letters))
        .route("/dead-letters/redrive", post(dead_letters::redrive_many))
        .route("/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .merge(task_routes())
        .merge(key_routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.auth.clone(), auth::require_key));
    Router::new()
        .nest("/v1", v1)
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz::readyz))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .layer(from_fn_with_state(runbook, edge::frame))
        .with_state(api)
}

/// The routes on tasks.
fn task_routes() -> Router<Api> {
    Router::new()
        .route("/tasks", get(tasks::list_tasks).post(tasks::submit_task))
        .route("/tasks/batch", post(tasks::submit_tasks))
        .route("/tasks/cancel", post(tasks::cancel_tasks))
        .route("/tasks/retry", post(tasks::retry_tasks))
        .route(
            "/tasks/{id}",
            get(tasks::find_task).delete(tasks::delete_task),
        )
        .route("/tasks/{id}/history", get(tasks::list_history))
        .route("/tasks/{id}/output", get(tasks::read_output))
        .route("/tasks/{id}/steps", get(tasks::list_steps))
        .route(
            "/tasks/{id}/steps/{number}/text",
            get(tasks::read_step_text),
        )
        .route(
            "/tasks/{id}/steps/{number}/arguments",
            get(tasks::read_call_arguments),
        )
        .route("/tasks/{id}/cancel", post(tasks::cancel_task))
        .route("/tasks/{id}/retry", post(tasks::retry_task))
        .route("/tasks/{id}/resume", post(tasks::resume_task))
        .route("/tasks/{id}/input", post(tasks::answer_task))
}

/// The routes on API keys and tenants.
fn key_routes() -> Router<Api> {
    Router::new()
        .route("/keys", get(keys::list_keys).post(keys::create_key))
        .route("/keys/renew-seals", post(tenants::renew_key_seals))
        .route(
            "/keys/{id}",
            get(keys::find_key)
                .patch(keys::change_key)
                .delete(keys::revoke_key),
        )
        .route("/keys/{id}/rotate", post(keys::rotate_key))
        .route(
            "/tenants",
            get(tenants::list_tenants).post(tenants::create_tenant),
        )
        .route(
            "/tenants/{id}",
            get(tenants::find_tenant).patch(tenants::change_tenant),
        )
        .route("/tenants/{id}/keys", post(tenants::create_key))
}

/// `GET /healthz`: the function runs, and its version. Calls no dependency and needs no key.
async fn healthz(State(api): State<Api>) -> Json<HealthResponse> {
    Json(HealthResponse {
        status: "ok",
        version: api.version,
    })
}

#[derive(Serialize)]
struct HealthResponse {
    status: &'static str,
    version: &'static str,
}

async fn unknown_route() -> Problem {
    Problem::unknown_route()
}

async fn wrong_method() -> Problem {
    Problem::wrong_method()
}
