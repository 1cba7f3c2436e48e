//! What every vendor's client makes of an exchange, whatever the vendor's form.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::stand_in::{AMPLE, ANTHROPIC, PATIENT, Reply, Server, Stored, Then, VENDORS, ask, key};
use crate::domain::{Deadline, ModelAnswer, Provider, Spend, StopReason, Wait, WaitReason};
use crate::llm::{ApiKey, Timeouts};
use crate::ports::{ModelError, ModelErrorKind};
use crate::testing::samples::START;

/// Short for a person, long for this machine.
const SHORT: Duration = Duration::from_millis(300);

const UNAVAILABLE: ModelErrorKind = ModelErrorKind::Unavailable;
const PAGE: &str = "<html>canary-answer</html>";
const ERROR_BODY: &str = r#"{"error":{"type":"some_error","message":"canary-input"}}"#;
const START_OF_ANSWER: &str = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\nrequest-id: req_1\r\n\
                               x-request-id: req_1\r\ncontent-length: 999\r\n\r\n{\"content\": [\"canary-answer";

type Headers<'a> = &'a [(&'a str, &'a str)];

#[track_caller]
fn check_failure(
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
    for vendor in VENDORS {
        let whole = vendor
            .reply_to(
                &vendor.question_for_whole(),
                Reply::ok(vendor.whole),
                PATIENT,
            )
            .await
            .unwrap();
        assert_eq!(
            (whole.text().as_str(), whole.stop_reason),
            ("There are three files, “Ü”.", StopReason::EndTurn)
        );
        assert_eq!((whole.spend.attempts, whole.spend.usage), (1, whole.usage));
        assert_eq!(whole.model, *vendor.question().model());
        assert!(whole.request_id.is_some());
        assert_eq!(vendor.reply(vendor.streamed()).await.unwrap(), whole);
        assert_eq!(vendor.reply(Reply::ok(vendor.whole)).await.unwrap(), whole);
        let streamed = vendor
            .reply_to(&vendor.question_for_whole(), vendor.streamed(), PATIENT)
            .await
            .unwrap();
        assert_eq!(streamed, whole);
        let without_type = Reply::new(200, &[], vendor.whole);
        let answer = vendor
            .reply_to(&vendor.question_for_whole(), without_type, PATIENT)
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

/// What a status means with this body: no API refuses a request with a page.
fn kind_with<'a>(body: &str, by_status: &'a ModelErrorKind) -> &'a ModelErrorKind {
    match by_status {
        ModelErrorKind::Rejected if body == PAGE => &ModelErrorKind::BadAnswer,
        kind => kind,
    }
}

#[tokio::test]
async fn the_status_decides_first() {
    let wait = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    let hints: [(Headers<'_>, Option<Duration>); 8] = [
        (&[], None),
        (&[("retry-after", "7")], wait(7.0)),
        (
            &[("retry-after-ms", "250"), ("retry-after", "7")],
            wait(0.25),
        ),
        (
            &[("retry-after-ms", "soon"), ("retry-after", "0.5")],
            wait(0.5),
        ),
        (
            &[
                ("date", "Wed, 21 Oct 2026 07:28:00 GMT"),
                ("retry-after", "Wed, 21 Oct 2026 07:28:09 GMT"),
            ],
            wait(9.0),
        ),
        (&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], None),
        (&[("retry-after", "0"), ("x-should-retry", "maybe")], None),
        (
            &[("retry-after", "-1"), ("content-type", "text/html")],
            None,
        ),
    ];
    for (headers, retry_after) in hints {
        let kinds = [
            (vec![201, 204, 206, 300, 304], ModelErrorKind::BadAnswer),
            (vec![400, 404, 405, 418, 422], ModelErrorKind::Rejected),
            (vec![413], ModelErrorKind::ContextTooLong),
            (vec![401, 403], ModelErrorKind::Authentication),
            (vec![402], ModelErrorKind::QuotaExhausted),
            (vec![408], ModelErrorKind::Timeout),
            (
                vec![409, 425, 498, 500, 502, 503, 504, 529, 599, 999],
                UNAVAILABLE,
            ),
            (vec![429], ModelErrorKind::RateLimited),
        ];
        let cases = kinds
            .iter()
            .flat_map(|(statuses, kind)| statuses.iter().map(move |status| (*status, kind)));
        for (status, kind) in cases {
            for body in [ERROR_BODY, PAGE, "", "{\"error\":\"can"] {
                let kind = kind_with(body, kind);
                for vendor in VENDORS {
                    let answer = vendor.reply(Reply::new(status, headers, body)).await;
                    let hint = retry_after.filter(|_| kind.is_retryable());
                    assert_eq!(
                        answer.as_ref().unwrap_err().retry_after,
                        hint,
                        "{status} {headers:?}"
                    );
                    check_failure(answer, Some(status), kind);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_known_by_every_vendors_name_for_it() {
    let names = [
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "insufficient_quota",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "billing_error",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "budget_exceeded",
    ];
    let headers = [("retry-after", "7"), ("x-should-retry", "true")];
    for vendor in VENDORS {
        for name in names {
            for body in [
                json!({"error": {"type": name, "message": "canary"}}),
                json!({"error": {"type": "rate_limit_error", "code": name, "message": "canary"}}),
                json!({"error": {"type": "rate_limit_error", "details": {"error_code": name}}}),
            ] {
                let error = vendor
                    .reply(Reply::new(429, &headers, &body.to_string()))
                    .await
                    .unwrap_err();
                assert_eq!(
                    (error.should_retry, error.retry_after),
                    (None, None),
                    "{body}"
                );
                check_failure(Err(error), Some(429), &ModelErrorKind::QuotaExhausted);
            }
        }
    }
}

/// The bodies are those of OpenAI's API, and of servers that take after it.
#[tokio::test]
async fn errors_that_share_a_status_are_told_apart_in_both_of_openais_apis() {
    let too_long =
        "This model's maximum context length is 128000 tokens. However, you requested canary";
    let beyond =
        "Your input exceeds the context window of this model. Please adjust your input and canary";
    let overloaded = "The engine is currently overloaded, please try again later. canary";
    let cases = [
        (
            400,
            "invalid_request_error",
            None,
            "canary: bad",
            ModelErrorKind::Rejected,
        ),
        (
            400,
            "invalid_request_error",
            Some("context_length_exceeded"),
            "canary",
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            None,
            too_long,
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            None,
            beyond,
            ModelErrorKind::ContextTooLong,
        ),
        (
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
            "canary",
            ModelErrorKind::Authentication,
        ),
        (
            404,
            "invalid_request_error",
            Some("model_not_found"),
            "canary",
            ModelErrorKind::Rejected,
        ),
        (
            429,
            "insufficient_quota",
            Some("insufficient_quota"),
            "canary",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            429,
            "tokens",
            Some("rate_limit_exceeded"),
            "canary",
            ModelErrorKind::RateLimited,
        ),
        (
            429,
            "requests",
            Some("slow_down"),
            "canary",
            ModelErrorKind::RateLimited,
        ),
        (500, "server_error", None, "canary", UNAVAILABLE),
        (
            503,
            "server_error",
            Some("slow_down"),
            "canary",
            UNAVAILABLE,
        ),
        (
            503,
            "service_unavailable_error",
            Some("server_is_overloaded"),
            overloaded,
            UNAVAILABLE,
        ),
    ];
    for vendor in VENDORS
        .iter()
        .filter(|vendor| vendor.provider != Provider::Anthropic)
    {
        for (status, r#type, code, message, kind) in &cases {
            let error = json!({"type": r#type, "code": code, "param": null, "message": message});
            let headers = [("x-request-id", "req_1"), ("retry-after", "7")];
            let body = json!({"error": error}).to_string();
            let failed = vendor
                .reply(Reply::new(*status, &headers, &body))
                .await
                .unwrap_err();
            let hint = kind.is_retryable().then_some(Duration::from_secs(7));
            assert_eq!(
                (failed.request_id.as_deref(), failed.retry_after),
                (Some("req_1"), hint),
                "{body}"
            );
            let name = code
                .filter(|code| code != r#type)
                .map(|code| format!("/{code}"))
                .unwrap_or_default();
            let said = failed.source.as_ref().unwrap().to_string();
            assert_eq!(said, format!("the provider calls it {type}{name}"));
            check_failure(Err(failed), Some(*status), kind);
        }
    }
}

#[tokio::test]
async fn the_provider_may_say_whether_to_try_again() {
    for vendor in VENDORS {
        for (word, expected) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("1", None),
            ("", None),
        ] {
            for status in [400, 429, 503] {
                let reply = Reply::new(
                    status,
                    &[("x-should-retry", word), ("retry-after", "7")],
                    ERROR_BODY,
                );
                let error = vendor.reply(reply).await.unwrap_err();
                let hint =
                    (status != 400 || expected == Some(true)).then_some(Duration::from_secs(7));
                assert_eq!(
                    (error.should_retry, error.retry_after),
                    (expected, hint),
                    "{status} {word}"
                );
            }
            let headers = [("x-should-retry", word), ("retry-after", "7")];
            let used_up = vendor
                .reply(Reply::new(402, &headers, ""))
                .await
                .unwrap_err();
            assert!(
                !used_up.is_retryable() && used_up.retry_after.is_none(),
                "{word}"
            );
        }
    }
}

#[tokio::test]
async fn hints_on_a_success_mean_nothing() {
    for vendor in VENDORS {
        let hints = [
            ("content-type", "application/json"),
            ("retry-after", "7"),
            ("x-should-retry", "true"),
        ];
        let answer = vendor
            .reply(Reply::new(200, &hints, vendor.whole))
            .await
            .unwrap();
        assert_eq!(answer.text(), "There are three files, “Ü”.");
        let error = vendor
            .reply(Reply::new(200, &hints, "{"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.should_retry, error.retry_after),
            (ModelErrorKind::BadAnswer, None, None)
        );
    }
}

#[tokio::test]
async fn an_unreadable_error_body_leaves_the_status_to_decide() {
    for vendor in VENDORS {
        for rest in [
            "content-length: 9\r\n\r\n{",
            "content-length: 99999999\r\n\r\n{",
            "\r\n",
        ] {
            let reply = Reply::raw(
                &format!("HTTP/1.1 429 x\r\nretry-after-ms: 250\r\n{rest}"),
                Then::Close,
            );
            let answer = vendor.reply(reply).await;
            assert_eq!(
                answer.as_ref().unwrap_err().retry_after,
                Some(Duration::from_millis(250))
            );
            check_failure(answer, Some(429), &ModelErrorKind::RateLimited);
        }
        let endless = Reply::raw("HTTP/1.1 503 x\r\n\r\n", Then::Babble);
        check_failure(vendor.reply(endless).await, Some(503), &UNAVAILABLE);
    }
    let slow = Reply::raw("HTTP/1.1 401 x\r\ncontent-length: 9\r\n\r\n{", Then::Hold);
    check_failure(
        ANTHROPIC.reply(slow).await,
        Some(401),
        &ModelErrorKind::Authentication,
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(Reply::ok("{}")).await;
    let location = elsewhere.access().base_url.at("/v1/messages").to_string();
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::new(status, &[("location", &location)], "");
        check_failure(
            ANTHROPIC.reply(reply).await,
            Some(status),
            &ModelErrorKind::BadAnswer,
        );
    }
    assert_eq!(elsewhere.requests(), []);
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
    for vendor in VENDORS {
        for body in bodies {
            for request in [vendor.question(), vendor.question_for_whole()] {
                let answer = vendor.reply_to(&request, Reply::ok(body), PATIENT).await;
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
    for vendor in VENDORS {
        for head in [hundred_mib, endless] {
            let error = vendor
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
    let rubbish = Reply::raw("canary-answer\r\n\r\n", Then::Close);
    let cut_head = Reply::raw("HTTP/1.1 200 x\r\nrequest-id: canary", Then::Close);
    let cut_body = Reply::raw(START_OF_ANSWER, Then::Close);
    for vendor in VENDORS {
        for reply in [&silent, &rubbish, &cut_head] {
            check_failure(vendor.reply(reply.clone()).await, None, &UNAVAILABLE);
        }
        check_failure(
            vendor.reply(cut_body.clone()).await,
            Some(200),
            &UNAVAILABLE,
        );
        let server = Server::start(Reply::ok("{}")).await;
        let access = server.access();
        server.stop().await;
        let unsent = ask(vendor.client(access, PATIENT).as_ref(), &vendor.question()).await;
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
    let park = ModelErrorKind::Park(Wait {
        until: START,
        reason: WaitReason::OutOfTime,
    });
    let replies = [
        ("", None),
        ("HTTP/1.1 200 x\r\n", None),
        (START_OF_ANSWER, Some(200)),
    ];
    let calls = VENDORS
        .into_iter()
        .flat_map(|vendor| replies.map(|(reply, status)| (vendor, reply, status)));
    join_all(calls.map(async |(vendor, reply, status)| {
        let reply = Reply::raw(reply, Then::Hold);
        let answer = vendor
            .reply_to(&vendor.question(), reply.clone(), impatient)
            .await;
        assert_eq!(
            answer.as_ref().unwrap_err().request_id.is_some(),
            status.is_some()
        );
        check_failure(answer, status, &ModelErrorKind::Timeout);
        let mut urgent = vendor.question();
        urgent.deadline = Deadline::at(START.plus(SHORT));
        check_failure(
            vendor.reply_to(&urgent, reply, PATIENT).await,
            status,
            &park,
        );
    }))
    .await;
    assert!(start.elapsed() >= SHORT && start.elapsed() < AMPLE);
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_made() {
    let server = Server::start(Reply::ok("{}")).await;
    for vendor in VENDORS {
        let mut late = vendor.question();
        late.deadline = Deadline::at(START);
        for key in [
            ApiKey::Absent,
            key(Stored::Value("canary-key")),
            key(Stored::Silent),
        ] {
            let client = vendor.client(server.access_with(key), PATIENT);
            let error = ask(client.as_ref(), &late).await.unwrap_err();
            let park = ModelErrorKind::Park(Wait {
                until: START,
                reason: WaitReason::OutOfTime,
            });
            assert_eq!((error.kind, error.spend.attempts), (park, 0));
        }
    }
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn without_a_usable_key_nobody_is_asked() {
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
        let error = ask(client.as_ref(), &ANTHROPIC.question())
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
async fn a_provider_without_a_key_is_asked_without_one() {
    for vendor in VENDORS {
        let server = Server::start(vendor.streamed()).await;
        let client = vendor.client(server.access_with(ApiKey::Absent), PATIENT);
        ask(client.as_ref(), &vendor.question()).await.unwrap();
        let [request] = server.requests().try_into().unwrap();
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_failed_call_is_not_repeated() {
    for vendor in VENDORS {
        for status in [429, 500, 503] {
            let server =
                Server::start(Reply::new(status, &[("retry-after", "0")], ERROR_BODY)).await;
            ask(
                vendor.client(server.access(), PATIENT).as_ref(),
                &vendor.question(),
            )
            .await
            .unwrap_err();
            assert_eq!(server.requests().len(), 1);
        }
    }
}
