//! Tests of `sse`.

use proptest::prelude::*;

use super::*;

/// More than any test without a bound needs.
const AMPLE_BYTES: usize = 1 << 20;

/// What came of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<Event>,
    is_too_large: bool,
    is_mid_event: bool,
}

/// Feeds a new parser; checks that it holds what it may and is no use after an error.
fn parse<'a>(limit_bytes: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(limit_bytes);
    let (mut events, mut is_too_large) = (Vec::new(), false);
    for piece in pieces {
        for event in parser.feed(piece) {
            assert!(!is_too_large, "{event:?}");
            match event {
                Ok(event) => events.push(event),
                Err(TooLarge { .. }) => is_too_large = true,
            }
        }
        assert!(parser.line.len() <= limit_bytes + 1);
        if is_too_large {
            assert_eq!(
                parser.feed(b"\n").next(),
                Some(Err(TooLarge { limit_bytes }))
            );
            break;
        }
    }
    Outcome {
        events,
        is_too_large,
        is_mid_event: parser.is_mid_event(),
    }
}

/// The specification word for word, for a whole stream: decode, split into lines, interpret.
fn reference(stream: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(stream)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let is_mid_line = !text.is_empty() && !text.ends_with('\n');
    let mut lines: Vec<&str> = text
        .strip_prefix('\u{feff}')
        .unwrap_or(&text)
        .split('\n')
        .collect();
    lines.pop();
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
    for line in lines {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (line, field) {
            ("", _) => {
                if let Some(data) = data.strip_suffix('\n') {
                    let name = if name.is_empty() { "message" } else { &name };
                    events.push(Event {
                        name: name.to_owned(),
                        data: data.to_owned(),
                    });
                }
                (name, data) = (String::new(), String::new());
            }
            (_, "event") => name = value.to_owned(),
            (_, "data") => data = data + value + "\n",
            _ => {}
        }
    }
    let is_mid_event = is_mid_line || !name.is_empty() || !data.is_empty();
    Outcome {
        events,
        is_too_large: false,
        is_mid_event,
    }
}

/// Checks what comes of the stream: in one piece, cut at each place, and in single bytes with
/// empty pieces between.
#[track_caller]
fn check_within(limit_bytes: usize, stream: &[u8], expected: &Outcome) {
    let shown = stream.escape_ascii();
    for at in 0..=stream.len() {
        let (left, right) = stream.split_at(at);
        assert_eq!(
            &parse(limit_bytes, [left, right]),
            expected,
            "{shown} cut at {at}"
        );
    }
    let bytes = stream.chunks(1).flat_map(|byte| [byte, b""]);
    assert_eq!(&parse(limit_bytes, bytes), expected, "{shown} in bytes");
}

fn outcome(events: &[(&str, &str)], is_mid_event: bool) -> Outcome {
    let event = |&(name, data): &(&str, &str)| Event {
        name: name.to_owned(),
        data: data.to_owned(),
    };
    Outcome {
        events: events.iter().map(event).collect(),
        is_too_large: false,
        is_mid_event,
    }
}

#[track_caller]
fn check(stream: impl AsRef<[u8]>, events: &[(&str, &str)]) {
    check_within(AMPLE_BYTES, stream.as_ref(), &outcome(events, false));
    assert_eq!(
        reference(stream.as_ref()),
        outcome(events, false),
        "the reference"
    );
}

#[track_caller]
fn check_cut(stream: &str, events: &[(&str, &str)]) {
    check_within(AMPLE_BYTES, stream.as_bytes(), &outcome(events, true));
    assert_eq!(
        reference(stream.as_bytes()),
        outcome(events, true),
        "the reference"
    );
}

#[test]
fn an_event_has_a_name_and_data() {
    check("", &[]);
    check("data: a\n\n", &[("message", "a")]);
    check("event: ping\ndata: {}\n\n", &[("ping", "{}")]);
    check("data: {}\nevent: ping\n\n", &[("ping", "{}")]);
    check(
        "event: a\nevent: b\ndata: 1\n\ndata: 2\n\n",
        &[("b", "1"), ("message", "2")],
    );
    check("event: a\nevent\ndata: 1\n\n", &[("message", "1")]);
    check("data: [DONE]\n\n\n\n", &[("message", "[DONE]")]);
}

#[test]
fn lines_end_with_cr_or_lf_or_both() {
    let expected = [("a", "1\n2"), ("message", "3")];
    for end in ["\n", "\r", "\r\n"] {
        check(
            ["event: a", "data: 1", "data: 2", "", "data: 3", "", ""].join(end),
            &expected,
        );
    }
    check("event: a\rdata: 1\r\ndata: 2\n\rdata: 3\r\n\n", &expected);
    check(
        "data: 1\n\r\n\rdata: 2\r\r\n",
        &[("message", "1"), ("message", "2")],
    );
    check("data: 1\r\r", &[("message", "1")]);
}

