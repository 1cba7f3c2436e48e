//! Reads JSON bodies. Each error names the place in the body.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use serde::de::value::{Error as NameError, MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use shared::domain::{Invalid, Patch};

use crate::json::parse;
use crate::problem::{BrokenRule, Problem};

/// The largest body that is read: the largest valid task with every character escaped fits.
pub(crate) const MAX_BYTES: usize = 1_024 * 1_024;

/// The most broken rules that one answer names.
const MAX_BROKEN: usize = 100;

/// A JSON object, read into a `T`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_headers(request.headers())?;
        parse(&bytes(request, state).await?).map(Self)
    }
}

/// A JSON merge patch (RFC 7396) as it was sent, also as plain JSON.
pub(crate) struct MergePatch(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers();
        if !is_of_type(headers, "application/merge-patch+json") && !is_json(headers) {
            return Err(Problem::wrong_patch_type());
        }
        check_coding(headers)?;
        bytes(request, state).await.map(Self)
    }
}

/// A JSON object that may be left out, with the whole body, for the default.
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let checked = check_headers(request.headers());
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        checked?;
        parse(&bytes).map(Self)
    }
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state)
        .await
        .map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::body_too_large(MAX_BYTES),
            _ => Problem::unreadable_body(),
        })
}

/// The body must be JSON as it is, without a content coding.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    if !is_json(headers) {
        return Err(Problem::wrong_content_type());
    }
    check_coding(headers)
}

fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .map(|value| value.to_str().unwrap_or("of unknown characters"));
    let coding = codings.flat_map(|value| value.split(',')).map(str::trim);
    match coding
        .into_iter()
        .find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
    {
        Some(coding) => Err(Problem::wrong_content_encoding(coding)),
        None => Ok(()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    is_of_type(headers, "application/json")
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// A `T` that was a JSON object. Serde would also read a struct from an array of its fields.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FromMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(FromMap(PhantomData)).map(Self)
    }
}

/// The rules that a request breaks, gathered so that a client sees all of them at once.
#[derive(Default)]
pub(crate) struct Broken(Vec<Invalid>);

impl Broken {
    /// The value, if it is valid; else notes why not.
    pub(crate) fn keep<T>(&mut self, checked: Result<T, Invalid>) -> Option<T> {
        checked.map_err(|invalid| self.0.push(invalid)).ok()
    }

    /// The value, if it is valid; else notes everything that is wrong with it.
    pub(crate) fn keep_all<T>(&mut self, checked: Result<T, Vec<Invalid>>) -> Option<T> {
        checked.map_err(|invalid| self.extend(invalid)).ok()
    }

    /// Notes broken rules.
    pub(crate) fn extend(&mut self, invalid: Vec<Invalid>) {
        self.0.extend(invalid);
    }

    /// What `read` makes of the value at `place`, to which the rules that it notes are relative.
    pub(crate) fn below<T>(&mut self, place: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut broken = Self::default();
        let value = read(&mut broken);
        let noted = broken.0.into_iter();
        self.0.extend(noted.map(|invalid| Invalid {
            field: format!("{place}{}", invalid.field),
            ..invalid
        }));
        value
    }

    /// The `whole` that was made of the values, if all of them are valid.
    pub(crate) fn finish<T>(self, whole: Option<T>) -> Result<T, Problem> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            Some(_) | None => Err(Problem::validation_failed(
                self.0.iter().take(MAX_BROKEN).map(BrokenRule::from),
            )),
        }
    }

    /// As [`finish`](Self::finish), of rules whose places are the names of query parameters.
    pub(crate) fn finish_parameters<T>(mut self, whole: Option<T>) -> Result<T, Problem> {
        for invalid in &mut self.0 {
            let name = invalid.field.split('/').nth(1).unwrap_or_default();
            invalid.field = name.to_owned();
        }
        self.finish(whole)
    }
}

/// A field of a merge patch that must not be null; `None` if it is absent.
pub(crate) fn not_null<T>(field: &str, patch: Patch<T>) -> Result<Option<T>, Invalid> {
    match patch {
        Patch::Keep => Ok(None),
        Patch::Clear => Err(Invalid::new(field, "must not be null")),
        Patch::Set(value) => Ok(Some(value)),
    }
}

/// The value of a field that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "is required"))
}

/// The one of `T`'s names, spelled as in serde; `names` lists them.
pub(crate) fn named<T: DeserializeOwned>(
    field: &str,
    name: &str,
    names: &str,
) -> Result<T, Invalid> {
    let spelled = StrDeserializer::<NameError>::new(name);
    T::deserialize(spelled).map_err(|_| Invalid::new(field, format!("must be {names}")))
}

/// The list, if it has as many entries as it may have.
pub(crate) fn counted<T>(
    field: &str,
    list: Vec<T>,
    range: RangeInclusive<usize>,
) -> Result<Vec<T>, Invalid> {
    if range.contains(&list.len()) {
        return Ok(list);
    }
    let (least, most) = (range.start(), range.end());
    Err(Invalid::new(
        field,
        format!("must have {least} to {most} entries, has {}", list.len()),
    ))
}
