//! Reads and writes the attributes of all kinds of records.
//!
//! Every record has the version of its form in `v`. A reader ignores attributes that it doesn't
//! know, so that a form may grow. A record of a newer version, or one that breaks the domain's
//! rules, is an error that names its key.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::{Deserialize, Serialize};

use super::keys::{Key, PK, SK};
use crate::domain::{CapKind, Caps, ModelRef, RequestRate, Timestamp, Usage};
use crate::ports::StoreError;

/// The version of forms that never had an incompatible change. Other forms have a version of their
/// own.
pub(super) const VERSION: u32 = 1;
pub(super) const V: &str = "v";

/// How often a record was changed, in forms whose changes are conditional on it.
pub(super) const REVISION: &str = "revision";

const PROVIDER: &str = "provider";
const MODEL: &str = "model";
pub(super) const USAGE: &str = "usage";
pub(super) const INPUT_TOKENS: &str = "input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "cache_read_tokens";
pub(super) const CACHE_WRITE_TOKENS: &str = "cache_write_tokens";
pub(super) const REASONING_TOKENS: &str = "reasoning_tokens";

/// A record in the SDK's type.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Attributes to be written into a record.
pub(super) type Attributes = Vec<(&'static str, AttributeValue)>;

/// The whole record at `key`, in a form of version [`VERSION`].
pub(super) fn item(key: Key, attributes: Attributes) -> Item {
    versioned(VERSION, key, attributes)
}

/// The whole record at `key`, in a form of this version.
pub(super) fn versioned(version: u32, key: Key, attributes: Attributes) -> Item {
    let fixed = [(PK, text(key.pk)), (SK, text(key.sk)), (V, number(version))];
    fixed
        .into_iter()
        .chain(attributes)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A text as an attribute.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Bytes as an attribute.
pub(super) fn bytes(value: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// A whole number as an attribute.
pub(super) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A moment as an attribute, in milliseconds.
pub(super) fn moment(value: Timestamp) -> AttributeValue {
    number(value.as_millis())
}

/// One of a set of names, spelled as in serde, as an attribute.
pub(super) fn name(value: &impl Serialize) -> AttributeValue {
    let spelled = serde_json::to_value(value).ok();
    text(
        spelled
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default(),
    )
}

/// A model as attributes.
pub(super) fn model(model: &ModelRef) -> Attributes {
    vec![
        (PROVIDER, text(model.provider().as_str())),
        (MODEL, text(model.name())),
    ]
}

/// A value with a structure of its own, as JSON text.
pub(super) fn json(name: &'static str, value: &impl Serialize) -> (&'static str, AttributeValue) {
    (name, text(serde_json::json!(value).to_string()))
}

/// Values as a list.
pub(super) fn list(values: impl Iterator<Item = AttributeValue>) -> AttributeValue {
    AttributeValue::L(values.collect())
}

/// Named values as a map.
pub(super) fn map(
    values: impl IntoIterator<Item = (impl Into<String>, AttributeValue)>,
) -> AttributeValue {
    let values = values.into_iter();
    AttributeValue::M(values.map(|(name, value)| (name.into(), value)).collect())
}

/// Named texts as a map.
pub(super) fn texts(texts: &BTreeMap<String, String>) -> AttributeValue {
    map(texts.iter().map(|(name, value)| (name, text(value))))
}

/// Token counts as an attribute.
pub(super) fn usage(usage: Usage) -> (&'static str, AttributeValue) {
    let counts = [
        (INPUT_TOKENS, usage.input_tokens),
        (OUTPUT_TOKENS, usage.output_tokens),
        (CACHE_READ_TOKENS, usage.cache_read_tokens),
        (CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        (REASONING_TOKENS, usage.reasoning_tokens),
    ];
    (
        USAGE,
        map(counts.map(|(name, count)| (name, number(count)))),
    )
}

/// The attributes of the caps that there are.
pub(super) fn caps(caps: Caps) -> impl Iterator<Item = (&'static str, AttributeValue)> {
    caps.present()
        .map(|(kind, most)| (kind.field(), number(most)))
}

/// Reads what [`caps`] wrote.
pub(super) fn read_caps(fields: &Fields<'_>) -> Result<Caps, StoreError> {
    let mut caps = Caps::NONE;
    for kind in CapKind::ALL {
        if let Some(most) = fields.optional(kind.field(), Fields::number)? {
            caps = fields.valid(caps.with(kind, most))?;
        }
    }
    Ok(caps)
}

/// The limit on the rate of requests in the attribute `name`.
pub(super) fn rate(fields: &Fields<'_>, name: &str) -> Result<RequestRate, StoreError> {
    fields.valid(RequestRate::per_minute(fields.number(name)?))
}

/// The attributes that are read from one record, and its key for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    item: &'a Item,
    record: &'a Item,
}

impl<'a> Fields<'a> {
    /// The attributes of a whole record, in a form up to [`VERSION`].
    pub(super) fn of(item: &'a Item) -> Result<Self, StoreError> {
        Self::up_to(VERSION, item)
    }

    /// The attributes of a whole record, in a form up to the version `newest`.
    pub(super) fn up_to(newest: u32, item: &'a Item) -> Result<Self, StoreError> {
        let fields = Self::of_index(item);
        let version: u32 = fields.number(V)?;
        if version > newest {
            return Err(fields.corrupt(format!(
                "its form has version {version}, newer than {newest}"
            )));
        }
        Ok(fields)
    }

    /// The attributes that an index has of a record.
    pub(super) const fn of_index(item: &'a Item) -> Self {
        Self { item, record: item }
    }

    /// The attributes inside an attribute of this record.
    pub(super) const fn within(&self, item: &'a Item) -> Self {
        Self {
            item,
            record: self.record,
        }
    }

    /// The attributes inside the attribute `name`.
    pub(super) fn map(&self, name: &str) -> Result<Self, StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::M(map)) => Ok(self.within(map)),
            Some(_) => Err(self.corrupt(format!("{name} is not a map"))),
            None => Err(self.missing(name)),
        }
    }

    /// The failure to read this record.
    pub(super) fn corrupt(&self, reason: impl Display) -> StoreError {
        let part = |name| match self.record.get(name) {
            Some(AttributeValue::S(text)) => text.as_str(),
            Some(_) | None => "?",
        };
        let key = Key {
            pk: part(PK).to_owned(),
            sk: part(SK).to_owned(),
        };
        StoreError::Corrupt {
            key: key.to_string(),
            reason: reason.to_string(),
        }
    }

    /// Turns the domain's refusal of a value into the failure to read this record.
    pub(super) fn valid<T>(&self, value: Result<T, impl Display>) -> Result<T, StoreError> {
        value.map_err(|reason| self.corrupt(reason))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.item.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::S(text)) => Ok(text),
            Some(_) => Err(self.corrupt(format!("{name} is not a text"))),
            None => Err(self.missing(name)),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&'a [u8], StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
            Some(_) => Err(self.corrupt(format!("{name} is not binary"))),
            None => Err(self.missing(name)),
        }
    }

    pub(super) fn number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::N(digits)) => digits
                .parse()
                .map_err(|error| self.corrupt(format!("{name} can't be used: {error}"))),
            Some(_) => Err(self.corrupt(format!("{name} is not a number"))),
            None => Err(self.missing(name)),
        }
    }

    /// A text that stands for a value of the domain.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, StoreError> {
        self.text(name)?
            .parse()
            .map_err(|error| self.corrupt(format!("{name} can't be used: {error}")))
    }

    /// Reads an attribute with `read`; `None` if the attribute is absent.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.has(name) {
            read(self, name).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn moment(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.number(name).map(Timestamp::from_millis)
    }

    pub(super) fn name<T: Deserialize<'a>>(&self, name: &str) -> Result<T, StoreError> {
        let spelled = StrDeserializer::<NameError>::new(self.text(name)?);
        T::deserialize(spelled)
            .map_err(|error| self.corrupt(format!("{name} can't be used: {error}")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, StoreError> {
        match self.item.get(name) {
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(_) | None => Err(self.corrupt(format!("{name} is not a yes or no"))),
        }
    }

    /// A value with a structure of its own. The error names only the place: the text may be a
    /// prompt.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        self.parse(name, self.text(name)?.as_bytes())
    }

    /// A value with a structure of its own, whose JSON is not only in the record. `name` is for the
    /// error.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        name: &str,
        json: &[u8],
    ) -> Result<T, StoreError> {
        serde_json::from_slice(json).map_err(|error| {
            self.corrupt(format!(
                "{name} can't be used: {:?} at column {}",
                error.classify(),
                error.column()
            ))
        })
    }

    /// A list of values with a structure of their own.
    pub(super) fn json_list<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, StoreError> {
        let Some(AttributeValue::L(entries)) = self.item.get(name) else {
            return Err(self.corrupt(format!("{name} is not a list")));
        };
        let read = |entry: &AttributeValue| serde_json::from_str(entry.as_s().ok()?).ok();
        let entries: Option<Vec<T>> = entries.iter().map(read).collect();
        entries.ok_or_else(|| self.corrupt(format!("an entry of {name} can't be used")))
    }

    /// A map of texts.
    pub(super) fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let Some(AttributeValue::M(entries)) = self.item.get(name) else {
            return Err(self.corrupt(format!("{name} is not a map")));
        };
        let read = |(key, value): (&String, &AttributeValue)| {
            Some((key.clone(), value.as_s().ok()?.clone()))
        };
        let texts: Option<BTreeMap<_, _>> = entries.iter().map(read).collect();
        texts.ok_or_else(|| self.corrupt(format!("an entry of {name} is not a text")))
    }

    pub(super) fn model(&self) -> Result<ModelRef, StoreError> {
        self.valid(ModelRef::new(self.parsed(PROVIDER)?, self.text(MODEL)?))
    }

    pub(super) fn usage(&self) -> Result<Usage, StoreError> {
        let Some(AttributeValue::M(counts)) = self.item.get(USAGE) else {
            return Err(self.missing(USAGE));
        };
        let counts = self.within(counts);
        let optional = |name| {
            counts
                .optional(name, Self::number)
                .map(Option::unwrap_or_default)
        };
        Ok(Usage {
            input_tokens: counts.number(INPUT_TOKENS)?,
            output_tokens: counts.number(OUTPUT_TOKENS)?,
            cache_read_tokens: optional(CACHE_READ_TOKENS)?,
            cache_write_tokens: optional(CACHE_WRITE_TOKENS)?,
            reasoning_tokens: optional(REASONING_TOKENS)?,
        })
    }

    fn missing(&self, name: &str) -> StoreError {
        self.corrupt(format!("{name} is missing"))
    }
}

