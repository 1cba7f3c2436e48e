//! The members of a [`LongText`](crate::delivery::LongText): the text, and what says that it is cut.

use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

pub(crate) fn instructions() -> Object {
    members("instructions")
}

pub(crate) fn output() -> Object {
    members("output")
}

pub(crate) fn text() -> Object {
    members("text")
}

pub(crate) fn call_id() -> Object {
    members("call_id")
}

pub(crate) fn id() -> Object {
    members("id")
}

pub(crate) fn name() -> Object {
    members("name")
}

pub(crate) fn arguments() -> Object {
    members("arguments")
}

fn members(name: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let truncated = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some("The text is cut."));
    let bytes = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("The size of the whole text in UTF-8."));
    ObjectBuilder::new()
        .property(name, text)
        .property(format!("{name}_truncated"), truncated)
        .property(format!("{name}_bytes"), bytes)
        .required(name)
        .build()
}
