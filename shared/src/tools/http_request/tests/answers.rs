//! What is sent, and what is read of what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stand_in::{
    LOOPBACK, Names, Reply, Server, Then, call, call_with, check_answer, check_error, get, request,
    rules, tools,
};
use crate::domain::{Deadline, MAX_TOOL_TEXT_BYTES};
use crate::ports::{ToolOutput, Tools};
use crate::testing::{Captured, listen, samples};
use crate::tools::http_request::{Reach, opaque};

fn shown(status: u16, content_type: Option<&str>, body: &str) -> Value {
    json!({ "status": status, "content_type": content_type, "body": body, "truncated": false })
}

#[tokio::test]
async fn a_request_says_what_the_model_wrote_and_no_more() {
    let server = Server::start([("/a?b=c", Reply::text("hello"))]).await;
    let url = server.url("api.example.com", "/a?b=c#d");
    let headers = json!({ "Accept": "text/plain", "X-Api-Key": "k" });
    let output = call(
        rules(),
        json!({ "url": url, "method": "POST", "headers": headers, "body": "ü" }),
    )
    .await;
    assert!(!output.is_error);
    check_answer(&output, &shown(200, Some("text/plain"), "hello"));
    let [received] = &server.requests()[..] else {
        panic!("{:?}", server.requests())
    };
    let expected = json!({
        "accept": "text/plain", "x-api-key": "k", "accept-encoding": "identity", "idempotency-key": opaque("call-7"),
        "user-agent": concat!("aiagent-platform/", env!("CARGO_PKG_VERSION")), "content-length": "2",
        "host": format!("api.example.com:{}", server.port),
    });
    assert_eq!(
        (
            json!(received.headers),
            received.line.as_str(),
            received.body.as_str()
        ),
        (expected, "POST /a?b=c", "ü")
    );
}

#[tokio::test]
async fn only_changes_carry_an_idempotency_key() {
    let server = Server::start([("/", Reply::text("ok"))]).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        let output = call(
            rules(),
            json!({ "url": server.url("api.example.com", "/"), "method": method }),
        )
        .await;
        assert!(!output.is_error, "{output:?}");
    }
    let keyed = |method: &str| {
        server.requests().iter().any(|request| {
            request.line.starts_with(method) && request.headers.contains_key("idempotency-key")
        })
    };
    assert_eq!(
        ["GET", "HEAD", "POST", "PUT", "DELETE"].map(keyed),
        [false, false, true, true, true]
    );
}

#[tokio::test]
async fn idempotency_key_is_stable_per_call_and_hides_the_task() {
    let server = Server::start([("/", Reply::text("ok"))]).await;
    let task = "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10";
    for key in ["/2", "/2", "/3", "/1/2"] {
        let arguments = json!({ "url": server.url("api.example.com", "/"), "method": "POST" });
        let names = Names::new(&[("api.example.com", &[&[LOOPBACK]])]);
        let mut request = request(rules(), arguments);
        request.idempotency_key = format!("{task}{key}");
        assert!(
            !tools(names, Reach::ThisMachineToo)
                .run(&request)
                .await
                .is_error
        );
    }
    let keys: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.headers["idempotency-key"].clone())
        .collect();
    let [first, again, next, in_another_run] = &keys[..] else {
        panic!("{keys:?}")
    };
    assert_eq!(first, again);
    assert!(
        first != next && first != in_another_run && next != in_another_run,
        "{keys:?}"
    );
    for key in &keys {
        assert!(
            key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{key}"
        );
        assert!(!key.contains("01981b5e") && !key.contains("8d51"), "{key}");
    }
}

