//! One exchange over HTTP, the same for all providers: a request in JSON is posted, and a stream of
//! events or a whole answer in JSON comes back.
//!
//! An exchange always ends in time and uses a bounded amount of memory. It is tried once. It
//! follows no redirect and uses no proxy, because these would get the prompt and the key. The
//! tokens of a cut answer are counted as far as they are known.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode, Url, redirect, retry};
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tracing::{Instrument, Span, field};

use super::access::Access;
use super::decoder::{Decoder, Expected, Step};
use super::dialect::{Dialect, Progress, ResponseParser};
use super::failure::{BodyTooLarge, ErrorBody, Exchange, Failure, KeyTimeout};
use super::key::{ApiKey, Credentials};
use super::pace::{Due, Ender, Late, Pace, Timeouts};
use super::unreadable::Unreadable;
use crate::domain::{ModelAnswer, ModelRef, ModelRequest, Transfer};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{Clock, Model, ModelError, ModelErrorKind};
use crate::runtime::{computed, in_own_task};
use crate::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);
const USER_AGENT: &str = concat!("aiagent-platform/", env!("CARGO_PKG_VERSION"));

/// The most bytes of an error's body that are read, and how long that may take. Without the body,
/// the status still says most.
const MAX_ERROR_BYTES: usize = 64 * 1_024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the client waits for the end of a stream after the end of its answer, so that the
/// connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// The HTTP client for all providers. Build it once: it pools connections.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config())
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_proxy()
        .build()
}

/// Calls the models of one provider.
pub(super) struct Client<D>(Arc<Endpoint<D>>);

struct Endpoint<D> {
    http: reqwest::Client,
    url: Url,
    key: ApiKey,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    dialect: PhantomData<D>,
}

impl<D: Dialect> Client<D> {
    /// A client for the API at `access`. The clock only turns deadlines into durations.
    pub(super) fn new(
        http: reqwest::Client,
        access: Access,
        timeouts: Timeouts,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let url = access.base_url.at(D::PATH);
        Self(Arc::new(Endpoint {
            http,
            url,
            key: access.key,
            timeouts,
            clock,
            dialect: PhantomData,
        }))
    }
}

impl<D: Dialect> Endpoint<D> {
    /// Makes one attempt, and records the outcome on `span`.
    async fn call_once(
        &self,
        request: &ModelRequest,
        span: &Span,
    ) -> Result<ModelAnswer, ModelError> {
        let pace = Pace::new(request, self.timeouts, self.clock.as_ref());
        let mut exchange = Exchange::about(request);
        let mut decoder = Decoder::new(Expected::from(request));
        let read = self
            .exchange(request, &pace, &mut exchange, &mut decoder)
            .await;
        exchange.spend.usage = decoder.usage();
        match read.and_then(|()| decoder.finish()) {
            Ok(answer) => {
                let answer = exchange.succeed(answer);
                span.record("provider_request_id", answer.request_id.as_deref());
                Ok(answer)
            }
            Err(failure) => {
                let error = exchange.fail(failure);
                span.record("provider_request_id", error.request_id.as_deref())
                    .record("status_code", error.status)
                    .record("error_type", error.kind.code().as_str())
                    .record("otel.status_code", "error");
                Err(error)
            }
        }
    }

    /// Sends the request, and decodes the response. `exchange` and `decoder` hold what became
    /// known, also after a failure.
    async fn exchange(
        &self,
        request: &ModelRequest,
        pace: &Pace<'_>,
        exchange: &mut Exchange,
        decoder: &mut Decoder<D::ResponseParser>,
    ) -> Result<(), Failure> {
        let transfer = request.chain.first().settings.transfer;
        let begin = match transfer {
            Transfer::Stream => pace.first_byte(),
            Transfer::Whole => pace.end(),
        };
        let credentials = self.credentials(pace).await?;
        exchange.spend.attempts = 1;
        let sent = Instant::now();
        let response = pace
            .by(begin, self.send(request, credentials))
            .await?
            .map_err(|error| {
                // Without a connection nothing was sent, and nothing can be billed.
                exchange.spend.attempts = u32::from(!error.is_connect());
                Failure::broken(error)
            })?;
        exchange.answered(&response, D::REQUEST_ID, self.clock.now());
        if response.status() != StatusCode::OK {
            return Err(self.refused(response, pace, exchange).await);
        }
        let encodings = response.headers().get_all(CONTENT_ENCODING).iter();
        let mut compressed =
            encodings.filter_map(|value| Unreadable::encoding(value.to_str().ok()?));
        if let Some(compressed) = compressed.next() {
            return Err(Failure::new(ModelErrorKind::BadAnswer, compressed));
        }
        if let Some(content_type) = response.headers().get(CONTENT_TYPE) {
            decoder.label(content_type.to_str().unwrap_or_default());
        }
        let first = || note_first_chunk(request.model(), sent.elapsed());
        let end = receive(response, pace, begin, decoder, first).await;
        decoder.end(end)
    }

