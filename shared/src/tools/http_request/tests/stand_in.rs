//! A host on this machine with scripted answers, names that resolve to it or elsewhere, and an
//! agent that sends requests.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::string::FromUtf8Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use crate::domain::{
    BuiltinTool, Deadline, HostPattern, HttpMethod, HttpRules, MAX_TOOL_TEXT_BYTES, Schemes,
};
use crate::ports::{ToolOutput, ToolRequest, Tools};
use crate::testing::http::HttpRequest;
use crate::testing::{ManualClock, samples};
use crate::tools::http_request::{Reach, Resolver};
use crate::tools::{BuiltinTools, Credentials};

pub(super) const HOSTS: [&str; 3] = ["api.example.com", "a.example.org", "b.example.org"];

pub(super) const LOOPBACK: &str = "127.0.0.1";

/// What a [`Server`] sends, and what it does next.
#[derive(Clone)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy)]
pub(super) enum Then {
    Close,
    /// Keeps the connection open and says nothing.
    Hold,
    /// Sends as fast as it can, without an end.
    Babble,
    /// Sends a byte now and then.
    Drip,
}

impl Reply {
    pub(super) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut lines = vec![
            format!("HTTP/1.1 {status} x"),
            format!("content-length: {}", body.len()),
        ];
        lines.extend(
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}")),
        );
        Self::raw(format!("{}\r\n\r\n{body}", lines.join("\r\n")), Then::Close)
    }

    pub(super) fn text(body: &str) -> Self {
        Self::new(200, &[("content-type", "text/plain")], body)
    }

    pub(super) fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, &[("location", location)], "")
    }

    pub(super) fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self {
            bytes: bytes.into(),
            then,
        }
    }
}

/// A server that gives each path its reply.
pub(super) struct Server {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Replies by path; `PORT` in a reply is the server's own.
    pub(super) async fn start(replies: impl IntoIterator<Item = (&'static str, Reply)>) -> Self {
        Self::start_with(None, replies).await
    }

    /// The same over TLS, with certificates of `authority`.
    pub(super) async fn start_tls(
        authority: &Authority,
        replies: impl IntoIterator<Item = (&'static str, Reply)>,
    ) -> Self {
        Self::start_with(Some(authority.acceptor()), replies).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        replies: impl IntoIterator<Item = (&'static str, Reply)>,
    ) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies: BTreeMap<&str, Reply> = replies.into_iter().collect();
        let requests = Arc::<Mutex<Vec<HttpRequest>>>::default();
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    None => serve(stream, port, &replies, &seen).await,
                    // A client that trusts nobody leaves.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, port, &replies, &seen).await;
                        }
                    }
                }
            }
        });
        Self {
            port,
            requests,
            task,
        }
    }

    pub(super) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    pub(super) fn https(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.port)
    }

    pub(super) fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// What came, such as `GET /path`.
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    port: u16,
    replies: &BTreeMap<&str, Reply>,
    seen: &Mutex<Vec<HttpRequest>>,
) {
    let mut stream = BufReader::new(stream);
    let Some(request) = HttpRequest::receive(&mut stream).await else {
        return;
    };
    let path = request.line.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(request);
    let Reply { bytes, then } = replies
        .get(path.as_str())
        .cloned()
        .unwrap_or_else(|| Reply::new(404, &[], ""));
    let bytes = String::from_utf8(bytes).map_or_else(FromUtf8Error::into_bytes, |text| {
        text.replace("PORT", &port.to_string()).into()
    });
    // A client may leave before the end of a reply.
    let mut sent = stream.write_all(&bytes).await;
    match then {
        // Over TLS, a client would take an end without this for one that an attacker made.
        Then::Close => drop(stream.shutdown().await),
        Then::Hold => std::future::pending().await,
        Then::Babble => {
            let babble = vec![b'x'; 65_536];
            while sent.is_ok() {
                sent = stream.write_all(&babble).await;
            }
        }
        Then::Drip => {
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                sent = stream.write_all(b"x").await;
            }
        }
    }
}

