//! Redirects and answers that say a credential again.

use serde_json::{Value, json};

use super::credentials::{KEY, Platform, naming, seen};
use super::stand_in::{HOSTS, Reply, Server, rules};

#[tokio::test]
async fn a_redirect_gets_it_only_if_the_secret_names_the_new_place() {
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY }));
    let server = Server::start_tls(
        &platform.authority,
        [
            ("/same", Reply::redirect(307, "/end")),
            (
                "/other",
                Reply::redirect(307, "https://a.example.org:PORT/end"),
            ),
            (
                "/echo",
                Reply::redirect(
                    307,
                    "https://a.example.org:PORT/?k=canary%2Fkey%2B42~%2A%3D",
                ),
            ),
            ("/end", Reply::text("end")),
        ],
    )
    .await;
    for path in ["/same", "/other"] {
        let output = platform
            .call(&["github"], json!({ "url": server.https(HOSTS[0], path) }))
            .await;
        assert!(!output.is_error, "{output:?}");
    }
    let key = || Some(format!("Bearer {KEY}"));
    assert_eq!(seen(&server, "authorization"), [key(), key(), key(), None]);
    let output = platform
        .call(
            &["github"],
            json!({ "url": server.https(HOSTS[0], "/echo") }),
        )
        .await;
    assert!(
        output.is_error && !output.is_blocked && output.text.contains("redirects to"),
        "{output:?}"
    );
    assert_eq!(server.lines().len(), 5);
}

#[tokio::test]
async fn a_redirect_that_keeps_the_query_does_not_keep_the_credential() {
    let platform = Platform::new();
    platform.set(
        "query",
        json!({ "kind": "query", "value": KEY, "parameter": "key" }),
    );
    let sent = "canary%2Fkey%2B42~%2A%3D";
    let same = format!("/list/?page=2&key={sent}");
    let other = format!("https://a.example.org:PORT/?key={sent}&page=2");
    // Another service's parameter of the same name.
    let own = "https://a.example.org:PORT/?key=signature";
    let told = "https://a.example.org:PORT/?k=canary/key%2b42%7e*%3D";
    let server = Server::start_tls(
        &platform.authority,
        [
            (
                "/same?key=canary%2Fkey%2B42~%2A%3D",
                Reply::redirect(307, &same),
            ),
            (
                "/other?key=canary%2Fkey%2B42~%2A%3D",
                Reply::redirect(307, &other),
            ),
            (
                "/told?key=canary%2Fkey%2B42~%2A%3D",
                Reply::redirect(307, told),
            ),
            (
                "/own?key=canary%2Fkey%2B42~%2A%3D",
                Reply::redirect(307, own),
            ),
        ],
    )
    .await;
    for path in ["/same", "/other", "/told", "/own"] {
        platform
            .call(&["query"], json!({ "url": server.https(HOSTS[0], path) }))
            .await;
    }
    let with_key = |path: &str| format!("GET {path}key={sent}");
    assert_eq!(
        server.lines(),
        [
            with_key("/same?"),
            with_key("/list/?page=2&"),
            with_key("/other?"),
            "GET /?page=2".to_owned(),
            with_key("/told?"),
            with_key("/own?"),
            "GET /?key=signature".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_part_of_an_answer_is_never_asked_for_with_a_credential() {
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY }));
    let server = Server::start_tls(&platform.authority, []).await;
    for host in [HOSTS[0], HOSTS[1]] {
        let headers = json!({ "Range": "bytes=0-9", "If-Range": "x" });
        let arguments = json!({ "url": server.https(host, "/"), "headers": headers });
        platform.call(&["github"], arguments).await;
    }
    assert_eq!(seen(&server, "range"), [None, Some("bytes=0-9".to_owned())]);
    assert_eq!(seen(&server, "if-range"), [None, Some("x".to_owned())]);
}

#[tokio::test]
async fn a_credential_that_a_redirect_needs_is_said_to_be_missing_after_the_request() {
    let platform = Platform::new();
    for name in ["one", "two"] {
        platform.set(name, json!({ "value": KEY, "paths": ["/end"] }));
    }
    let server =
        Server::start_tls(&platform.authority, [("/", Reply::redirect(307, "/end"))]).await;
    let arguments = json!({ "url": server.https(HOSTS[0], "/"), "method": "POST" });
    let output = platform.call(&["one", "two"], arguments).await;
    assert!(
        output.is_error && output.text.starts_with("the answer redirects to"),
        "{output:?}"
    );
    assert_eq!(server.lines(), ["POST /"]);
}

#[tokio::test]
async fn an_answer_that_says_it_again_is_cleaned() {
    let platform = Platform::new();
    platform.set("github", json!({ "value": KEY }));
    let filler = "x".repeat(1_018);
    let echo = format!("{{\"Authorization\":\"Bearer {KEY}\",\"b64\":\"Y2FuYXJ5L2tleSs0Mn4qPQ\"}}");
    let server = Server::start_tls(
        &platform.authority,
        [
            ("/echo", Reply::text(&echo)),
            ("/cut", Reply::text(&format!("{filler}{KEY}{filler}"))),
            (
                "/type",
                Reply::new(200, &[("content-type", &format!("text/{KEY}"))], "ok"),
            ),
            ("/kind", Reply::new(200, &[("content-type", KEY)], "ok")),
        ],
    )
    .await;
    for (path, expected) in [
        (
            "/echo",
            "{\"Authorization\":\"[credential]\",\"b64\":\"[credential]\"}".to_owned(),
        ),
        ("/cut", format!("{filler}[crede")),
        ("/type", "ok".to_owned()),
    ] {
        let rules = naming(rules().with_max_response_bytes(1_024).unwrap(), &["github"]);
        let arguments = json!({ "url": server.https(HOSTS[0], path) });
        let output = platform.call_within(rules, arguments).await;
        assert!(!output.text.contains("canary"), "{output:?}");
        let answer: Value = serde_json::from_str(&output.text).unwrap();
        assert_eq!(answer["body"], expected, "{path}");
        assert_eq!(answer["truncated"], path == "/cut", "{path}");
    }
    let output = platform
        .call(
            &["github"],
            json!({ "url": server.https(HOSTS[0], "/kind") }),
        )
        .await;
    assert!(
        output.is_error && !output.text.contains("canary"),
        "{output:?}"
    );
}
