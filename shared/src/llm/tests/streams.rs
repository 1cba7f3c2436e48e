//! What every provider's client makes of a stream that is cut, slow, or without end.

use std::time::{Duration, Instant};

use super::stand_in::{AMPLE, PATIENT, Reply, STAND_INS, Server, StandIn, Then, call_model};
use crate::domain::{AssistantContent, Usage};
use crate::llm::Timeouts;
use crate::llm::dialect::{Dialect, Fault, Progress, ResponseParser};
use crate::llm::sse::Parser;
use crate::ports::ModelErrorKind;

/// Short for a person, long for this machine.
const SHORT: Duration = Duration::from_millis(300);

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;

/// The stream's first event, and the rest.
fn first_and_rest(stand_in: &StandIn) -> (&'static str, &'static str) {
    stand_in
        .stream
        .split_at(stand_in.stream.find("\n\n").unwrap() + 2)
}

/// What is known of the answer when the stream ends after these bytes.
pub(super) fn read<D: Dialect>(stream: &[u8]) -> (Usage, Result<Vec<AssistantContent>, Fault>) {
    let (mut parser, mut reading) = (Parser::new(stream.len()), D::ResponseParser::default());
    for event in parser.feed(stream) {
        match reading.event(&event.unwrap()) {
            Ok(Progress::Done) => break,
            Ok(Progress::More | Progress::Stopped | Progress::Counted) => {}
            Err(fault) => return (reading.usage(u64::MAX), Err(fault)),
        }
    }
    (
        reading.usage(u64::MAX),
        reading.finish().map(|answer| {
            answer
                .content
                .into_iter()
                .map(|part| part.content)
                .collect()
        }),
    )
}

/// Cuts the stream after each byte: the rest is incomplete, until the last byte. What was used
/// only grows.
#[track_caller]
pub(super) fn check_cut_everywhere<D: Dialect>(stream: &str) {
    let (used, whole) = read::<D>(stream.as_bytes());
    let whole = whole.ok().unwrap();
    let mut before = 0;
    for end in 0..stream.len() {
        let (usage, answer) = read::<D>(&stream.as_bytes()[..end]);
        match answer {
            Ok(answer) => assert_eq!((answer, usage), (whole.clone(), used), "cut at {end}"),
            Err(Fault::Truncated) => {}
            Err(
                Fault::ProviderError(..)
                | Fault::Malformed(_)
                | Fault::Inconsistent(_)
                | Fault::Aborted,
            ) => {
                panic!("cut at {end}")
            }
        }
        assert!(
            usage.input_tokens >= before && usage.input_tokens <= used.input_tokens,
            "cut at {end}"
        );
        before = usage.input_tokens;
    }
}

#[tokio::test]
async fn a_stream_in_any_pieces_gives_the_whole_answer() {
    for stand_in in STAND_INS {
        let expected = stand_in.reply(stand_in.streamed()).await.unwrap();
        for size in [7, 100, 1_000] {
            let pieces: Vec<&[u8]> = stand_in.stream.as_bytes().chunks(size).collect();
            assert_eq!(
                stand_in
                    .reply(Reply::stream(&pieces, Then::End))
                    .await
                    .unwrap(),
                expected
            );
        }
        for then in [Then::Close, Then::Hold, Then::Babble] {
            assert_eq!(
                stand_in
                    .reply(Reply::stream(&[stand_in.stream], then))
                    .await
                    .unwrap(),
                expected
            );
        }
    }
}

#[tokio::test]
async fn a_connection_serves_one_stream_after_the_other() {
    for stand_in in STAND_INS {
        let server = Server::start(stand_in.streamed()).await;
        let client = stand_in.client(server.access(), PATIENT);
        for _ in 0..3 {
            call_model(client.as_ref(), &stand_in.request())
                .await
                .unwrap();
        }
        assert_eq!((server.requests().len(), server.connections()), (3, 1));
    }
}

#[tokio::test]
async fn a_broken_stream_is_unavailability_and_its_tokens_count() {
    for stand_in in STAND_INS {
        let used = stand_in.reply(stand_in.streamed()).await.unwrap().usage;
        let (first, rest) = first_and_rest(&stand_in);
        for then in [Then::Close, Then::End] {
            for reply in [
                Reply::stream(&[first], then),
                Reply::stream(&[first, &rest[..rest.len() / 2]], then),
            ] {
                let error = stand_in.reply(reply).await.unwrap_err();
                assert_eq!((error.kind, error.status), (UNAVAILABLE, Some(200)));
                assert!(error.request_id.is_some());
                assert_eq!(error.spend.attempts, 1);
                assert!([0, used.input_tokens].contains(&error.spend.usage.input_tokens));
            }
            let error = stand_in
                .reply(Reply::stream(&[""], then))
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.spend.usage),
                (UNAVAILABLE, Usage::default())
            );
        }
    }
}

#[tokio::test]
async fn a_stream_must_begin_in_time() {
    let impatient = Timeouts {
        first_byte: SHORT,
        ..PATIENT
    };
    let unsteady = Timeouts {
        idle: SHORT,
        ..impatient
    };
    for stand_in in STAND_INS {
        let silences = [
            (Reply::raw("", Then::Hold), impatient, "no response began"),
            (
                Reply::stream(&[""], Then::Hold),
                impatient,
                "no response began",
            ),
            (
                Reply::stream(&[": a comment\n\n"], Then::Hold),
                unsteady,
                "the stream was silent",
            ),
        ];
        for (reply, timeouts, limit) in silences {
            let error = stand_in
                .reply_to(&stand_in.request(), reply, timeouts)
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.spend.attempts),
                (ModelErrorKind::Timeout, 1)
            );
            let source = error.source.unwrap().to_string();
            assert!(
                source.starts_with(limit) && source.ends_with(" 0.3 s"),
                "{source}"
            );
        }
    }
}