#[test]
fn data_may_be_of_many_or_of_empty_lines() {
    check("data: a\ndata: b\ndata: c\n\n", &[("message", "a\nb\nc")]);
    check("data\n\n", &[("message", "")]);
    check("data:\n\n", &[("message", "")]);
    check("data: \n\n", &[("message", "")]);
    check("data\ndata\n\n", &[("message", "\n")]);
    check(
        "data: a\n: a comment\nid: 7\ndata: b\n\n",
        &[("message", "a\nb")],
    );
}

#[test]
fn one_space_after_the_colon_is_no_data() {
    check(
        "data:a\n\ndata: b\n\ndata:  c \n\n",
        &[("message", "a"), ("message", "b"), ("message", " c ")],
    );
    check("data:\ta:b: c\n\n", &[("message", "\ta:b: c")]);
    check("data : a\n\n data: b\n\n", &[]);
}

#[test]
fn an_event_without_data_is_none() {
    check("event: a\n\ndata: 1\n\n", &[("message", "1")]);
    check("id: 1\nretry: 5\n\n\n", &[]);
    check(": keep-alive\n\n:\n\n", &[]);
}

#[test]
fn fields_that_mean_nothing_here_are_ignored() {
    check(
        "id: 1\nid\nretry: soon\nuser: me\nDATA: a\nEvent: b\ndatum: c\ndata: d\n\n",
        &[("message", "d")],
    );
    check("dat\ndata\0: x\n: data: y\n:data: z\n\n", &[]);
}

#[test]
fn a_byte_order_mark_is_skipped_only_at_the_start() {
    check("\u{feff}data: 1\n\n", &[("message", "1")]);
    check("\u{feff}\u{feff}data: 1\n\n", &[]);
    check("\n\u{feff}data: 1\n\n", &[]);
    check("\u{feff}\ndata: \u{feff}1\n\n", &[("message", "\u{feff}1")]);
    check(b"\xEF\xBBdata: 1\n\n", &[]);
}

#[test]
fn text_of_any_kind_arrives_as_it_was_sent() {
    check(
        "event: Ü\ndata: “Ü” 🦀\u{2028}\u{85}\u{b}\n\n",
        &[("Ü", "“Ü” 🦀\u{2028}\u{85}\u{b}")],
    );
    check("event: \0\ndata: a\0b\n\n", &[("\0", "a\0b")]);
}

#[test]
fn invalid_utf_8_is_replaced() {
    check(b"data: a\xFFb\n\n", &[("message", "a\u{fffd}b")]);
    check(
        b"data: \xF0\x9F\xA6\ndata: \x80\n\n",
        &[("message", "\u{fffd}\n\u{fffd}")],
    );
    check(
        b"event: \xE2\x82\r\ndata: \xC0\x80\xED\xA0\x80\r\n\r\n",
        &[("\u{fffd}", &"\u{fffd}".repeat(5))],
    );
    check(b"data\xFF: a\n\xFF\n\n", &[]);
}

#[test]
fn an_event_that_the_stream_ends_in_is_not_given_out() {
    let whole = [("message", "1")];
    for rest in [
        "d",
        "data: 2",
        "data: 2\n",
        "data: 2\r\n",
        "data\n",
        "event: a\n",
        ": no",
        "\u{feff}",
        " ",
    ] {
        check_cut(&format!("data: 1\n\n{rest}"), &whole);
    }
    check_cut("data: [DONE]\n", &[]);
}

#[test]
fn the_event_that_the_stream_ends_in_is_given_out_on_request() {
    let last = |stream: &str| {
        let mut parser = Parser::new(AMPLE_BYTES);
        assert_eq!(parser.feed(stream.as_bytes()).count(), 0, "{stream:?}");
        let event = parser.finish();
        assert!(
            !parser.is_mid_event() && parser.finish().is_none(),
            "{stream:?}"
        );
        event.map(|event| (event.name, event.data))
    };
    let event = |name: &str, data: &str| Some((name.to_owned(), data.to_owned()));
    for stream in [
        "data: 2",
        "data: 2\n",
        "data: 2\r\n",
        "data:2\r",
        "\u{feff}data: 2",
    ] {
        assert_eq!(last(stream), event("message", "2"), "{stream:?}");
    }
    assert_eq!(last("event: a\ndata: 2\ndata: 3"), event("a", "2\n3"));
    for stream in ["", "d", "event: a", ": no", "datum: 2", "\n"] {
        assert_eq!(last(stream), None, "{stream:?}");
    }
    let mut full = Parser::new(10);
    assert_eq!(
        full.feed(b"data: 34567").next(),
        Some(Err(TooLarge { limit_bytes: 10 }))
    );
    assert_eq!(full.finish(), None);
}

