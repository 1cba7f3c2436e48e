//! The key for a provider's API.
//!
//! A key is read from the secret store for each call, so that a rotated key is used without a new
//! deployment; the store's adapter caches it. The key leaves this file only as a header value that
//! is marked as sensitive.

use std::sync::Arc;

use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use crate::ports::model::ModelErrorKind;
use crate::ports::{SecretError, Secrets};

/// Where the key for a provider's API comes from.
#[derive(Clone)]
pub enum ApiKey {
    /// No key is sent, for example to a local stand-in.
    Absent,
    /// The key is the secret called `name`.
    Secret {
        /// The store of the secret.
        store: Arc<dyn Secrets>,
        /// The secret's name or ARN.
        name: String,
    },
}

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("the secret with the key can't be read")]
    Secret(#[source] SecretError),
    #[error("the secret's text is JSON, but must be the key alone")]
    Json,
    #[error("the key is empty or has characters that a header can't carry")]
    Unusable,
}

/// What authenticates a request: a bearer token, or nothing.
pub(super) struct Credentials(Option<HeaderValue>);

impl Credentials {
    /// Adds the token to a request, if there is one.
    pub(super) fn sign(self, request: &mut Request) {
        if let Self(Some(token)) = self {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
    }
}

impl ApiKey {
    /// Reads the key from the secret store.
    pub(super) async fn credentials(&self) -> Result<Credentials, KeyError> {
        let Self::Secret { store, name } = self else {
            return Ok(Credentials(None));
        };
        let secret = store.secret(name).await.map_err(KeyError::Secret)?;
        // Secrets that were set from a file or a pipe end with a line break.
        let key = secret.expose().trim();
        if key.is_empty() {
            return Err(KeyError::Unusable);
        }
        // Consoles and tools write a secret of named values as a JSON object.
        if key.starts_with('{') {
            return Err(KeyError::Json);
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| KeyError::Unusable)?;
        value.set_sensitive(true);
        Ok(Credentials(Some(value)))
    }
}

impl KeyError {
    /// The failure of the model call that needed the key.
    pub(super) const fn kind(&self) -> ModelErrorKind {
        match self {
            Self::Secret(SecretError::Unavailable(_)) => ModelErrorKind::KeyUnavailable,
            Self::Secret(SecretError::Missing { .. }) | Self::Json | Self::Unusable => {
                ModelErrorKind::KeyMissing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::llm::stand_in::{Stored, key};

    #[track_caller]
    fn check_kind(read: Result<Credentials, KeyError>, kind: &ModelErrorKind) {
        assert_eq!(&read.err().unwrap().kind(), kind);
    }

    /// The headers that signing adds to a request.
    fn signed(credentials: Credentials) -> HeaderMap {
        let url = "https://api.example.com".parse().unwrap();
        let mut request = Request::new(Method::POST, url);
        credentials.sign(&mut request);
        std::mem::take(request.headers_mut())
    }

    #[tokio::test]
    async fn a_key_is_sent_as_a_sensitive_bearer_token() {
        let credentials = key(Stored::Value("sk-1\n")).credentials().await.unwrap();
        let header = signed(credentials).remove(AUTHORIZATION).unwrap();
        assert_eq!(header, "Bearer sk-1");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }

    #[tokio::test]
    async fn without_a_key_no_header_is_sent() {
        let credentials = ApiKey::Absent.credentials().await.unwrap();
        assert!(signed(credentials).is_empty());
    }

    #[tokio::test]
    async fn an_unusable_key_is_not_an_unavailable_store() {
        for value in [
            "",
            " \n",
            "sk\n1",
            "sk\u{7f}",
            "sk\0",
            r#"{"ANTHROPIC_API_KEY":"sk-1"}"#,
        ] {
            check_kind(
                key(Stored::Value(value)).credentials().await,
                &ModelErrorKind::KeyMissing,
            );
        }
        check_kind(
            key(Stored::Missing).credentials().await,
            &ModelErrorKind::KeyMissing,
        );
        check_kind(
            key(Stored::Unavailable).credentials().await,
            &ModelErrorKind::KeyUnavailable,
        );
    }
}
