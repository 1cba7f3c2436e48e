//! Access tokens, from an authorization server on this machine.

use std::time::Duration;

use serde_json::{Value, json};

use super::credentials::{KEY, Platform, check_unsent, seen};
use super::stand_in::{HOSTS, Reply, Server};

const ISSUER: &str = "b.example.org";

fn token(token: &str, expires_in: &Value) -> Reply {
    let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in });
    Reply::new(
        200,
        &[("content-type", "application/json")],
        &body.to_string(),
    )
}

/// The credential `orders` with tokens of this server.
fn set(platform: &Platform, issuer: &Server) {
    platform.set(
        "orders",
        json!({
            "kind": "oauth2_client_credentials", "token_url": issuer.https(ISSUER, "/token"), "client_id": "cli ent",
            "client_secret": KEY, "scope": "orders:read orders:write",
        }),
    );
}

/// A platform with the credential, its authorization server and its service.
async fn with_issuer(reply: Reply) -> (Platform, Server, Server) {
    let platform = Platform::new();
    let issuer = Server::start_tls(&platform.authority, [("/token", reply)]).await;
    let service = Server::start_tls(
        &platform.authority,
        [
            ("/", Reply::text("You sent Bearer canary-token-1.")),
            ("/denied", Reply::new(401, &[], "")),
        ],
    )
    .await;
    set(&platform, &issuer);
    (platform, issuer, service)
}

async fn get(platform: &Platform, service: &Server, path: &str) -> crate::ports::ToolOutput {
    platform
        .call(&["orders"], json!({ "url": service.https(HOSTS[0], path) }))
        .await
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_renewed_before_it_ends() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &json!(3_600))).await;
    for _ in 0..3 {
        let output = get(&platform, &service, "/").await;
        assert!(output.text.contains("You sent [credential]."), "{output:?}");
    }
    assert_eq!(
        seen(&service, "authorization"),
        [const { Some("Bearer canary-token-1") }; 3].map(|seen| seen.map(str::to_owned))
    );
    let asked = issuer.requests();
    assert_eq!(asked.len(), 1);
    // `cli%20ent:canary%2Fkey%2B42~%2A%3D` in base64.
    assert_eq!(
        asked[0].headers["authorization"],
        "Basic Y2xpJTIwZW50OmNhbmFyeSUyRmtleSUyQjQyfiUyQSUzRA=="
    );
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&scope=orders%3Aread%20orders%3Awrite"
    );
    platform.clock.advance(Duration::from_secs(3_539));
    get(&platform, &service, "/").await;
    assert_eq!(issuer.lines().len(), 1);
    platform.clock.advance(Duration::from_secs(1));
    get(&platform, &service, "/").await;
    assert_eq!(issuer.lines().len(), 2);
}

#[tokio::test]
async fn a_token_that_the_service_refuses_is_forgotten() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &json!("3600"))).await;
    for path in ["/", "/denied", "/", "/"] {
        get(&platform, &service, path).await;
    }
    assert_eq!(issuer.lines().len(), 2);
}

#[tokio::test]
async fn a_token_serves_until_its_end_while_it_can_not_be_renewed() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &json!(3_600))).await;
    get(&platform, &service, "/").await;
    drop(issuer);
    platform.clock.advance(Duration::from_secs(3_545));
    assert!(!get(&platform, &service, "/").await.is_error);
    platform.clock.advance(Duration::from_secs(56));
    let output = get(&platform, &service, "/").await;
    assert!(output.text.contains("could not be reached"), "{output:?}");
}

#[tokio::test]
async fn a_request_for_a_token_that_failed_is_not_repeated_for_some_seconds() {
    let reply = Reply::new(401, &[], r#"{"error":"invalid_client"}"#);
    let (platform, issuer, service) = with_issuer(reply).await;
    for _ in 0..3 {
        let output = get(&platform, &service, "/").await;
        assert!(output.text.contains("invalid_client"), "{output:?}");
    }
    assert_eq!(issuer.lines().len(), 1);
    platform.clock.advance(Duration::from_secs(5));
    get(&platform, &service, "/").await;
    assert_eq!(issuer.lines().len(), 2);
}

#[tokio::test]
async fn calls_at_once_share_one_token() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &json!(60))).await;
    let calls = (0..5).map(|_| get(&platform, &service, "/"));
    let outputs = futures::future::join_all(calls).await;
    assert!(outputs.iter().all(|output| !output.is_error), "{outputs:?}");
    assert_eq!((issuer.lines().len(), service.lines().len()), (1, 5));
}

#[tokio::test]
async fn a_rotated_client_secret_asks_for_another_token() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &Value::Null)).await;
    get(&platform, &service, "/").await;
    platform.set(
        "orders",
        json!({
            "kind": "oauth2_client_credentials", "token_url": issuer.https(ISSUER, "/token"), "client_id": "cli ent",
            "client_secret": "canary-rotated", "audience": "orders",
        }),
    );
    get(&platform, &service, "/").await;
    let bodies: Vec<String> = issuer
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[1], "grant_type=client_credentials&audience=orders");
}

#[tokio::test]
async fn without_a_usable_token_nothing_is_sent() {
    let of = |body: Value| Reply::new(200, &[], &body.to_string());
    let long = "x".repeat(70_000);
    let table = [
        (
            Reply::new(
                401,
                &[],
                r#"{"error":"invalid_client","error_description":"canary"}"#,
            ),
            "answered 401 Unauthorized invalid_client",
        ),
        (
            Reply::new(400, &[], r#"{"error":"canary"}"#),
            "answered 400 Bad Request",
        ),
        (
            Reply::redirect(307, "https://a.example.org:PORT/token"),
            "answered 307",
        ),
        (Reply::new(503, &[], ""), "answered 503"),
        (Reply::text("canary"), "no access_token and token_type"),
        (
            of(json!({ "access_token": "canary-token-1", "token_type": "mac" })),
            "not Bearer",
        ),
        (
            of(json!({ "access_token": "short", "token_type": "Bearer" })),
            "8 to 16384 visible",
        ),
        (token("canary-token-1", &json!(0)), "not in the future"),
        (token("canary-token-1", &json!(-5)), "not in the future"),
        (token("canary-token\r\n1", &json!(60)), "8 to 16384 visible"),
        (Reply::text(&long), "more than 64 KiB"),
        (
            Reply::raw("nonsense", super::stand_in::Then::Close),
            "could not be reached",
        ),
    ];
    for (reply, words) in table {
        let (platform, _issuer, service) = with_issuer(reply).await;
        let output = get(&platform, &service, "/").await;
        check_unsent(
            &output,
            &service,
            "the credential orders has no access token: its authorization server",
        );
        assert!(output.text.contains(words), "{words}: {output:?}");
    }
}

#[tokio::test]
async fn a_token_url_may_not_lead_inside() {
    let (platform, issuer, service) = with_issuer(token("canary-token-1", &json!(60))).await;
    for (url, words) in [
        ("https://127.0.0.1/token", "token_url must be an https URL"),
        (
            "http://b.example.org/token",
            "token_url must be an https URL",
        ),
        ("https://c.example.org/token", "could not be reached"),
    ] {
        platform.set(
            "orders",
            json!({ "kind": "oauth2_client_credentials", "token_url": url, "client_id": "c", "client_secret": KEY }),
        );
        let output = get(&platform, &service, "/").await;
        check_unsent(&output, &service, words);
    }
    assert_eq!(issuer.lines(), [] as [String; 0]);
}
