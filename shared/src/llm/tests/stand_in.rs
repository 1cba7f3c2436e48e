//! A server on this machine that responds as a test sets it up, and the stand-ins of all providers
//! with their recorded answers.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::domain::{
    Deadline, Message, ModelAnswer, ModelChain, ModelRef, ModelRequest, Prompt, Provider, Transfer,
};
use crate::llm::anthropic::Anthropic;
use crate::llm::chat::Chat;
use crate::llm::dialect::Dialect;
use crate::llm::http::Client;
use crate::llm::openai::OpenAi;
use crate::llm::{Access, ApiKey, Timeouts, http_client};
use crate::ports::{Clock, Model, ModelError, Secret, SecretError, Secrets};
use crate::testing::http::HttpRequest;
use crate::testing::{ManualClock, samples};

/// One provider's recorded answer to the request of all tests, which says that there are three
/// files, and the client that decodes it.
#[derive(Clone, Copy)]
pub(in crate::llm) struct StandIn {
    pub(in crate::llm) provider: Provider,
    pub(in crate::llm) model: &'static str,
    /// Its answer in one piece.
    pub(in crate::llm) whole: &'static str,
    /// Its answer as a stream; the last event ends it, and the first has as many input tokens as
    /// the whole answer.
    pub(in crate::llm) stream: &'static str,
    client: fn(Access, Timeouts, Arc<dyn Clock>) -> Box<dyn Model>,
}

pub(in crate::llm) const ANTHROPIC: StandIn = StandIn {
    provider: Provider::Anthropic,
    model: "claude-sonnet-5-5",
    whole: include_str!("../fixtures/anthropic_message.json"),
    stream: include_str!("../fixtures/anthropic_stream.txt"),
    client: client::<Anthropic>,
};

const OPENAI: StandIn = StandIn {
    provider: Provider::OpenAi,
    model: "gpt-6-luna",
    whole: include_str!("../fixtures/openai_response.json"),
    stream: include_str!("../fixtures/openai_text_stream.sse"),
    client: client::<OpenAi>,
};

const COMPATIBLE: StandIn = StandIn {
    provider: Provider::OpenAiCompatible,
    model: "qwen3-coder",
    whole: include_str!("../fixtures/chat_text_response.json"),
    stream: include_str!("../fixtures/chat_text_stream.sse"),
    client: client::<Chat>,
};

/// One for each provider.
pub(in crate::llm) const STAND_INS: [StandIn; 3] = [ANTHROPIC, OPENAI, COMPATIBLE];

/// Longer than any test takes that doesn't wait for the end of it.
pub(in crate::llm) const AMPLE: Duration = Duration::from_mins(1);

/// Timeouts that no test runs into.
pub(in crate::llm) const PATIENT: Timeouts = Timeouts {
    first_byte: AMPLE,
    idle: AMPLE,
    overall: AMPLE,
};

/// What no error may repeat; part of the key, the prompt and most answers.
const CANARY: &str = "canary";

static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| http_client().unwrap());

fn client<D: Dialect>(access: Access, timeouts: Timeouts, clock: Arc<dyn Clock>) -> Box<dyn Model> {
    Box::new(Client::<D>::new(HTTP.clone(), access, timeouts, clock))
}

impl StandIn {
    /// The provider's client for `access`. Its clock stands still.
    pub(in crate::llm) fn client(&self, access: Access, timeouts: Timeouts) -> Box<dyn Model> {
        (self.client)(access, timeouts, Arc::new(ManualClock::at(samples::START)))
    }

    /// The request of all tests.
    pub(in crate::llm) fn request(&self) -> ModelRequest {
        let prompt = Prompt {
            instructions: "You are a clerk. canary-instructions".to_owned(),
            messages: vec![Message::user(
                "How many files are there, “Ü”?\n\"canary-input\" \\",
            )],
            max_output_tokens: 1_024,
            ..samples::prompt("")
        };
        ModelRequest {
            chain: ModelChain::only(ModelRef::new(self.provider, self.model).unwrap().into()),
            prompt: Arc::new(prompt),
            deadline: Deadline::at(samples::START.plus(AMPLE * 2)),
            ..samples::model_request("")
        }
    }

