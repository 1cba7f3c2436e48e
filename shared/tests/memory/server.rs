//! Two servers on loopback, of plain `std` over buffers of fixed size: a model that listens to
//! requests of any length and answers them in a few words, and a host that says one thing without
//! end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// An answer of Anthropic's, as its API streams it.
const ANSWER: &[&str] = &[
    r#"{"type":"message_start","message":{"model":"claude-sonnet-5-5-20260901","id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":2100,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"It is done."}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#,
    r#"{"type":"message_stop"}"#,
];

/// Starts a server that lives as long as the process, and deals with each connection by `serve`.
fn start(serve: fn(TcpStream) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // The caller hangs up when it is done.
            thread::spawn(move || serve(connection).ok());
        }
    });
    address
}

/// A model.
pub(crate) fn model() -> SocketAddr {
    start(|mut connection| {
        let events = ANSWER.iter().map(|data| {
            let name = data.split('"').nth(3).unwrap_or_default();
            format!("event: {name}\ndata: {data}\n\n")
        });
        let body: String = events.collect();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\n";
        let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        while listen(&mut connection)? {
            connection.write_all(answer.as_bytes())?;
        }
        Ok(())
    })
}

/// A host that answers with control characters where the path says so, or else with a letter, and
/// never comes to an end.
pub(crate) fn babbler() -> SocketAddr {
    start(|mut connection| {
        let mut request = [0; 4_096];
        let read = connection.read(&mut request)?;
        let says = if request[..read].starts_with(b"GET /control") {
            b"\x01"
        } else {
            b"a"
        };
        connection.write_all(b"HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n\r\n")?;
        let words = says.repeat(64 * 1_024);
        loop {
            connection.write_all(&words)?;
        }
    })
}

/// Reads a request and forgets it; whether there was one.
fn listen(connection: &mut TcpStream) -> io::Result<bool> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read(&mut byte)? == 0 {
            return Ok(false);
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let read = io::copy(&mut connection.take(length.unwrap_or(0)), &mut io::sink())?;
    Ok(Some(read) == length)
}
