//! `/v1/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use shared::app::KeyChanges;
use shared::domain::{
    ApiKey, ApiToken, Grace, Invalid, KeyId, KeyName, KeyTerms, Patch, RequestRate, Scope, Scopes,
    Timestamp,
};
use shared::ports::ListedKey;

use crate::Api;
use crate::auth::{Caller, Keys};
use crate::body::{Body, Broken, Object, OptionalBody, counted, not_null, required};
use crate::path::PathId;
use crate::problem::Problem;
use crate::query::{ListResponse, Params};
use crate::time::{date, parse_rfc3339, rfc3339};

/// The body of a request that creates a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKeyRequest {
    name: Option<String>,
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
    limits: Option<Object<RateEntry>>,
}

/// The limits of a key or a tenant in a body. Null is none.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateEntry {
    #[serde(default)]
    requests_per_minute: Patch<u32>,
}

impl RateEntry {
    /// What the body says about the limit on requests.
    pub(crate) fn rate(entry: Option<Object<Self>>, broken: &mut Broken) -> Patch<RequestRate> {
        let Object(entry) = entry.unwrap_or_default();
        let checked = entry.requests_per_minute.try_map(RequestRate::per_minute);
        let rate = broken.below("/limits", |broken| broken.keep(checked));
        rate.unwrap_or_default()
    }
}

/// The limits of a key or a tenant; null is none.
#[derive(Serialize)]
pub(crate) struct RateResponse {
    requests_per_minute: Option<u32>,
}

impl From<Option<RequestRate>> for RateResponse {
    fn from(rate: Option<RequestRate>) -> Self {
        Self {
            requests_per_minute: rate.map(RequestRate::requests),
        }
    }
}

/// The body of `PATCH /v1/keys/{id}`: a merge patch (RFC 7396).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeKeyRequest {
    #[serde(default)]
    name: Patch<String>,
    #[serde(default)]
    scopes: Patch<Vec<String>>,
    #[serde(default)]
    expires_at: Patch<String>,
    limits: Option<Object<RateEntry>>,
}

/// The body of `POST /v1/keys/{id}/rotate`, which may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKeyRequest {
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
        let rate = RateEntry::rate(self.limits, &mut broken);
        let terms = match (name, scopes) {
            (Some(name), Some(scopes)) => Some(KeyTerms {
                name,
                scopes,
                expires_at: expires_at.flatten(),
                rate: rate.set(),
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
        let rate = RateEntry::rate(self.limits, &mut broken);
        broken.finish(Some(KeyChanges {
            name,
            scopes,
            expires_at,
            rate,
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

fn moment(field: &str, text: &str) -> Result<Timestamp, Invalid> {
    parse_rfc3339(text).ok_or_else(|| {
        let reason = "must be a moment after 1970 in RFC 3339, such as 2027-01-31T12:00:00Z";
        Invalid::new(field, reason)
    })
}

/// A key.
#[derive(Serialize)]
pub(crate) struct KeyResponse {
    id: String,
    name: String,
    scopes: Scopes,
    limits: RateResponse,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// The day of the last use, in UTC.
    last_used_on: Option<String>,
}

/// A key with its token, which only this response shows.
#[derive(Serialize)]
pub(crate) struct NewKeyResponse {
    #[serde(flatten)]
    key: KeyResponse,
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
            limits: key.terms.rate.into(),
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

/// `POST /v1/keys`: creates a key of the caller's tenant.
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

/// `GET /v1/keys?limit=&cursor=`: the keys of the caller's tenant.
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

/// `GET /v1/keys/{id}`: one of them.
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

/// `PATCH /v1/keys/{id}`: changes its name, scopes or expiry.
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

/// `POST /v1/keys/{id}/rotate`: gives it another secret, and accepts the earlier one for a while.
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

/// `DELETE /v1/keys/{id}`: revokes it.
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
