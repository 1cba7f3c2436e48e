//! The schemas of query parameters and headers.

use std::ops::RangeInclusive;

use serde_json::json;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, RefOr, Required, Schema};

/// A query parameter with a number in this range, and its default.
pub(crate) fn number<N>(
    name: &str,
    description: &str,
    range: RangeInclusive<N>,
    default: N,
) -> Parameter
where
    N: Copy + Into<u64>,
{
    let (least, most): (u64, u64) = ((*range.start()).into(), (*range.end()).into());
    let default: u64 = default.into();
    let schema = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(least))
        .maximum(Some(most))
        .default(Some(json!(default)));
    parameter(name, ParameterIn::Query, description, schema)
}

/// A query parameter with a text.
pub(crate) fn text(name: &str, description: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    parameter(name, ParameterIn::Query, description, schema)
}

/// A header with a text.
pub(crate) fn header(name: &str, description: &str, schema: ObjectBuilder) -> Parameter {
    parameter(
        name,
        ParameterIn::Header,
        description,
        schema.schema_type(Type::String),
    )
}

fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
