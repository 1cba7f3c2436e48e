//! What a server on this machine, which a test drives byte by byte, reads before it answers.

use std::collections::BTreeMap;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A request as a server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpRequest {
    /// Such as `GET /path`.
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl HttpRequest {
    /// The next request; `None` if the client has left.
    pub(crate) async fn receive(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let line = lines[0].strip_suffix(" HTTP/1.1").unwrap().to_owned();
        let header = |line: &String| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .unwrap()
        };
        let headers: BTreeMap<String, String> = lines[1..].iter().map(header).collect();
        let mut body = vec![
            0;
            headers
                .get("content-length")
                .map_or(0, |length| length.parse().unwrap())
        ];
        stream.read_exact(&mut body).await.unwrap();
        Some(Self {
            line,
            headers,
            body: String::from_utf8(body).unwrap(),
        })
    }
}
