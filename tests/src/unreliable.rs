//! A model provider that fails as often as a test says, in every way that providers fail, and
//! remembers all of it.
//!
//! What it does with a request depends on the request and on how often it came, not on
//! chance: a failing run can be repeated. Good answers come from the model stand-in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::processes;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It is answered late.
    Late,
    /// 429, with this `Retry-After` in seconds.
    RateLimited(u64),
    /// 500.
    Broken,
    /// 529, as an overloaded provider says it.
    Overloaded,
    /// The connection is cut in the middle of the answer.
    Cut,
    /// 200 with a page of HTML.
    Html,
    /// 200 with the first half of a JSON body.
    BrokenJson,
    /// 200 without a body.
    Empty,
    /// 200 with a well-formed answer that says nothing.
    Wordless,
    /// A stream that stops before its first event, with the connection open.
    Stalled,
    /// The process that sends the request is killed, as if the task needed more memory than its
    /// worker has.
    Deadly,
}

impl Fate {
    /// Every way to fail but a cut connection.
    pub const FAILURES: [Self; 8] = [
        Self::Html,
        Self::BrokenJson,
        Self::Empty,
        Self::Wordless,
        Self::RateLimited(1),
        Self::Broken,
        Self::Overloaded,
        Self::Stalled,
    ];

    /// Whether the request is answered.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Answered | Self::Late)
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The requested model.
    pub model: String,
    /// The user's text.
    pub prompt: String,
    /// When it came.
    pub at: Instant,
    /// What became of it.
    pub fate: Fate,
}

/// The provider. All tests of a process share one; models are a test's own by their names.
#[derive(Clone)]
pub struct Unreliable {
    stand_in: String,
    http: reqwest::Client,
    requests: Arc<Mutex<Vec<SeenRequest>>>,
    always: Arc<Mutex<BTreeMap<String, Fate>>>,
    next: Arc<Mutex<BTreeMap<String, Fate>>>,
    held: watch::Sender<BTreeSet<String>>,
    url: String,
    port: u16,
}

static SHARED: OnceLock<Unreliable> = OnceLock::new();

/// Three requests in ten fail, in every way there is.
fn any_failure(prompt: &str, nth: usize) -> Fate {
    let mut hasher = DefaultHasher::new();
    (prompt, nth).hash(&mut hasher);
    let drawn = usize::try_from(hasher.finish() >> 1).unwrap();
    if drawn % 100 < 30 {
        Fate::FAILURES[drawn / 100 % Fate::FAILURES.len()]
    } else {
        Fate::Answered
    }
}

/// Three requests in ten meet trouble: 429 with a short or a long `Retry-After`, 500, a cut
/// connection, a slow answer.
fn three_in_ten(prompt: &str, nth: usize) -> Fate {
    let mut hasher = DefaultHasher::new();
    (prompt, nth).hash(&mut hasher);
    match hasher.finish() % 100 {
        0..5 => Fate::RateLimited(1),
        5..8 => Fate::RateLimited(12),
        8..16 => Fate::Broken,
        16..24 => Fate::Cut,
        24..30 => Fate::Late,
        _ => Fate::Answered,
    }
}

impl Unreliable {
    /// The one that listens on `UNRELIABLE_PORT` of this machine, where the deployed platform looks
    /// for an OpenAI-compatible server, and gets its answers from `stand_in`.
    pub fn shared(stand_in: &str) -> Self {
        SHARED
            .get_or_init(|| {
                Self::on_port(stand_in, environment("UNRELIABLE_PORT").parse().unwrap())
            })
            .clone()
    }

    /// One on a port of its own, with the stand-in of `make test` behind it.
    pub fn own() -> Self {
        Self::on_port(&environment("MODEL_URL"), 0)
    }

