//! Reading JSON bodies, so that whatever is wrong with one is said with its place.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};
use shared::domain::Invalid;

use crate::problem::Problem;

/// The largest body that is read: the largest valid task with every character escaped fits.
pub(crate) const MAX_BYTES: usize = 1_024 * 1_024;

/// A JSON object, read into a `T`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::wrong_content_type());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::body_too_large(MAX_BYTES),
            _ => Problem::unreadable_body(),
        })?;
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would also read a struct from an array of its fields.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::validation_failed(vec![Invalid::new("", "must be an object")]));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let reason = error.inner().to_string();
        match error.inner().classify() {
            Category::Data => Problem::validation_failed(vec![Invalid::new(pointer(error.path()), reason)]),
            Category::Syntax | Category::Eof | Category::Io => Problem::malformed_json(reason),
        }
    })?;
    json.end().map_err(|error| Problem::malformed_json(error.to_string()))?;
    Ok(value)
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    });
    segments.collect()
}

/// The rules that a request breaks, gathered so that a client sees all of them at once.
#[derive(Default)]
pub(crate) struct Broken(Vec<Invalid>);

impl Broken {
    /// The value, if it is valid; else notes why not.
    pub(crate) fn keep<T>(&mut self, checked: Result<T, Invalid>) -> Option<T> {
        checked.map_err(|invalid| self.0.push(invalid)).ok()
    }
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        Self::validation_failed(broken.0)
    }
}

/// The value of a field that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "is required"))
}