/// Where names lead: each time it is asked, a host's next addresses, and the last ones for ever.
#[derive(Default)]
pub(super) struct Names(Mutex<BTreeMap<String, VecDeque<&'static [&'static str]>>>);

impl Names {
    pub(super) fn new(names: &[(&str, &[&'static [&'static str]])]) -> Arc<Self> {
        let names = names
            .iter()
            .map(|(host, turns)| ((*host).to_owned(), turns.iter().copied().collect()));
        Arc::new(Self(Mutex::new(names.collect())))
    }

    /// The names of most tests lead to this machine.
    pub(super) fn here() -> Arc<Self> {
        let here: &[&[&str]] = &[&[LOOPBACK]];
        Self::new(&HOSTS.map(|host| (host, here)))
    }
}

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let turns = names
            .get_mut(host)
            .ok_or_else(|| io::Error::other("canary-address 10.1.2.3"))?;
        let addresses = if turns.len() > 1 {
            turns.pop_front().unwrap()
        } else {
            turns[0]
        };
        Ok(addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect())
    }
}

/// The agent of most tests: it may ask `api.example.com` and what is below `example.org`, over HTTP
/// too, in any way.
pub(super) fn rules() -> HttpRules {
    let hosts = ["api.example.com", "*.example.org"].map(|host| HostPattern::new(host).unwrap());
    let methods = [
        HttpMethod::Get,
        HttpMethod::Head,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Delete,
    ];
    let mut rules = HttpRules::new(hosts.to_vec())
        .and_then(|rules| rules.with_methods(methods.to_vec()))
        .unwrap();
    rules.schemes = Schemes::HttpToo;
    rules
}

/// What the tool says to `arguments` of an agent with these rules, where names lead to this
/// machine.
pub(super) async fn call(rules: HttpRules, arguments: Value) -> ToolOutput {
    call_with(Names::here(), Reach::ThisMachineToo, rules, arguments).await
}

pub(super) async fn call_with(
    names: Arc<dyn Resolver>,
    reach: Reach,
    rules: HttpRules,
    arguments: Value,
) -> ToolOutput {
    tools(names, reach).run(&request(rules, arguments)).await
}

pub(super) fn tools(names: Arc<dyn Resolver>, reach: Reach) -> BuiltinTools {
    let clock = Arc::new(ManualClock::at(samples::START));
    BuiltinTools::reaching(reach, names, Credentials::default(), clock).unwrap()
}

/// A request that may take a minute.
pub(super) fn request(rules: HttpRules, arguments: Value) -> ToolRequest {
    ToolRequest {
        tenant: samples::tenant("acme"),
        tool: BuiltinTool::HttpRequest(rules),
        arguments,
        idempotency_key: "call-7".to_owned(),
        max_result_bytes: MAX_TOOL_TEXT_BYTES,
        deadline: Deadline::at(samples::after(60)),
    }
}

/// What the tool says to a GET of `path` from `server`.
pub(super) async fn get(server: &Server, path: &str) -> ToolOutput {
    call(
        rules(),
        json!({ "url": server.url("api.example.com", path) }),
    )
    .await
}

#[track_caller]
pub(super) fn check_answer(output: &ToolOutput, expected: &Value) {
    assert_eq!(
        serde_json::from_str::<Value>(&output.text).ok().as_ref(),
        Some(expected),
        "{output:?}"
    );
}

/// The output is an error with these words, and without any address.
#[track_caller]
pub(super) fn check_error(output: &ToolOutput, words: &str) {
    assert!(output.is_error && output.text.contains(words), "{output:?}");
    for secret in ["canary", LOOPBACK, "10.1.2.3", "169.254"] {
        assert!(!output.text.contains(secret), "{output:?}");
    }
}
