//! `/v1/tenants`, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::app::{RenewedSeals, TenantChanges};
use shared::domain::{Invalid, Patch, Tenant, TenantId, TenantStatus};

use crate::Api;
use crate::auth::{Caller, Operator};
use crate::body::{Body, Broken, Object, named, not_null, required};
use crate::keys::{CreateKeyRequest, NewKeyResponse, RateEntry, RateResponse};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, Params};
use crate::time::rfc3339;

/// The body of `POST /v1/tenants`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTenantRequest {
    id: Option<String>,
}

/// The body of `PATCH /v1/tenants/{id}`: a merge patch (RFC 7396).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeTenantRequest {
    #[serde(default)]
    status: Patch<String>,
    limits: Option<Object<RateEntry>>,
}

/// A tenant.
#[derive(Serialize)]
pub(crate) struct TenantResponse {
    id: String,
    status: TenantStatus,
    limits: RateResponse,
    created_at: String,
}

impl From<&Tenant> for TenantResponse {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            status: tenant.status,
            limits: tenant.rate.into(),
            created_at: rfc3339(tenant.created_at),
        }
    }
}

/// `POST /v1/tenants`: creates a tenant.
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

/// `GET /v1/tenants?limit=&cursor=`: all tenants but the deployment's own.
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

/// `GET /v1/tenants/{id}`: one of them.
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

/// `PATCH /v1/tenants/{id}`: changes its status or limits.
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
    let status = status.map(|name| broken.keep(named("/status", &name, "active or suspended")));
    let rate = RateEntry::rate(request.limits, &mut broken);
    let changes = broken.finish(Some(TenantChanges {
        status: status.flatten(),
        rate,
    }))?;
    let tenant = api.tenants.change_tenant(&id, changes).await?;
    Ok(Json(TenantResponse::from(&tenant)))
}

/// `POST /v1/tenants/{id}/keys`: creates a key of that tenant, such as its first one.
pub(crate) async fn create_key(
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
#[derive(Serialize)]
pub(crate) struct RenewedSealsResponse {
    renewed: u32,
    next_cursor: Option<String>,
}

/// `POST /v1/keys/renew-seals?limit=&cursor=`: seals the keys of a page of tenants with the
/// present pepper.
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
