//! The OpenAPI document of all routes, made of the code.
//!
//! [`document`] makes it. An operation comes from two places: the attribute
//! `utoipa::path` of a handler names the route, its parameters and its responses; the handler's
//! extractors say what else it reads and how they refuse a request (`describe`). What is the same
//! everywhere is added at the end (`finish`).
//!
//! Nothing of this runs in production. There, `read_openapi` returns the committed text, and a
//! test compares this text with the document.

mod describe;
mod finish;
mod flatten;
mod links;
pub(crate) mod long_texts;
mod names;
pub(crate) mod parameters;
mod rules;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::handler::Handler;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::Value;
use utoipa::__dev::SchemaReferences;
use utoipa::openapi::path::Paths;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, OpenApiBuilder, RefOr, Schema};
use utoipa::{Path, ToSchema};

use crate::Api;
use crate::problem;
use crate::routes::{self, Routes};
pub(crate) use describe::{Described, Inputs};

/// The name of the security scheme.
const API_KEY: &str = "api_key";

const TAGS: [(&str, &str); 11] = [
    ("agents", "Agents, their versions and their aliases."),
    ("cache", "Cached answers of agents."),
    ("models", "The models that agents can use."),
    ("providers", "Which providers and models work now."),
    ("tasks", "Tasks, and what is recorded of them."),
    ("dead-letters", "Tasks that the platform failed for good."),
    ("keys", "API keys of the caller's tenant."),
    ("tenants", "Tenants, for the operator."),
    ("usage", "What tasks cost."),
    ("health", "Whether the API works. Needs no API key."),
    ("openapi", "This document. Needs no API key."),
];

const DESCRIPTION: &str = "\
A platform that runs AI agents. `docs/api.md` explains how it behaves.

- Times are RFC 3339 in UTC. Ids are opaque.
- Clients must accept members of responses that this document does not have.
- API Gateway responds itself, with `{\"message\": \"…\"}`, if the deployment's request rate is exceeded (`429`), a \
function cannot run (`500`, `503`), or a request exceeds the gateway's own limits (`413`, `414`, `431`).";

/// The document, as it is committed in `docs/openapi.json`.
pub fn document() -> Value {
    let mut all = routes::open(routes::with_key(Document::default()));
    all.take(schemas_of::<problem::Document<'_>>());
    let info = InfoBuilder::new()
        .title("Agents API")
        .version("1")
        .description(Some(DESCRIPTION));
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    let mut components = Components::new();
    components.schemas = all.schemas;
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key, or a JWT if the deployment accepts them. The scopes of an operation's security requirement are those that it must have.",
        ))
        .build();
    components.add_security_scheme(API_KEY, SecurityScheme::Http(scheme));
    let document = OpenApiBuilder::new()
        .info(info.build())
        .paths(all.paths)
        .components(Some(components))
        .tags(Some(tags))
        .build();
    finish::finish(serde_json::json!(document))
}

/// The schema of `T`, and those to which it refers.
fn schemas_of<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

/// The paths and schemas of the routes.
#[derive(Default)]
struct Document {
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Document {
    fn take(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in schemas {
            let known = self.schemas.insert(name.clone(), schema.clone());
            debug_assert!(
                known.is_none_or(|known| known == schema),
                "two schemas have the name {name}"
            );
        }
    }
}

impl Routes for Document {
    fn add<P, H, T>(mut self, _: H) -> Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, Api>,
        T: Inputs + 'static,
    {
        let mut schemas = Vec::new();
        P::schemas(&mut schemas);
        self.take(schemas);
        for method in P::methods() {
            let mut described = Described {
                method,
                operation: P::operation(),
                schemas: Vec::new(),
            };
            T::describe(&mut described);
            let Described {
                method,
                operation,
                schemas,
            } = described;
            self.take(schemas);
            self.paths
                .add_path_operation(P::path(), vec![method], operation);
        }
        self
    }
}

/// Returns this document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = values::OpenApi)))]
pub(crate) async fn read_openapi() -> impl IntoResponse {
    static COMPACT: LazyLock<Bytes> =
        LazyLock::new(|| compact(include_str!("../../../../docs/openapi.json")).into());
    ([(CONTENT_TYPE, "application/json")], COMPACT.clone())
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let kept = json.chars().filter(|character| {
        let is_kept = is_text || !character.is_ascii_whitespace();
        if *character == '"' && !is_escaped {
            is_text = !is_text;
        }
        is_escaped = is_text && !is_escaped && *character == '\\';
        is_kept
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn compact_json_is_the_same_json() {
        let value = json!({ "a \" b": ["\\", "\\\" c", " "], "d\\\\": 1, "e": {}, "f": "\n\t" });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(compact(&pretty), value.to_string());
    }
}
