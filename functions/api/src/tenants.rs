//! `/v1/tenants`, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::app::{RenewedSeals, TenantChanges};
use shared::domain::{Invalid, Patch, SuspendedTasks, Tenant, TenantId, TenantStatus};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, Operator};
use crate::body::{Body, Broken, Object, named, not_null, required};
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
#[schema(examples(json!({ "id": "search-team" })))]
pub(crate) struct CreateTenantRequest {
    #[schema(value_type = values::TenantId)]
    id: Option<String>,
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
    #[schema(value_type = Option<LimitsEntry>)]
    limits: Option<Object<LimitsEntry>>,
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
    limits: LimitsResponse,
    #[schema(value_type = values::Time)]
    created_at: String,
}

impl From<&Tenant> for TenantResponse {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            status: tenant.status,
            suspended_tasks: (tenant.status == TenantStatus::Suspended)
                .then_some(tenant.suspended_tasks),
            limits: LimitsResponse::new(tenant.rate, tenant.caps),
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
    let tenant = api.tenants.create_tenant(broken.finish(id)?).await?;
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
#[utoipa::path(get, path = "/v1/tenants/{id}", responses((status = 200, body = TenantResponse)))]
pub(crate) async fn find_tenant(
    State(api): State<Api>,
    _caller: Caller<Operator>,
    PathId(id): PathId<TenantId>,
    params: Params,
) -> Result<Json<TenantResponse>, Problem> {
    params.finish()?;
    let tenant = api.tenants.find_tenant(&id).await?;
    Ok(Json(TenantResponse::from(&tenant)))
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
    let (rate, caps) = LimitsEntry::changes(request.limits, &mut broken);
    let changes = broken.finish(Some(TenantChanges {
        status: status.flatten(),
        suspended_tasks: tasks.flatten(),
        rate,
        caps,
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
