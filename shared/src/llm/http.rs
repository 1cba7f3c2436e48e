//! One exchange over HTTP, as both vendors do it: a JSON question is posted, a JSON answer comes back.
//!
//! An exchange ends in time, whatever the server does, and takes up a bounded amount of memory. It is tried once, follows
//! no redirect and uses no proxy, because each would hand prompt and key to someone who was not chosen.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, Url, redirect, retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::access::Access;
use super::failure::{Complaint, Exchange, Malformed, kind_of, request_id};
use super::key::ApiKey;
use crate::domain::Provider;
use crate::ports::ModelError;
use crate::ports::model::ModelErrorKind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 8 * 1_024 * 1_024;

/// The largest body of an error that is read, and how long it may take: the status alone says most of it.
const MAX_ERROR_BYTES: usize = 64 * 1_024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The HTTP client for all providers. Build it once: it reads the machine's root certificates and pools connections.
pub fn http_client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .tls_backend_rustls()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_proxy()
        .build()
}

/// What sets a vendor's API apart from another's.
pub(super) struct Dialect {
    pub(super) provider: Provider,
    /// The path after the base URL.
    pub(super) path: &'static str,
    /// The header by which the vendor names the version of its API, and the version.
    pub(super) version: Option<(&'static str, &'static str)>,
    /// The header of an answer that has the vendor's id for the exchange.
    pub(super) request_id: &'static str,
    /// What the vendor's names for errors mean, where the status leaves it open.
    pub(super) kind_by_name: fn(&Complaint) -> Option<ModelErrorKind>,
}

/// A vendor's API at a certain place, with a certain key.
pub(super) struct Endpoint {
    http: Client,
    dialect: Dialect,
    url: Url,
    key: ApiKey,
}

/// The body of an answer, and what else is known of the exchange.
pub(super) struct Answered<A> {
    pub(super) body: A,
    pub(super) exchange: Exchange,
}

/// The body of an answer could not be read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive whole")]
    Broken(#[source] reqwest::Error),
}

/// The key did not arrive before the whole call had to end.
#[derive(Debug, thiserror::Error)]
#[error("the secret store did not answer in time")]
struct KeyTimeout;

impl Endpoint {
    pub(super) fn new(http: Client, dialect: Dialect, access: Access) -> Self {
        Self { http, url: access.base_url.at(dialect.path), key: access.key, dialect }
    }

    /// Posts `question` and reads the answer, all within `timeout`.
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        question: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<Answered<A>, ModelError> {
        let response = self.send(question, timeout).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let exchange = self.exchange(&response);
        let body = match read(response, MAX_ANSWER_BYTES).await {
            Ok(body) => body,
            Err(error) => return Err(exchange.fail(error.kind(), error)),
        };
        match serde_json::from_slice(&body) {
            Ok(body) => Ok(Answered { body, exchange }),
            Err(error) => Err(exchange.fail(ModelErrorKind::BadAnswer, Malformed::from(error))),
        }
    }

    async fn send(&self, question: &(impl Serialize + Sync), timeout: Duration) -> Result<Response, ModelError> {
        let start = Instant::now();
        let authorization = self.authorization(timeout).await?;
        let mut request = self.http.post(self.url.clone()).header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some((name, version)) = self.dialect.version {
            request = request.header(name, version);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let sent = request.json(question).timeout(timeout.saturating_sub(start.elapsed())).send().await;
        sent.map_err(|error| {
            let error = error.without_url();
            self.unanswered().fail(kind_of_break(&error), error)
        })
    }

    async fn authorization(&self, timeout: Duration) -> Result<Option<HeaderValue>, ModelError> {
        match tokio::time::timeout(timeout, self.key.authorization()).await {
            Ok(Ok(authorization)) => Ok(authorization),
            Ok(Err(error)) => Err(self.unanswered().fail(error.kind(), error)),
            Err(_) => Err(self.unanswered().fail(ModelErrorKind::Timeout, KeyTimeout)),
        }
    }

    /// The error for an answer with a status other than 2xx.
    async fn refused(&self, response: Response) -> ModelError {
        let (status, headers) = (response.status(), response.headers().clone());
        let exchange = self.exchange(&response);
        let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, read(response, MAX_ERROR_BYTES)).await;
        let complaint = body.ok().and_then(Result::ok).map(|body| Complaint::from_body(&body)).unwrap_or_default();
        exchange.fail_with(kind_of(status, &headers, &complaint, self.dialect.kind_by_name), &complaint)
    }

    fn exchange(&self, response: &Response) -> Exchange {
        Exchange {
            status: Some(response.status().as_u16()),
            request_id: request_id(response.headers(), self.dialect.request_id),
            ..self.unanswered()
        }
    }

    const fn unanswered(&self) -> Exchange {
        Exchange::unanswered(self.dialect.provider)
    }
}