#[tokio::test]
async fn a_gateway_may_send_comments_while_its_model_queues() {
    let timeouts = Timeouts {
        first_byte: SHORT * 2,
        idle: SHORT * 2,
        ..PATIENT
    };
    for stand_in in STAND_INS {
        let comments = std::iter::repeat_n(": PROCESSING\n\n", 6);
        let pieces: Vec<&str> = comments.chain([stand_in.stream]).collect();
        let start = Instant::now();
        let answer = stand_in
            .reply_to(
                &stand_in.request(),
                Reply::stream(&pieces, Then::End).slowly(SHORT),
                timeouts,
            )
            .await;
        assert_eq!(
            answer.unwrap(),
            stand_in.reply(stand_in.streamed()).await.unwrap()
        );
        assert!(start.elapsed() > timeouts.first_byte + timeouts.idle);

        let hurried = Timeouts {
            overall: SHORT * 3,
            ..timeouts
        };
        let endless = Reply::stream(&[": PROCESSING\n\n"], Then::Drip).slowly(SHORT / 10);
        let error = stand_in
            .reply_to(&stand_in.request(), endless, hurried)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.status),
            (ModelErrorKind::Timeout, Some(200))
        );
        let source = error.source.unwrap().to_string();
        assert_eq!(source, "the answer was not complete within 0.9 s");
    }
}

#[tokio::test]
async fn a_stream_must_not_pause_for_long() {
    let impatient = Timeouts {
        idle: SHORT,
        ..PATIENT
    };
    for stand_in in STAND_INS {
        let (first, rest) = first_and_rest(&stand_in);
        let stalls = [
            Reply::stream(&[first], Then::Hold),
            Reply::stream(&[first, &rest[..rest.len() / 2]], Then::Hold),
            Reply::stream(&[first, ": no event\n\n"], Then::Drip).slowly(SHORT / 10),
            Reply::stream(&[first, "x"], Then::Drip).slowly(SHORT / 10),
        ];
        for reply in stalls {
            let start = Instant::now();
            let error = stand_in
                .reply_to(&stand_in.request(), reply, impatient)
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind, error.status),
                (ModelErrorKind::Timeout, Some(200))
            );
            assert!(start.elapsed() >= SHORT && start.elapsed() < AMPLE);
        }
    }
}

#[tokio::test]
async fn a_whole_answer_is_taken_though_its_connection_stays_open() {
    for stand_in in STAND_INS {
        let (start, end) = stand_in
            .whole
            .split_at(stand_in.whole.find('}').unwrap() + 1);
        let reply = Reply::stream(&[start, end], Then::Hold).slowly(SHORT);
        let begun = Instant::now();
        let answer = stand_in
            .reply_to(&stand_in.whole_request(), reply, PATIENT)
            .await
            .unwrap();
        assert!(!answer.text().is_empty());
        assert!(begun.elapsed() < AMPLE / 2);
        let cut = Reply::stream(&[start], Then::Hold);
        let hurried = Timeouts {
            overall: SHORT * 2,
            ..PATIENT
        };
        let error = stand_in
            .reply_to(&stand_in.whole_request(), cut, hurried)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Timeout);
    }
}

#[tokio::test]
async fn each_event_gives_the_stream_more_time() {
    let timeouts = Timeouts {
        first_byte: Duration::from_secs(2),
        idle: Duration::from_secs(2),
        ..PATIENT
    };
    for stand_in in STAND_INS {
        let (first, rest) = first_and_rest(&stand_in);
        let ping = "event: ping\ndata: {\"type\": \"ping\", \"choices\": []}\n\n";
        let pieces: Vec<&str> = std::iter::once(first)
            .chain(std::iter::repeat_n(ping, 7))
            .chain([rest])
            .collect();
        let reply = Reply::stream(&pieces, Then::End).slowly(SHORT);
        let start = Instant::now();
        let answer = stand_in
            .reply_to(&stand_in.request(), reply, timeouts)
            .await
            .unwrap();
        assert_eq!(answer, stand_in.reply(stand_in.streamed()).await.unwrap());
        assert!(start.elapsed() > timeouts.idle);
    }
}

#[tokio::test]
async fn a_stream_without_end_is_ended() {
    let hurried = Timeouts {
        overall: SHORT * 2,
        ..PATIENT
    };
    for stand_in in STAND_INS {
        let (first, _) = first_and_rest(&stand_in);
        let drip = Reply::stream(
            &[first, "event: ping\ndata: {\"choices\": []}\n\n"],
            Then::Drip,
        )
        .slowly(SHORT / 10);
        let error = stand_in
            .reply_to(&stand_in.request(), drip, hurried)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.status),
            (ModelErrorKind::Timeout, Some(200))
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_too_large_is_not_read_to_its_end() {
    let comments = format!(
        ": {}
",
        "x".repeat(65_534)
    )
    .repeat(16);
    let event = format!("data: {}", "x".repeat(1_024 * 1_024));
    for stand_in in STAND_INS {
        for (piece, what) in [
            (&comments, "the body is larger than 33554432"),
            (&event, "an event is larger than 8388608"),
        ] {
            let reply = Reply::stream(&[piece], Then::Drip);
            let error = stand_in.reply(reply).await.unwrap_err();
            assert_eq!(
                (error.kind, error.status),
                (ModelErrorKind::BadAnswer, Some(200))
            );
            assert_eq!(error.source.unwrap().to_string(), format!("{what} bytes"));
        }
    }
}
