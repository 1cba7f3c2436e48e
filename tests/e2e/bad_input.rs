//! What the API refuses, through the real gateway; `functions/api/tests` has every case.

use reqwest::{Method, StatusCode};
use serde_json::json;

use tests::Platform;

#[tokio::test]
async fn refusals_come_through_the_gateway_whole() {
    let platform = Platform::deployed().await;
    let unknown = "/v1/tasks/tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
    let empty = json!({});
    let large = json!({ "agent_id": "agt_1", "input": "x".repeat(1_100_000) });
    let table = [
        (
            platform
                .call_with_key(Method::GET, unknown, None, "wrong")
                .await,
            401,
            "unauthorized",
        ),
        (
            platform.call(Method::GET, unknown, None).await,
            404,
            "not_found",
        ),
        (
            platform.call(Method::PUT, unknown, None).await,
            405,
            "method_not_allowed",
        ),
        (
            platform.call(Method::POST, "/v1/tasks", Some(&large)).await,
            413,
            "payload_too_large",
        ),
        (
            platform.call(Method::POST, "/v1/tasks", None).await,
            415,
            "unsupported_media_type",
        ),
        (
            platform.call(Method::POST, "/v1/tasks", Some(&empty)).await,
            422,
            "validation_failed",
        ),
    ];
    for ((status, problem), expected, code) in table {
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (expected, &json!(code)),
            "{problem}"
        );
        assert!(problem["request_id"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn readiness_and_health_need_no_key() {
    let platform = Platform::deployed().await;
    let (status, ready) = platform
        .call_with_key(Method::GET, "/readyz", None, "")
        .await;
    assert_eq!(
        (status, ready),
        (StatusCode::OK, json!({ "status": "ready" }))
    );
    let (status, health) = platform
        .call_with_key(Method::GET, "/healthz", None, "")
        .await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("ok")));
    let version = health["version"].as_str().unwrap();
    let commit = version.trim_end_matches("-dirty");
    assert!(
        version == "unknown" || commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{version}"
    );
}