impl BodyError {
    fn kind(&self) -> ModelErrorKind {
        match self {
            Self::TooLarge { .. } => ModelErrorKind::BadAnswer,
            Self::Broken(error) => kind_of_break(error),
        }
    }
}

/// What it means that an exchange broke off. That no connection came about in time says nothing about the model.
fn kind_of_break(error: &reqwest::Error) -> ModelErrorKind {
    if error.is_timeout() && !error.is_connect() { ModelErrorKind::Timeout } else { ModelErrorKind::Unavailable }
}

/// Reads a body of at most `limit` bytes, whatever length it claims.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let too_large = BodyError::TooLarge { limit };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken(error.without_url()))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::domain::ModelAnswer;
    use crate::llm::stand_in::{AMPLE, PROVIDERS, Reply, Server, Stored, Then, ask, ask_within, client, key, reply_to};

    /// Short for a person, long for this machine.
    const SHORT: Duration = Duration::from_millis(300);

    const ERROR_BODY: &str = r#"{"error":{"type":"some_error","message":"canary-input"}}"#;
    const START_OF_ANSWER: &str = "HTTP/1.1 200 x\r\nrequest-id: req_1\r\nx-request-id: req_1\r\n\
                                   content-length: 999\r\n\r\n{\"content\": [\"canary-answer";

    #[track_caller]
    fn check_failure(answer: Result<ModelAnswer, ModelError>, status: Option<u16>, kind: &ModelErrorKind) {
        let error = answer.unwrap_err();
        assert_eq!((&error.kind, error.status), (kind, status), "{error:?}");
    }

    #[tokio::test]
    async fn the_status_decides_first() {
        let statuses = [
            (204, ModelErrorKind::BadAnswer),
            (300, ModelErrorKind::BadAnswer),
            (304, ModelErrorKind::BadAnswer),
            (400, ModelErrorKind::Rejected),
            (401, ModelErrorKind::Authentication),
            (402, ModelErrorKind::QuotaExhausted),
            (403, ModelErrorKind::Authentication),
            (404, ModelErrorKind::Rejected),
            (405, ModelErrorKind::Rejected),
            (408, ModelErrorKind::Timeout),
            (409, ModelErrorKind::Unavailable),
            (413, ModelErrorKind::Rejected),
            (418, ModelErrorKind::Rejected),
            (422, ModelErrorKind::Rejected),
            (429, ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) }),
            (500, ModelErrorKind::Unavailable),
            (502, ModelErrorKind::Unavailable),
            (503, ModelErrorKind::Unavailable),
            (504, ModelErrorKind::Unavailable),
            (529, ModelErrorKind::Unavailable),
            (999, ModelErrorKind::Unavailable),
        ];
        for (status, kind) in statuses {
            for body in [ERROR_BODY, "<html>canary-answer</html>", ""] {
                for provider in PROVIDERS {
                    let reply = Reply::new(status, &[("retry-after", "7")], body);
                    check_failure(reply_to(provider, reply).await, Some(status), &kind);
                }
            }
        }
    }

    #[tokio::test]
    async fn an_unreadable_error_body_leaves_the_status_to_decide() {
        for rest in ["content-length: 9\r\n\r\n{", "content-length: 99999999\r\n\r\n{", "\r\n"] {
            let reply = Reply::raw(&format!("HTTP/1.1 429 x\r\nretry-after-ms: 250\r\n{rest}"), Then::Close);
            let kind = ModelErrorKind::RateLimited { retry_after: Some(Duration::from_millis(250)) };
            check_failure(reply_to(Provider::Anthropic, reply).await, Some(429), &kind);
        }
        let slow = Server::start(Reply::raw("HTTP/1.1 401 x\r\ncontent-length: 9\r\n\r\n{", Then::Hold)).await;
        let client = client(Provider::OpenAi, slow.access());
        let answer = ask_within(client.as_ref(), Provider::OpenAi, SHORT).await;
        check_failure(answer, Some(401), &ModelErrorKind::Authentication);
        let endless = Reply::raw("HTTP/1.1 503 x\r\n\r\n", Then::Babble);
        check_failure(reply_to(Provider::OpenAi, endless).await, Some(503), &ModelErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = Server::start(Reply::ok("{}")).await;
        let location = elsewhere.access().base_url.at("/v1/messages").to_string();
        for status in [301, 302, 303, 307, 308] {
            let reply = Reply::new(status, &[("location", &location)], "");
            check_failure(reply_to(Provider::Anthropic, reply).await, Some(status), &ModelErrorKind::BadAnswer);
        }
        assert_eq!(elsewhere.requests(), []);
    }

    #[tokio::test]
    async fn what_is_no_json_is_a_bad_answer() {
        let bodies =
            ["", "<html>canary-answer</html>", "null", "[]", "{}", "\"canary-answer\"", "{\"content\": [\"can"];
        for body in bodies {
            for provider in PROVIDERS {
                check_failure(reply_to(provider, Reply::ok(body)).await, Some(200), &ModelErrorKind::BadAnswer);
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_not_read() {
        let nine_mib = "x".repeat(9 * 1_024 * 1_024);
        let replies = [
            Reply::ok(&nine_mib),
            Reply::raw(&format!("HTTP/1.1 200 x\r\n\r\n{nine_mib}"), Then::Close),
            Reply::raw("HTTP/1.1 200 x\r\n\r\n", Then::Babble),
        ];
        for reply in replies {
            let error = reply_to(Provider::OpenAi, reply).await.unwrap_err();
            assert_eq!((error.kind, error.status), (ModelErrorKind::BadAnswer, Some(200)));
            assert_eq!(error.source.unwrap().to_string(), "the body is larger than 8388608 bytes");
        }
        let seven_mib = "x".repeat(7 * 1_024 * 1_024);
        let answer = format!(r#"{{"content": [{{"type": "text", "text": "{seven_mib}"}}]}}"#);
        assert_eq!(reply_to(Provider::Anthropic, Reply::ok(&answer)).await.unwrap().text, seven_mib);
    }

    #[tokio::test]
    async fn a_broken_connection_is_unavailability() {
        let silent = Reply::raw("", Then::Close);
        let rubbish = Reply::raw("canary-answer\r\n\r\n", Then::Close);
        let cut_head = Reply::raw("HTTP/1.1 200 x\r\nrequest-id: canary", Then::Close);
        let cut_body = Reply::raw(START_OF_ANSWER, Then::Close);
        for provider in PROVIDERS {
            for reply in [&silent, &rubbish, &cut_head] {
                check_failure(reply_to(provider, reply.clone()).await, None, &ModelErrorKind::Unavailable);
            }
            check_failure(reply_to(provider, cut_body.clone()).await, Some(200), &ModelErrorKind::Unavailable);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_unavailability() {
        let server = Server::start(Reply::ok("{}")).await;
        let access = server.access();
        server.stop().await;
        let answer = ask(client(Provider::Anthropic, access).as_ref(), Provider::Anthropic).await;
        check_failure(answer, None, &ModelErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn whatever_is_slow_ends_in_time() {
        let start = Instant::now();
        let replies = [("", None), ("HTTP/1.1 200 x\r\n", None), (START_OF_ANSWER, Some(200))];
        let calls = PROVIDERS.into_iter().flat_map(|provider| replies.map(|(reply, status)| (provider, reply, status)));
        join_all(calls.map(async |(provider, reply, status)| {
            let server = Server::start(Reply::raw(reply, Then::Hold)).await;
            let answer = ask_within(client(provider, server.access()).as_ref(), provider, SHORT).await;
            assert_eq!(answer.as_ref().unwrap_err().request_id.is_some(), status.is_some());
            check_failure(answer, status, &ModelErrorKind::Timeout);
        }))
        .await;
        assert!(start.elapsed() >= SHORT && start.elapsed() < AMPLE);
    }

    #[tokio::test]
    async fn a_slow_secret_store_is_not_waited_for() {
        let server = Server::start(Reply::ok("{}")).await;
        let client = client(Provider::OpenAi, server.access_with(key(Stored::Silent)));
        check_failure(ask_within(client.as_ref(), Provider::OpenAi, SHORT).await, None, &ModelErrorKind::Timeout);
    }

    #[tokio::test]
    async fn a_failed_call_is_not_repeated() {
        for status in [429, 500, 503] {
            let server = Server::start(Reply::new(status, &[("retry-after", "0")], ERROR_BODY)).await;
            ask(client(Provider::OpenAi, server.access()).as_ref(), Provider::OpenAi).await.unwrap_err();
            assert_eq!(server.requests().len(), 1);
        }
    }

    #[tokio::test]
    async fn without_a_usable_key_nobody_is_asked() {
        let keys = [
            (Stored::Missing, ModelErrorKind::Authentication),
            (Stored::Value("canary\nkey"), ModelErrorKind::Authentication),
            (Stored::Unavailable, ModelErrorKind::Unavailable),
        ];
        let server = Server::start(Reply::ok("{}")).await;
        for (stored, kind) in keys {
            let client = client(Provider::OpenAi, server.access_with(key(stored)));
            check_failure(ask(client.as_ref(), Provider::OpenAi).await, None, &kind);
        }
        assert_eq!(server.requests(), []);
    }

    #[tokio::test]
    async fn a_provider_without_a_key_is_asked_without_one() {
        let server = Server::start(Reply::ok(include_str!("fixtures/openai_response.json"))).await;
        let client = client(Provider::OpenAi, server.access_with(ApiKey::Absent));
        ask(client.as_ref(), Provider::OpenAi).await.unwrap();
        let [request] = server.requests().try_into().unwrap();
        assert!(!request.headers.contains_key("authorization"));
    }
}
