//! What a failed exchange means, and which parts of it may be logged.
//!
//! [`provider_error`](super::provider_error) decides what a provider's own error means. No text
//! of an answer gets into an error: messages of providers quote prompts and keys, and messages of
//! parsers quote what they parsed.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::dialect::{Answer, Fault, Part};
use super::key::KeyError;
use super::pace::{Ender, Late};
pub(super) use super::provider_error::ErrorBody;
use super::provider_error::{Request, retry_after};
use super::sse::TooLarge;
use super::token::{is_token, text};
use crate::domain::{
    AssistantPart, ModelAnswer, ModelRef, ModelRequest, Origin, Original, Prompt, ProviderError,
    Spend, Timestamp, Wait, WaitReason,
};
use crate::ports::{ModelError, ModelErrorKind, Recovery};

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

/// What is known of an exchange with a provider. It becomes part of the error or the answer.
pub(super) struct Exchange {
    model: ModelRef,
    /// The prompt, to find the part of it that an error is about.
    prompt: Option<Arc<Prompt>>,
    status: Option<u16>,
    request_id: Option<String>,
    should_retry: Option<bool>,
    retry_after: Option<Duration>,
    pub(super) spend: Spend,
}

impl Exchange {
    /// An exchange about this request that has not begun.
    pub(super) fn about(request: &ModelRequest) -> Self {
        Self {
            prompt: Some(Arc::clone(&request.prompt)),
            ..Self::new(request.model().clone())
        }
    }

    /// The wait that a header of the response names.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// An exchange that has not begun, without a prompt.
    pub(super) fn new(model: ModelRef) -> Self {
        let spend = Spend::default();
        Self {
            model,
            prompt: None,
            status: None,
            request_id: None,
            should_retry: None,
            retry_after: None,
            spend,
        }
    }

    /// Takes over the status and the headers of the response. Whether and when to try again is read
    /// only from a failure.
    pub(super) fn answered(&mut self, response: &Response, id_header: &str, now: Timestamp) {
        let headers = response.headers();
        self.status = Some(response.status().as_u16());
        self.request_id = text(headers, id_header)
            .filter(|id| is_token(id))
            .map(str::to_owned);
        if response.status() != StatusCode::OK {
            self.should_retry = text(headers, "x-should-retry").and_then(|word| word.parse().ok());
            self.retry_after = retry_after(headers, now);
        }
    }

    /// The answer that ends the exchange.
    pub(super) fn succeed(self, answer: Answer) -> ModelAnswer {
        let model = self.model;
        let part = |part: Part| AssistantPart {
            content: part.content,
            original: part.original.map(|block| Original {
                model: model.clone(),
                block,
            }),
        };
        ModelAnswer {
            content: answer.content.into_iter().map(part).collect(),
            stop_reason: answer.stop_reason,
            usage: self.spend.usage,
            served_model: answer
                .served_model
                .filter(|name| is_token(name))
                .unwrap_or_else(|| model.name().to_owned()),
            model,
            request_id: self.request_id,
            origin: Origin::Provider,
            spend: self.spend,
            failed: Vec::new(),
            cache_key: None,
        }
    }

    /// The error that ends the exchange.
    pub(super) fn fail(self, failure: Failure) -> ModelError {
        let Failure {
            kind,
            recovery,
            source,
            error_body,
        } = failure;
        // No header restores an exhausted quota.
        let should_retry = self
            .should_retry
            .filter(|_| kind != ModelErrorKind::QuotaExhausted);
        // A failure that a retry cannot fix has no wait.
        let retry_after = self
            .retry_after
            .or_else(|| wait_of(&kind, error_body.as_deref()));
        let retry_after = retry_after.filter(|_| kind.is_retryable() || should_retry == Some(true));
        let Self {
            model,
            prompt,
            status,
            request_id,
            spend,
            ..
        } = self;
        let request = Request {
            model: &model,
            prompt: prompt.as_deref(),
        };
        let said = match error_body {
            Some(error_body) => error_body.detail(&kind, &request),
            None => source
                .as_ref()
                .filter(|_| matches!(kind, ModelErrorKind::BadAnswer | ModelErrorKind::KeyMissing))
                .map(|reason| own_message(reason.as_ref())),
        };
        let is_redirect = matches!(status, Some(300..400));
        let said = said.or_else(|| is_redirect.then(|| own_message(&Redirected)));
        let said = said.map(Box::new);
        ModelError {
            status,
            request_id,
            said,
            should_retry,
            retry_after,
            recovery,
            spend,
            source,
            ..ModelError::new(model, kind)
        }
    }
}