#[cfg(test)]
pub(super) mod checks {
    //! What the tests of every form share.

    use std::fmt::Debug;

    use super::*;

    /// If any attribute is missing, of another type or invalid, `read` reports the record's key and
    /// doesn't panic. An unknown attribute is ignored; a newer version is reported.
    #[track_caller]
    pub(in crate::store) fn check_robustness<T: PartialEq + Debug>(
        item: &Item,
        required: &[&str],
        read: impl Fn(&Item) -> Result<T, StoreError>,
    ) {
        let key = format!("{} {}", item[PK].as_s().unwrap(), item[SK].as_s().unwrap());
        let refused = |item: &Item, what: &str| match read(item) {
            Err(StoreError::Corrupt { key: named, .. }) => {
                assert!(what.starts_with("pk") || named == key, "{named}");
            }
            other => panic!("{what}: {other:?}"),
        };
        for name in required {
            let mut broken = item.clone();
            broken.remove(*name);
            refused(&broken, &format!("{name} missing"));
            broken.insert((*name).to_owned(), AttributeValue::Null(true));
            refused(&broken, &format!("{name} of another type"));
        }
        for name in item.keys() {
            for nonsense in [
                AttributeValue::Bool(true),
                text("\u{0}"),
                number("-1"),
                number("1e400"),
            ] {
                let mut broken = item.clone();
                broken.insert(name.clone(), nonsense);
                drop(read(&broken));
            }
        }
        let mut grown = item.clone();
        grown.insert("color".to_owned(), text("blue"));
        assert_eq!(read(&grown).unwrap(), read(item).unwrap());
        grown.insert(V.to_owned(), number(4));
        refused(&grown, "a newer version");
    }
}
