//! Entity tags and the conditions of requests on them (RFC 9110, sections 8.8.3 and 13.1).

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};

use crate::openapi::parameters::header;

/// The header `If-Match` of a request.
pub(crate) enum IfMatch {}

/// The header `If-None-Match` of a request.
pub(crate) enum IfNoneMatch {}

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description =
            "The `ETag` of what the client has read, or `*`. Without it, any version is changed.";
        vec![header("If-Match", description, ObjectBuilder::new())]
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description =
            "The `ETag` of what the client has. The response is a `304` if that is still so.";
        vec![header("If-None-Match", description, ObjectBuilder::new())]
    }
}

/// The tag of a representation: a text in quotes.
pub(crate) struct EntityTag(String);

impl EntityTag {
    /// The tag of this name, which has no quotes.
    pub(crate) fn of(name: &str) -> Self {
        Self(format!("\"{name}\""))
    }

    /// The response of a `GET`: `304` without a body if the client has the representation already.
    pub(crate) fn respond(self, headers: &HeaderMap, response: impl IntoResponse) -> Response {
        let had = listed(headers, &IF_NONE_MATCH)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0);
        let tag = [(ETAG, self.0)];
        if had {
            (StatusCode::NOT_MODIFIED, tag).into_response()
        } else {
            (tag, response).into_response()
        }
    }
}

/// Whether the condition `If-Match` of the request, if it has one, holds for what has these tags.
pub(crate) fn is_match(headers: &HeaderMap, tags: &[EntityTag]) -> bool {
    !headers.contains_key(IF_MATCH)
        || listed(headers, &IF_MATCH)
            .any(|wanted| wanted == "*" || tags.iter().any(|EntityTag(tag)| tag == wanted))
}

/// The tags that the header lists. No tag of this API has a comma.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

impl From<EntityTag> for String {
    fn from(EntityTag(tag): EntityTag) -> Self {
        tag
    }
}
