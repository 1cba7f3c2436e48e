//! `/v1/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::app::KeyChanges;
use shared::domain::{ApiKey, ApiToken, Grace, KeyId, KeyName, KeyTerms, Patch, Scope, Scopes};
use shared::ports::ListedKey;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Caller, Keys};
use crate::body::{Body, Broken, Object, OptionalBody, counted, not_null, required};
use crate::json::whole;
use crate::key_limits::{LimitsEntry, LimitsResponse};
use crate::openapi::values;
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, PageParams, Params};
use crate::time::{date, moment, rfc3339};

/// The body of a request that creates a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "name": "reader", "scopes": ["tasks:read"] })))]
pub(crate) struct CreateKeyRequest {
    #[schema(value_type = values::Name)]
    name: Option<String>,
    /// Only scopes that the caller's key has.
    #[schema(value_type = Vec<values::Scope>, min_items = 1, max_items = 8)]
    scopes: Option<Vec<String>>,
    /// A moment in the future; null for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(value_type = Option<LimitsEntry>)]
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `PATCH /v1/keys/{id}`: a merge patch (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "name": "writer", "limits": { "requests_per_minute": 60 } })))]
pub(crate) struct ChangeKeyRequest {
    #[serde(default)]
    #[schema(value_type = values::Name)]
    name: Patch<String>,
    /// Only scopes that the caller's key has.
    #[serde(default)]
    #[schema(value_type = Vec<values::Scope>, min_items = 1, max_items = 8)]
    scopes: Patch<Vec<String>>,
    /// A moment in the future; null for never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Patch<String>,
    #[schema(value_type = Option<LimitsEntry>)]
    limits: Option<Object<LimitsEntry>>,
}

/// The body of `POST /v1/keys/{id}/rotate`, which may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({ "grace_seconds": 600 })))]
pub(crate) struct RotateKeyRequest {
    /// For how long the earlier secret is accepted.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 604_800, default = 3_600)]
    grace_seconds: Option<u32>,
}

impl CreateKeyRequest {
    /// The terms of the key, or every rule that the body breaks.
    pub(crate) fn terms(self) -> Result<KeyTerms, Problem> {
        let mut broken = Broken::default();
        let name = broken.keep(required("/name", self.name).and_then(KeyName::new));
        let entries = broken.keep(required("/scopes", self.scopes));
        let scopes = entries.and_then(|entries| scopes(entries, &mut broken));
        let expires_at = self
            .expires_at
            .map(|text| broken.keep(moment("/expires_at", &text)));
        let (rate, caps) = LimitsEntry::changes(self.limits, &mut broken);
        let terms = match (name, scopes) {
            (Some(name), Some(scopes)) => Some(KeyTerms {
                name,
                scopes,
                expires_at: expires_at.flatten(),
                rate: rate.set(),
                caps: caps.set(),
            }),
            _ => None,
        };
        broken.finish(terms)
    }
}

impl ChangeKeyRequest {
    fn changes(self) -> Result<KeyChanges, Problem> {
        let mut broken = Broken::default();
        let name = broken.keep(not_null("/name", self.name)).flatten();
        let name = name.and_then(|name| broken.keep(KeyName::new(name)));
        let entries = broken.keep(not_null("/scopes", self.scopes)).flatten();
        let scopes = entries.and_then(|entries| scopes(entries, &mut broken));
        let expires_at = self.expires_at.try_map(|text| moment("/expires_at", &text));
        let expires_at = broken.keep(expires_at).unwrap_or_default();
        let (rate, caps) = LimitsEntry::changes(self.limits, &mut broken);
        broken.finish(Some(KeyChanges {
            name,
            scopes,
            expires_at,
            rate,
            caps,
        }))
    }
}

fn scopes(names: Vec<String>, broken: &mut Broken) -> Option<Scopes> {
    let names = broken.keep(counted("/scopes", names, 1..=Scope::ALL.len()))?;
    let scopes = names.iter().enumerate().map(|(place, name)| {
        broken.below(&format!("/scopes/{place}"), |broken| {
            broken.keep(name.parse::<Scope>())
        })
    });
    scopes.collect()
}

/// A key.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyResponse {
    #[schema(value_type = values::KeyId)]
    id: String,
    name: String,
    #[schema(value_type = Vec<values::Scope>)]
    scopes: Scopes,
    limits: LimitsResponse,
    #[schema(value_type = values::Time)]
    created_at: String,
    #[schema(value_type = Option<values::Time>)]
    expires_at: Option<String>,
    #[schema(value_type = Option<values::Time>)]
    revoked_at: Option<String>,
    /// The day of the last use, in UTC.
    #[schema(format = Date)]
    last_used_on: Option<String>,
}