#[test]
fn an_event_may_be_as_large_as_the_limit_and_no_larger() {
    let too_large = |events| Outcome {
        is_too_large: true,
        ..outcome(events, true)
    };
    let first = [("message", "1")];
    let first_and = |data| [("message", "1"), ("message", data)];
    let cases: [(&str, Outcome); 9] = [
        ("data: 3456\n\n", outcome(&first_and("3456"), false)),
        ("data: 34567\n\n", too_large(&first)),
        ("data: 345678", too_large(&first)),
        (": 34567890", outcome(&first, true)),
        (": 345678901", too_large(&first)),
        ("data:a\ndata:b\n\n", outcome(&first_and("a\nb"), false)),
        ("data:ab\ndata:cde\n\n", too_large(&first)),
        (
            "event:ab\ndata:cde\n\n",
            outcome(&[("message", "1"), ("ab", "cde")], false),
        ),
        ("event:ab\ndata:cdef\n\n", too_large(&first)),
    ];
    for (rest, expected) in cases {
        check_within(10, format!("data:1\n\n{rest}").as_bytes(), &expected);
    }
}

#[test]
fn replacements_count_with_the_bytes_that_they_take() {
    check_within(
        10,
        b"data:\xFF\xFF\xFF\n\n",
        &outcome(&[("message", "\u{fffd}\u{fffd}\u{fffd}")], false),
    );
    let too_large = Outcome {
        events: vec![],
        is_too_large: true,
        is_mid_event: true,
    };
    check_within(10, b"data:\xFF\xFF\xFF\xFF\n\n", &too_large);
}

#[test]
fn a_stream_without_end_is_bounded() {
    let endless = |piece: &'static [u8]| std::iter::repeat_n(piece, 100_000);
    for piece in [&b"data: a\n"[..], b"data: a", b":", b"\xFF", b"event"] {
        assert!(
            parse(1_000, endless(piece)).is_too_large,
            "{}",
            piece.escape_ascii()
        );
    }
    for piece in [
        &b"\r"[..],
        b"\n",
        b": ping\n",
        b"id: 1\r\n",
        b"event: a\n",
        b"retry\r",
    ] {
        assert!(
            !parse(1_000, endless(piece)).is_too_large,
            "{}",
            piece.escape_ascii()
        );
    }
}

/// Quadratic work would take an hour.
#[test]
fn a_large_event_in_single_bytes_takes_linear_time() {
    let data = "x".repeat(AMPLE_BYTES - 6);
    let stream = format!("data: {data}\n\n");
    assert_eq!(
        parse(AMPLE_BYTES, stream.as_bytes().chunks(1)),
        outcome(&[("message", &data)], false)
    );
}

/// Streams of pieces that mean something, whole or broken.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let text = |text: &'static str| Just(text.as_bytes().to_vec());
    let piece = prop_oneof![
        4 => prop_oneof![text("\n"), text("\r"), text("\r\n"), text("\n\n")],
        4 => prop_oneof![text("data"), text("data:"), text("data: "), text("event:"), text("event"), text("id: 1")],
        2 => prop_oneof![text(":"), text(" "), text("\u{feff}"), text("Ü🦀"), text("\0"), text("x")],
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The stream in pieces of these sizes, in turn; a size of zero gives an empty piece.
fn cut<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &size in sizes {
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_gives_what_the_specification_says(stream in streams()) {
        check_within(AMPLE_BYTES, &stream, &reference(&stream));
    }

    #[test]
    fn a_stream_in_any_pieces_gives_what_the_specification_says(
        stream in streams(),
        sizes in prop::collection::vec(0_usize..9, 0..60),
    ) {
        prop_assert_eq!(parse(AMPLE_BYTES, cut(&stream, &sizes)), reference(&stream));
    }

    #[test]
    fn what_is_too_large_does_not_depend_on_the_pieces(stream in streams(), limit_bytes in 0_usize..40) {
        let whole = parse(limit_bytes, [stream.as_slice()]);
        check_within(limit_bytes, &stream, &whole);
        let expected = reference(&stream);
        prop_assert!(expected.events.starts_with(&whole.events));
        prop_assert!(whole.is_too_large || whole == expected);
        prop_assert!(whole.events.iter().all(|event| event.data.len() <= limit_bytes));
    }
}
