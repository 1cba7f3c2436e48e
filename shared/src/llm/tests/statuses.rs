//! What the status and the headers of a failed response mean, for every provider.

use super::conformance::{ERROR_BODY, Headers, UNAVAILABLE, check_failure};
use super::stand_in::{ANTHROPIC, Reply, STAND_INS, Server, Then};
use crate::domain::Provider;
use crate::ports::ModelErrorKind;
use serde_json::json;
use std::time::Duration;

const PAGE: &str = "<html>canary-answer</html>";

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
                for stand_in in STAND_INS {
                    let answer = stand_in.reply(Reply::new(status, headers, body)).await;
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
async fn a_quota_that_is_used_up_is_known_by_every_providers_name_for_it() {
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
    for stand_in in STAND_INS {
        for name in names {
            for body in [
                json!({"error": {"type": name, "message": "canary"}}),
                json!({"error": {"type": "rate_limit_error", "code": name, "message": "canary"}}),
                json!({"error": {"type": "rate_limit_error", "details": {"error_code": name}}}),
            ] {
                let error = stand_in
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
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn errors_that_share_a_status_are_distinguished_in_both_of_openais_apis() {
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
    for stand_in in STAND_INS
        .iter()
        .filter(|stand_in| stand_in.provider != Provider::Anthropic)
    {
        for (status, r#type, code, message, kind) in &cases {
            let error = json!({"type": r#type, "code": code, "param": null, "message": message});
            let headers = [("x-request-id", "req_1"), ("retry-after", "7")];
            let body = json!({"error": error}).to_string();
            let failed = stand_in
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
    for stand_in in STAND_INS {
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
                let error = stand_in.reply(reply).await.unwrap_err();
                let hint =
                    (status != 400 || expected == Some(true)).then_some(Duration::from_secs(7));
                assert_eq!(
                    (error.should_retry, error.retry_after),
                    (expected, hint),
                    "{status} {word}"
                );
            }
            let headers = [("x-should-retry", word), ("retry-after", "7")];
            let used_up = stand_in
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
    for stand_in in STAND_INS {
        let hints = [
            ("content-type", "application/json"),
            ("retry-after", "7"),
            ("x-should-retry", "true"),
        ];
        let answer = stand_in
            .reply(Reply::new(200, &hints, stand_in.whole))
            .await
            .unwrap();
        assert_eq!(answer.text(), "There are three files, “Ü”.");
        let error = stand_in
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
    for stand_in in STAND_INS {
        for rest in [
            "content-length: 9\r\n\r\n{",
            "content-length: 99999999\r\n\r\n{",
            "\r\n",
        ] {
            let reply = Reply::raw(
                &format!("HTTP/1.1 429 x\r\nretry-after-ms: 250\r\n{rest}"),
                Then::Close,
            );
            let answer = stand_in.reply(reply).await;
            assert_eq!(
                answer.as_ref().unwrap_err().retry_after,
                Some(Duration::from_millis(250))
            );
            check_failure(answer, Some(429), &ModelErrorKind::RateLimited);
        }
        let endless = Reply::raw("HTTP/1.1 503 x\r\n\r\n", Then::Babble);
        check_failure(stand_in.reply(endless).await, Some(503), &UNAVAILABLE);
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