/// The platform's own message in place of a provider's: why a response can't be read, or a key
/// can't be used.
fn own_message(reason: &dyn Error) -> ProviderError {
    ProviderError {
        message: Some(reason.to_string()),
        ..ProviderError::default()
    }
}

/// The wait that an error names, in a field or a text. Only errors about limits or load count: the
/// text of any other error may quote a prompt that names a wait.
fn wait_of(kind: &ModelErrorKind, error_body: Option<&ErrorBody>) -> Option<Duration> {
    let names_waits = matches!(
        kind,
        ModelErrorKind::RateLimited | ModelErrorKind::Unavailable
    );
    error_body.filter(|_| names_waits)?.wait()
}

/// Why an exchange failed.
pub(super) struct Failure {
    kind: ModelErrorKind,
    recovery: Option<Recovery>,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// The provider's error, if it sent one.
    error_body: Option<Box<ErrorBody>>,
}

/// The key did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the secret store did not answer in time")]
pub(super) struct KeyTimeout;

/// An answer has impossible content, such as the end of a block that did not begin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Inconsistent(&'static str);

/// A body is too large.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {limit_bytes} bytes")]
pub(super) struct BodyTooLarge {
    pub(super) limit_bytes: usize,
}

/// The server redirects to another place, which must not get the key.
#[derive(Debug, thiserror::Error)]
#[error(
    "the response is a redirect, which is not followed: a proxy's login, or the API is elsewhere"
)]
struct Redirected;

/// An answer ended too early.
#[derive(Debug, thiserror::Error)]
#[error("the answer ended before its end")]
struct Truncated;

/// The server reports that it aborted an answer.
#[derive(Debug, thiserror::Error)]
#[error("the server aborted the answer")]
struct Aborted;

impl Failure {
    pub(super) fn new(kind: ModelErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            recovery: None,
            source: Some(Box::new(source)),
            error_body: None,
        }
    }

    /// The connection failed or broke.
    pub(super) fn broken(error: reqwest::Error) -> Self {
        Self::new(UNAVAILABLE, error.without_url())
    }

    /// The provider sent an error.
    pub(super) fn provider_error(kind: ModelErrorKind, error_body: ErrorBody) -> Self {
        let source = error_body.name().map(Into::into);
        Self {
            kind,
            recovery: None,
            source,
            error_body: Some(Box::new(error_body)),
        }
    }
}

impl From<Late> for Failure {
    fn from(late: Late) -> Self {
        match late.ender {
            Ender::Timeouts => Self::new(ModelErrorKind::Timeout, late.limit),
            Ender::Deadline => {
                let wait = Wait {
                    until: late.now,
                    reason: WaitReason::OutOfTime,
                };
                Self {
                    kind: ModelErrorKind::OutOfTime,
                    recovery: Some(Recovery::at(wait)),
                    source: None,
                    error_body: None,
                }
            }
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::new(ModelErrorKind::BadAnswer, error)
    }
}

impl From<BodyTooLarge> for Failure {
    fn from(error: BodyTooLarge) -> Self {
        Self::new(ModelErrorKind::BadAnswer, error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::ProviderError(kind, error_body) => Self::provider_error(kind, error_body),
            Fault::Malformed(error) => Self::new(ModelErrorKind::BadAnswer, error),
            Fault::Inconsistent(what) => Self::new(ModelErrorKind::BadAnswer, Inconsistent(what)),
            Fault::Truncated => Self::new(UNAVAILABLE, Truncated),
            Fault::Aborted => Self::new(UNAVAILABLE, Aborted),
        }
    }
}
