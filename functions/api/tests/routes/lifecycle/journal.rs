//! `GET /v1/tasks/{id}/steps`, and of one step.

use super::*;

#[tokio::test]
async fn the_journal_shows_each_step_page_by_page() {
    let platform = Platform::new();
    let path = task(
        &platform,
        [calling([samples::tool_call(
            "a",
            "calculator",
            r#"{"expression":"1"}"#,
        )])],
    )
    .await;
    let page = platform.get(&format!("{path}/steps?limit=2")).await.body;
    let numbers: Vec<&Value> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["number"])
        .collect();
    assert_eq!(
        (json!(numbers), &page["next_cursor"]),
        (json!([1, 2]), &json!("2")),
        "{page}"
    );
    let step = redacted(page["data"][1].clone());
    let expected = json!({
        "number": 2, "fence": 1, "started_at": "[time]", "finished_at": "[time]", "kind": "tool_call", "call_id": "a",
        "name": "calculator", "arguments": r#"{"expression":"1"}"#, "by": "platform", "text": step["text"],
        "is_error": false, "is_blocked": false, "source": null,
    });
    assert_eq!(step, expected);
    let rest = platform
        .get(&format!("{path}/steps?limit=2&cursor=2"))
        .await
        .body;
    let last = &rest["data"][0];
    assert_eq!(
        (&last["kind"], &last["text"], &rest["next_cursor"]),
        (&json!("model_call"), &json!("hello"), &Value::Null)
    );
    assert_eq!(
        last["requested_model"],
        json!({ "provider": "anthropic", "model": "claude-sonnet-5-5" })
    );
    let refused = platform.get(&format!("{path}/steps?cursor=two")).await;
    assert_eq!(
        refused.body["errors"][0]["parameter"], "cursor",
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn a_page_of_large_steps_is_short_rather_than_too_large() {
    let platform = Platform::new();
    let calls = (0..3).map(|number| {
        samples::tool_call(&number.to_string(), "calculator", r#"{"expression":"1"}"#)
    });
    let path = task(&platform, [calling(calls)]).await;
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let stored = TaskStore::task(&platform.store, &samples::tenant("default"), id)
        .await
        .unwrap()
        .unwrap();
    for number in 6..9 {
        let step = samples::tool_step(
            stored.id(),
            number,
            shared::domain::ToolRunner::Platform,
            &"x".repeat(399_000),
        );
        shared::ports::Journal::append(&platform.store, &step)
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut next = format!("{path}/steps");
    loop {
        let page = platform.get(&next).await.body;
        assert!(page.to_string().len() < 1_000_000);
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|step| step["number"].as_u64().unwrap()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        next = format!("{path}/steps?cursor={cursor}");
    }
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_step_is_shown_as_in_the_list_and_has_a_tag() {
    let platform = Platform::new();
    let call = samples::tool_call("a", "calculator", r#"{"expression":"1"}"#);
    let path = task(&platform, [calling([call])]).await;
    let listed = platform.get(&format!("{path}/steps")).await.body;
    for step in listed["data"].as_array().unwrap() {
        let path = format!("{path}/steps/{}", step["number"]);
        let shown = platform.get(&path).await;
        assert_eq!(shown.body, *step);
        let tag = shown.headers["etag"].to_str().unwrap();
        let headers = [("if-none-match", tag)];
        let unchanged = platform.send_typed(("GET", &path), &headers, "").await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
        assert_eq!(unchanged.headers["etag"], tag);
    }
}

#[tokio::test]
async fn one_step_has_the_text_that_the_list_cuts() {
    let platform = Platform::new();
    let path = task(&platform, []).await;
    let id = path.rsplit('/').next().unwrap().parse().unwrap();
    let text = "x".repeat(500_000);
    let step = samples::tool_step(id, 2, shared::domain::ToolRunner::Platform, &text);
    shared::ports::Journal::append(&platform.store, &step)
        .await
        .unwrap();
    let listed = platform.get(&format!("{path}/steps")).await.body;
    assert_eq!(listed["data"][1]["text_truncated"], true);
    let shown = platform.get(&format!("{path}/steps/2")).await.body;
    assert!(shown["text"] == text && shown.get("text_truncated").is_none());
}

#[tokio::test]
async fn a_step_that_is_not_there_is_404_and_bad_ranges_are_named() {
    let platform = Platform::new();
    let path = task(&platform, []).await;
    for number in ["0", "2", "4294967295", "4294967296", "-1", "x"] {
        for of_step in ["", "/json"] {
            let answer = platform
                .get(&format!("{path}/steps/{number}{of_step}"))
                .await;
            check(&answer, 404, "code", "not_found");
        }
    }
    for (query, parameter) in [
        ("offset=99999", "offset"),
        ("offset=-1", "offset"),
        ("limit=3", "limit"),
        ("limit=4194305", "limit"),
        ("from=1", "from"),
    ] {
        let refused = platform.get(&format!("{path}/steps/1/json?{query}")).await;
        check(&refused, 422, "code", "validation_failed");
        assert_eq!(refused.body["errors"][0]["parameter"], parameter);
    }
    let refused = platform.get(&format!("{path}/steps/1?limit=4")).await;
    assert_eq!(refused.body["errors"][0]["parameter"], "limit");
}
