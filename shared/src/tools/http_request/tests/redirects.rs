//! Redirects are followed by hand, each held to the same rules.

use serde_json::{Value, json};

use super::stand_in::{Reply, Server, call, check_error, get, rules};
use crate::domain::HttpMethod;

fn body(output: &crate::ports::ToolOutput) -> Value {
    serde_json::from_str::<Value>(&output.text).unwrap()["body"].clone()
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_bound() {
    let chain = ["/0", "/1", "/2", "/3", "/4", "/5"];
    let mut replies: Vec<_> = chain
        .windows(2)
        .map(|pair| (pair[0], Reply::redirect(302, pair[1])))
        .collect();
    replies.extend([
        ("/5", Reply::text("end")),
        ("/loop", Reply::redirect(307, "/loop")),
    ]);
    replies.extend([
        ("/more", Reply::redirect(301, "http://a.example.org:PORT/0")),
        ("/none", Reply::new(302, &[], "x")),
    ]);
    let server = Server::start(replies).await;
    assert_eq!(body(&get(&server, "/0").await), "end");
    check_error(&get(&server, "/more").await, "redirected too often");
    check_error(&get(&server, "/loop").await, "redirected too often");
    assert_eq!(body(&get(&server, "/none").await), "x");
    assert_eq!(
        server
            .lines()
            .iter()
            .filter(|line| *line == "GET /loop")
            .count(),
        6
    );
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_place_is_not_followed() {
    let places = [
        (
            "/host",
            "http://evil.example:PORT/x",
            "this host are not allowed",
        ),
        ("/literal", "http://127.0.0.1:PORT/x", "not an IP address"),
        ("/decimal", "http://2130706433:PORT/x", "not an IP address"),
        ("/v6", "http://[::1]:PORT/x", "not an IP address"),
        ("/user", "http://a:b@api.example.com:PORT/x", "a user name"),
        ("/file", "file:///etc/passwd", "scheme is not allowed"),
        ("/slash", "\\\\evil.example\\x", "not a URL"),
        (
            "/unknown",
            "http://c.example.org:PORT/x",
            "could not be resolved",
        ),
    ];
    let server =
        Server::start(places.map(|(path, location, _)| (path, Reply::redirect(302, location))))
            .await;
    for (path, _, words) in places {
        check_error(&get(&server, path).await, words);
    }
    assert_eq!(
        server.lines(),
        places.map(|(path, _, _)| format!("GET {path}"))
    );
}

#[tokio::test]
async fn a_change_becomes_a_read_only_where_the_status_says_so() {
    let server = Server::start([
        ("/301", Reply::redirect(301, "/end")),
        ("/303", Reply::redirect(303, "/end")),
        ("/307", Reply::redirect(307, "/end")),
        ("/308", Reply::redirect(308, "/end")),
        ("/end", Reply::text("end")),
    ])
    .await;
    for path in ["/301", "/303", "/307", "/308"] {
        let headers = json!({ "content-type": "text/plain", "x-api-key": "k" });
        let url = server.url("api.example.com", path);
        let output = call(
            rules(),
            json!({ "url": url, "method": "PUT", "headers": headers, "body": "b" }),
        )
        .await;
        assert_eq!(body(&output), "end");
    }
    let head = call(
        rules(),
        json!({ "url": server.url("api.example.com", "/303"), "method": "HEAD" }),
    )
    .await;
    assert!(!head.is_error, "{head:?}");
    let ends: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.line.ends_with("/end"))
        .collect();
    let seen: Vec<_> = ends
        .iter()
        .map(|end| {
            let has = |name: &str| end.headers.contains_key(name);
            (
                end.line.as_str(),
                end.body.as_str(),
                has("content-type"),
                has("idempotency-key"),
                has("x-api-key"),
            )
        })
        .collect();
    let (read, changed) = (
        ("GET /end", "", false, false, true),
        ("PUT /end", "b", true, true, true),
    );
    assert_eq!(
        seen,
        [
            read,
            read,
            changed,
            changed,
            ("HEAD /end", "", false, false, false)
        ]
    );
}

#[tokio::test]
async fn a_read_that_the_agent_may_not_send_is_not_made_of_a_change() {
    let server = Server::start([("/", Reply::redirect(303, "/end"))]).await;
    let rules = rules().with_methods(vec![HttpMethod::Post]).unwrap();
    let output = call(
        rules,
        json!({ "url": server.url("api.example.com", "/"), "method": "POST" }),
    )
    .await;
    check_error(&output, "this method is not allowed");
    assert!(!output.is_blocked, "a request was made");
    assert_eq!(server.lines(), ["POST /"]);
}

#[tokio::test]
async fn headers_of_the_model_stay_with_the_host_that_they_are_for() {
    let server = Server::start([
        ("/", Reply::redirect(307, "http://a.example.org:PORT/there")),
        (
            "/there",
            Reply::redirect(307, "http://api.example.com:PORT/back"),
        ),
        ("/back", Reply::text("end")),
    ])
    .await;
    let headers = json!({ "Authorization": "Bearer t", "X-Api-Key": "k", "Accept": "text/plain", "Content-Type": "text/x" });
    let url = server.url("api.example.com", "/");
    let output = call(
        rules(),
        json!({ "url": url, "method": "POST", "headers": headers, "body": "b" }),
    )
    .await;
    assert_eq!(body(&output), "end");
    for (place, request) in server.requests().iter().enumerate() {
        let is_first = place == 0;
        assert_eq!(
            request.headers.contains_key("authorization"),
            is_first,
            "{request:?}"
        );
        assert_eq!(
            request.headers.contains_key("x-api-key"),
            is_first,
            "{request:?}"
        );
        assert_eq!(request.headers["accept"], "text/plain");
        assert!(
            !request.headers.contains_key("referer") && !request.headers.contains_key("cookie")
        );
    }
}
