//! The local AWS with calls that fail, or whose answers get lost, as often as a test says, which it
//! never does by itself.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use futures::stream;
use tokio::net::TcpListener;

/// How calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As DynamoDB refuses them for their rate.
    Throttled,
    /// With an error of the service.
    Broken,
}

impl Refusal {
    /// The answer in the AWS JSON protocol. A client reads its status and the name after the `#`.
    fn response(self) -> Response<Body> {
        let (status, kind) = match self {
            Self::Throttled => (StatusCode::BAD_REQUEST, "ThrottlingException"),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        };
        let body = format!(r#"{{"__type":"com.amazonaws#{kind}","message":"said by a test"}}"#);
        let response = Response::builder()
            .status(status)
            .header("content-type", "application/x-amz-json-1.0");
        response.body(Body::from(body)).unwrap()
    }
}

/// A way to the local AWS on which calls can be made to fail, and answers to get lost.
#[derive(Clone)]
pub struct UnreliableAws {
    aws_url: String,
    http: reqwest::Client,
    refused: Arc<Mutex<Option<(String, Refusal)>>>,
    unanswered: Arc<Mutex<Option<String>>>,
    url: String,
}

impl UnreliableAws {
    /// A new one to the AWS at `aws_url`. It outlives the test that starts it, and so must its
    /// runtime.
    pub(crate) fn start(aws_url: &str) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let aws = Self {
            aws_url: aws_url.to_owned(),
            http: reqwest::Client::builder()
                .no_proxy()
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            refused: Arc::default(),
            unanswered: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().fallback(answer).with_state(aws.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                axum::serve(TcpListener::from_std(listener).unwrap(), router).await
            })
        });
        aws
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, calls fail whose `X-Amz-Target` begins so, such as `AmazonSQS.SendMessage`.
    pub fn refuse(&self, target: &str, refusal: Refusal) {
        *lock(&self.refused) = Some((target.to_owned(), refusal));
    }

    /// From now on, no call fails.
    pub fn recover(&self) {
        *lock(&self.refused) = None;
    }

    /// The next call whose `X-Amz-Target` begins so has its effect, and then the connection ends
    /// without an answer.
    pub fn lose_answer(&self, target: &str) {
        *lock(&self.unanswered) = Some(target.to_owned());
    }

    fn loses_answer(&self, target: &str) -> bool {
        lock(&self.unanswered)
            .take_if(|prefix| target.starts_with(&**prefix))
            .is_some()
    }

    fn refusal(&self, target: &str) -> Option<Refusal> {
        let refused = lock(&self.refused);
        refused
            .as_ref()
            .filter(|(prefix, _)| target.starts_with(prefix))
            .map(|(_, refusal)| *refusal)
    }
}

async fn answer(State(aws): State<UnreliableAws>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let target = head
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    if let Some(refusal) = aws.refusal(target) {
        return refusal.response();
    }
    let answer_is_lost = aws.loses_answer(target);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = head.headers;
    headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    let forwarded = aws
        .http
        .request(head.method, format!("{}{}", aws.aws_url, head.uri))
        .headers(headers)
        .body(body);
    let answered = forwarded.send().await.unwrap();
    if answer_is_lost {
        return no_answer();
    }
    let (status, mut headers) = (answered.status(), answered.headers().clone());
    headers.remove(CONTENT_LENGTH);
    let mut response = Response::new(Body::from(answered.bytes().await.unwrap()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Has the server end the connection: an answer is sent with the first part of its body, which
/// never comes.
fn no_answer() -> Response<Body> {
    let nothing = stream::iter([Err::<Bytes, _>(io::Error::from(
        io::ErrorKind::ConnectionReset,
    ))]);
    Response::new(Body::from_stream(nothing))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
