//! The place of the X-Ray daemon.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

/// What comes before each document (AWS X-Ray developer guide, "Sending trace data to AWS X-Ray").
const HEAD: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// The X-Ray daemon, as far as tests read what it gets.
#[derive(Debug)]
pub struct XrayDaemon(UdpSocket);

impl XrayDaemon {
    /// A daemon on a port of its own.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self(socket))
    }

    /// Where it is, as in `AWS_XRAY_DAEMON_ADDRESS`.
    pub fn address(&self) -> io::Result<String> {
        self.0.local_addr().map(|address| address.to_string())
    }

    /// The spans that came since the last look, until none comes any more.
    pub fn spans(&self) -> Vec<Value> {
        self.sized_spans()
            .into_iter()
            .map(|(_, span)| span)
            .collect()
    }

    /// The same, each with the bytes of its datagram.
    pub fn sized_spans(&self) -> Vec<(usize, Value)> {
        let mut buffer = vec![0; 65_536];
        let mut spans = Vec::new();
        while let Ok(length) = self.0.recv(&mut buffer) {
            let text = buffer
                .get(..length)
                .and_then(|bytes| std::str::from_utf8(bytes).ok());
            let document = text
                .and_then(|text| text.strip_prefix(HEAD))
                .expect("a document for the daemon");
            spans.push((length, serde_json::from_str(document).expect("a span")));
        }
        spans
    }
}
