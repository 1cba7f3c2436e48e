//! Changes of single fields.

use serde::{Deserialize, Deserializer};

/// What a merge patch (RFC 7396) says about a field: nothing, null, or a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// The field is absent: it keeps its value.
    #[default]
    Keep,
    /// The field is null: its value is removed.
    Clear,
    /// The field gets this value.
    Set(T),
}

impl<T> Patch<T> {
    /// The field's value after the change of this one.
    pub fn apply(self, value: Option<T>) -> Option<T> {
        match self {
            Self::Keep => value,
            Self::Clear => None,
            Self::Set(new) => Some(new),
        }
    }

    /// The new value, if there is one.
    pub fn set(self) -> Option<T> {
        self.apply(None)
    }

    /// The same change with another value.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(make(value)),
        }
    }

    /// The same change with another value; the error of making it, if that fails.
    pub fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Self::Keep => Patch::Keep,
            Self::Clear => Patch::Clear,
            Self::Set(value) => Patch::Set(make(value)?),
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    /// Reads a field that is there. Its struct must have `#[serde(default)]` for a field that is
    /// absent.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or(Self::Clear, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            field: Patch<u32>,
        }
        for (text, patch, after) in [
            ("{}", Patch::Keep, Some(1)),
            (r#"{"field":null}"#, Patch::Clear, None),
            (r#"{"field":2}"#, Patch::Set(2), Some(2)),
        ] {
            let Body { field } = serde_json::from_str(text).unwrap();
            assert_eq!((field, field.apply(Some(1))), (patch, after), "{text}");
        }
        assert!(serde_json::from_str::<Body>(r#"{"field":"x"}"#).is_err());
    }
}