    /// The request, to be answered in one piece.
    pub(in crate::llm) fn whole_request(&self) -> ModelRequest {
        let mut choice = self.request().chain.first().clone();
        choice.settings.transfer = Transfer::Whole;
        self.request().to_only(&choice)
    }

    /// Its answer as a stream.
    pub(in crate::llm) fn streamed(&self) -> Reply {
        Reply::stream(&[self.stream], Then::End)
    }

    /// What its client makes of `reply` to the request.
    pub(in crate::llm) async fn reply(&self, reply: Reply) -> Result<ModelAnswer, ModelError> {
        self.reply_to(&self.request(), reply, PATIENT).await
    }

    /// What its client makes of `reply` to `request`.
    pub(in crate::llm) async fn reply_to(
        &self,
        request: &ModelRequest,
        reply: Reply,
        timeouts: Timeouts,
    ) -> Result<ModelAnswer, ModelError> {
        let server = Server::start(reply).await;
        call_model(self.client(server.access(), timeouts).as_ref(), request).await
    }
}

/// What a [`Server`] sends to a client, and what it does next.
#[derive(Clone)]
pub(in crate::llm) struct Reply {
    pieces: Vec<Vec<u8>>,
    /// Before each piece but the first.
    pause: Duration,
    then: Then,
}

/// What a [`Server`] does after its reply.
#[derive(Clone, Copy)]
pub(in crate::llm) enum Then {
    /// Ends a stream as it should be ended, and waits for the next request.
    End,
    /// Closes the connection.
    Close,
    /// Keeps the connection open and says nothing.
    Hold,
    /// Sends as fast as it can until the client closes the connection.
    Babble,
    /// Sends the last piece again after each pause until nobody listens.
    Drip,
}

impl Reply {
    /// A complete answer.
    pub(in crate::llm) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut lines = vec![
            format!("HTTP/1.1 {status} x"),
            format!("content-length: {}", body.len()),
        ];
        lines.extend(
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        Self::raw(
            &format!("{}\r\nconnection: close\r\n\r\n{body}", lines.join("\r\n")),
            Then::Close,
        )
    }

    /// A complete answer with status 200, and with an id for either provider.
    pub(in crate::llm) fn ok(body: &str) -> Self {
        let headers = [
            ("content-type", "application/json"),
            ("request-id", "req_anthropic"),
            ("x-request-id", "req_openai"),
        ];
        Self::new(200, &headers, body)
    }

    /// These bytes, and then `then`.
    pub(in crate::llm) fn raw(bytes: &str, then: Then) -> Self {
        Self {
            pieces: vec![bytes.as_bytes().to_vec()],
            pause: Duration::ZERO,
            then,
        }
    }

    /// A stream of events in these pieces, and then `then`.
    pub(in crate::llm) fn stream(pieces: &[impl AsRef<[u8]>], then: Then) -> Self {
        let head = "HTTP/1.1 200 x\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_anthropic\r\n\
                    x-request-id: req_openai\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk =
            |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let chunks = pieces
            .iter()
            .map(AsRef::as_ref)
            .filter(|piece| !piece.is_empty())
            .map(chunk);
        let pieces = std::iter::once(head.as_bytes().to_vec())
            .chain(chunks)
            .collect();
        Self {
            pieces,
            pause: Duration::ZERO,
            then,
        }
    }

