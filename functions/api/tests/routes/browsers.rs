//! Requests of web pages, `HEAD` and `OPTIONS`, compressed responses, and reads of what a client has.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::testing::ScriptedModel;
use tower::ServiceExt;

use crate::platform::{ORIGIN, Platform, request};

/// The response to a request with these headers, and its body as it is.
async fn raw(
    platform: &Platform,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut sent = request(method, path);
    for (name, value) in headers {
        sent = sent.header(*name, *value);
    }
    let sent = sent.body(Body::empty()).unwrap();
    let (parts, body) = platform
        .router
        .clone()
        .oneshot(sent)
        .await
        .unwrap()
        .into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    (parts.status, parts.headers, bytes)
}

fn listed<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    let values = values.flat_map(|value| value.to_str().unwrap().split(','));
    values.map(str::trim).collect()
}

#[tokio::test]
async fn a_browser_may_send_requests_of_a_named_page_only() {
    let platform = Platform::new();
    for (origin, is_allowed) in [
        (ORIGIN, true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,idempotency-key",
            ),
        ];
        // Without a key: a browser sends none when it asks.
        let mut preflight = axum::http::Request::builder()
            .method("OPTIONS")
            .uri("/v1/tasks");
        for (name, value) in asked {
            preflight = preflight.header(name, value);
        }
        let preflight = preflight.body(Body::empty()).unwrap();
        let answer = platform.router.clone().oneshot(preflight).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{origin}");
        let headers = answer.headers();
        let allowed = headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), is_allowed, "{origin}: {headers:?}");
        assert!(listed(headers, "access-control-allow-headers").contains(&"idempotency-key"));
        assert!(listed(headers, "access-control-allow-methods").contains(&"PATCH"));
        assert!(!headers.contains_key("access-control-allow-credentials"));

        let (status, headers, _) =
            raw(&platform, ("GET", "/v1/agents"), &[("origin", origin)]).await;
        assert_eq!(status, StatusCode::OK);
        let allowed = headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some_and(|value| value == origin), is_allowed);
        assert!(listed(&headers, "vary").contains(&"origin"), "{headers:?}");
        assert!(listed(&headers, "access-control-expose-headers").contains(&"etag"));
    }
}

#[tokio::test]
async fn options_names_the_methods_of_a_route() {
    let platform = Platform::new();
    let (status, headers, body) = raw(&platform, ("OPTIONS", "/v1/agents/agt_1"), &[]).await;
    assert_eq!((status, body.len()), (StatusCode::NO_CONTENT, 0));
    let mut methods = listed(&headers, "allow");
    methods.sort_unstable();
    assert_eq!(methods, ["DELETE", "GET", "HEAD", "PATCH"]);
    let (status, _, _) = raw(&platform, ("OPTIONS", "/v1/nothing"), &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    for path in [
        "/healthz",
        "/openapi.json",
        "/v1/models",
        &format!("/v1/agents/{agent}"),
    ] {
        let (status, headers, body) = raw(&platform, ("HEAD", path), &[]).await;
        assert_eq!((status, body.len()), (StatusCode::OK, 0), "{path}");
        let (_, of_get, _) = raw(&platform, ("GET", path), &[]).await;
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(headers.get(name), of_get.get(name), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn a_longer_response_is_compressed_for_who_accepts_it() {
    let platform = Platform::new();
    let accepting = [("accept-encoding", "br, gzip;q=0.8")];
    let (_, headers, plain) = raw(&platform, ("GET", "/v1/models"), &[]).await;
    assert!(!headers.contains_key("content-encoding"));
    let (status, headers, body) = raw(&platform, ("GET", "/v1/models"), &accepting).await;
    assert_eq!(
        (status, &headers["content-encoding"]),
        (StatusCode::OK, &"gzip".parse().unwrap())
    );
    assert!(listed(&headers, "vary").contains(&"accept-encoding"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut unpacked).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(json(&unpacked), json(&plain));
    assert!(
        body.len() * 2 < plain.len(),
        "{} of {}",
        body.len(),
        plain.len()
    );

    let (_, headers, _) = raw(&platform, ("GET", "/healthz"), &accepting).await;
    assert!(!headers.contains_key("content-encoding"), "it is short");
    let refusing = [("accept-encoding", "gzip;q=0")];
    let (_, headers, _) = raw(&platform, ("GET", "/v1/models"), &refusing).await;
    assert!(!headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_task_is_sent_again_only_if_it_changed() {
    let platform = Platform::new();
    let task = platform
        .submit(&platform.create_agent().await, "hello")
        .await;
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let tag = platform.get(&path).await.headers["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    let condition = [("if-none-match", &*tag)];
    let (status, headers, body) = raw(&platform, ("GET", &path), &condition).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(headers["etag"], *tag);
    platform.drain(ScriptedModel::default()).await;
    let (status, headers, body) = raw(&platform, ("GET", &path), &condition).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(headers["etag"], *tag);
    let shown: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(shown["status"], json!("completed"));
}