/// A key with its token, which only this response shows.
#[derive(Serialize, ToSchema)]
#[schema(as = NewKey)]
pub(crate) struct NewKeyResponse {
    #[serde(flatten)]
    key: KeyResponse,
    /// The API key. Nobody can read it again.
    #[schema(pattern = "^agk_[a-z2-7]{12}_[0-9A-Za-z]+_[0-9A-Za-z]+$")]
    token: String,
}

impl NewKeyResponse {
    fn new((key, token): (ApiKey, ApiToken)) -> Self {
        Self {
            key: KeyResponse::new(&key, None),
            token: token.expose(),
        }
    }

    /// The response to the creation of a key.
    pub(crate) fn created(new: (ApiKey, ApiToken)) -> impl IntoResponse {
        let location = [(LOCATION, format!("/v1/keys/{}", new.0.id))];
        (StatusCode::CREATED, location, Json(Self::new(new)))
    }
}

impl KeyResponse {
    fn new(key: &ApiKey, last_used_day: Option<u64>) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.terms.name.as_str().to_owned(),
            scopes: key.terms.scopes.clone(),
            limits: LimitsResponse::new(key.terms.rate, key.terms.caps),
            created_at: rfc3339(key.created_at),
            expires_at: key.terms.expires_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            last_used_on: last_used_day.map(date),
        }
    }
}

impl From<&ListedKey> for KeyResponse {
    fn from(listed: &ListedKey) -> Self {
        Self::new(&listed.key, listed.last_used_day)
    }
}

/// Creates a key of the caller's tenant.
///
/// Only this response shows the key, in `token`.
#[utoipa::path(
    post, path = "/v1/keys",
    responses(
        (status = 201, body = NewKeyResponse, headers(("Location"))),
        (status = 409, description = "The tenant has as many keys as it may have."),
    )
)]
pub(crate) async fn create_key(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    params: Params,
    Body(request): Body<CreateKeyRequest>,
) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let new = api.keys.create_key(&access, request.terms()?).await?;
    Ok(NewKeyResponse::created(new))
}

/// Lists the keys of the caller's tenant, revoked keys too.
#[utoipa::path(
    get, path = "/v1/keys",
    params(PageParams),
    responses((status = 200, body = ListResponse<KeyResponse>))
)]
pub(crate) async fn list_keys(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    mut params: Params,
) -> Result<Json<ListResponse<KeyResponse>>, Problem> {
    let page = params.take_page()?;
    params.finish()?;
    let keys = api.keys.list_keys(&access.tenant, &page).await?;
    Ok(Json(ListResponse::from(keys)))
}

/// Reads a key.
#[utoipa::path(get, path = "/v1/keys/{id}", responses((status = 200, body = KeyResponse)))]
pub(crate) async fn find_key(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    PathId(id): PathId<KeyId>,
    params: Params,
) -> Result<Json<KeyResponse>, Problem> {
    params.finish()?;
    let found = api.keys.find_key(&access.tenant, id).await?;
    Ok(Json(KeyResponse::from(&found)))
}

/// Changes a key's name, scopes, expiry or limits.
#[utoipa::path(
    patch, path = "/v1/keys/{id}",
    responses(
        (status = 200, body = KeyResponse),
        (status = 409, description = "The key is revoked."),
    )
)]
pub(crate) async fn change_key(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    PathId(id): PathId<KeyId>,
    params: Params,
    Body(request): Body<ChangeKeyRequest>,
) -> Result<Json<KeyResponse>, Problem> {
    params.finish()?;
    let changed = api.keys.change_key(&access, id, request.changes()?).await?;
    Ok(Json(KeyResponse::from(&changed)))
}

/// Gives a key another secret.
///
/// Only this response shows the new key, in `token`. The earlier one is accepted for a while.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotate",
    responses(
        (status = 200, body = NewKeyResponse),
        (status = 409, description = "The key is revoked."),
    )
)]
pub(crate) async fn rotate_key(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    PathId(id): PathId<KeyId>,
    params: Params,
    OptionalBody(request): OptionalBody<RotateKeyRequest>,
) -> Result<Json<NewKeyResponse>, Problem> {
    params.finish()?;
    let mut broken = Broken::default();
    let grace = request.grace_seconds.map(Grace::from_seconds).transpose();
    let grace = broken.keep(grace);
    let grace = broken.finish(grace)?.unwrap_or_default();
    let rotated = api.keys.rotate_key(&access, id, grace).await?;
    Ok(Json(NewKeyResponse::new(rotated)))
}

/// Revokes a key.
#[utoipa::path(delete, path = "/v1/keys/{id}", responses((status = 200, body = KeyResponse)))]
pub(crate) async fn revoke_key(
    State(api): State<Api>,
    Caller { access, .. }: Caller<Keys>,
    PathId(id): PathId<KeyId>,
    params: Params,
) -> Result<Json<KeyResponse>, Problem> {
    params.finish()?;
    let revoked = api.keys.revoke_key(&access.tenant, id).await?;
    Ok(Json(KeyResponse::from(&revoked)))
}