    /// The reply with a pause before each piece.
    pub(in crate::llm) fn slowly(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

/// A request as a server saw it, without the headers that belong to the connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::llm) struct Received {
    pub(in crate::llm) method: String,
    pub(in crate::llm) path: String,
    pub(in crate::llm) headers: BTreeMap<String, String>,
    pub(in crate::llm) body: Value,
}

impl From<HttpRequest> for Received {
    fn from(
        HttpRequest {
            line,
            mut headers,
            body,
        }: HttpRequest,
    ) -> Self {
        let (method, path) = line.split_once(' ').unwrap();
        headers.remove("host").unwrap();
        headers.remove("content-length").unwrap();
        assert!(
            headers
                .remove("user-agent")
                .unwrap()
                .starts_with("aiagent-platform/")
        );
        let (method, path) = (method.to_owned(), path.to_owned());
        Self {
            method,
            path,
            headers,
            body: serde_json::from_str(&body).unwrap(),
        }
    }
}

/// A server that gives everyone the same reply.
pub(in crate::llm) struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(in crate::llm) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Received>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (seen, counted) = (Arc::clone(&requests), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                serve(stream, &reply, &seen).await;
            }
        });
        Self {
            address,
            requests,
            connections,
            task,
        }
    }

    /// Access to the server with a key.
    pub(in crate::llm) fn access(&self) -> Access {
        self.access_with(key(Stored::Value("canary-key")))
    }

    pub(in crate::llm) fn access_with(&self, key: ApiKey) -> Access {
        Access {
            base_url: self.address.parse().unwrap(),
            key,
        }
    }

    /// Stops listening.
    pub(in crate::llm) async fn stop(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }

    pub(in crate::llm) fn requests(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }

    pub(in crate::llm) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, reply: &Reply, seen: &Mutex<Vec<Received>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = HttpRequest::receive(&mut stream).await {
        seen.lock().unwrap().push(request.into());
        if answer(&mut stream, reply).await.is_break() {
            return;
        }
    }
}

/// Replies once; breaks off if that ends the connection.
async fn answer(stream: &mut BufReader<TcpStream>, reply: &Reply) -> ControlFlow<()> {
    // A client may leave before the end of a reply.
    let mut sent = Ok(());
    for (place, piece) in reply.pieces.iter().enumerate() {
        if place > 0 {
            tokio::time::sleep(reply.pause).await;
        }
        sent = stream.write_all(piece).await;
    }
    match reply.then {
        Then::Close => {}
        Then::End => {
            if stream.write_all(b"0\r\n\r\n").await.is_ok() {
                return ControlFlow::Continue(());
            }
        }
        Then::Drip => {
            while sent.is_ok() {
                tokio::time::sleep(reply.pause).await;
                sent = stream.write_all(reply.pieces.last().unwrap()).await;
            }
        }
        Then::Hold => std::future::pending().await,
        Then::Babble => {
            let babble = vec![b' '; 65_536];
            while sent.is_ok() {
                sent = stream.write_all(&babble).await;
            }
        }
    }
    ControlFlow::Break(())
}

/// What a secret store has.
pub(in crate::llm) enum Stored {
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
            Self::Missing => Err(SecretError::Missing {
                name: name.to_owned(),
                source: "no such secret".into(),
            }),
            Self::Unavailable => Err(SecretError::Unavailable("throttled".into())),
            Self::Silent => std::future::pending().await,
        }
    }

    async fn accepted(
        &self,
        name: &str,
        _grace: Duration,
        _max_age: Duration,
    ) -> Result<Vec<Secret>, SecretError> {
        Ok(vec![self.secret(name).await?])
    }
}

/// The key that is stored like this.
pub(in crate::llm) fn key(stored: Stored) -> ApiKey {
    ApiKey::Secret {
        store: Arc::new(stored),
        name: "key-of-provider".to_owned(),
    }
}

/// Puts `request` to `model`, and fails if an error repeats what it must not.
pub(in crate::llm) async fn call_model(
    model: &dyn Model,
    request: &ModelRequest,
) -> Result<ModelAnswer, ModelError> {
    let answer = model.call(request).await;
    if let Err(error) = &answer {
        check_no_leak(error);
    }
    answer
}

#[track_caller]
fn check_no_leak(error: &ModelError) {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let shown: Vec<String> = causes.map(|error| format!("{error} / {error:?}")).collect();
    let shown = shown.join(" / ");
    assert!(!shown.contains(CANARY), "{shown}");
}