    /// It outlives the test that starts it, and so must its runtime.
    fn on_port(stand_in: &str, port: u16) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Self {
            stand_in: stand_in.to_owned(),
            http: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            requests: Arc::default(),
            always: Arc::default(),
            next: Arc::default(),
            held: watch::Sender::default(),
            url: format!("http://{address}"),
            port: address.port(),
        };
        listener.set_nonblocking(true).unwrap();
        let router = Router::new().fallback(answer).with_state(provider.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            runtime.block_on(async {
                axum::serve(TcpListener::from_std(listener).unwrap(), service).await
            })
        });
        provider
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, the model keeps every request open.
    pub fn hold(&self, model: &str) {
        self.held
            .send_if_modified(|held| held.insert(model.to_owned()));
    }

    /// From now on, it doesn't any more, and continues the open ones.
    pub fn release(&self, model: &str) {
        self.held.send_if_modified(|held| held.remove(model));
    }

    /// From now on, the model answers every request with 500.
    pub fn break_down(&self, model: &str) {
        self.fail(model, Fate::Broken);
    }

    /// From now on, every request to the model fails in this way.
    pub fn fail(&self, model: &str, fate: Fate) {
        lock(&self.always).insert(model.to_owned(), fate);
    }

    /// The next request to the model fails in this way.
    pub fn fail_next(&self, model: &str, fate: Fate) {
        lock(&self.next).insert(model.to_owned(), fate);
    }

    /// From now on, it doesn't any more.
    pub fn recover(&self, model: &str) {
        lock(&self.always).remove(model);
    }

    /// Every request to the model.
    pub fn requests_to(&self, model: &str) -> Vec<SeenRequest> {
        lock(&self.requests)
            .iter()
            .filter(|seen| seen.model == model)
            .cloned()
            .collect()
    }

    /// The same, each request by itself.
    pub fn requests_by_prompt(&self, model: &str) -> BTreeMap<String, Vec<SeenRequest>> {
        let mut by_prompt: BTreeMap<String, Vec<SeenRequest>> = BTreeMap::new();
        for seen in self.requests_to(model) {
            by_prompt.entry(seen.prompt.clone()).or_default().push(seen);
        }
        by_prompt
    }

    /// Notes the request and decides on it. Only models whose name begins with `wobbly` or
    /// `faulty` fail by themselves.
    fn decide(&self, model: String, prompt: String) -> Fate {
        let mut seen = lock(&self.requests);
        let nth = seen
            .iter()
            .filter(|earlier| earlier.prompt == prompt && earlier.model == model)
            .count()
            + 1;
        let ordered = lock(&self.next)
            .remove(&model)
            .or_else(|| lock(&self.always).get(&model).copied());
        let fate = ordered.unwrap_or_else(|| match model.as_str() {
            wobbly if wobbly.starts_with("wobbly") => three_in_ten(&prompt, nth),
            faulty if faulty.starts_with("faulty") => any_failure(&prompt, nth),
            _ => Fate::Answered,
        });
        seen.push(SeenRequest {
            model,
            prompt,
            at: Instant::now(),
            fate,
        });
        fate
    }

    async fn forward(&self, path: &str, body: Bytes) -> Response<Body> {
        let request = self
            .http
            .post(format!("{}{path}", self.stand_in))
            .header("content-type", "application/json");
        let answered = request.body(body).send().await.unwrap();
        let (status, kind) = (
            answered.status(),
            answered.headers()["content-type"].clone(),
        );
        let body = answered.bytes().await.unwrap();
        Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap()
    }
}

async fn answer(
    State(provider): State<Unreliable>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    let fate = provider.decide(model.clone(), last_text(&request));
    drop(
        provider
            .held
            .subscribe()
            .wait_for(|held| !held.contains(&model))
            .await,
    );
    match fate {
        Fate::Answered => provider.forward(&path, body).await,
        Fate::Late => {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            provider.forward(&path, body).await
        }
        Fate::RateLimited(seconds) => rate_limited(seconds),
        Fate::Broken => Response::builder()
            .status(500)
            .body(Body::from("<html>oops</html>"))
            .unwrap(),
        Fate::Overloaded => {
            let error = r#"{"error":{"message":"Overloaded","type":"overloaded_error"}}"#;
            Response::builder()
                .status(529)
                .body(Body::from(error))
                .unwrap()
        }
        Fate::Cut => cut(provider.forward(&path, body).await).await,
        Fate::Html => ok(
            "text/html",
            "<!DOCTYPE html><html><body>We will be back soon.</body></html>",
        ),
        Fate::BrokenJson => ok(
            "application/json",
            r#"{"id":"x","choices":[{"index":0,"message":{"role":"assi"#,
        ),
        Fate::Empty => ok("application/json", ""),
        Fate::Wordless => ok("application/json", WORDLESS),
        Fate::Stalled => stalled(),
        Fate::Deadly => {
            processes::connected(peer.port(), provider.port)
                .into_iter()
                .for_each(processes::kill);
            ok("application/json", "")
        }
    }
}

/// An answer that ends without a word.
const WORDLESS: &str = r#"{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":""},
    "finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}"#;

fn rate_limited(seconds: u64) -> Response<Body> {
    let error = r#"{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#;
    Response::builder()
        .status(StatusCode::TOO_MANY_REQUESTS)
        .header("retry-after", seconds)
        .body(Body::from(error))
        .unwrap()
}

/// A stream that begins and then stalls.
fn stalled() -> Response<Body> {
    let begun = stream::once(async { Ok::<_, io::Error>(Bytes::from(": started\n\n")) });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(begun.chain(stream::pending())))
        .unwrap()
}

fn ok(content_type: &str, body: &'static str) -> Response<Body> {
    Response::builder()
        .header("content-type", content_type)
        .body(Body::from(body))
        .unwrap()
}

/// The first half of a response, and then the end of the connection.
async fn cut(response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let half = whole.slice(..whole.len() / 2);
    let chunks = stream::iter([
        Ok(half),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]);
    Response::from_parts(parts, Body::from_stream(chunks))
}

/// The text of the last message, in each dialect's form.
fn last_text(request: &Value) -> String {
    let last = request["messages"]
        .as_array()
        .and_then(|messages| messages.last())
        .map(|last| &last["content"]);
    match last {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        Some(_) | None => String::new(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a test has no config.rs")]
fn environment(name: &str) -> String {
    std::env::var(name).expect("`make test` sets what these tests need")
}
