//! Reads fields that servers send in another type than documented, such as a count as a float or an
//! id as a number.
//!
//! For use as `deserialize_with`. What can't be read counts as missing and never fails the
//! response. Only fields that are no part of what the model says are read like this: content in
//! another type is an error, because it would be lost.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The bytes of text that one token stands for on average.
const BYTES_PER_TOKEN: u64 = 4;

/// Every whole number up to this one has a float of its own.
const MAX_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// More tokens than any model reads or writes in one call.
const MOST: u64 = 1_000_000_000;

/// The tokens that the model wrote so far, estimated by bytes; never more than were requested.
pub(super) fn estimated_tokens(bytes: u64, max_output_tokens: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN).min(max_output_tokens)
}

/// Whether the text is one whole JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A number that counts something: whole and not negative, maybe as a float or as text. A count
/// that no model reaches is none: it is the server's mistake, and would use up a cap on cost.
pub(super) fn count<'de, D: Deserializer<'de>>(field: D) -> Result<Option<u64>, D::Error> {
    Ok(match field.deserialize_any(ScalarVisitor)? {
        Scalar::Count(count) => Some(count),
        Scalar::Text(text) => text.trim().parse().ok(),
        Scalar::Other => None,
    }
    .filter(|count| *count <= MOST))
}

/// A name or an id: text that is not empty, or a number.
pub(super) fn name<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(match field.deserialize_any(ScalarVisitor)? {
        Scalar::Text(text) if !text.is_empty() => Some(text),
        Scalar::Count(number) => Some(number.to_string()),
        Scalar::Text(_) | Scalar::Other => None,
    })
}

/// An object.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    field.deserialize_any(ObjectVisitor(PhantomData))
}

/// What the name of a type stands for.
pub(super) trait Lookup: Sized {
    /// What it stands for, if this version knows it.
    fn of(name: &str) -> Option<Self>;
}

/// A type by its name, which is read without a copy: each event of a stream has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Named<T> {
    /// There is no name.
    #[default]
    Missing,
    /// This version doesn't know the name.
    Unknown,
    /// This version knows it.
    Known(T),
}

impl<T> Named<T> {
    pub(super) fn known(self) -> Option<T> {
        match self {
            Self::Known(kind) => Some(kind),
            Self::Missing | Self::Unknown => None,
        }
    }
}

impl<'de, T: Lookup> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_any(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Lookup> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Named<T>, E> {
        Ok(T::of(name).map_or(Named::Unknown, Named::Known))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Named<T>, E> {
        Ok(Named::Missing)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Named<T>, E> {
        Ok(Named::Missing)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Named<T>, E> {
        Ok(Named::Missing)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Named<T>, E> {
        Ok(Named::Missing)
    }

    fn visit_unit<E: Error>(self) -> Result<Named<T>, E> {
        Ok(Named::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Named<T>, A::Error> {
        ScalarVisitor.visit_seq(elements).map(|_| Named::Missing)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Named<T>, A::Error> {
        ScalarVisitor.visit_map(entries).map(|_| Named::Missing)
    }
}

enum Scalar {
    Count(u64),
    Text(String),
    Other,
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Count(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Other, Scalar::Count))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
        let is_count = (0.0..=MAX_EXACT_FLOAT).contains(&number) && number.fract() == 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in the range"
        )]
        Ok(if is_count {
            Scalar::Count(number as u64)
        } else {
            Scalar::Other
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_none<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, field: D) -> Result<Scalar, D::Error> {
        field.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Scalar, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Option<T>, A::Error> {
        ScalarVisitor.visit_seq(elements).map(|_| None)
    }

    fn visit_some<D: Deserializer<'de>>(self, field: D) -> Result<Option<T>, D::Error> {
        field.deserialize_any(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Report {
        #[serde(deserialize_with = "count")]
        tokens: Option<u64>,
        #[serde(deserialize_with = "name")]
        id: Option<String>,
        #[serde(deserialize_with = "object")]
        details: Option<Box<Report>>,
    }

    fn read(report: &Value) -> Report {
        serde_json::from_str(&report.to_string()).unwrap()
    }

    #[test]
    fn a_count_is_read_in_any_type_or_is_unknown() {
        for (sent, expected) in [
            (json!(10), Some(10)),
            (json!(10.0), Some(10)),
            (json!("10"), Some(10)),
            (json!(0), Some(0)),
            (json!(1_000_000_000), Some(1_000_000_000)),
            (json!(1_000_000_001), None),
            (json!(u64::MAX), None),
            (json!(-1), None),
            (json!(-1.0), None),
            (json!(0.5), None),
            (json!(1e300), None),
            (json!("many"), None),
            (json!(null), None),
            (json!(true), None),
            (json!([1, [2]]), None),
            (json!({"n": {"m": 1}}), None),
        ] {
            let expected = Report {
                tokens: expected,
                ..Report::default()
            };
            assert_eq!(read(&json!({"tokens": sent})), expected, "{sent}");
            assert_eq!(
                serde_json::from_value::<Report>(json!({"tokens": sent})).unwrap(),
                expected,
                "{sent}"
            );
        }
    }

    #[test]
    fn a_name_may_be_a_number_but_not_empty() {
        for (sent, expected) in [
            (json!("a"), Some("a")),
            (json!(7), Some("7")),
            (json!(""), None),
            (json!(null), None),
            (json!(["a"]), None),
            (json!({"a": 1}), None),
        ] {
            assert_eq!(read(&json!({"id": sent})).id.as_deref(), expected, "{sent}");
        }
    }

    #[derive(Debug, PartialEq)]
    struct Ping;

    impl Lookup for Ping {
        fn of(name: &str) -> Option<Self> {
            (name == "ping").then_some(Self)
        }
    }

    #[test]
    fn a_type_is_known_unknown_or_missing() {
        for (sent, expected) in [
            (json!("ping"), Named::Known(Ping)),
            (json!("pong"), Named::Unknown),
            (json!(null), Named::Missing),
            (json!(7), Named::Missing),
            (json!(-7), Named::Missing),
            (json!(0.5), Named::Missing),
            (json!(true), Named::Missing),
            (json!(["ping"]), Named::Missing),
            (json!({"ping": 1}), Named::Missing),
        ] {
            assert_eq!(
                serde_json::from_str::<Named<Ping>>(&sent.to_string()).unwrap(),
                expected,
                "{sent}"
            );
        }
    }

    #[test]
    fn what_is_no_object_is_unknown() {
        for sent in [
            json!(null),
            json!(1),
            json!(-1),
            json!(0.5),
            json!("x"),
            json!(false),
            json!([{}]),
        ] {
            assert_eq!(
                read(&json!({"details": sent, "id": "a"})).details,
                None,
                "{sent}"
            );
        }
        let details = Report {
            tokens: Some(1),
            ..Report::default()
        };
        assert_eq!(
            read(&json!({"details": {"tokens": 1}})).details,
            Some(Box::new(details))
        );
    }

    #[test]
    fn no_more_tokens_are_estimated_than_were_requested() {
        assert_eq!(
            [0, 1, 9, 400].map(|bytes| estimated_tokens(bytes, 50)),
            [0, 1, 3, 50]
        );
    }
}
