//! Reading JSON. What is wrong with it is said in the words of JSON, not in those of the code that
//! reads it, and with its place.

mod encoding;
mod words;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::body::Object;
use crate::problem::{BrokenRule, Problem};

/// The JSON object in these bytes, read into a `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = encoding::text(bytes)?;
    // It must be JSON to its end before it matters what it says.
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

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::malformed_json(&words::of_syntax(&error.to_string()))
}

fn broken_rule(pointer: &str, message: &str) -> Problem {
    let (field, detail) = words::of_data(message);
    let place = match field.map(token) {
        // A field that is missing is no part of the path, one that is unknown may be.
        Some(field) if !pointer.ends_with(&field) => format!("{pointer}{field}"),
        Some(_) | None => pointer.to_owned(),
    };
    Problem::validation_failed([BrokenRule::in_body(&place, &detail)])
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

fn token(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}
