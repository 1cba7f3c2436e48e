//! Errors that come with status 200, and bodies that are no answer.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn an_error_after_status_200_is_classified() {
    let rate_limited = ModelErrorKind::RateLimited;
    let too_long = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens. canary";
    let errors = [
        (
            json!({"error": {"message": "canary", "type": "server_error", "param": null, "code": null}}),
            UNAVAILABLE,
        ),
        (json!({"error": {"message": "canary"}}), UNAVAILABLE),
        (json!({"error": "canary"}), UNAVAILABLE),
        (json!({"detail": "canary"}), UNAVAILABLE),
        (
            json!({"error": {"message": "canary", "code": 502}}),
            UNAVAILABLE,
        ),
        (
            json!({"error": {"message": "canary", "code": 429}}),
            rate_limited.clone(),
        ),
        (
            json!({"error": {"message": "canary", "code": "429"}}),
            rate_limited.clone(),
        ),
        (
            json!({"error": {"message": "canary", "type": "rate_limit_error"}}),
            rate_limited,
        ),
        (
            json!({"error": {"message": "canary", "code": 401}}),
            ModelErrorKind::Authentication,
        ),
        (
            json!({"error": {"message": "canary", "code": 402}}),
            ModelErrorKind::QuotaExhausted,
        ),
        (
            json!({"error": {"message": "canary", "code": 408}}),
            ModelErrorKind::Timeout,
        ),
        (
            json!({"error": {"message": "canary", "code": 400}}),
            ModelErrorKind::Rejected,
        ),
        (
            json!({"error": {"message": "canary", "code": 413}}),
            ModelErrorKind::ContextTooLong,
        ),
        (
            json!({"error": {"message": "canary", "type": "invalid_request_error"}}),
            ModelErrorKind::Rejected,
        ),
        (
            json!({"error": {"message": too_long, "code": 400}}),
            ModelErrorKind::ContextTooLong,
        ),
        (
            json!({"error": {"message": "canary", "type": "insufficient_quota"}}),
            ModelErrorKind::QuotaExhausted,
        ),
        (
            json!({"object": "error", "message": too_long, "type": "BadRequestError", "param": null, "code": 400}),
            ModelErrorKind::ContextTooLong,
        ),
    ];
    for (error, kind) in errors {
        assert_eq!(whole(&error).unwrap_err().kind, kind, "{error}");
        let begun = chunk(&json!({"content": "some text"}), &json!(null));
        let failed = stream(&chunks(&[begun, error.clone()])).unwrap_err();
        assert_eq!(
            (failed.kind, failed.spend.usage.output_tokens),
            (kind, 3),
            "{error}"
        );
    }
}

#[test]
fn an_error_that_only_repeats_that_the_answer_is_cut_is_let_pass() {
    // As OpenRouter does it.
    let cut = chunk(&json!({"content": "x"}), &json!("length"));
    let error = json!({"error": {"code": 400, "message": "Token limit reached"}, "usage": {"completion_tokens": 10}});
    let answer = stream(&chunks(&[cut, error])).unwrap();
    assert_eq!(
        (answer.stop_reason, answer.usage.output_tokens),
        (StopReason::MaxTokens, 10)
    );
}

#[test]
fn an_answer_in_another_form_is_none() {
    for body in [
        json!({}),
        json!([]),
        json!({"choices": []}),
        json!({"choices": "canary"}),
        json!(null),
        json!("canary"),
    ] {
        assert_eq!(
            whole(&body).unwrap_err().kind,
            ModelErrorKind::BadAnswer,
            "{body}"
        );
    }
    for data in [
        "canary",
        "{\"choices\":[{\"delta\":\"canary\"}]}",
        "{\"choices\":[{\"delta\":{\"content\":7}}]}",
    ] {
        assert_eq!(
            stream(&format!("data: {data}\n\n")).unwrap_err().kind,
            ModelErrorKind::BadAnswer,
            "{data}"
        );
    }
    assert_eq!(
        stream("data: [DONE]\n\n").unwrap_err().kind,
        ModelErrorKind::BadAnswer
    );
    assert_eq!(stream("").unwrap_err().kind, UNAVAILABLE);
}
