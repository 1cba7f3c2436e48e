//! The tool `http_request`: a request to a host that the agent allows. No model, client or server
//! can direct it to another host.
//!
//! Neither the model nor the hosts are trusted, because a page can contain a prompt injection. So
//! the URL is checked against the agent's hosts, and each address of its host is checked
//! ([`Reach`]). Redirects are followed here, under the same rules, and the model's headers are not
//! sent to another host. A request is sent once, through no proxy and without cookies (OWASP,
//! "Server Side Request Forgery Prevention Cheat Sheet").

mod answer;
mod failure;
mod headers;
mod reach;
mod resolver;
mod target;
#[cfg(test)]
mod tests;

pub use reach::Reach;
pub use resolver::{Resolver, SystemResolver};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_RANGE,
    LOCATION, RANGE,
};
use reqwest::{Method, Response, StatusCode, Url, redirect, retry};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::{Causes, Hex, HostPattern, HttpMethod, HttpRules, Timestamp};
use crate::metric;
use crate::ports::{ToolOutput, ToolRequest};
use crate::tools::credentials::{
    Credential, CredentialError, Credentials, Grant, Problem, Scrub, TokenFailure, Tokens,
    percent_encoded,
};
use failure::{Blocked, Failure, Rule};
use resolver::CheckedResolver;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("aiagent-platform/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 5;
const MAX_BODY_BYTES: usize = 64 * 1_024;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
    method: Option<HttpMethod>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

/// Sends requests within the rules of an agent.
pub(super) struct HttpRequester {
    http: reqwest::Client,
    reach: Reach,
    credentials: Credentials,
    tokens: Tokens,
}

impl HttpRequester {
    /// A client that connects only to addresses within `reach`, to servers that `tls` trusts, and
    /// reuses no connection.
    pub(super) fn new(
        reach: Reach,
        resolver: Arc<dyn Resolver>,
        tls: ClientConfig,
        credentials: Credentials,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(CheckedResolver { resolver, reach })
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(Self {
            http,
            reach,
            credentials,
            tokens: Tokens::default(),
        })
    }

    /// Sends the request of the arguments. Ends by the call's deadline, and within the timeout of the
    /// rules.
    pub(super) async fn run(
        &self,
        rules: &HttpRules,
        call: &ToolRequest,
        now: Timestamp,
    ) -> ToolOutput {
        let left = call.deadline.left(now);
        let time = left.min(Duration::from_secs(rules.timeout_seconds().into()));
        // A timeout of zero would still let a request begin.
        let late = Err(Failure::Late { time });
        let answered = if time.is_zero() {
            late
        } else {
            tokio::time::timeout(time, self.answer(rules, call, now))
                .await
                .unwrap_or(late)
        };
        answered.unwrap_or_else(|failure| {
            log(&failure, rules, &call.arguments);
            let text = failure.to_string();
            if failure.is_forbidden() {
                ToolOutput::blocked(text)
            } else {
                ToolOutput::error(text)
            }
        })
    }

    async fn answer(
        &self,
        rules: &HttpRules,
        call: &ToolRequest,
        now: Timestamp,
    ) -> Result<ToolOutput, Failure> {
        let arguments =
            Arguments::deserialize(&call.arguments).map_err(|_| Failure::Arguments(USAGE))?;
        let mut request = Request::written(arguments, rules, self.reach)?;
        let credentials = self.credentials.of(&call.tenant, rules).await?;
        let key = opaque(&call.idempotency_key);
        let mut scrub = Scrub::default();
        for hop in 0..=MAX_REDIRECTS {
            let redirect = |failure: Failure| match hop {
                0 => failure,
                _ => failure.after_redirect(),
            };
            let granted = self.granted(&credentials, &request, now).await;
            let granted = granted.map_err(redirect)?;
            scrub.add(&granted.scrub);
            let sent = self.send(&request, &granted, &key).await;
            let response = sent.map_err(redirect)?;
            let redirected = request.redirected(&response, rules, self.reach);
            let Some(mut next) = redirected.map_err(Failure::after_redirect)? else {
                let most = answer::room(rules, call.max_result_bytes);
                return answer::read(response, most, (rules, &request.url), &scrub).await;
            };
            granted.take_from(&mut next.url);
            if is_told(&scrub, &next.url) {
                let blocked = Blocked::at(&next.url, Rule::CredentialInUrl);
                return Err(Failure::RedirectBlocked(blocked));
            }
            request = next;
        }
        Err(Failure::Redirects)
    }

    /// What the one credential that is for this request sets on it.
    async fn granted(
        &self,
        credentials: &[Credential],
        request: &Request,
        now: Timestamp,
    ) -> Result<Granted, Failure> {
        let mut fitting = credentials
            .iter()
            .filter(|credential| credential.fits(&request.url, request.method));
        let Some(credential) = fitting.next() else {
            return Ok(Granted::default());
        };
        let fail = |problem| CredentialError {
            name: credential.name.clone(),
            problem,
        };
        if fitting.next().is_some() {
            return Err(fail(Problem::Ambiguous).into());
        }
        if request.sets(credential) {
            return Err(Blocked::at(&request.url, Rule::Credential).into());
        }
        Ok(match &credential.grant {
            Grant::Header(name, value, scrub) => Granted {
                header: Some((name.clone(), value.clone())),
                scrub: scrub.clone(),
                ..Granted::default()
            },
            Grant::Query(parameter, value, scrub) => Granted {
                parameter: Some((parameter.clone(), value.clone())),
                scrub: scrub.clone(),
                ..Granted::default()
            },
            Grant::Token(asked) => {
                let url = target::written(&asked.url, &asked.rules, self.reach)
                    .map_err(|_| fail(TokenFailure::Forbidden.into()))?;
                let token = self
                    .tokens
                    .authorization(&credential.id, asked, (&self.http, url), now)
                    .await;
                let (value, scrub) = token.map_err(|failure| fail(failure.into()))?;
                Granted {
                    header: Some((AUTHORIZATION, value)),
                    parameter: None,
                    token_of: Some(credential.id.clone()),
                    scrub,
                }
            }
        })
    }

    async fn send(
        &self,
        request: &Request,
        granted: &Granted,
        key: &str,
    ) -> Result<Response, Failure> {
        let (mut url, mut headers) = (request.url.clone(), request.headers.clone());
        if let Some((parameter, value)) = &granted.parameter {
            let pair = [parameter, value]
                .map(|text| percent_encoded(text))
                .join("=");
            let others = url.query().map(|query| format!("{query}&"));
            url.set_query(Some(&(others.unwrap_or_default() + &pair)));
        }
        if granted.is_some() {
            // An answer in parts could have the credential in two of them, and whole in none.
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
        let mut builder = self.http.request(method(request.method), url);
        builder = builder.headers(headers).header(ACCEPT_ENCODING, "identity");
        if let Some((name, value)) = &granted.header {
            builder = builder.header(name, value);
        }
        if !request.method.is_safe() {
            builder = builder.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = builder
            .send()
            .await
            .map_err(|error| Failure::of(&error, &request.url))?;
        if let (Some(id), Some((_, token))) = (&granted.token_of, &granted.header)
            && response.status() == StatusCode::UNAUTHORIZED
        {
            self.tokens.forget(id, token);
        }
        Ok(response)
    }
}

/// What a credential sets on one request.
#[derive(Default)]
struct Granted {
    header: Option<(HeaderName, HeaderValue)>,
    parameter: Option<(String, String)>,
    /// The id of the credential whose access token the header has.
    token_of: Option<String>,
    /// What to remove from the answer.
    scrub: Scrub,
}

impl Granted {
    const fn is_some(&self) -> bool {
        self.header.is_some() || self.parameter.is_some()
    }

    /// Takes the parameter away from a URL to which the answer redirects: some services keep the
    /// query. The next request gets it again if it may.
    fn take_from(&self, url: &mut Url) {
        let Some((parameter, value)) = &self.parameter else {
            return;
        };
        let is_other = |pair: &&str| {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            !percent_decode_str(name).eq(parameter.bytes())
                || !percent_decode_str(text).eq(value.bytes())
        };
        let others = url.query().map(|query| {
            let others: Vec<&str> = query.split('&').filter(is_other).collect();
            others.join("&")
        });
        url.set_query(others.as_deref().filter(|others| !others.is_empty()));
    }
}

/// Whether the URL to which an answer redirects has a credential in it, which must reach no other
/// place.
fn is_told(scrub: &Scrub, next: &Url) -> bool {
    let decoded: Vec<u8> = percent_decode_str(next.as_str()).collect();
    scrub.is_in(next.as_str().as_bytes()) || scrub.is_in(&decoded)
}

/// Logs a failed call. Of its URL at most the host, as far as it may be logged.
fn log(failure: &Failure, rules: &HttpRules, arguments: &Value) {
    let reason = failure.as_str();
    match failure {
        Failure::Blocked(blocked) | Failure::RedirectBlocked(blocked) => {
            let host = blocked.logged_host(rules);
            tracing::warn!(reason, host, "tool call blocked");
            metric::TOOLS_BLOCKED.add(["http_request"], 1);
        }
        Failure::Credential(failed) | Failure::RedirectCredential(failed) => {
            let (credential, error) = (failed.name.as_str(), Causes(&failed.problem));
            tracing::warn!(credential, reason, %error, "tool credential failed");
            metric::TOOL_CREDENTIAL_FAILURES.add([reason], 1);
        }
        _ => {
            let url = arguments.get("url").and_then(Value::as_str);
            let host = url.and_then(|url| allowed_host(&Url::parse(url).ok()?, rules));
            tracing::info!(reason, host, "tool call failed");
        }
    }
}

/// The entry of the agent's hosts that allows the URL's host. Only this may be logged, see
/// [`Blocked::logged_host`].
fn allowed_host<'a>(url: &Url, rules: &'a HttpRules) -> Option<&'a str> {
    rules.pattern_of(url.host_str()?).map(HostPattern::as_str)
}

/// The prefix of a key in its digest, so that the digest equals no digest for another purpose.
const KEY_DOMAIN: &[u8] = b"aiagent-platform/idempotency-key/1\n";

/// The idempotency key that a host gets. It is the same if the same call is made again, and does
/// not show the task's id.
fn opaque(key: &str) -> String {
    let digest = Sha256::new()
        .chain_update(KEY_DOMAIN)
        .chain_update(key)
        .finalize();
    Hex(&digest).to_string()
}

const USAGE: &str =
    "the arguments must be a url, and if needed a method, headers and a body, all of them texts";

/// A request that the rules allow.
struct Request {
    url: Url,
    method: HttpMethod,
    headers: HeaderMap<HeaderValue>,
    body: Option<String>,
}

impl Request {
    fn written(arguments: Arguments, rules: &HttpRules, reach: Reach) -> Result<Self, Failure> {
        let Arguments {
            url,
            method,
            headers,
            body,
        } = arguments;
        let (url, method) = (
            target::written(&url, rules, reach)?,
            method.unwrap_or(HttpMethod::Get),
        );
        if !rules.allows_method(method) {
            return Err(Blocked::at(&url, Rule::Method).into());
        }
        if body.is_some() && method.is_safe() {
            return Err(Failure::Arguments("a GET or HEAD request has no body"));
        }
        if body
            .as_ref()
            .is_some_and(|body| body.len() > MAX_BODY_BYTES)
        {
            return Err(Failure::Arguments("the body may have at most 65536 bytes"));
        }
        let headers = headers::written(&headers, &url)?;
        Ok(Self {
            url,
            method,
            headers,
            body,
        })
    }

    /// Whether the model wrote what the credential sets.
    fn sets(&self, credential: &Credential) -> bool {
        let is_set = |parameter| self.url.query_pairs().any(|(name, _)| name == parameter);
        credential
            .header()
            .is_some_and(|name| self.headers.contains_key(name))
            || credential.parameter().is_some_and(is_set)
    }

    /// The next request, if the response is a redirect.
    fn redirected(
        &self,
        response: &Response,
        rules: &HttpRules,
        reach: Reach,
    ) -> Result<Option<Self>, Failure> {
        let keeps_method = match response.status().as_u16() {
            301..=303 => self.method.is_safe(),
            307 | 308 => true,
            _ => return Ok(None),
        };
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let url = target::redirected(&self.url, location.as_bytes(), rules, reach)?;
        let is_same = url.origin() == self.url.origin();
        let mut headers = if is_same {
            self.headers.clone()
        } else {
            headers::for_another_host(&self.headers)
        };
        if keeps_method {
            return Ok(Some(Self {
                url,
                method: self.method,
                headers,
                body: self.body.clone(),
            }));
        }
        if !rules.allows_method(HttpMethod::Get) {
            return Err(Blocked::at(&url, Rule::Method).into());
        }
        headers.remove(CONTENT_TYPE);
        Ok(Some(Self {
            url,
            method: HttpMethod::Get,
            headers,
            body: None,
        }))
    }
}

const fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}
