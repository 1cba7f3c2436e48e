//! The seal of a key's record.
//!
//! Somebody who can write the table could give a key more scopes, or move it to another tenant. The
//! seal is an HMAC (RFC 2104) of everything in the record that decides what the key may do. Its key
//! is the pepper, a secret outside the table. So an edited or copied record is refused.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Credential;
use crate::domain::hex::Hex;

/// The secret that seals the records of keys, in one of its versions.
#[derive(derive_more::Debug, Clone)]
pub struct Pepper {
    version: PepperVersion,
    /// The HMAC's key: as long as a block of SHA-256.
    #[debug("<hidden>")]
    key: [u8; 64],
}

impl Pepper {
    /// The pepper with this value.
    pub fn new(value: &str) -> Self {
        let digest = |purpose: &str| {
            let digest = Sha256::new().chain_update(purpose).chain_update(value);
            <[u8; 32]>::from(digest.finalize())
        };
        let mut version = Hex(&digest("version\0")).to_string();
        version.truncate(16);
        let mut key = [0; 64];
        key.iter_mut()
            .zip(digest("key\0"))
            .for_each(|(to, from)| *to = from);
        Self {
            version: PepperVersion(version),
            key,
        }
    }

    /// Which version it is.
    pub const fn version(&self) -> &PepperVersion {
        &self.version
    }

    /// The seal of this credential.
    pub fn seal(&self, credential: &Credential) -> Seal {
        Seal {
            pepper: self.version.clone(),
            mac: self.mac(credential).finalize().into_bytes().into(),
        }
    }

    /// Whether the seal is this pepper's, and the credential is as it was when it was sealed.
    /// Compares in constant time.
    pub fn is_seal_of(&self, seal: &Seal, credential: &Credential) -> bool {
        seal.pepper == self.version && self.mac(credential).verify(&seal.mac.into()).is_ok()
    }

    /// Each part is preceded by its length, so that no two credentials have the same input.
    fn mac(&self, credential: &Credential) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        for part in credential.sealed_parts() {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(&part);
        }
        mac
    }
}

/// Names a version of the pepper. It is a digest that does not reveal the pepper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PepperVersion(String);

impl PepperVersion {
    /// A version that was stored.
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for PepperVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A seal, and the version of the pepper that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The pepper's version.
    pub pepper: PepperVersion,
    /// The HMAC-SHA-256.
    pub mac: [u8; 32],
}
