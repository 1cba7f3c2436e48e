//! What a client notes about its task, for its own use.

use std::collections::BTreeMap;

use super::hidden::Hidden;
use super::invalid::Invalid;

const MAX_PAIRS: usize = 16;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 512;

/// Up to 16 pairs of a key and a text. The platform returns them and filters lists by them, and
/// uses them for nothing else.
#[derive(derive_more::Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(#[debug("{} pairs", _0.len())] BTreeMap<String, String>);

impl Metadata {
    /// Checks the pairs at `/metadata`. Errors: every rule that they break.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, Vec<Invalid>> {
        let mut broken = Vec::new();
        if pairs.len() > MAX_PAIRS {
            let reason = format!("must have at most {MAX_PAIRS} pairs, has {}", pairs.len());
            broken.push(Invalid::new("/metadata", reason));
        }
        for (key, value) in &pairs {
            broken.extend(MetadataPair::check(key, value).err());
        }
        if broken.is_empty() {
            Ok(Self(pairs))
        } else {
            Err(broken)
        }
    }

    /// The pairs as they were stored, perhaps by a version with other bounds.
    pub const fn restored(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }

    /// The pairs.
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether this pair is among them.
    pub fn has(&self, pair: &MetadataPair) -> bool {
        self.0.get(&pair.key) == Some(&pair.value)
    }
}

/// One pair, by which a list is filtered.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct MetadataPair {
    /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub key: String,
    /// Up to 512 characters.
    #[debug("{}", Hidden(value))]
    pub value: String,
}

impl MetadataPair {
    /// Checks a pair of [`Metadata`].
    pub fn new(key: String, value: String) -> Result<Self, Invalid> {
        Self::check(&key, &value)?;
        Ok(Self { key, value })
    }

    fn check(key: &str, value: &str) -> Result<(), Invalid> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(allowed) {
            let reason =
                format!("must have keys of 1 to {MAX_KEY} characters of A-Z, a-z, 0-9, ., _ and -");
            return Err(Invalid::new("/metadata", reason));
        }
        let length = value.chars().count();
        if length > MAX_VALUE {
            let reason = format!("must have at most {MAX_VALUE} characters, has {length}");
            return Err(Invalid::new(format!("/metadata/{key}"), reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> Result<Metadata, Vec<Invalid>> {
        Metadata::new(BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn pairs_have_bounds() {
        assert!(one("order.id-1_a", "").is_ok());
        assert!(one(&"k".repeat(64), &"ü".repeat(512)).is_ok());
        for (key, value, field) in [
            ("", "x", "/metadata"),
            ("a:b", "x", "/metadata"),
            (&*"k".repeat(65), "x", "/metadata"),
            ("order", &*"v".repeat(513), "/metadata/order"),
        ] {
            let broken = one(key, value).expect_err("the pair breaks a rule");
            let fields: Vec<&str> = broken
                .iter()
                .map(|invalid| invalid.field.as_str())
                .collect();
            assert_eq!(fields, [field], "{key}");
        }
    }

    #[test]
    fn there_are_at_most_16_pairs() {
        let pairs = |count: u32| (0..count).map(|n| (n.to_string(), String::new())).collect();
        assert!(Metadata::new(pairs(16)).is_ok());
        assert!(Metadata::new(pairs(17)).is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", one("name", "secret").expect("a valid pair"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
