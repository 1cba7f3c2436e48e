//! For tests: a provider on this machine that answers as it is told, rightly or wrongly.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Access, AnthropicClient, ApiKey, OpenAiClient, http_client};
use crate::domain::{ModelAnswer, ModelRef, ModelRequest, Provider};
use crate::ports::{Model, ModelError, Secret, SecretError, Secrets};

/// Both vendors.
pub(super) const PROVIDERS: [Provider; 2] = [Provider::Anthropic, Provider::OpenAi];

/// Longer than any test takes that doesn't wait for the end of it.
pub(super) const AMPLE: Duration = Duration::from_secs(30);

/// What no error may repeat; part of the key, the prompt and most answers.
const CANARY: &str = "canary";

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| http_client().unwrap());

/// What a [`Server`] sends to whoever asks, and what it does next.
#[derive(Clone)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

/// What a [`Server`] does after its reply.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Closes the connection.
    Close,
    /// Keeps the connection open and says nothing.
    Hold,
    /// Goes on sending until nobody listens.
    Babble,
}

impl Reply {
    /// A complete answer.
    pub(super) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut lines = vec![format!("HTTP/1.1 {status} x"), format!("content-length: {}", body.len())];
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        Self::raw(&format!("{}\r\nconnection: close\r\n\r\n{body}", lines.join("\r\n")), Then::Close)
    }

    /// A complete answer with status 200, and with an id for either vendor.
    pub(super) fn ok(body: &str) -> Self {
        let headers =
            [("content-type", "application/json"), ("request-id", "req_anthropic"), ("x-request-id", "req_openai")];
        Self::new(200, &headers, body)
    }

    /// Whatever these bytes are, and then `then`.
    pub(super) fn raw(bytes: &str, then: Then) -> Self {
        Self { bytes: bytes.as_bytes().to_vec(), then }
    }
}

/// A request as a server saw it, without the headers that belong to the connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Received {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Value,
}

/// A server that gives everyone the same reply.
pub(super) struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Received>>>::default();
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &reply, &seen).await;
            }
        });
        Self { address, requests, task }
    }

    /// Access to the server with a key.
    pub(super) fn access(&self) -> Access {
        self.access_with(key(Stored::Value("canary-key")))
    }

    pub(super) fn access_with(&self, key: ApiKey) -> Access {
        Access { base_url: self.address.parse().unwrap(), key }
    }

    /// Stops listening.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, reply: &Reply, seen: &Mutex<Vec<Received>>) {
    let mut stream = BufReader::new(stream);
    let request = receive(&mut stream).await;
    seen.lock().unwrap().push(request);
    // A client may leave before the end of a reply.
    let mut sent = stream.write_all(&reply.bytes).await;
    match reply.then {
        Then::Close => {}
        Then::Hold => std::future::pending().await,
        Then::Babble => {
            let babble = vec![b' '; 65_536];
            while sent.is_ok() {
                sent = stream.write_all(&babble).await;
            }
        }
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Received {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut start = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (start.next().unwrap(), start.next().unwrap());
    let header =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let mut headers: BTreeMap<String, String> = lines[1..].iter().map(header).collect();
    headers.remove("host").unwrap();
    let mut body = vec![0; headers.remove("content-length").unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    Received { method, path, headers, body: serde_json::from_slice(&body).unwrap() }
}

/// What a secret store has.
pub(super) enum Stored {
    Value(&'static str),
    Missing,
    Unavailable,
    /// It never answers.
    Silent,
}

#[async_trait]
impl Secrets for Stored {
    async fn secret(&self, name: &str) -> Result<Secret, SecretError> {
        assert_eq!(name, "key-of-provider");
        match self {
            Self::Value(value) => Ok(Secret::new(*value)),
            Self::Missing => Err(SecretError::Missing { name: name.to_owned(), source: "no such secret".into() }),
            Self::Unavailable => Err(SecretError::Unavailable("throttled".into())),
            Self::Silent => std::future::pending().await,
        }
    }
}

/// The key that is stored like this.
pub(super) fn key(stored: Stored) -> ApiKey {
    ApiKey::Secret { store: Arc::new(stored), name: "key-of-provider".to_owned() }
}

/// The vendor's client for `access`.
pub(super) fn client(provider: Provider, access: Access) -> Box<dyn Model> {
    match provider {
        Provider::Anthropic => Box::new(AnthropicClient::new(HTTP.clone(), access)),
        Provider::OpenAi => Box::new(OpenAiClient::new(HTTP.clone(), access)),
    }
}

/// The question of all tests, to one of the vendor's models.
pub(super) fn question(provider: Provider) -> ModelRequest {
    let name = match provider {
        Provider::Anthropic => "claude-sonnet-5-5",
        Provider::OpenAi => "gpt-6-luna",
    };
    ModelRequest {
        model: ModelRef::new(provider, name).unwrap(),
        instructions: "You are a clerk. canary-instructions".to_owned(),
        input: "How many files are there, “Ü”?\n\"canary-input\" \\".to_owned(),
        max_output_tokens: 1_024,
    }
}

/// Puts the question to `model`, and fails if an error repeats what it must not.
pub(super) async fn ask(model: &dyn Model, provider: Provider) -> Result<ModelAnswer, ModelError> {
    ask_within(model, provider, AMPLE).await
}

pub(super) async fn ask_within(
    model: &dyn Model,
    provider: Provider,
    timeout: Duration,
) -> Result<ModelAnswer, ModelError> {
    let answer = model.ask(&question(provider), timeout).await;
    if let Err(error) = &answer {
        check_no_leak(error);
    }
    answer
}

/// What the vendor's client makes of `reply`.
pub(super) async fn reply_to(provider: Provider, reply: Reply) -> Result<ModelAnswer, ModelError> {
    let server = Server::start(reply).await;
    ask(client(provider, server.access()).as_ref(), provider).await
}

#[track_caller]
fn check_no_leak(error: &ModelError) {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let shown: Vec<String> = causes.map(|error| format!("{error} / {error:?}")).collect();
    let shown = shown.join(" / ");
    assert!(!shown.contains(CANARY), "{shown}");
}
