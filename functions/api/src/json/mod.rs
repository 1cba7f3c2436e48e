//! Reads JSON bodies. An error names the place in the body and says what is wrong in the terms of
//! JSON, not in those of Rust.

mod encoding;
mod merge;
mod whole;
mod words;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::body::Object;
use crate::problem::{BrokenRule, Problem};
pub(crate) use merge::merge;
pub(crate) use whole::{Whole, whole};

/// Decodes the JSON object in these bytes into a `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = encoding::text(bytes)?;
    // Check the syntax of the whole body before any rule: a syntax error can make rules look
    // broken.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(&error))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let reason = error.inner();
        match reason.classify() {
            Category::Data => broken_rule(&pointer(error.path()), &reason.to_string()),
            Category::Syntax | Category::Eof | Category::Io => malformed(reason),
        }
    })?;
    Ok(value)
}

/// Any JSON in these bytes.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_str(encoding::text(bytes)?).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::malformed_json(&words::of_syntax(&error.to_string()))
}

fn broken_rule(pointer: &str, message: &str) -> Problem {
    let (field, detail) = words::of_data(message);
    let place = match field.map(token) {
        // The path never contains a missing field. It may contain an unknown field.
        Some(field) if !pointer.ends_with(&field) => format!("{pointer}{field}"),
        Some(_) | None => pointer.to_owned(),
    };
    Problem::validation_failed([match field {
        Some(_) => BrokenRule::in_body_in_full(&place, detail),
        None => BrokenRule::in_body(&place, &detail),
    }])
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => token(key),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    });
    segments.collect()
}

/// The key as a part of a JSON pointer.
fn token(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
