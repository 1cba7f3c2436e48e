//! The HTTP API: routes, and the form of requests and responses. The use cases are in
//! `shared::app`.
//!
//! [`router`] is a plain axum router, so tests drive it without Lambda. Every route under `/v1`
//! needs an API key. Every failure is an `application/problem+json` document. Only `problem` maps
//! failures to status codes.

mod agents;
mod auth;
mod body;
mod browsers;
mod cache;
pub mod config;
mod dead_letters;
mod delivery;
mod edge;
mod etag;
mod exact_path;
mod health;
mod json;
mod key_limits;
mod keys;
mod limits;
mod models;
pub mod openapi;
mod path;
mod problem;
mod providers;
mod query;
mod routes;
mod tasks;
mod tenants;
mod time;
mod trace;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use shared::app::{Agents, Keys, ProviderReports, Readiness, Tasks, Tenants, UsageReports, Waits};

pub use auth::{Auth, DeploymentKey};
pub use browsers::Origins;
use edge::Runbook;
pub use exact_path::exact_paths;
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
    /// Reports on the providers.
    pub providers: ProviderReports,
    /// Reports of what tasks cost.
    pub usage: UsageReports,
    /// Checks the API keys of requests.
    pub auth: Auth,
    /// The commit that the API was built from, which `/healthz` returns.
    pub version: &'static str,
    /// The URL of the runbook. Problem documents link to it if it begins with `https://`.
    pub runbook_url: String,
    /// The web pages that may use the API.
    pub origins: Origins,
}

/// The router with all routes.
pub fn router(api: Api) -> Router {
    let runbook = Some(api.runbook_url.as_str()).filter(|url| url.starts_with("https://"));
    let runbook = Runbook(runbook.map(Arc::from));
    let v1 = routes::with_key(Router::new())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.auth.clone(), auth::require_key));
    let all = routes::open(Router::new().nest(routes::V1, v1))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .layer(from_fn_with_state(runbook, edge::frame));
    // Before the check of the key, because a browser asks for permission without one; and around
    // all, so that a page can read every error.
    let all = match browsers::cors(api.origins.clone()) {
        Some(cors) => all.layer(from_fn_with_state(cors, browsers::cross_origin)),
        None => all,
    };
    all.layer(browsers::compression()).with_state(api)
}

async fn unknown_route() -> Problem {
    Problem::unknown_route()
}

/// The router adds `Allow` to both responses.
async fn wrong_method(method: Method) -> Result<StatusCode, Problem> {
    if method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::wrong_method())
}
