//! Tests of `problem`.

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;
use shared::domain::{AgentId, Counted, LimitKind, TaskStatus, Timestamp};

use super::*;

async fn rendered(error: AppError) -> Value {
    let response: Response<Body> = render(
        Problem::from(error).into_response(),
        "r1",
        Some("https://runbook"),
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn every_app_error_has_its_status_and_code() {
    let secret = || Box::new(std::io::Error::other("table prod-secret-name"));
    let corrupt = StoreError::Corrupt {
        key: "TASK#secret".to_owned(),
        reason: "secret".to_owned(),
    };
    let now = Timestamp::from_millis(0);
    let table = [
        (
            AppError::invalid("/name", "is required"),
            422,
            "validation_failed",
            false,
        ),
        (
            AppError::NotFound("task".to_owned()),
            404,
            "not_found",
            false,
        ),
        (
            AppError::IdempotencyKeyReused,
            422,
            "idempotency_key_reused",
            false,
        ),
        (
            AppError::AgentDisabled(AgentId::new(now)),
            409,
            "agent_disabled",
            false,
        ),
        (
            AppError::InlineAgent(AgentId::derived([7; 16])),
            409,
            "conflict",
            false,
        ),
        (AppError::TooManyAliases, 409, "conflict", false),
        (
            AppError::TooMany {
                counted: Counted::Agents,
                most: 3,
                used: 3,
            },
            409,
            "limit_reached",
            false,
        ),
        (AppError::TaskDeleted, 409, "conflict", false),
        (
            AppError::WrongState(TaskStatus::Completed),
            409,
            "conflict",
            false,
        ),
        (
            AppError::LimitNotRaised {
                limit: LimitKind::MaxSteps,
                bound: 2,
            },
            409,
            "conflict",
            false,
        ),
        (
            AppError::AnsweredOtherwise("toolu_1".to_owned()),
            409,
            "conflict",
            false,
        ),
        (
            AppError::Unavailable(StoreError::Throttled(secret())),
            503,
            "unavailable",
            true,
        ),
        (
            AppError::CircuitsUnavailable(StoreError::Refused(secret())),
            503,
            "unavailable",
            true,
        ),
        (
            AppError::Internal(StoreError::Refused(secret())),
            500,
            "internal",
            false,
        ),
        (AppError::from(corrupt), 500, "unreadable_record", false),
    ];
    for (error, status, code, retryable) in table {
        let shown = rendered(error).await;
        assert_eq!(
            (&shown["status"], &shown["code"]),
            (&status.into(), &code.into()),
            "{shown}"
        );
        assert_eq!(
            (&shown["retryable"], &shown["request_id"]),
            (&retryable.into(), &"r1".into()),
            "{shown}"
        );
        assert!(!shown.to_string().contains("secret"), "{shown}");
        let leads_on = shown["runbook"]
            .as_str()
            .is_some_and(|link| link.starts_with("https://runbook#"));
        assert_eq!(leads_on, status >= 500, "{shown}");
    }
}
