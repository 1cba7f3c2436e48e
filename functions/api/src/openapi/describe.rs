//! What the extractors of a handler say about its operation: the document has the scope, the
//! parameters and the body that the handler reads.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use shared::domain::{AgentId, KeyId, TaskId, TenantId};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, HttpMethod, Ref, RefOr, Required, ResponseBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{API_KEY, schemas_of, values};
use crate::Api;
use crate::agents::AgentPatch;
use crate::auth::{Caller, Scoped};
use crate::body::{Body, MergePatch, OptionalBody};
use crate::path::{PathAlias, PathId, PathNumber};
use crate::query::Params;
use crate::trace::Trace;

/// An operation while it is described.
pub(crate) struct Described {
    pub(super) method: HttpMethod,
    pub(super) operation: Operation,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

/// The extractors of a handler.
pub(crate) trait Inputs {
    /// Adds what they read, and how they refuse it.
    fn describe(operation: &mut Described);
}

/// One extractor.
pub(crate) trait Input {
    /// Adds what it reads, and how it refuses it.
    fn describe(_: &mut Described) {}
}

macro_rules! inputs {
    ($($input:ident)+) => {
        impl<M, $($input: Input),+> Inputs for (M, $($input,)+) {
            fn describe(operation: &mut Described) {
                $($input::describe(operation);)+
            }
        }
    };
}

impl Inputs for ((),) {
    fn describe(_: &mut Described) {}
}

inputs! { A }
inputs! { A B }
inputs! { A B C }
inputs! { A B C D }
inputs! { A B C D E }

impl<A: Input, B: Input> Input for (A, B) {
    fn describe(operation: &mut Described) {
        A::describe(operation);
        B::describe(operation);
    }
}

impl<A: Input, B: Input, C: Input> Input for (A, B, C) {
    fn describe(operation: &mut Described) {
        A::describe(operation);
        B::describe(operation);
        C::describe(operation);
    }
}

impl Input for State<Api> {}
impl Input for HeaderMap {}
impl Input for Trace {}

impl<S: Scoped> Input for Caller<S> {
    fn describe(operation: &mut Described) {
        let scope = S::SCOPE.as_str();
        operation.operation.security = Some(vec![SecurityRequirement::new(API_KEY, [scope])]);
        operation.refuses(
            StatusCode::UNAUTHORIZED,
            "The API key is absent, wrong, expired or revoked.",
        );
        operation.refuses(
            StatusCode::FORBIDDEN,
            "The API key or JWT lacks a scope, or its tenant is suspended.",
        );
        if operation.method != HttpMethod::Get {
            operation.refuses(
                StatusCode::TOO_MANY_REQUESTS,
                "The key or its tenant made as many requests in this minute as it may.",
            );
        }
        operation.refuses(
            StatusCode::SERVICE_UNAVAILABLE,
            "A dependency does not respond or throttles.",
        );
    }
}

/// A path parameter that is an id: its schema, and what it identifies.
trait Identifies {
    type Value: ToSchema;
}

impl Identifies for AgentId {
    type Value = values::AgentId;
}
impl Identifies for TaskId {
    type Value = values::TaskId;
}
impl Identifies for KeyId {
    type Value = values::KeyId;
}
impl Identifies for TenantId {
    type Value = values::TenantId;
}

impl<T: Identifies> Input for PathId<T> {
    fn describe(operation: &mut Described) {
        operation.takes_path::<T::Value>("id");
    }
}

impl Input for PathNumber {
    fn describe(operation: &mut Described) {
        operation.takes_path::<values::Number>("number");
    }
}

impl Input for PathAlias {
    fn describe(operation: &mut Described) {
        operation.takes_path::<values::AliasName>("name");
    }
}

impl Input for Params {
    fn describe(operation: &mut Described) {
        operation.refuses(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The request breaks the rules that `errors` names. Unknown query parameters do too.",
        );
    }
}

impl<T: ToSchema> Input for Body<T> {
    fn describe(operation: &mut Described) {
        operation.takes_body::<T>(Required::True, &["application/json"]);
    }
}

impl<T: ToSchema> Input for OptionalBody<T> {
    fn describe(operation: &mut Described) {
        operation.takes_body::<T>(Required::False, &["application/json"]);
    }
}

impl Input for MergePatch {
    fn describe(operation: &mut Described) {
        let types = ["application/merge-patch+json", "application/json"];
        operation.takes_body::<AgentPatch>(Required::True, &types);
    }
}

impl Described {
    /// Adds a response that refuses a request, unless the operation has one for this status.
    fn refuses(&mut self, status: StatusCode, description: &str) {
        let responses = &mut self.operation.responses.responses;
        let response = ResponseBuilder::new().description(description).build();
        responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| response.into());
    }

    fn takes_path<T: ToSchema>(&mut self, name: &str) {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(self.reference::<T>()));
        let parameters = self.operation.parameters.get_or_insert_default();
        let before = parameters
            .iter()
            .take_while(|known| is_in_path(known))
            .count();
        parameters.insert(before, parameter.build().into());
        self.refuses(StatusCode::NOT_FOUND, "Nothing has this id.");
    }

    fn takes_body<T: ToSchema>(&mut self, required: Required, types: &[&str]) {
        let example = example::<T>();
        let schema = self.reference::<T>();
        let body = types
            .iter()
            .fold(RequestBodyBuilder::new(), |body, content_type| {
                let content = ContentBuilder::new().schema(Some(schema.clone()));
                body.content(*content_type, content.example(example.clone()).build())
            });
        self.operation.request_body = Some(body.required(Some(required)).build().into());
        for (status, description) in [
            (StatusCode::BAD_REQUEST, "The body is not JSON in UTF-8."),
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body has more than 1 MiB.",
            ),
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body has another content type, or a `Content-Encoding`.",
            ),
        ] {
            self.refuses(status, description);
        }
    }

    /// A reference to the schema of `T`, which is added to the components.
    fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        self.schemas.extend(schemas_of::<T>());
        Ref::from_schema_name(T::name()).into()
    }
}

fn is_in_path(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path)
}

/// The first example of the schema.
fn example<T: PartialSchema>() -> Option<Value> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.examples.first().cloned(),
        RefOr::T(_) | RefOr::Ref(_) => None,
    }
}
