//! `/v1/tenants`, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use futures::future::try_join;
use serde::{Deserialize, Serialize};
use shared::app::{RenewedSeals, TenantChanges};
use shared::domain::{
    CapChanges, CountLimitChanges, CountLimits, Invalid, MaxAgents, MaxKeys, Patch, RequestRate,
    SuspendedTasks, Tenant, TenantId, TenantStatus,
};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, Operator};
use crate::body::{Body, Broken, Object, named, not_null, required};
use crate::json::Whole;
use crate::key_limits::{LimitsEntry, LimitsResponse};
use crate::keys::{CreateKeyRequest, NewKeyResponse};
use crate::openapi::values;
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, PageParams, Params};
use crate::time::rfc3339;

/// The body of `POST /v1/tenants`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "id": "search-team", "limits": { "max_agents": 50 } })))]
pub(crate) struct CreateTenantRequest {
    #[schema(value_type = values::TenantId)]
    id: Option<String>,
    #[schema(value_type = Option<TenantLimitsEntry>)]
    limits: Option<Object<TenantLimitsEntry>>,
}

/// The limits of a tenant in a body.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantLimitsChange)]
pub(crate) struct TenantLimitsEntry {
    /// Null is none.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    requests_per_minute: Patch<Whole<u32>>,
    /// Null is the deployment's default.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_000)]
    max_running_tasks: Patch<Whole<u64>>,
    /// Null is the deployment's default.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000_000_000_u64)]
    max_cost_micro_usd_per_day: Patch<Whole<u64>>,
    /// Null is none.
    #[serde(default)]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000_000_000_u64)]
    max_cost_micro_usd_per_month: Patch<Whole<u64>>,
    /// Null is the default, 1,000.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    max_agents: Patch<Whole<u32>>,
    /// Null is the default, 100.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000)]
    max_keys: Patch<Whole<u32>>,
}

impl TenantLimitsEntry {
    /// What the body says about the limits.
    fn changes(
        entry: Option<Object<Self>>,
        broken: &mut Broken,
    ) -> (Patch<RequestRate>, CapChanges, CountLimitChanges) {
        let Object(Self {
            requests_per_minute,
            max_running_tasks,
            max_cost_micro_usd_per_day,
            max_cost_micro_usd_per_month,
            max_agents,
            max_keys,
        }) = entry.unwrap_or_default();
        let as_of_key = LimitsEntry {
            requests_per_minute,
            max_running_tasks,
            max_cost_micro_usd_per_day,
            max_cost_micro_usd_per_month,
        };
        let (rate, caps) = LimitsEntry::changes(Some(Object(as_of_key)), broken);
        let counts = broken.below("/limits", |broken| {
            let agents = max_agents.try_map(|Whole(most)| MaxAgents::new(most));
            let keys = max_keys.try_map(|Whole(most)| MaxKeys::new(most));
            CountLimitChanges {
                max_agents: broken.keep(agents).unwrap_or_default(),
                max_keys: broken.keep(keys).unwrap_or_default(),
            }
        });
        (rate, caps, counts)
    }
}

/// The body of `PATCH /v1/tenants/{id}`: a merge patch (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "limits": { "requests_per_minute": 600 } })))]
pub(crate) struct ChangeTenantRequest {
    #[serde(default)]
    #[schema(value_type = values::NewTenantStatus)]
    status: Patch<String>,
    /// What happens to the tasks of the suspended tenant that have not ended.
    #[serde(default)]
    #[schema(value_type = values::SuspendedTasks)]
    suspended_tasks: Patch<String>,
    #[schema(value_type = Option<TenantLimitsEntry>)]
    limits: Option<Object<TenantLimitsEntry>>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantResponse {
    #[schema(value_type = values::TenantId)]
    id: String,
    #[schema(value_type = values::TenantStatus)]
    status: TenantStatus,
    /// Null unless the tenant is suspended.
    #[schema(value_type = Option<values::SuspendedTasks>)]
    suspended_tasks: Option<SuspendedTasks>,
    limits: TenantLimitsResponse,
    #[schema(value_type = values::Time)]
    created_at: String,
}

/// The limits of a tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantLimits)]
pub(crate) struct TenantLimitsResponse {
    #[serde(flatten)]
    as_of_key: LimitsResponse,
    /// Null is the default, 1,000.
    max_agents: Option<u32>,
    /// Null is the default, 100.
    max_keys: Option<u32>,
}

impl TenantLimitsResponse {
    fn new(tenant: &Tenant) -> Self {
        let counts = tenant.count_limits;
        Self {
            as_of_key: LimitsResponse::new(tenant.rate, tenant.caps),
            max_agents: counts.max_agents.map(MaxAgents::count),
            max_keys: counts.max_keys.map(MaxKeys::count),
        }
    }
}

/// A tenant, and how much it has of what is limited.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantWithCounts)]
pub(crate) struct TenantWithCountsResponse {
    #[serde(flatten)]
    tenant: TenantResponse,
    /// Null if the tenant is deleted, or is being deleted.
    counts: Option<CountsResponse>,
}

/// How much a tenant has of what is limited.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantCounts)]
pub(crate) struct CountsResponse {
    /// Agents that are not archived.
    agents: u32,
    /// Keys that are not revoked, also expired ones.
    keys: u32,
}

impl From<&Tenant> for TenantResponse {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            status: tenant.status,
            suspended_tasks: (tenant.status == TenantStatus::Suspended)
                .then_some(tenant.suspended_tasks),
            limits: TenantLimitsResponse::new(tenant),
            created_at: rfc3339(tenant.created_at),
        }
    }
}

