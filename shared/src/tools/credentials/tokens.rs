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
use crate::domain::{Causes, HttpRules, Timestamp};
use crate::ports::Secret;

/// The most credentials whose tokens are kept.
const MAX_ENTRIES: usize = 256;

/// How long before its end a token is renewed, or half its life if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_mins(1);

/// How long a token lives whose server does not say it.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);

/// How long a server may take, so that a call that waits for it can still say so.
const MAX_TIME: Duration = Duration::from_secs(10);

/// How long after a failure the same request is not sent again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The most bytes of a token.
const MAX_TOKEN_BYTES: usize = 16 * 1_024;

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
    /// The server is too slow.
    #[error("its authorization server did not answer within 10 s")]
    Late,
    /// The same request failed a moment ago, with this text.
    #[error("{0}")]
    Before(String),
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
    ends_at: Timestamp,
}

/// A request that got no token.
struct Failed {
    asked: Asked,
    /// What went wrong.
    text: String,
    /// The same request is sent again only after this.
    until: Timestamp,
}

/// What is known of one credential.
#[derive(Default)]
struct Entry {
    token: Option<Token>,
    failed: Option<Failed>,
}

/// The tokens of this process.
#[derive(Default)]
pub(in crate::tools) struct Tokens(StdMutex<HashMap<String, Arc<Mutex<Entry>>>>);

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
        entry.token = entry
            .token
            .take()
            .filter(|token| token.asked == asked && now < token.ends_at);
        let fresh = entry.token.as_ref().filter(|token| now < token.renew_at);
        if let Some(token) = fresh {
            return Ok((token.value.clone(), token.scrub.clone()));
        }
        let failed = entry.failed.as_ref();
        let failed = failed.filter(|failed| failed.asked == asked && now < failed.until);
        let failure = if let Some(failed) = failed {
            TokenFailure::Before(failed.text.clone())
        } else {
            // A call whose time is over leaves this behind.
            let late = now.plus(MAX_TIME + ASK_AGAIN);
            entry.failed = Some(Failed::new(asked.clone(), &TokenFailure::Late, late));
            match request.ask_in_time(client, url, now).await {
                Ok(token) => {
                    entry.failed = None;
                    let token = entry.token.insert(token);
                    return Ok((token.value.clone(), token.scrub.clone()));
                }
                Err(TokenFailure::Late) => TokenFailure::Late,
                Err(failure) => {
                    let until = now.plus(ASK_AGAIN);
                    entry.failed = Some(Failed::new(asked, &failure, until));
                    failure
                }
            }
        };
        match &entry.token {
            // It still works while the server that would renew it does not.
            Some(token) => {
                tracing::warn!(error = %Causes(&failure), "access token not renewed");
                Ok((token.value.clone(), token.scrub.clone()))
            }
            None => Err(failure),
        }
    }

    /// Forgets this token of the credential, and no later one: its host no longer accepts it.
    pub(in crate::tools) fn forget(&self, id: &str, refused: &HeaderValue) {
        let entry = self.entry(id);
        // Another call that holds the lock is asking for another token.
        if let Ok(mut entry) = entry.try_lock() {
            entry.token = entry.token.take().filter(|token| token.value != *refused);
        }
    }

    fn entry(&self, id: &str) -> Arc<Mutex<Entry>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(id) {
            // What is in use stays.
            entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(entries.entry(id.to_owned()).or_default())
    }
}

impl Failed {
    fn new(asked: Asked, failure: &TokenFailure, until: Timestamp) -> Self {
        Self {
            asked,
            text: failure.to_string(),
            until,
        }
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

    async fn ask_in_time(
        &self,
        client: &Client,
        url: Url,
        now: Timestamp,
    ) -> Result<Token, TokenFailure> {
        let asking = tokio::time::timeout(MAX_TIME, self.ask(client, url, now));
        asking.await.unwrap_or(Err(TokenFailure::Late))
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
        let is_visible = access_token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(MIN_VALUE_BYTES..=MAX_TOKEN_BYTES).contains(&access_token.len()) {
            return Err(TokenFailure::Unusable(
                "its access_token must have 8 to 16384 visible ASCII characters",
            ));
        }
        let life = life(expires_in.as_ref())?;
        let text = format!("Bearer {access_token}");
        Ok(Token {
            asked: self.asked(),
            value: sensitive(&text)?,
            scrub: Scrub::of([access_token.as_str(), &text, self.client_secret.expose()]),
            ends_at: now.plus(life),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &'static str) -> Token {
        Token {
            asked: Asked::default(),
            value: HeaderValue::from_static(value),
            scrub: Scrub::default(),
            renew_at: Timestamp::from_millis(1),
            ends_at: Timestamp::from_millis(1),
        }
    }

    #[tokio::test]
    async fn a_late_refusal_of_an_earlier_token_leaves_the_later_one() {
        let tokens = Tokens::default();
        let entry = tokens.entry("id");
        entry.lock().await.token = Some(token("later"));
        tokens.forget("id", &HeaderValue::from_static("earlier"));
        assert!(entry.lock().await.token.is_some());
        tokens.forget("id", &HeaderValue::from_static("later"));
        assert!(entry.lock().await.token.is_none());
    }
}
