//! The names of an enum's variants, as serde reads them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

/// The names of all variants of the enum `T`, which derives its `Deserialize`.
pub(super) fn names_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(Enum) {
        Err(Names(names)) => names,
        Ok(_) => &[],
    }
}

/// Reads nothing; fails with the names that a derived `Deserialize` offers.
struct Enum;

#[derive(Debug)]
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Names {}

impl Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Enum {
    type Error = Names;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Names> {
        Err(Names(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Names> {
        Err(Names(names))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use shared::domain::{Provider, Scope};

    use super::*;

    #[test]
    fn the_names_are_those_that_serde_reads() {
        assert_eq!(names_of::<Provider>(), Provider::ALL.map(Provider::as_str));
        assert_eq!(names_of::<Scope>(), Scope::ALL.map(Scope::as_str));
        assert!(names_of::<u32>().is_empty());
    }
}