/// Creates a tenant.
#[utoipa::path(
    post, path = "/v1/tenants",
    responses(
        (status = 201, body = TenantResponse, headers(("Location"))),
        (status = 409, description = "The id is taken, or was the id of a tenant that is deleted."),
    )
)]
pub(crate) async fn create_tenant(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    params: Params,
    Body(request): Body<CreateTenantRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let mut broken = Broken::default();
    let id = required("/id", request.id).and_then(|id| {
        id.parse::<TenantId>()
            .map_err(|Invalid { reason, .. }| Invalid::new("/id", reason))
    });
    let id = broken.keep(id);
    let (rate, caps, counts) = TenantLimitsEntry::changes(request.limits, &mut broken);
    let limits = (rate.set(), caps.set(), counts.apply(CountLimits::default()));
    let id = broken.finish(id)?;
    let tenant = api.tenants.create_tenant(id, limits).await?;
    let location = [(LOCATION, format!("/v1/tenants/{}", tenant.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(TenantResponse::from(&tenant)),
    ))
}

/// Lists all tenants but the deployment's own.
#[utoipa::path(
    get, path = "/v1/tenants",
    params(PageParams),
    responses((status = 200, body = ListResponse<TenantResponse>))
)]
pub(crate) async fn list_tenants(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    mut params: Params,
) -> Result<Json<ListResponse<TenantResponse>>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    Ok(Json(ListResponse::from(
        api.tenants.list_tenants(&page).await?,
    )))
}

/// Reads a tenant.
#[utoipa::path(get, path = "/v1/tenants/{id}", responses((status = 200, body = TenantWithCountsResponse)))]
pub(crate) async fn find_tenant(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
) -> Result<Json<TenantWithCountsResponse>, Problem> {
    params.finish()?;
    let tenant = api.tenants.find_tenant(&id).await?;
    let counts = if tenant.status.is_gone() {
        None
    } else {
        let counted = try_join(api.agents.count_agents(&id), api.keys.count_keys(&id));
        let (agents, keys) = counted.await?;
        Some(CountsResponse { agents, keys })
    };
    Ok(Json(TenantWithCountsResponse {
        tenant: TenantResponse::from(&tenant),
        counts,
    }))
}

/// Changes a tenant's status or limits.
#[utoipa::path(
    patch, path = "/v1/tenants/{id}",
    responses(
        (status = 200, body = TenantResponse),
        (status = 409, description = "The tenant is deleted."),
    )
)]
pub(crate) async fn change_tenant(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
    Body(request): Body<ChangeTenantRequest>,
) -> Result<Json<TenantResponse>, Problem> {
    params.finish()?;
    let mut broken = Broken::default();
    let status = broken.keep(not_null("/status", request.status)).flatten();
    let status = status.map(|name| broken.keep(new_status(&name)));
    let (field, names) = ("/suspended_tasks", "wait or cancel");
    let tasks = broken.keep(not_null(field, request.suspended_tasks));
    let tasks = tasks.flatten();
    let tasks = tasks.map(|name| broken.keep(named(field, &name, names)));
    let (rate, caps, count_limits) = TenantLimitsEntry::changes(request.limits, &mut broken);
    let changes = broken.finish(Some(TenantChanges {
        status: status.flatten(),
        suspended_tasks: tasks.flatten(),
        rate,
        caps,
        count_limits,
    }))?;
    let tenant = api.tenants.change_tenant(&id, changes).await?;
    Ok(Json(TenantResponse::from(&tenant)))
}

/// The status in a body: a tenant is deleted by another request.
fn new_status(name: &str) -> Result<TenantStatus, Invalid> {
    let names = "active or suspended";
    let status: TenantStatus = named("/status", name, names)?;
    if status.is_gone() {
        return Err(Invalid::new("/status", format!("must be {names}")));
    }
    Ok(status)
}

/// Deletes a tenant with everything of it.
///
/// Its keys are refused within 30 seconds. Its tasks, agents and keys are deleted in the next hour. Its id is never used again.
#[utoipa::path(
    delete, path = "/v1/tenants/{id}",
    responses(
        (status = 202, body = TenantResponse),
        (status = 409, description = "The tenant is the deployment's own."),
    )
)]
pub(crate) async fn delete_tenant(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let tenant = api.tenants.delete_tenant(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(TenantResponse::from(&tenant))))
}

/// Creates a key of a tenant, such as its first one.
///
/// Only this response shows the key, in `token`.
#[utoipa::path(
    post, path = "/v1/tenants/{id}/keys",
    responses(
        (status = 201, body = NewKeyResponse, headers(("Location"))),
        (status = 409, description = "The tenant has as many keys as it may have, or is deleted."),
    )
)]
pub(crate) async fn create_tenant_key(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
    Body(request): Body<CreateKeyRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let new = api.tenants.create_key(&id, request.terms()?).await?;
    Ok(NewKeyResponse::created(new))
}

/// What a page of renewed seals was.
#[derive(Serialize, ToSchema)]
#[schema(as = RenewedSeals)]
pub(crate) struct RenewedSealsResponse {
    renewed: u32,
    next_cursor: Option<String>,
}

/// Seals the keys of a page of tenants with the present pepper.
#[utoipa::path(
    post, path = "/v1/keys/renew-seals",
    params(PageParams),
    responses((status = 200, body = RenewedSealsResponse))
)]
pub(crate) async fn renew_key_seals(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    mut params: Params,
) -> Result<Json<RenewedSealsResponse>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    let RenewedSeals { keys, next } = api.tenants.renew_seals(&page).await?;
    Ok(Json(RenewedSealsResponse {
        renewed: keys,
        next_cursor: next,
    }))
}
