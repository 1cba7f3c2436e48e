//! Errors, and bodies that are no answer.

use super::*;

#[tokio::test]
async fn what_is_no_message_is_a_bad_answer() {
    let replies = [
        answer_with("/content", json!(7)),
        answer_with("/content/1", json!({"text": "canary-answer"})),
        answer_with("/content/1/text", json!(["canary-answer"])),
    ];
    for bad in replies {
        assert_eq!(
            reply(bad).await.unwrap_err().kind,
            ModelErrorKind::BadAnswer
        );
    }
    let text = || block(0, &json!({"type": "text", "text": ""}));
    let streams = [
        vec![stop()],
        vec![
            start(),
            text(),
            block(0, &json!({"type": "text", "text": "x"})),
            stop(),
        ],
        vec![
            start(),
            delta(0, &json!({"type": "text_delta", "text": "canary"})),
            stop(),
        ],
        vec![
            start(),
            text(),
            delta(0, &json!({"type": "text_delta", "text": 7})),
            stop(),
        ],
        vec![
            start(),
            block(0, &json!({"type": "text", "text": 7})),
            delta(0, &json!({"type": "text_delta", "text": "x"})),
        ],
        vec![
            start(),
            block(0, &json!({"type": "tool_use", "id": "canary"})),
            stop(),
        ],
    ];
    for events in streams {
        let error = stream(&events).await.unwrap_err();
        assert_eq!(
            (&error.kind, error.status),
            (&ModelErrorKind::BadAnswer, Some(200)),
            "{events:?}"
        );
    }
    let no_json = Reply::stream(&["event: message_start\ndata: canary\n\n"], Then::End);
    assert_eq!(
        reply(no_json).await.unwrap_err().kind,
        ModelErrorKind::BadAnswer
    );
}

#[tokio::test]
async fn an_error_in_a_stream_is_classified_by_its_name_and_its_tokens_count() {
    let errors = [
        ("overloaded_error", "", ModelErrorKind::Unavailable),
        ("api_error", "", ModelErrorKind::Unavailable),
        ("timeout_error", "", ModelErrorKind::Unavailable),
        ("invented_later", "", ModelErrorKind::Unavailable),
        ("rate_limit_error", "", ModelErrorKind::RateLimited),
        (
            "rate_limit_error",
            "enforced_spend_limit_reached",
            ModelErrorKind::QuotaExhausted,
        ),
        ("billing_error", "", ModelErrorKind::QuotaExhausted),
        ("authentication_error", "", ModelErrorKind::Authentication),
        ("permission_error", "", ModelErrorKind::Authentication),
        ("invalid_request_error", "", ModelErrorKind::Rejected),
        ("not_found_error", "", ModelErrorKind::Rejected),
        ("request_too_large", "", ModelErrorKind::ContextTooLong),
    ];
    for (r#type, code, kind) in errors {
        let error = json!({"type": r#type, "message": "canary", "details": {"error_code": code}});
        let error = json!({"type": "error", "error": error, "request_id": "req_1"});
        let text = block(0, &json!({"type": "text", "text": ""}));
        let piece = delta(
            0,
            &json!({"type": "text_delta", "text": "nine bytes and some more"}),
        );
        let failed = stream(&[start(), text, piece, error.clone()])
            .await
            .unwrap_err();
        assert_eq!((&failed.kind, failed.status), (&kind, Some(200)), "{type}");
        assert_eq!(
            failed.spend.usage,
            Usage {
                input_tokens: 9,
                output_tokens: 6,
                ..Usage::default()
            }
        );
        assert!(
            failed
                .source
                .unwrap()
                .to_string()
                .starts_with(&format!("the provider calls it {type}"))
        );
        assert_eq!(
            reply(Reply::ok(&error.to_string())).await.unwrap_err().kind,
            kind
        );
    }
    let unreadable = Reply::stream(&["event: error\ndata: canary\n\n"], Then::End);
    assert_eq!(
        reply(unreadable).await.unwrap_err().kind,
        ModelErrorKind::Unavailable
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn errors_that_share_a_status_are_distinguished() {
    let retry = ModelErrorKind::RateLimited;
    let unavailable = ModelErrorKind::Unavailable;
    let too_long =
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, canary";
    let used_up = "You have reached your specified workspace API usage limits. canary";
    let errors = [
        (
            400,
            "invalid_request_error",
            "",
            "canary: bad",
            ModelErrorKind::Rejected,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "prompt is too long: 210000 > canary",
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            "",
            too_long,
            ModelErrorKind::ContextTooLong,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "canary prompt is too long",
            ModelErrorKind::Rejected,
        ),
        (
            400,
            "invalid_request_error",
            "",
            "Your credit balance is too low: canary",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "",
            used_up,
            ModelErrorKind::QuotaExhausted,
        ),
        (
            400,
            "invalid_request_error",
            "organization_on_hold",
            "canary",
            ModelErrorKind::Authentication,
        ),
        (
            402,
            "billing_error",
            "linked_organization_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            404,
            "not_found_error",
            "",
            "model: canary",
            ModelErrorKind::Rejected,
        ),
        (
            413,
            "request_too_large",
            "",
            "canary",
            ModelErrorKind::ContextTooLong,
        ),
        (429, "rate_limit_error", "", "canary", retry.clone()),
        (429, "rate_limit_error", "ramp_limit_exceeded", "", retry),
        (
            429,
            "rate_limit_error",
            "enforced_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (
            429,
            "rate_limit_error",
            "contract_spend_limit_reached",
            "",
            ModelErrorKind::QuotaExhausted,
        ),
        (504, "timeout_error", "", "canary", unavailable.clone()),
        (529, "overloaded_error", "", "canary", unavailable),
    ];
    for (status, r#type, code, message, kind) in errors {
        let error = json!({"type": r#type, "message": message, "details": {"error_code": code}});
        let body = json!({"type": "error", "error": error, "request_id": "req_1"}).to_string();
        let headers = [("request-id", "req_1"), ("x-should-retry", "true")];
        let failed = reply(Reply::new(status, &headers, &body))
            .await
            .unwrap_err();
        assert_eq!(
            (&failed.kind, failed.status),
            (&kind, Some(status)),
            "{type} {code}"
        );
        assert_eq!(failed.request_id.as_deref(), Some("req_1"));
        assert_eq!(
            failed.should_retry,
            (kind != ModelErrorKind::QuotaExhausted).then_some(true)
        );
        assert!(
            failed
                .source
                .unwrap()
                .to_string()
                .starts_with(&format!("the provider calls it {type}"))
        );
    }
}
