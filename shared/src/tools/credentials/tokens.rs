//! Access tokens of the kind `oauth2_client_credentials` (RFC 6749, 4.4).
//!
//! A token is kept in memory only, one for each credential, and is renewed before it expires. The
//! holder of a credential's lock asks for all callers that wait; other credentials have locks of their
//! own. The request is sent once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::form::MIN_VALUE_BYTES;
use super::scrub::{Scrub, base64, percent_encoded};
use crate::domain::{HttpRules, Timestamp};
use crate::ports::Secret;

/// The most credentials whose tokens are kept.
const MAX_ENTRIES: usize = 256;

/// How long before its end a token is renewed, or half its life if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_mins(1);

/// How long a token lives whose server does not say it.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);

/// The most bytes of a server's answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// The errors that a server may name (RFC 6749, 5.2). Any other text could have anything in it.
const KNOWN_ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// How a token is asked for.
pub(in crate::tools) struct TokenRequest {
    pub(in crate::tools) url: String,
    /// Where the URL may lead.
    pub(in crate::tools) rules: HttpRules,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) scope: Option<String>,
    pub(super) audience: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(in crate::tools) enum TokenFailure {
    /// The token URL may not be asked.
    #[error("its token_url is not one that may be asked")]
    Forbidden,
    /// The server can't be reached, or its answer breaks off.
    #[error("its authorization server could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server says no.
    #[error("its authorization server answered {status} {error}")]
    Refused {
        status: StatusCode,
        /// One of [`KNOWN_ERRORS`], or nothing.
        error: &'static str,
    },
    /// The server's answer has no usable token.
    #[error("its authorization server answered without a usable token: {0}")]
    Unusable(&'static str),
}

/// A request that is equal gets the same token.
type Asked = [String; 5];

struct Token {
    asked: Asked,
    value: HeaderValue,
    scrub: Scrub,
    renew_at: Timestamp,
}

/// The tokens of this process.
#[derive(Default)]
pub(in crate::tools) struct Tokens(StdMutex<HashMap<String, Arc<Mutex<Option<Token>>>>>);

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    /// A number, or a text of digits from some servers.
    expires_in: Option<Value>,
}

impl Tokens {
    /// The value of `Authorization` for the credential whose secret has this id, and what to remove
    /// from answers. `url` is the request's URL after it was checked.
    pub(in crate::tools) async fn authorization(
        &self,
        id: &str,
        request: &TokenRequest,
        (client, url): (&Client, Url),
        now: Timestamp,
    ) -> Result<(HeaderValue, Scrub), TokenFailure> {
        let entry = self.entry(id);
        let mut entry = entry.lock().await;
        let asked = request.asked();
        let known = entry
            .take()
            .filter(|token| token.asked == asked && now < token.renew_at);
        let token = match known {
            Some(token) => token,
            None => request.ask(client, url, now).await?,
        };
        let token = entry.insert(token);
        Ok((token.value.clone(), token.scrub.clone()))
    }

    /// Forgets the token of this credential: its host no longer accepts it.
    pub(in crate::tools) fn forget(&self, id: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(id);
    }

    fn entry(&self, id: &str) -> Arc<Mutex<Option<Token>>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(id) {
            entries.clear();
        }
        Arc::clone(entries.entry(id.to_owned()).or_default())
    }
}

impl TokenRequest {
    fn asked(&self) -> Asked {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            self.url.clone(),
            self.client_id.clone(),
            self.client_secret.expose().to_owned(),
            optional(&self.scope),
            optional(&self.audience),
        ]
    }

    async fn ask(&self, client: &Client, url: Url, now: Timestamp) -> Result<Token, TokenFailure> {
        let sent = client
            .post(url)
            .header(AUTHORIZATION, self.basic()?)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form())
            .send()
            .await;
        let mut response = sent.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(TokenFailure::Unusable("it has more than 64 KiB"));
            }
            body.extend(&chunk);
        }
        if !status.is_success() {
            let error = known_error(&body);
            return Err(TokenFailure::Refused { status, error });
        }
        let answer = serde_json::from_slice(&body)
            .map_err(|_| TokenFailure::Unusable("it has no access_token and token_type"))?;
        self.token(answer, now)
    }

    /// The client's id and secret, as RFC 6749, 2.3.1, has them sent.
    fn basic(&self) -> Result<HeaderValue, TokenFailure> {
        let [id, secret] =
            [self.client_id.as_str(), self.client_secret.expose()].map(percent_encoded);
        let pair = base64(&format!("{id}:{secret}"));
        sensitive(&format!("Basic {pair}"))
    }

    fn form(&self) -> String {
        let optional = [("scope", &self.scope), ("audience", &self.audience)];
        let optional = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let fields = [("grant_type", "client_credentials")]
            .into_iter()
            .chain(optional);
        let fields = fields.map(|(name, value)| format!("{name}={}", percent_encoded(value)));
        fields.collect::<Vec<_>>().join("&")
    }

    fn token(&self, answer: Answer, now: Timestamp) -> Result<Token, TokenFailure> {
        let Answer {
            access_token,
            token_type,
            expires_in,
        } = answer;
        if !token_type.eq_ignore_ascii_case("bearer") {
            return Err(TokenFailure::Unusable("its token_type is not Bearer"));
        }
        if access_token.len() < MIN_VALUE_BYTES {
            return Err(TokenFailure::Unusable("its access_token is too short"));
        }
        let life = life(expires_in.as_ref())?;
        Ok(Token {
            asked: self.asked(),
            value: sensitive(&format!("Bearer {access_token}"))?,
            scrub: Scrub::of([access_token.as_str(), self.client_secret.expose()]),
            renew_at: now.plus(life.saturating_sub(RENEW_BEFORE.min(life / 2))),
        })
    }
}

/// The error without the URL, which an operator may have written a secret into.
fn unreachable(error: reqwest::Error) -> TokenFailure {
    TokenFailure::Unreachable(error.without_url())
}

fn sensitive(text: &str) -> Result<HeaderValue, TokenFailure> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| TokenFailure::Unusable("it is not one that a header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn life(expires_in: Option<&Value>) -> Result<Duration, TokenFailure> {
    let seconds = match expires_in {
        None | Some(Value::Null) => return Ok(DEFAULT_LIFE),
        Some(Value::String(digits)) => digits.parse::<f64>().ok(),
        Some(number) => number.as_f64(),
    };
    let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.min(86_400.0)).ok());
    life.filter(|life| !life.is_zero())
        .ok_or(TokenFailure::Unusable(
            "its expires_in is not in the future",
        ))
}

fn known_error(body: &[u8]) -> &'static str {
    let error = serde_json::from_slice::<Value>(body).ok();
    let named = error
        .as_ref()
        .and_then(|error| error.get("error")?.as_str());
    let known = KNOWN_ERRORS.into_iter().find(|known| Some(*known) == named);
    known.unwrap_or_default()
}
