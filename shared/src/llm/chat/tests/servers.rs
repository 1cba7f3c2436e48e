//! What servers do their own way.

use super::*;

#[test]
fn what_servers_do_their_own_way_is_put_up_with() {
    let piece = |delta: Value| chunk(&delta, &json!(null));
    let end = chunk(&json!({}), &json!("tool_calls"));
    let function = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});

    // No index, and the arguments as an object.
    let whole_calls = json!([
        {"id": "a", "function": function("n", json!({"x": 1}))}, {"id": "b", "function": function("n", json!(null))},
    ]);
    let answer = stream(&chunks(&[
        piece(json!({"tool_calls": whole_calls})),
        end.clone(),
    ]))
    .unwrap();
    assert_eq!(calls(&answer), [("a", "{\"x\":1}"), ("b", "{}")]);

    // Id and name in every piece.
    let repeated = |more: &str| {
        piece(
            json!({"tool_calls": [{"index": 0, "id": "a", "function": function("n", json!(more))}]}),
        )
    };
    let answer = stream(&chunks(&[repeated("{\"x\""), repeated(":1}"), end.clone()])).unwrap();
    assert_eq!(calls(&answer), [("a", "{\"x\":1}")]);

    // No id: each call gets one of its own.
    let unnamed = json!([{"index": 0, "function": function("n", json!("{}"))}, {"index": 1, "function": function("n", json!("{}"))}]);
    let answer = stream(&chunks(&[
        piece(json!({"tool_calls": unnamed})),
        end.clone(),
    ]))
    .unwrap();
    let ids: Vec<&str> = answer.tool_calls().map(|call| call.id.as_str()).collect();
    assert!(
        ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("call_")),
        "{ids:?}"
    );

    // What a server adds to a call goes back with it.
    let extra = json!([{"index": 0, "id": "a", "type": "function", "function": function("n", json!("{}")), "extra_content": {"sealed": "s"}}]);
    let answer = stream(&chunks(&[piece(json!({"tool_calls": extra.clone()})), end])).unwrap();
    let messages = vec![Message::user("a"), Message::Assistant(answer.content)];
    let sent = body::<Chat>(&model_request(qwen(), prompt(messages)))["messages"][2]["tool_calls"]
        [0]
    .take();
    assert_eq!(
        sent,
        json!({"id": "a", "type": "function", "function": function("n", json!("{}")), "extra_content": {"sealed": "s"}})
    );

    // Content in parts; other choices; usage in every chunk; chunks of another kind.
    let parts = json!([{"type": "text", "text": "x"}, {"type": "new"}]);
    let other = json!({"choices": [{"index": 1, "delta": {"content": "y"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
    let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let answer = stream(&chunks(&[
        json!({"new": 1}),
        piece(json!({"content": parts})),
        other,
        last,
    ]))
    .unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.usage.output_tokens),
        ("x", 2)
    );
}

#[test]
fn a_new_id_without_index_and_name_begins_a_call() {
    let first = json!({"id": "a", "function": {"name": "n", "arguments": "{}"}});
    let named = json!({"id": "b", "function": {"name": "m", "arguments": "{\"x\":1}"}});
    let deltas = [first, json!({"id": "b"}), named]
        .map(|piece| chunk(&json!({"tool_calls": [piece]}), &json!(null)));
    let end = chunk(&json!({}), &json!("tool_calls"));
    let answer = stream(&chunks(
        &deltas.into_iter().chain([end]).collect::<Vec<_>>(),
    ))
    .unwrap();
    assert_eq!(calls(&answer), [("a", "{}"), ("b", "{\"x\":1}")]);
}

#[test]
fn a_call_may_be_named_in_a_later_piece() {
    let ways = [
        [
            json!({"id": "a"}),
            json!({"function": {"name": "n", "arguments": "{\"x\""}}),
        ],
        [
            json!({"id": "a"}),
            json!({"id": "a", "function": {"name": "n", "arguments": "{\"x\""}}),
        ],
        [
            json!({"function": {"name": "n", "arguments": "{\"x\""}}),
            json!({"id": "a"}),
        ],
    ];
    for pieces in ways {
        for index in [Some(0), None] {
            let last = json!({"function": {"arguments": ":1}"}});
            let deltas = pieces.iter().chain([&last]).map(|piece| {
                let mut piece = piece.clone();
                piece
                    .as_object_mut()
                    .unwrap()
                    .extend(index.map(|index| ("index".to_owned(), json!(index))));
                chunk(&json!({"tool_calls": [piece]}), &json!(null))
            });
            let end = chunk(&json!({}), &json!("tool_calls"));
            let answer = stream(&chunks(&deltas.chain([end]).collect::<Vec<_>>())).unwrap();
            let called: Vec<_> = answer
                .tool_calls()
                .map(|call| (call.id.as_str(), call.name.as_str()))
                .collect();
            assert_eq!(
                (called, calls(&answer)),
                (vec![("a", "n")], vec![("a", "{\"x\":1}")]),
                "{pieces:?}"
            );
        }
    }
}

#[test]
fn parallel_calls_that_share_an_id_stay_two_calls() {
    let call = |index: u32, name: &str, arguments: &str| json!({"index": index, "id": "a", "function": {"name": name, "arguments": arguments}});
    let more =
        |index: u32, arguments: &str| json!({"index": index, "function": {"arguments": arguments}});
    let end = || chunk(&json!({}), &json!("tool_calls"));
    let together = json!({"tool_calls": [call(0, "f", "{\"x\":1}"), call(1, "g", "{\"y\":2}")]});
    let begun = json!({"tool_calls": [call(0, "f", "{\"x\":"), call(1, "g", "{\"y\":")]});
    let rest = json!({"tool_calls": [more(0, "1}"), more(1, "2}")]});
    let streams = [
        vec![chunk(&together, &json!(null)), end()],
        vec![
            chunk(&begun, &json!(null)),
            chunk(&rest, &json!(null)),
            end(),
        ],
    ];
    for pieces in streams {
        let answer = stream(&chunks(&pieces)).unwrap();
        let called: Vec<_> = answer
            .tool_calls()
            .map(|call| (call.name.as_str(), call.arguments.as_str()))
            .collect();
        assert_eq!(called, [("f", "{\"x\":1}"), ("g", "{\"y\":2}")]);
        let ids: Vec<_> = answer.tool_calls().map(|call| &call.id).collect();
        assert_ne!(ids[0], ids[1]);
    }
}

#[test]
fn fields_that_say_nothing_may_have_any_form() {
    for odd in [json!(false), json!({}), json!("")] {
        let delta = json!({"content": "x", "tool_calls": if odd == json!(false) { json!(null) } else { odd.clone() },
                           "refusal": if odd == json!("") { json!(null) } else { odd.clone() }, "reasoning_details": odd});
        let answer = stream(&chunks(&[chunk(&delta, &json!("stop"))])).unwrap();
        assert_eq!(
            (answer.text().as_str(), answer.stop_reason),
            ("x", StopReason::EndTurn)
        );
    }
    let lost = json!({"content": "x", "tool_calls": {"name": "f"}});
    assert_eq!(
        stream(&chunks(&[chunk(&lost, &json!("stop"))]))
            .unwrap_err()
            .kind,
        ModelErrorKind::BadAnswer
    );
}
