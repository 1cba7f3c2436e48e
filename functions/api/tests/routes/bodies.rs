//! Bodies that can't be read, and what is said of them.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use crate::platform::{Platform, check_refused, request};

/// A submission that would be refused only for its agent.
const READABLE: &str = r#"{"agent_id":"agt_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10","input":"é"}"#;

fn utf_16(text: &str, unit: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped() {
    let platform = Platform::new();
    let answer = platform
        .post("/v1/tasks", format!("\u{feff}{READABLE}"))
        .await;
    let detail = &answer.body["errors"][0]["detail"];
    assert_eq!(
        (answer.status.as_u16(), &answer.body["errors"][0]["pointer"]),
        (422, &json!("/agent_id")),
        "{detail}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn a_body_that_is_no_json_in_utf_8_is_refused_by_what_it_is() {
    let platform = Platform::new();
    let table: [(Vec<u8>, &str); 15] = [
        (
            vec![0x1f, 0x8b, 8, 0, 0, 0],
            "the body is compressed (gzip); send it uncompressed, as JSON in UTF-8",
        ),
        (
            vec![0x28, 0xb5, 0x2f, 0xfd, 4],
            "the body is compressed (zstd); send it uncompressed, as JSON in UTF-8",
        ),
        (
            vec![0x78, 0x9c, 0xab],
            "the body is compressed (deflate); send it uncompressed, as JSON in UTF-8",
        ),
        (
            utf_16(READABLE, u16::to_le_bytes),
            "the body is in UTF-16; send it in UTF-8",
        ),
        (
            utf_16(READABLE, u16::to_be_bytes),
            "the body is in UTF-16; send it in UTF-8",
        ),
        (
            utf_16(&format!("\u{feff}{READABLE}"), u16::to_le_bytes),
            "the body is in UTF-16; send it in UTF-8",
        ),
        (
            utf_16(&format!("\u{feff}{READABLE}"), u16::to_be_bytes),
            "the body is in UTF-16; send it in UTF-8",
        ),
        (
            b"{\0\0\0\"\0\0\0".to_vec(),
            "the body is in UTF-32; send it in UTF-8",
        ),
        (
            b"\0\0\0{\0\0\0\"".to_vec(),
            "the body is in UTF-32; send it in UTF-8",
        ),
        (
            b"{\"input\":\"\xe9\"}".to_vec(),
            "the body is not in UTF-8 from byte 10 on; send it in UTF-8",
        ),
        (Vec::new(), "the body is not valid JSON: it is empty"),
        (
            b"\xef\xbb\xbf \n".to_vec(),
            "the body is not valid JSON: it is empty",
        ),
        (
            b"{\"input\":\"\xc3".to_vec(),
            "the body is not valid JSON: it ends early, in the middle of a character",
        ),
        (
            READABLE.as_bytes()[..50].to_vec(),
            "the body is not valid JSON: it ends early, at line 1 column 50",
        ),
        (
            b"{\n 'a': 1}".to_vec(),
            "the body is not valid JSON: it has a name without quotation marks, at line 2 column 2",
        ),
    ];
    for (body, detail) in table {
        let shown = format!("{:?}", String::from_utf8_lossy(&body));
        let answer = platform.post("/v1/tasks", body).await;
        let expected = (400, &json!("invalid_request"), &json!(detail));
        assert_eq!(
            (
                answer.status.as_u16(),
                &answer.body["code"],
                &answer.body["detail"]
            ),
            expected,
            "{shown}"
        );
    }
    assert!(platform.wrote_nothing().await);
}

#[tokio::test]
async fn a_content_encoding_is_refused_by_name() {
    let platform = Platform::new();
    let agent = platform.create_agent().await;
    let body = json!({ "agent_id": agent, "input": "hello" }).to_string();
    let send = async |path: &str, codings: &[&str]| {
        let with_type = request("POST", path).header("content-type", "application/json");
        let request = codings.iter().fold(with_type, |request, coding| {
            request.header("content-encoding", *coding)
        });
        platform
            .send(request.body(Body::from(body.clone())).unwrap())
            .await
    };
    for (codings, named) in [
        (["gzip"].as_slice(), "gzip"),
        (&["GZip"], "GZip"),
        (&["identity, br"], "br"),
        (&["identity", "deflate"], "deflate"),
        (&["é"], "of unknown characters"),
    ] {
        for path in [
            "/v1/tasks",
            "/v1/agents",
            "/v1/tasks/tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10/retry",
        ] {
            let answer = send(path, codings).await;
            let detail = format!(
                "the request has the Content-Encoding {named}; send it uncompressed, without this header"
            );
            assert_eq!(
                (answer.status.as_u16(), &answer.body["detail"]),
                (415, &json!(detail)),
                "{path} {codings:?}"
            );
            assert_eq!(answer.body["code"], "unsupported_media_type");
        }
    }
    for harmless in [[""].as_slice(), &["identity"], &["Identity, "]] {
        assert_eq!(
            send("/v1/tasks", harmless).await.status.as_u16(),
            202,
            "{harmless:?}"
        );
    }
}

/// By JSON Schema, `20.0` is an integer.
#[tokio::test]
async fn a_whole_number_may_be_written_with_a_decimal_point() {
    let platform = Platform::new();
    let agent = r#"{
        "name": "clerk", "models": [{"provider": "anthropic", "model": "claude-sonnet-5-5"}],
        "max_steps": 20.0, "retry": {"max_seconds": 3e1}
    }"#;
    let answer = platform.post("/v1/agents", agent).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let read = (
        &answer.body["max_steps"],
        &answer.body["retry"]["max_seconds"],
    );
    assert_eq!(read, (&json!(20), &json!(30)));
    let key = r#"{"name": "k", "scopes": ["keys"], "limits": {"requests_per_minute": 150.0}}"#;
    let answer = platform.post("/v1/keys", key).await;
    assert_eq!(answer.body["limits"]["requests_per_minute"], 150);
    let refused = platform
        .post("/v1/agents", agent.replace("20.0", "20.5"))
        .await;
    let rule = "must be a whole number, 0 or more, not 20.5";
    check_refused(&refused, &[("/max_steps", rule)], "20.5");
}
