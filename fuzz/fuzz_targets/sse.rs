//! Whatever the bytes and however they are cut: the same events, none over the limit, and no line
//! over it accepted.

#![no_main]

use fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use shared::llm::sse::{Event, Parser};

fuzz_target!(|input: (u16, [u8; 8], &[u8])| {
    let (limit_bytes, sizes, stream) = input;
    let limit_bytes = usize::from(limit_bytes);
    let whole = read(limit_bytes, [stream]);
    assert_eq!(
        read(limit_bytes, pieces(stream, &sizes)),
        whole,
        "in pieces"
    );
    assert_eq!(read(limit_bytes, stream.chunks(1)), whole, "in bytes");

    let Outcome {
        events,
        is_too_large,
        ..
    } = whole;
    assert!(events.iter().all(|event| event.data.len() <= limit_bytes));
    let longest_line = stream
        .split(|byte| b"\r\n".contains(byte))
        .map(<[u8]>::len)
        .max();
    assert!(is_too_large || longest_line <= Some(limit_bytes));
});

#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    is_too_large: bool,
    is_mid_event: bool,
}

fn read<'a>(limit_bytes: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limit_bytes);
    let mut events = Vec::new();
    for event in pieces
        .into_iter()
        .flat_map(|piece| parser.feed(piece).collect::<Vec<_>>())
    {
        match event {
            Ok(event) => events.push(event),
            Err(_) => {
                return Outcome {
                    events,
                    is_too_large: true,
                    is_mid_event: true,
                };
            }
        }
    }
    Outcome {
        events,
        is_too_large: false,
        is_mid_event: parser.is_mid_event(),
    }
}
