//! `/v1/providers`: which providers and models work now.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::app::{ProviderReport, ProvidersReport};
use shared::domain::{
    Circuit, CircuitState, FailureCode, LastFailure, Latency, ModelHealth, ModelRef, Timestamp,
};
use shared::ports::ModelState;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{AgentsRead, Caller};
use crate::openapi::values;
use crate::problem::Problem;
use crate::query::Params;
use crate::time::rfc3339;

/// All providers.
#[derive(Serialize, ToSchema)]
#[schema(as = Providers)]
pub(crate) struct ProvidersResponse {
    data: Vec<ProviderResponse>,
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProviderState)]
struct ProviderResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    /// Whether this deployment has a key for the provider, or another address of it.
    available: bool,
    /// The models that have a price.
    models: Vec<ModelResponse>,
    /// All other models of the provider together: dated snapshots, and models without a price.
    other_models: HealthResponse,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelState)]
struct ModelResponse {
    model: String,
    circuit: CircuitResponse,
    #[serde(flatten)]
    health: HealthResponse,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Circuit)]
struct CircuitResponse {
    #[schema(value_type = values::CircuitState)]
    state: &'static str,
    /// Why the circuit is not closed.
    #[schema(value_type = Option<values::CircuitCause>)]
    cause: Option<&'static str>,
    /// Until when calls are rejected; null if the next call is made.
    #[schema(value_type = Option<values::Time>)]
    until: Option<String>,
}

/// What instances of the executor noted of their last calls; null for what none has noted.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelHealth)]
struct HealthResponse {
    /// The last failure that says something about the provider.
    last_failure: Option<LastFailureResponse>,
    /// The end of the wait that the provider named last, if it is not over. The instance that got it
    /// makes no call before, for at most a minute.
    #[schema(value_type = Option<values::Time>)]
    cooldown_until: Option<String>,
    /// How long the answers took that one instance got in the minutes before `at`.
    latency: Option<LatencyResponse>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LastFailure)]
struct LastFailureResponse {
    #[schema(value_type = values::Time)]
    at: String,
    #[schema(value_type = values::FailureCode)]
    code: FailureCode,
    /// The provider's HTTP status, if it responded.
    status: Option<u16>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Latency)]
struct LatencyResponse {
    #[schema(value_type = values::Time)]
    at: String,
    mean_ms: u64,
    longest_ms: u64,
}

/// Lists all providers, and for each model that has a price: its circuit, its last failure, a
/// cooldown, and how long its last answers took.
///
/// All tenants of a deployment share this. It has no number of calls, and no text of a provider. A
/// `503` says that the ephemeral table cannot be read; models are called all the same.
#[utoipa::path(get, path = "/v1/providers", responses((status = 200, body = ProvidersResponse)))]
pub(crate) async fn list_providers(
    State(api): State<Api>,
    _caller: Caller<AgentsRead>,
    params: Params,
) -> Result<Json<ProvidersResponse>, Problem> {
    params.finish()?;
    let ProvidersReport { at, providers } = api.providers.report().await?;
    let data = providers.into_iter().map(|report| shown(report, at));
    Ok(Json(ProvidersResponse {
        data: data.collect(),
        next_cursor: None,
    }))
}

fn shown(report: ProviderReport, now: Timestamp) -> ProviderResponse {
    let ProviderReport {
        provider,
        is_available,
        models,
        other_models,
    } = report;
    let models = models
        .into_iter()
        .map(|(model, state)| shown_model(&model, state, now));
    ProviderResponse {
        provider: provider.as_str(),
        available: is_available,
        models: models.collect(),
        other_models: shown_health(other_models, now),
    }
}

fn shown_model(model: &ModelRef, state: ModelState, now: Timestamp) -> ModelResponse {
    let ModelState { circuit, health } = state;
    ModelResponse {
        model: model.name().to_owned(),
        circuit: shown_circuit(circuit.as_ref(), now),
        health: shown_health(health, now),
    }
}

fn shown_circuit(circuit: Option<&Circuit>, now: Timestamp) -> CircuitResponse {
    let state = match circuit.map(|circuit| (circuit, circuit.state)) {
        None => "unknown",
        Some((_, CircuitState::Closed)) => "closed",
        Some((_, CircuitState::Open { .. })) => "open",
        Some((circuit, CircuitState::HalfOpen { .. })) if circuit.is_suspected() => "suspected",
        Some((_, CircuitState::HalfOpen { .. })) => "half_open",
    };
    let troubled = circuit.filter(|circuit| !circuit.is_closed());
    let until = troubled.and_then(Circuit::refuses_until);
    CircuitResponse {
        state,
        cause: troubled.map(|circuit| circuit.cause.as_str()),
        until: until.filter(|until| *until > now).map(rfc3339),
    }
}

fn shown_health(health: Option<ModelHealth>, now: Timestamp) -> HealthResponse {
    let ModelHealth {
        latency,
        last_failure,
        cooldown_until,
    } = health.unwrap_or_default();
    HealthResponse {
        last_failure: last_failure.map(LastFailureResponse::from),
        cooldown_until: cooldown_until.filter(|until| *until > now).map(rfc3339),
        latency: latency.map(LatencyResponse::from),
    }
}

impl From<LastFailure> for LastFailureResponse {
    fn from(failure: LastFailure) -> Self {
        let LastFailure { at, code, status } = failure;
        Self {
            at: rfc3339(at),
            code,
            status,
        }
    }
}

impl From<Latency> for LatencyResponse {
    fn from(latency: Latency) -> Self {
        let Latency {
            at,
            mean_ms,
            longest_ms,
        } = latency;
        Self {
            at: rfc3339(at),
            mean_ms,
            longest_ms,
        }
    }
}