    async fn credentials(&self, pace: &Pace<'_>) -> Result<Credentials, Failure> {
        match pace.by(pace.first_byte(), self.key.credentials()).await {
            Ok(credentials) => Ok(credentials?),
            Err(Late {
                ender: Ender::Timeouts,
                ..
            }) => Err(Failure::new(ModelErrorKind::KeyUnavailable, KeyTimeout)),
            Err(late) => Err(late.into()),
        }
    }

    async fn send(
        &self,
        request: &ModelRequest,
        credentials: Credentials,
    ) -> Result<Response, reqwest::Error> {
        let mut post = self
            .http
            .post(self.url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in D::headers(request) {
            post = post.header(name, value);
        }
        let bytes = request.prompt.conversation_bytes();
        let mut post = computed(bytes, || post.json(&D::body(request)).build())?;
        credentials.sign(&mut post);
        self.http.execute(post).await
    }

    /// What a response with a status other than 200 means.
    async fn refused(&self, response: Response, pace: &Pace<'_>, exchange: &Exchange) -> Failure {
        let status = response.status().as_u16();
        let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, read(response, MAX_ERROR_BYTES));
        let body = pace
            .by(pace.end(), body)
            .await
            .ok()
            .and_then(Result::ok)
            .and_then(Result::ok);
        let error_body = body
            .map(|body| ErrorBody::from_body(&body))
            .unwrap_or_default();
        let kind = match error_body.kind(status, exchange.retry_after()) {
            // No key was sent, so "authentication failed" would mislead.
            ModelErrorKind::Authentication
                if status == 401 && matches!(self.key, ApiKey::Absent) =>
            {
                ModelErrorKind::KeyMissing
            }
            kind => kind,
        };
        Failure::provider_error(kind, error_body)
    }
}

#[async_trait]
impl<D: Dialect> Model for Client<D> {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let (endpoint, request, span) = (Arc::clone(&self.0), request.clone(), attempt(request));
        let entered = span.clone().or_current();
        // A stream has hundreds of chunks. In the caller's task, each would wake the whole stack of
        // layers and enter all its spans.
        in_own_task(async move { endpoint.call_once(&request, &span).await }.instrument(entered))
            .await
    }
}

/// The span of one attempt.
fn attempt(request: &ModelRequest) -> Span {
    tracing::info_span!(
        "model attempt",
        provider = request.model().provider().as_str(),
        model = request.model().name(),
        provider_request_id = field::Empty,
        status_code = field::Empty,
        first_chunk_seconds = field::Empty,
        error_type = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// Receives a body to the end of its answer, or else to its own end. The first bytes must arrive by
/// `due`. Calls `first` at the first event.
///
/// Before the first event of a stream, every byte prolongs the wait: gateways send comments while a
/// model loads or queues. After it, only events do, because a gateway keeps sending its comments
/// when its model has stalled. After the reason to stop, the usage and the mark of the end must
/// follow soon, and so must the end of a complete answer.
async fn receive<R: ResponseParser>(
    mut response: Response,
    pace: &Pace<'_>,
    mut due: Due,
    decoder: &mut Decoder<R>,
    first: impl Fn(),
) -> Result<(), Failure> {
    let mut has_begun = false;
    while let Some(chunk) = pace
        .by(due, response.chunk())
        .await?
        .map_err(Failure::broken)?
    {
        let step = decoder.feed(&chunk)?;
        if matches!(step, Step::Events(_)) && !std::mem::replace(&mut has_begun, true) {
            first();
        }
        match step {
            Step::Waiting => due = due.max(pace.next_event()),
            Step::Partial => due = pace.end(),
            Step::Complete => due = Pace::end_mark(),
            Step::Nothing => {}
            Step::Events(Progress::More) => due = pace.next_event(),
            Step::Events(Progress::Stopped) => due = due.min(Pace::usage()),
            Step::Events(Progress::Counted) => due = due.min(Pace::end_mark()),
            Step::Events(Progress::Done) => {
                drain(response).await;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Counts how long the first event of an answer took, and records it on the current span.
fn note_first_chunk(model: &ModelRef, took: Duration) {
    Span::current().record("first_chunk_seconds", took.as_secs_f64());
    metric::TIME_TO_FIRST_CHUNK.note(PriceTable::current().labels(model), took);
}

/// Waits a short time for the end of a body that is not needed any more.
async fn drain(mut response: Response) {
    let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
    // If it takes too long, the connection is closed instead.
    let _: Result<(), Elapsed> = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
}

/// Reads a body of at most `limit` bytes. Its `Content-Length` is not trusted.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let too_large = BodyTooLarge { limit_bytes: limit };
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large.into());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::broken)? {
        if body.len() + chunk.len() > limit {
            return Err(too_large.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
