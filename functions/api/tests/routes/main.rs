//! Every route over the platform in memory: what goes in, what comes out, byte for byte but for ids
//! and times.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "`json!` reads best where it is used"
)]

mod access;
mod agents;
mod bodies;
mod browsers;
mod delivery;
mod export;
mod jwts;
mod keys;
mod lifecycle;
mod logs;
mod openapi;
mod platform;
mod providers;
mod tasks;
mod tenant_limits;
mod tenants;
mod traces;
mod usage;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use shared::testing::Faults;

use platform::{AGENT, KEY, Platform, UNKNOWN_AGENT, UNKNOWN_TASK, request};

#[tokio::test]
async fn a_refusal_is_small_however_large_the_request() {
    let platform = Platform::new();
    let answer = platform
        .post("/v1/agents", format!(r#"{{"{}":1}}"#, "x".repeat(100_000)))
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.body.to_string().len() < 1_000, "{}", answer.body);
}

#[tokio::test]
async fn a_query_that_breaks_rules_is_refused_by_name() {
    let platform = Platform::new();
    let table = [
        ("/v1/tasks?limit=0", "limit"),
        ("/v1/tasks?limit=101", "limit"),
        ("/v1/tasks?limit=two", "limit"),
        ("/v1/tasks?limit=1&limit=2", "limit"),
        ("/v1/tasks?cursor=nonsense", "cursor"),
        ("/v1/agents?cursor=nonsense", "cursor"),
        ("/v1/tasks?status=done", "status"),
        ("/v1/tasks?agent_id=7", "agent_id"),
        ("/v1/tasks?state=queued", "state"),
        (&format!("{UNKNOWN_TASK}/output?offset=-1"), "offset"),
        (&format!("{UNKNOWN_TASK}/output?offset=x"), "offset"),
        (&format!("{UNKNOWN_TASK}/output?limit=3"), "limit"),
        (
            &format!("{UNKNOWN_TASK}/steps/1/text?limit=4194305"),
            "limit",
        ),
        (
            &format!("{UNKNOWN_TASK}/steps/1/arguments?cursor=1"),
            "cursor",
        ),
        ("/v1/tasks?/name=1", "/name"),
        ("/v1/tasks?=1", ""),
        (&format!("{UNKNOWN_TASK}?wait=26"), "wait"),
        (&format!("{UNKNOWN_TASK}?wait=-1"), "wait"),
    ];
    for (path, parameter) in table {
        let answer = platform.get(path).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{path}");
    }
}

#[tokio::test]
async fn a_malformed_id_is_not_found_with_the_reason() {
    let platform = Platform::new();
    for (path, part) in [
        ("/v1/tasks/7".to_owned(), "id"),
        (format!("/v1/tasks/{UNKNOWN_AGENT}"), "id"),
        (format!("{UNKNOWN_TASK}/steps/one/text"), "number"),
    ] {
        let answer = platform.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let reason =
            format!("no object has this {part}, because its form is not that of this route");
        assert_eq!(answer.body["detail"], reason, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_with_all_known_ones() {
    let platform = Platform::new();
    let answer = platform.post("/v1/agents", r#"{"nmae":"clerk"}"#).await;
    let detail = answer.body["errors"][0]["detail"].as_str().unwrap();
    let agent: serde_json::Value = serde_json::from_str(AGENT).unwrap();
    for field in agent.as_object().unwrap().keys() {
        assert!(detail.contains(field), "{field}: {detail}");
    }
    assert!(detail.ends_with("on_limit"), "{detail}");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn each_broken_envelope_has_its_own_status() {
    let platform = Platform::new();
    let plain = |body: &'static str| {
        request("POST", "/v1/tasks")
            .header("content-type", "text/plain")
            .body(body.into())
    };
    let bare = request("POST", "/v1/tasks").body("{}".into());
    let large = format!(r#"{{"input":"{}"}}"#, "x".repeat(1_024 * 1_024));
    let table = [
        (
            platform.post("/v1/tasks", "{").await,
            400,
            "invalid_request",
        ),
        (platform.post("/v1/tasks", "").await, 400, "invalid_request"),
        (
            platform.post("/v1/tasks", "{} {}").await,
            400,
            "invalid_request",
        ),
        (
            platform
                .post("/v1/tasks", r#"{"agent_id":1, nonsense"#)
                .await,
            400,
            "invalid_request",
        ),
        (
            platform.post("/v1/tasks", "[nonsense").await,
            400,
            "invalid_request",
        ),
        (
            platform.post("/v1/tasks", r#"{"input":"\ud800"}"#).await,
            400,
            "invalid_request",
        ),
        (
            platform.post("/v1/tasks", "[".repeat(100_000)).await,
            400,
            "invalid_request",
        ),
        (
            platform.post("/v1/tasks", vec![b'"', 0xff, b'"']).await,
            400,
            "invalid_request",
        ),
        (
            platform.send(plain("{}").unwrap()).await,
            415,
            "unsupported_media_type",
        ),
        (
            platform.send(bare.unwrap()).await,
            415,
            "unsupported_media_type",
        ),
        (
            platform.post("/v1/tasks", large).await,
            413,
            "payload_too_large",
        ),
        (platform.get(UNKNOWN_TASK).await, 404, "not_found"),
        (platform.get("/v1/tasks/7").await, 404, "not_found"),
        (
            platform.get(&format!("{UNKNOWN_TASK}/output")).await,
            404,
            "not_found",
        ),
        (
            platform.get(&format!("{UNKNOWN_TASK}/steps/1/text")).await,
            404,
            "not_found",
        ),
        (
            platform
                .get(&format!("{UNKNOWN_TASK}/steps/one/text"))
                .await,
            404,
            "not_found",
        ),
        (
            platform
                .get(&format!("{UNKNOWN_TASK}/steps/1/arguments"))
                .await,
            404,
            "not_found",
        ),
        (platform.get("/v1/tasks/tsk_%ff").await, 404, "not_found"),
        (
            platform.get(&format!("/v1/agents/{UNKNOWN_AGENT}")).await,
            404,
            "not_found",
        ),
        (platform.get("/v1/agents/agt_1").await, 404, "not_found"),
        (platform.get("/v2").await, 404, "not_found"),
        (platform.get("/v1/nothing").await, 404, "not_found"),
        (
            platform.post("/healthz", "").await,
            405,
            "method_not_allowed",
        ),
        (
            platform
                .send(request("DELETE", "/v1/tasks").body(Body::empty()).unwrap())
                .await,
            405,
            "method_not_allowed",
        ),
    ];
    for (answer, status, code) in table {
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (status, &json!(code)),
            "{}",
            answer.body
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["status"], status);
        assert_eq!(
            answer.body["request_id"].as_str(),
            answer.headers["x-request-id"].to_str().ok()
        );
    }
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn without_the_key_every_v1_route_is_closed() {
    let platform = Platform::new();
    let credentials = [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong"),
        Some("Bearer k3y2"),
        Some("Bearer k3"),
        Some("Basic k3y"),
        Some("k3y"),
    ];
    let routes = [
        ("GET", "/v1/agents"),
        ("POST", "/v1/agents"),
        ("GET", UNKNOWN_TASK),
        ("POST", "/v1/tasks"),
        ("GET", "/v1/x"),
    ];
    for (method, path) in routes {
        for credential in credentials {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("content-type", "application/json");
            let request = credential.into_iter().fold(request, |request, value| {
                request.header("authorization", value)
            });
            let answer = platform.send(request.body(AGENT.into()).unwrap()).await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} {credential:?}"
            );
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert!(platform.wrote_nothing().await);
    let health = platform
        .send(Request::get("/healthz").body(Body::empty()).unwrap())
        .await;
    assert_eq!(
        (health.status, health.body),
        (StatusCode::OK, json!({ "status": "ok", "version": "v1" }))
    );
}

#[tokio::test]
async fn after_a_rotation_both_keys_open_the_api_until_the_grace_ends() {
    let platform = Platform::new();
    platform.secrets.rotate("api-key", "n3w");
    let status = async |key: &str| {
        let request = Request::get("/v1/agents").header("authorization", format!("Bearer {key}"));
        platform
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    };
    assert_eq!(
        (status("n3w").await, status(KEY).await),
        (StatusCode::OK, StatusCode::OK)
    );
    platform.secrets.end_grace("api-key");
    assert_eq!(
        (status("n3w").await, status(KEY).await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
}

#[tokio::test]
async fn a_dependency_that_is_down_is_a_retryable_503() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    faults.die_now();
    let answer = platform.get("/v1/agents").await;
    assert_eq!(
        (answer.status, &answer.body["retryable"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!(true))
    );
    assert!(answer.headers.contains_key("retry-after"));
    let shown = answer.body.to_string();
    assert!(!shown.contains("plan"), "{shown}");
    platform.secrets.remove("api-key");
    let answer = platform.get("/v1/agents").await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &json!("internal"))
    );
    assert!(
        answer.body["detail"]
            .as_str()
            .unwrap()
            .contains("the secret that holds the deployment's key")
    );
    let ready = platform
        .send(Request::get("/readyz").body(Body::empty()).unwrap())
        .await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = "the API key's secret is missing, or the platform may not use it";
    assert!(
        ready.body["detail"].as_str().unwrap().ends_with(detail),
        "{}",
        ready.body
    );
    let link = ready.body["runbook"].as_str().unwrap();
    assert!(link.starts_with("https://wiki.example/runbook#"), "{link}");
}

#[tokio::test(start_paused = true)]
async fn the_platform_is_ready_if_its_table_and_queue_answer() {
    let faults = Faults::default();
    let platform = Platform::failing(&faults);
    let ready = async || {
        platform
            .send(Request::get("/readyz").body(Body::empty()).unwrap())
            .await
    };
    let first = ready().await;
    assert_eq!(
        (first.status, first.body),
        (StatusCode::OK, json!({ "status": "ready" }))
    );
    faults.die_now();
    assert_eq!(
        ready().await.status,
        StatusCode::OK,
        "what was found stands for a while"
    );
    platform.clock.advance(Duration::from_secs(5));
    for _ in 0..2 {
        let broken = ready().await;
        assert_eq!(
            (broken.status, &broken.body["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable"))
        );
        assert_eq!(
            broken.body["detail"],
            "the state table does not answer, and the task queue does not answer"
        );
    }
    assert_eq!(faults.calls(), 2, "one look at each");
    faults.clear();
    platform.clock.advance(Duration::from_secs(5));
    assert_eq!(ready().await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_request_has_an_id_of_the_platforms_own() {
    let platform = Platform::new();
    let id_for = async |given: &str| {
        let request = Request::get("/healthz")
            .header("x-request-id", given)
            .body(Body::empty())
            .unwrap();
        platform.send(request).await.headers["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut ids = BTreeSet::new();
    for given in ["abc-123", "abc-123", "", "has space", &"x".repeat(129)] {
        let id = id_for(given).await;
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{given}: {id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn every_response_says_how_to_treat_it() {
    let platform = Platform::new();
    let submitted = platform
        .submit(&platform.create_agent().await, "hello")
        .await;
    let task = format!("/v1/tasks/{}", submitted["id"].as_str().unwrap());
    for path in [
        "/healthz",
        "/readyz",
        "/v2",
        "/v1/agents",
        &task,
        "/v1/tasks?limit=0",
        UNKNOWN_TASK,
    ] {
        let headers = platform.get(path).await.headers;
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(
                headers.get_all(name).iter().collect::<Vec<_>>(),
                [value],
                "{path}: {name}"
            );
        }
    }
}

/// The files under `events/`, for local invokes, are what API Gateway sends.
#[tokio::test]
async fn every_sample_event_reaches_its_route() {
    let platform = Platform::new();
    let table = [
        (
            include_str!("../../../../events/api-healthz.json"),
            StatusCode::OK,
        ),
        (
            include_str!("../../../../events/api-submit-task.json"),
            StatusCode::UNAUTHORIZED,
        ),
    ];
    for (event, status) in table {
        let event: lambda_http::request::LambdaRequest = serde_json::from_str(event).unwrap();
        let request = lambda_http::Request::from(event).map(|body| Body::from(body.to_vec()));
        assert_eq!(platform.send(request).await.status, status);
    }
}