#[tokio::test]
async fn a_status_from_400_on_is_an_error_that_can_be_read() {
    let server = Server::start([
        (
            "/404",
            Reply::new(404, &[("content-type", "application/problem+json")], "{}"),
        ),
        ("/500", Reply::new(500, &[], "")),
        ("/204", Reply::raw("HTTP/1.1 204 x\r\n\r\n", Then::Close)),
        ("/304", Reply::raw("HTTP/1.1 304 x\r\n\r\n", Then::Close)),
    ])
    .await;
    for (path, is_error, expected) in [
        (
            "/404",
            true,
            shown(404, Some("application/problem+json"), "{}"),
        ),
        ("/500", true, shown(500, None, "")),
        ("/204", false, shown(204, None, "")),
        ("/304", false, shown(304, None, "")),
    ] {
        let output = get(&server, path).await;
        assert_eq!(output.is_error, is_error);
        check_answer(&output, &expected);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_plain_text_is_not_read() {
    let typed = |content_type: &str| Reply::new(200, &[("content-type", content_type)], "x");
    let server = Server::start([
        ("/json", typed("Application/JSON; charset=utf-8")),
        ("/xml", typed("application/atom+xml")),
        ("/png", typed("image/png")),
        ("/zip", typed("application/zip")),
        (
            "/gzip",
            Reply::new(
                200,
                &[("content-type", "text/plain"), ("content-encoding", "gzip")],
                "x",
            ),
        ),
        (
            "/bytes",
            Reply::raw(
                b"HTTP/1.1 200 x\r\ncontent-length: 3\r\n\r\na\xffb".to_vec(),
                Then::Close,
            ),
        ),
    ])
    .await;
    assert!(!get(&server, "/json").await.is_error);
    assert!(!get(&server, "/xml").await.is_error);
    check_error(
        &get(&server, "/png").await,
        "has status 200, but its body is image/png",
    );
    check_error(
        &get(&server, "/zip").await,
        "has status 200, but its body is application/zip",
    );
    check_error(&get(&server, "/gzip").await, "is compressed");
    check_answer(
        &get(&server, "/bytes").await,
        &shown(200, None, "a\u{fffd}b"),
    );
}

/// What an agent that allows a response of 1 KiB gets of the text at this path, and whether it is
/// cut.
async fn check_kilobyte(server: &Server, path: &str, expected: &str, is_cut: bool) {
    let rules = rules().with_max_response_bytes(1_024).unwrap();
    let output = call(rules, json!({ "url": server.url("api.example.com", path) })).await;
    let mut expected = shown(200, Some("text/plain"), expected);
    expected["truncated"] = json!(is_cut);
    check_answer(&output, &expected);
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let head = "HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n";
    let large = format!("{head}content-length: 100000000\r\n\r\n");
    let server = Server::start([
        ("/endless", Reply::raw(format!("{head}\r\n"), Then::Babble)),
        ("/large", Reply::raw(large, Then::Babble)),
        ("/exact", Reply::text(&"x".repeat(1_024))),
        ("/umlauts", Reply::text(&format!("x{}", "ü".repeat(600)))),
    ])
    .await;
    for (path, expected, is_cut) in [
        ("/endless", "x".repeat(1_024), true),
        ("/large", "x".repeat(1_024), true),
        ("/exact", "x".repeat(1_024), false),
        ("/umlauts", format!("x{}", "ü".repeat(511)), true),
    ] {
        check_kilobyte(&server, path, &expected, is_cut).await;
    }
}

/// What takes more room in a conversation than on the wire is bounded as well.
#[tokio::test]
async fn an_answer_takes_no_more_room_in_a_conversation_than_the_agent_allows() {
    let text = |body: Vec<u8>| {
        let head = format!(
            "HTTP/1.1 200 x\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Reply::raw([head.into_bytes(), body].concat(), Then::Close)
    };
    let server = Server::start([
        ("/control", text(b"\x01".repeat(1_024))),
        ("/mixed", text(b"a\x00\tb\x1b\x7f\r\n\xc2\x80c".to_vec())),
        ("/invalid", text(b"\xff".repeat(1_024))),
        ("/quotes", text(b"\"".repeat(1_024))),
        ("/more-control", text(b"\x01".repeat(4_096))),
    ])
    .await;
    for (path, expected, is_cut) in [
        ("/control", String::new(), false),
        ("/mixed", "a\tb\r\nc".to_owned(), false),
        ("/invalid", "\u{fffd}".repeat(341), true),
        ("/quotes", "\"".repeat(512), true),
        ("/more-control", String::new(), true),
    ] {
        check_kilobyte(&server, path, &expected, is_cut).await;
    }
}

/// Even if the agent allows it.
#[tokio::test]
async fn no_answer_is_longer_than_a_conversation_takes() {
    for body in [
        b"\x01".as_slice(),
        b"\xff",
        b"a",
        b"\"\\",
        "\u{10ffff}".as_bytes(),
    ] {
        let body = body.repeat(2_097_152 / body.len());
        let head = b"HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n\r\n";
        let server = Server::start([(
            "/",
            Reply::raw([head, body.as_slice()].concat(), Then::Close),
        )])
        .await;
        let rules = rules().with_max_response_bytes(2_097_152).unwrap();
        let output = call(rules, json!({ "url": server.url("api.example.com", "/") })).await;
        assert!(
            output.text.len() <= MAX_TOOL_TEXT_BYTES,
            "{}",
            output.text.len()
        );
        let shown: Value = serde_json::from_str(&output.text).unwrap();
        assert_eq!(shown["truncated"], true);
        assert_eq!(
            output.clone().bounded(MAX_TOOL_TEXT_BYTES),
            output,
            "so that it stays JSON"
        );
    }
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_agents_time_or_the_deadline() {
    let head = "HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n\r\n";
    let server = Server::start([
        ("/silent", Reply::raw("", Then::Hold)),
        ("/drip", Reply::raw(head, Then::Drip)),
    ])
    .await;
    let names = || Names::new(&[("api.example.com", &[&[LOOPBACK]])]);
    let begun = Instant::now();
    let slow = json!({ "url": server.url("api.example.com", "/drip") });
    let rules = rules().with_timeout_seconds(1).unwrap();
    check_error(
        &call(rules.clone(), slow.clone()).await,
        "no complete answer within 1s",
    );
    let mut request = request(
        rules,
        json!({ "url": server.url("api.example.com", "/silent") }),
    );
    request.deadline = Deadline::at(samples::START.plus(Duration::from_millis(300)));
    check_error(
        &tools(names(), Reach::ThisMachineToo).run(&request).await,
        "no complete answer within 300ms",
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
    request.deadline = Deadline::at(samples::START);
    let before = server.requests().len();
    check_error(
        &tools(names(), Reach::ThisMachineToo).run(&request).await,
        "no complete answer",
    );
    assert_eq!(server.requests().len(), before);
}

#[tokio::test]
async fn an_answer_that_is_not_http_or_breaks_off_is_an_error() {
    let many = "x: y\r\n".repeat(200);
    let server = Server::start([
        ("/junk", Reply::raw("SSH-2.0-x\r\n", Then::Close)),
        ("/nothing", Reply::raw("", Then::Close)),
        (
            "/cut",
            Reply::raw(
                "HTTP/1.1 200 x\r\ncontent-length: 10\r\n\r\nabc",
                Then::Close,
            ),
        ),
        (
            "/many",
            Reply::raw(format!("HTTP/1.1 200 x\r\n{many}\r\n"), Then::Close),
        ),
        ("/header", Reply::raw("HTTP/1.1 200 x\r\nx: ", Then::Babble)),
    ])
    .await;
    for path in ["/junk", "/nothing", "/cut", "/many", "/header"] {
        check_error(
            &get(&server, path).await,
            "the connection broke, or the answer was not understood",
        );
    }
}

#[tokio::test]
async fn an_error_status_is_logged_with_the_host_as_the_agent_has_it() {
    let logged = Captured::default();
    let _listening = listen(
        tracing_subscriber::fmt()
            .with_writer(logged.clone())
            .with_ansi(false)
            .finish(),
    );
    let server = Server::start([("/canary", Reply::new(503, &[], "canary"))]).await;
    get(&server, "/canary").await;
    let text = logged.text();
    let expected = r#"tool call failed reason="status" status=503 host="api.example.com""#;
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_an_error() {
    let names = Names::new(&[
        ("api.example.com", &[&[LOOPBACK]]),
        ("b.example.org", &[&[]]),
    ]);
    let to = async |url: String| {
        call_with(
            Arc::<Names>::clone(&names),
            Reach::ThisMachineToo,
            rules(),
            json!({ "url": url }),
        )
        .await
    };
    // Nobody listens at port 1, and no other test gets it from the system.
    check_error(
        &to("http://api.example.com:1/".to_owned()).await,
        "no connection to the host",
    );
    check_error(
        &to("http://a.example.org/".to_owned()).await,
        "could not be resolved",
    );
    check_error(
        &to("http://b.example.org/".to_owned()).await,
        "could not be resolved",
    );
}

#[tokio::test]
async fn arguments_that_make_no_request_are_said_to_the_model() {
    let url = "http://api.example.com/";
    for (arguments, words) in [
        (json!({}), "the arguments must be"),
        (
            json!({ "url": url, "method": "TRACE" }),
            "the arguments must be",
        ),
        (
            json!({ "url": url, "headers": { "x": 1 } }),
            "the arguments must be",
        ),
        (
            json!({ "url": url, "follow": true }),
            "the arguments must be",
        ),
        (json!({ "url": url, "body": "x" }), "has no body"),
        (
            json!({ "url": url, "method": "POST", "body": "x".repeat(65_537) }),
            "at most 65536 bytes",
        ),
        (
            json!({ "url": url, "headers": { "a b": "x" } }),
            "HTTP does not allow",
        ),
    ] {
        check_error(&call(rules(), arguments).await, words);
    }
}

#[tokio::test]
async fn the_other_tools_run_too() {
    let run = async |tool, arguments| {
        let tools = tools(Names::new(&[]), Reach::PublicInternet);
        tools
            .run(&crate::ports::ToolRequest {
                tool,
                ..request(rules(), arguments)
            })
            .await
    };
    let sum = run(
        crate::domain::BuiltinTool::Calculator,
        json!({ "expression": "1 + 1" }),
    )
    .await;
    assert_eq!(sum, ToolOutput::new("2"));
    let time = run(crate::domain::BuiltinTool::CurrentTime, json!({})).await;
    assert!(time.text.contains("2026-11-18T11:06:40Z"), "{time:?}");
}
