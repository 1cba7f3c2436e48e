//! A provider on loopback that takes no time: a thread per connection, and the same bytes for every
//! request.
//!
//! It is plain `std` over buffers that are made once: neither its threads' time nor any allocation
//! of theirs gets into what is measured of the caller.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;

/// The largest request, head included.
const MAX_BYTES: usize = 1_024 * 1_024;
/// In how many pieces the answer's text comes.
const PIECES: usize = 40;

/// A provider that runs for as long as the process.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    reply: Vec<u8>,
    requests: AtomicU64,
    last: Mutex<Vec<u8>>,
}

impl Provider {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let last = Mutex::new(Vec::with_capacity(MAX_BYTES));
        let shared = Arc::new(Shared {
            reply: reply(),
            requests: AtomicU64::new(0),
            last,
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // The caller hangs up when it is done.
                thread::spawn(move || shared.serve(connection).ok());
            }
        });
        Ok(Self { address, shared })
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The body of the last request.
    pub(crate) fn last(&self) -> Bytes {
        Bytes::copy_from_slice(
            &self
                .shared
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Shared {
    fn serve(&self, mut connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut buffer = vec![0; MAX_BYTES];
        loop {
            let mut filled = 0;
            let body = loop {
                let read = connection.read(buffer.get_mut(filled..).unwrap_or_default())?;
                if read == 0 {
                    return Ok(());
                }
                filled += read;
                if let Some(body) = body(buffer.get(..filled).unwrap_or_default()) {
                    break body;
                }
            };
            self.requests.fetch_add(1, Ordering::SeqCst);
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.clear();
            last.extend_from_slice(body);
            drop(last);
            connection.write_all(&self.reply)?;
        }
    }
}

/// The body of a request that is there as a whole.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    const LENGTH: &[u8] = b"content-length: ";
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(end + 4)?;
    let line = head.split(|byte| *byte == b'\n').find(|line| {
        line.get(..LENGTH.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(LENGTH))
    })?;
    let length: usize = str::from_utf8(line.get(LENGTH.len()..)?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    (body.len() == length).then_some(body)
}

/// A stream of Anthropic's with a chunk for each event, as its API sends it, but all at once.
fn reply() -> Vec<u8> {
    let mut events = vec![
        r#"{"type":"message_start","message":{"model":"claude-sonnet-5-5-20260901","id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":2100,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}"#.to_owned(),
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(),
    ];
    let piece = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"and some ten words, as a piece of an answer has "}}"#;
    events.extend((0..PIECES).map(|_| piece.to_owned()));
    events.extend([
        r#"{"type":"content_block_stop","index":0}"#.to_owned(),
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":440}}"#.to_owned(),
        r#"{"type":"message_stop"}"#.to_owned(),
    ]);
    let mut reply = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_1\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_owned();
    for data in events {
        let name = data.split('"').nth(3).unwrap_or_default();
        let event = format!("event: {name}\ndata: {data}\n\n");
        // Writing to a string can't fail.
        let _: std::fmt::Result = write!(reply, "{:x}\r\n{event}\r\n", event.len());
    }
    reply.push_str("0\r\n\r\n");
    reply.into_bytes()
}
