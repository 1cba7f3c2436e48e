//! How every provider's client handles an exchange.

use std::time::{Duration, Instant};

use futures::future::join_all;

use super::stand_in::{
    AMPLE, ANTHROPIC, PATIENT, Reply, STAND_INS, Server, Stored, Then, call_model, key,
};
use crate::domain::{Deadline, ModelAnswer, Spend, StopReason, Wait, WaitReason};
use crate::llm::{ApiKey, Timeouts};
use crate::ports::{ModelError, ModelErrorKind, Recovery};
use crate::testing::samples::START;

/// Short for a person, long for this machine.
const SHORT: Duration = Duration::from_millis(300);

pub(super) const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;
pub(super) const ERROR_BODY: &str = r#"{"error":{"type":"some_error","message":"canary-input"}}"#;
const START_OF_ANSWER: &str = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\nrequest-id: req_1\r\n\
                               x-request-id: req_1\r\ncontent-length: 999\r\n\r\n{\"content\": [\"canary-answer";

pub(super) type Headers<'a> = &'a [(&'a str, &'a str)];

#[track_caller]
pub(super) fn check_failure(
    answer: Result<ModelAnswer, ModelError>,
    status: Option<u16>,
    kind: &ModelErrorKind,
) {
    let error = answer.unwrap_err();
    assert_eq!(
        (&error.kind, error.status, error.spend.attempts),
        (kind, status, 1),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_is_the_same_in_every_transfer() {
    for stand_in in STAND_INS {
        let whole = stand_in
            .reply_to(
                &stand_in.whole_request(),
                Reply::ok(stand_in.whole),
                PATIENT,
            )
            .await
            .unwrap();
        assert_eq!(
            (whole.text().as_str(), whole.stop_reason),
            ("There are three files, “Ü”.", StopReason::EndTurn)
        );
        assert_eq!((whole.spend.attempts, whole.spend.usage), (1, whole.usage));
        assert_eq!(whole.model, *stand_in.request().model());
        assert!(whole.request_id.is_some());
        assert_eq!(stand_in.reply(stand_in.streamed()).await.unwrap(), whole);
        assert_eq!(
            stand_in.reply(Reply::ok(stand_in.whole)).await.unwrap(),
            whole
        );
        let streamed = stand_in
            .reply_to(&stand_in.whole_request(), stand_in.streamed(), PATIENT)
            .await
            .unwrap();
        assert_eq!(streamed, whole);
        let without_type = Reply::new(200, &[], stand_in.whole);
        let answer = stand_in
            .reply_to(&stand_in.whole_request(), without_type, PATIENT)
            .await
            .unwrap();
        assert_eq!(
            answer,
            ModelAnswer {
                request_id: None,
                ..whole
            }
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_answer() {
    let bodies = [
        "",
        "<html>canary-answer</html>",
        "null",
        "[]",
        "{}",
        "\"canary-answer\"",
        "{\"content\": [\"can",
    ];
    for stand_in in STAND_INS {
        for body in bodies {
            for request in [stand_in.request(), stand_in.whole_request()] {
                let answer = stand_in.reply_to(&request, Reply::ok(body), PATIENT).await;
                check_failure(answer, Some(200), &ModelErrorKind::BadAnswer);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let hundred_mib =
        "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n";
    let endless = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\n\r\n";
    for stand_in in STAND_INS {
        for head in [hundred_mib, endless] {
            let error = stand_in
                .reply(Reply::raw(head, Then::Babble))
                .await
                .unwrap_err();
            assert_eq!(
                error.source.as_ref().unwrap().to_string(),
                "the body is larger than 8388608 bytes"
            );
            check_failure(Err(error), Some(200), &ModelErrorKind::BadAnswer);
        }
    }
    let seven_mib = "x".repeat(7 * 1_024 * 1_024);
    let answer = format!(r#"{{"content": [{{"type": "text", "text": "{seven_mib}"}}]}}"#);
    assert_eq!(
        ANTHROPIC.reply(Reply::ok(&answer)).await.unwrap().text(),
        seven_mib
    );
}

#[tokio::test]
async fn a_broken_connection_is_unavailability() {
    let silent = Reply::raw("", Then::Close);
    let malformed = Reply::raw("canary-answer\r\n\r\n", Then::Close);
    let cut_head = Reply::raw("HTTP/1.1 200 x\r\nrequest-id: canary", Then::Close);
    let cut_body = Reply::raw(START_OF_ANSWER, Then::Close);
    for stand_in in STAND_INS {
        for reply in [&silent, &malformed, &cut_head] {
            check_failure(stand_in.reply(reply.clone()).await, None, &UNAVAILABLE);
        }
        check_failure(
            stand_in.reply(cut_body.clone()).await,
            Some(200),
            &UNAVAILABLE,
        );
        let server = Server::start(Reply::ok("{}")).await;
        let access = server.access();
        server.stop().await;
        let unsent = call_model(
            stand_in.client(access, PATIENT).as_ref(),
            &stand_in.request(),
        )
        .await;
        let unsent = unsent.unwrap_err();
        let expected = (&UNAVAILABLE, None, Spend::default());
        assert_eq!(
            (&unsent.kind, unsent.status, unsent.spend),
            expected,
            "what was not sent is not billed"
        );
    }
}

#[tokio::test]
async fn whatever_is_slow_ends_in_time() {
    let start = Instant::now();
    let impatient = Timeouts {
        overall: SHORT,
        ..PATIENT
    };
    let now = Recovery::at(Wait {
        until: START,
        reason: WaitReason::OutOfTime,
    });
    let replies = [
        ("", None),
        ("HTTP/1.1 200 x\r\n", None),
        (START_OF_ANSWER, Some(200)),
    ];
    let calls = STAND_INS
        .into_iter()
        .flat_map(|stand_in| replies.map(|(reply, status)| (stand_in, reply, status)));
    join_all(calls.map(async |(stand_in, reply, status)| {
        let reply = Reply::raw(reply, Then::Hold);
        let answer = stand_in
            .reply_to(&stand_in.request(), reply.clone(), impatient)
            .await;
        assert_eq!(
            answer.as_ref().unwrap_err().request_id.is_some(),
            status.is_some()
        );
        check_failure(answer, status, &ModelErrorKind::Timeout);
        let mut urgent = stand_in.request();
        urgent.deadline = Deadline::at(START.plus(SHORT));
        let late = stand_in.reply_to(&urgent, reply, PATIENT).await;
        assert_eq!(late.as_ref().unwrap_err().recovery, Some(now));
        check_failure(late, status, &ModelErrorKind::OutOfTime);
    }))
    .await;
    assert!(start.elapsed() >= SHORT && start.elapsed() < AMPLE);
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_made() {
    let server = Server::start(Reply::ok("{}")).await;
    for stand_in in STAND_INS {
        let mut late = stand_in.request();
        late.deadline = Deadline::at(START);
        for key in [
            ApiKey::Absent,
            key(Stored::Value("canary-key")),
            key(Stored::Silent),
        ] {
            let client = stand_in.client(server.access_with(key), PATIENT);
            let error = call_model(client.as_ref(), &late).await.unwrap_err();
            assert_eq!(
                (error.kind, error.spend.attempts),
                (ModelErrorKind::OutOfTime, 0)
            );
        }
    }
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn without_a_usable_key_no_request_is_sent() {
    let keys = [
        (Stored::Missing, ModelErrorKind::KeyMissing),
        (Stored::Value("canary\nkey"), ModelErrorKind::KeyMissing),
        (Stored::Unavailable, ModelErrorKind::KeyUnavailable),
        (Stored::Silent, ModelErrorKind::KeyUnavailable),
    ];
    let server = Server::start(Reply::ok("{}")).await;
    for (stored, kind) in keys {
        let timeouts = Timeouts {
            first_byte: SHORT,
            ..PATIENT
        };
        let client = ANTHROPIC.client(server.access_with(key(stored)), timeouts);
        let error = call_model(client.as_ref(), &ANTHROPIC.request())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.status, error.spend.attempts),
            (kind, None, 0)
        );
    }
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_provider_without_a_key_is_called_without_one() {
    for stand_in in STAND_INS {
        let server = Server::start(stand_in.streamed()).await;
        let client = stand_in.client(server.access_with(ApiKey::Absent), PATIENT);
        call_model(client.as_ref(), &stand_in.request())
            .await
            .unwrap();
        let [request] = server.requests().try_into().unwrap();
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_failed_call_is_not_repeated() {
    for stand_in in STAND_INS {
        for status in [429, 500, 503] {
            let server =
                Server::start(Reply::new(status, &[("retry-after", "0")], ERROR_BODY)).await;
            call_model(
                stand_in.client(server.access(), PATIENT).as_ref(),
                &stand_in.request(),
            )
            .await
            .unwrap_err();
            assert_eq!(server.requests().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_that_nobody_requested_is_named() {
    for stand_in in STAND_INS {
        for (encoding, named) in [
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("identity, br", Some("br")),
            ("identity", None),
            ("utf-8", None),
        ] {
            let headers = [
                ("content-type", "application/json"),
                ("content-encoding", encoding),
            ];
            let answer = stand_in
                .reply(Reply::new(200, &headers, stand_in.whole))
                .await;
            let words = answer.err().map(|error| {
                assert_eq!(error.kind, ModelErrorKind::BadAnswer, "{encoding}");
                error.source.unwrap().to_string()
            });
            let expected = named.map(|name| {
                format!("the response body is compressed ({name}), which was not requested")
            });
            assert_eq!(words, expected, "{encoding}");
        }
    }
}
