//! The text of an API key, as clients send it: `agk_<id>_<secret>_<checksum>`.
//!
//! - `agk_` is what secret scanners search for.
//! - The id has 12 characters of base32 (60 bits). It finds the key's record.
//! - The secret has 43 characters of base62 (256 random bits).
//! - The checksum has 6 characters of base62: the CRC-32 of all characters before its underscore.
//!   So mistyped and made-up keys are refused without a read.
//!
//! GitHub's tokens have the same parts ("Behind GitHub's new authentication token formats", GitHub
//! Engineering, 2021).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every key begins with.
pub const KEY_PREFIX: &str = "agk_";

/// What the id of a key begins with where it stands alone.
const ID_PREFIX: &str = "key_";

const ID_CHARS: usize = 12;
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;

/// RFC 4648, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Identifies an API key; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_CHARS]);

impl KeyId {
    /// The id made of these random bytes.
    pub fn from_random(random: [u8; ID_CHARS]) -> Self {
        Self(random.map(|byte| digit(BASE32, byte % 32)))
    }

    fn parse(text: &str) -> Option<Self> {
        let id: [u8; ID_CHARS] = text.as_bytes().try_into().ok()?;
        id.iter()
            .all(|byte| BASE32.contains(byte))
            .then_some(Self(id))
    }

    /// The id without its prefix, as it is inside a key.
    fn bare(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", self.bare())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form key_…")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(ID_PREFIX)
            .and_then(Self::parse)
            .ok_or(NotAKeyId)
    }
}

/// An API key as its client has it. The platform stores only the hash of its secret.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    id: KeyId,
    #[debug("<hidden>")]
    secret: String,
}

impl ApiToken {
    /// The token of the key `id` whose secret has these random bits.
    pub fn from_random(id: KeyId, random: [u8; 32]) -> Self {
        let secret = base62(random, SECRET_CHARS);
        Self { id, secret }
    }

    /// The key that it belongs to, if its secret is right.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What is stored of its secret.
    pub fn secret_hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(&self.secret).into())
    }

    /// The whole text, for the one response that shows it.
    pub fn expose(&self) -> String {
        let start = format!("{KEY_PREFIX}{}_{}", self.id.bare(), self.secret);
        let checksum = checksum(&start);
        format!("{start}_{checksum}")
    }
}

/// The text is not an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct NotAToken;

impl FromStr for ApiToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (start, sum) = text.rsplit_once('_')?;
            let (id, secret) = start.strip_prefix(KEY_PREFIX)?.split_once('_')?;
            let is_whole = secret.len() == SECRET_CHARS
                && secret.bytes().all(|byte| BASE62.contains(&byte))
                && sum == checksum(start);
            let id = KeyId::parse(id).filter(|_| is_whole)?;
            Some(Self {
                id,
                secret: secret.to_owned(),
            })
        };
        parse().ok_or(NotAToken)
    }
}

/// The SHA-256 of a key's secret. The secret has 256 random bits, so it needs no slow hash and no
/// salt.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// A hash that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    /// Takes the same time wherever the two differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

fn checksum(text: &str) -> String {
    base62(
        crc32fast::hash(text.as_bytes()).to_be_bytes(),
        CHECKSUM_CHARS,
    )
}

/// The big-endian number in base 62 with so many digits, which must be enough for it.
fn base62<const N: usize>(mut number: [u8; N], digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let mut remainder: u16 = 0;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            // Less than 256, because the remainder is less than 62.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *place = digit(BASE62, u8::try_from(remainder).unwrap_or(0));
    }
    text.into_iter().map(char::from).collect()
}

/// The digit with this value.
fn digit(alphabet: &[u8], value: u8) -> u8 {
    alphabet.get(usize::from(value)).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> ApiToken {
        ApiToken::from_random(KeyId::from_random([7; 12]), [9; 32])
    }

    #[test]
    fn a_key_has_the_published_form() {
        let zero = ApiToken::from_random(KeyId::from_random([0; 12]), [0; 32]);
        let text = zero.expose();
        let start = format!("agk_{}_{}", "a".repeat(12), "0".repeat(43));
        assert_eq!(text, format!("{start}_{}", checksum(&start)));
        let full = ApiToken::from_random(KeyId::from_random([255; 12]), [255; 32]);
        assert_eq!(full.expose().len(), 4 + 12 + 1 + 43 + 1 + 6);
        // 2^256 - 1 in base 62.
        let most = "yl5w7bYRB9xQkFbpWQQkBTPv8bWRUZnNKTqYh1Zk7sR";
        assert_eq!(full.expose()[17..60].len(), most.len());
    }

    #[test]
    fn numbers_in_base_62_have_the_known_digits() {
        assert_eq!(base62([0, 0, 0, 61], 6), "00000z");
        assert_eq!(base62([0, 0, 0, 62], 6), "000010");
        assert_eq!(base62(u32::MAX.to_be_bytes(), 6), "4gfFC3");
    }

    #[test]
    fn one_wrong_character_anywhere_is_refused() {
        let text = token().expose();
        assert_eq!(text.parse(), Ok(token()));
        for place in 0..text.len() {
            for wrong in ["", "0", "z", "_", " ", "é", "Ａ"] {
                let mut other = text.clone();
                other.replace_range(place..=place, wrong);
                assert!(
                    other == text || other.parse::<ApiToken>().is_err(),
                    "{other}"
                );
            }
        }
        for other in [
            text.to_uppercase(),
            format!("{text} "),
            format!("{text}_{text}"),
        ] {
            assert!(other.parse::<ApiToken>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_secret_is_not_in_debug_texts() {
        let text = format!("{:?} {:?}", token(), token().secret_hash());
        assert!(!text.contains(&token().secret), "{text}");
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = token().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            "key_",
            "key_AAAAAAAAAAAA",
            "key_aaaaaaaaaaa1",
            "agk_aaaaaaaaaaaa",
        ] {
            assert!(other.parse::<KeyId>().is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_random_bits_give_a_key_that_parses(id: [u8; 12], secret: [u8; 32]) {
            let token = ApiToken::from_random(KeyId::from_random(id), secret);
            prop_assert_eq!(token.expose().parse(), Ok(token));
        }

        #[test]
        fn no_other_text_is_a_key(text in "agk_[a-z2-7]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}|\\PC{0,80}") {
            prop_assert!(text.parse::<ApiToken>().is_err());
        }
    }
}
