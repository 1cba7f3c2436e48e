//! Signs JWTs as an issuer does, for tests.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A key of an issuer, for ES256.
pub struct SigningKey {
    id: &'static str,
    key: EncodingKey,
}

impl SigningKey {
    /// A new key with this id.
    ///
    /// # Panics
    ///
    /// If the operating system has no random numbers.
    #[expect(clippy::unwrap_used, reason = "only for tests")]
    pub fn generate(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let key = EncodingKey::from_ec_der(key.unwrap().as_ref());
        Self { id, key }
    }

    /// The public key as the issuer publishes it.
    ///
    /// # Panics
    ///
    /// Never: the key is one for this algorithm.
    #[expect(clippy::unwrap_used, reason = "only for tests")]
    pub fn public(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        key.common.key_id = Some(self.id.to_owned());
        json!(key)
    }

    /// The usual header of its JWTs.
    pub fn header(&self) -> Header {
        Header {
            kid: Some(self.id.to_owned()),
            ..Header::new(Algorithm::ES256)
        }
    }

    /// A JWT with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A JWT with this header.
    ///
    /// # Panics
    ///
    /// If the header names an algorithm of another kind of key.
    #[expect(clippy::unwrap_used, reason = "only for tests")]
    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }
}
