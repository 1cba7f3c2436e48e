//! A task's whole life in one trace.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::Platform;
use tests::platform::unique;

/// The names of the spans that a span of this name can be in.
const PARENTS: [(&str, &[&str]); 6] = [
    ("tasks process", &["SQS.SendMessage"]),
    ("invoke_agent", &["tasks process"]),
    ("chat", &["invoke_agent"]),
    ("execute_tool", &["invoke_agent"]),
    ("model of chain", &["chat"]),
    ("retry wait", &["model of chain"]),
];

fn text<'a>(span: &'a Value, field: &str) -> &'a str {
    span[field].as_str().unwrap_or_default()
}

/// Checks that the trace and the task join the very same lines: those of the trace name the task,
/// and those of the task the trace, but for requests of others that only ask for it.
async fn check_lines(platform: &Platform, trace: &str, task: &str, agent: &str) {
    platform.logged("api", "request handled", task).await;
    for (function, least) in [("api", 2), ("executor", 6)] {
        let of_trace = platform.log_lines(function, trace).await;
        assert!(of_trace.len() >= least, "{of_trace:?}");
        for line in of_trace {
            let ids = ["task_id", "agent_id", "tenant_id", "xray_trace_id"]
                .map(|field| text(&line, field));
            assert_eq!(ids, [task, agent, "default", trace], "{line}");
            assert!(function == "api" || line["hop"].is_u64(), "{line}");
        }
    }
    for line in platform.log_lines("executor", task).await {
        assert_eq!(text(&line, "xray_trace_id"), trace, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_whole_life_is_one_trace() {
    let platform = Platform::deployed().await;
    let (provider, model) = (platform.unreliable(), unique("sturdy").replace(' ', "-"));
    provider.break_down(&model);
    let models = json!([
        { "provider": "openai_compatible", "model": model }, { "provider": "anthropic", "model": "claude-sonnet-5-5" },
    ]);
    let agent = platform
        .agent_of(json!({ "models": models, "builtin_tools": [{ "name": "calculator" }] }))
        .await;
    let task = platform
        .submit(&agent, &unique("[two-hops] canary prompt"))
        .await;
    let ended = platform.ended(&task).await;
    assert_eq!(
        (&ended["status"], &ended["steps"]),
        (&json!("completed"), &json!(3)),
        "{ended}"
    );

    let line = platform.logged("executor", "task ended", &task).await;
    let trace = text(&line, "xray_trace_id");
    let hops = || {
        platform
            .spans(trace)
            .iter()
            .filter(|span| text(span, "name") == "tasks process")
            .count()
    };
    platform
        .until(async || hops() >= 2, "both hops are in the trace")
        .await;
    let spans = platform.spans(trace);
    let by_id: BTreeMap<&str, &Value> = spans.iter().map(|span| (text(span, "id"), span)).collect();

    let (work, chat) = (format!("invoke_agent {agent}"), format!("chat {model}"));
    check_tree(&spans, &by_id, [&work, &chat]);
    check_work(&spans, &task, &agent, [&work, &chat]);
    check_retries(&platform, &spans, &task).await;
    check_lines(&platform, trace, &task, &agent).await;
}

/// Checks that the trace has the wait before each retry. How many retries there are depends on what
/// the other tests have left of the process's retry budget.
async fn check_retries(platform: &Platform, spans: &[Value], task: &str) {
    let lines = platform.log_lines("executor", task).await;
    let retries = lines
        .iter()
        .filter(|line| text(line, "message") == "model call retried");
    let waits = spans
        .iter()
        .filter(|span| text(span, "name") == "retry wait");
    assert_eq!(waits.count(), retries.count(), "{lines:?}");
}

/// Checks that all spans hang below the request's, each kind under its own parents.
fn check_tree(spans: &[Value], by_id: &BTreeMap<&str, &Value>, [work, chat]: [&str; 2]) {
    let roots = spans
        .iter()
        .filter(|span| !by_id.contains_key(text(span, "parent_id")));
    assert_eq!(
        roots.map(|span| text(span, "name")).collect::<Vec<_>>(),
        ["POST /v1/tasks"],
        "{spans:?}"
    );
    let names: BTreeSet<&str> = spans.iter().map(|span| text(span, "name")).collect();
    let expected = [
        "POST /v1/tasks",
        "SQS.SendMessage",
        "tasks process",
        work,
        chat,
        "execute_tool calculator",
        "model of chain",
        "circuit breaker",
        "model attempt",
        "DynamoDB.PutItem",
        "DynamoDB.UpdateItem",
    ];
    let missing: Vec<_> = expected
        .iter()
        .filter(|name| !names.contains(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?} of {names:?}");
    for (kind, parents) in PARENTS {
        for span in spans
            .iter()
            .filter(|span| text(span, "name").starts_with(kind))
        {
            let parent = text(by_id[text(span, "parent_id")], "name");
            assert!(
                parents.iter().any(|name| parent.starts_with(name)),
                "{kind} in {parent}"
            );
        }
    }

    assert!(!names.contains("aws"), "a call of AWS without a name");
    let looks = spans.iter().filter(|span| {
        let parent = by_id
            .get(text(span, "parent_id"))
            .copied()
            .unwrap_or(&Value::Null);
        text(span, "name") == "DynamoDB.GetItem" && text(parent, "name") == work
    });
    assert!(
        looks.count() <= 4,
        "what a worker does each second has no spans"
    );
}

/// Checks what the spans of the work on the task tell about it.
fn check_work(spans: &[Value], task: &str, agent: &str, [work, chat]: [&str; 2]) {
    let works: Vec<_> = spans
        .iter()
        .filter(|span| text(span, "name") == work)
        .collect();
    let annotations = json!({ "task_id": task, "agent_id": agent, "tenant_id": "default" });
    assert!(
        works.iter().all(|span| span["annotations"] == annotations),
        "{works:?}"
    );
    let hops: BTreeSet<_> = works
        .iter()
        .map(|span| span["metadata"]["hop"].as_u64())
        .collect();
    assert_eq!(hops, BTreeSet::from([Some(1), Some(2)]));
    let answered = spans
        .iter()
        .find(|span| text(span, "name") == chat)
        .unwrap();
    assert_eq!(
        answered["metadata"]["gen_ai.usage.input_tokens"], 9,
        "{answered}"
    );

    let attempts = spans
        .iter()
        .filter(|span| text(span, "name") == "model attempt");
    let first_chunks = attempts
        .filter(|span| span["metadata"]["gen_ai.response.time_to_first_chunk"].is_f64())
        .count();
    assert_eq!(first_chunks, 2, "as many as there are answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_trace_says_whether_its_answer_was_cached() {
    let platform = Platform::deployed().await;
    let models = json!([{ "provider": "anthropic", "model": "claude-sonnet-5-5" }]);
    let agent = platform
        .agent_of(json!({ "models": models, "cache": { "mode": "on" } }))
        .await;
    let prompt = unique("[ok] canary prompt");
    let mut decisions = Vec::new();
    for _ in 0..2 {
        let task = platform.submit(&agent, &prompt).await;
        platform.ended(&task).await;
        let trace = text(
            &platform.logged("executor", "task ended", &task).await,
            "xray_trace_id",
        )
        .to_owned();
        let chats = || {
            platform
                .spans(&trace)
                .into_iter()
                .find(|span| text(span, "name").starts_with("chat "))
        };
        platform
            .until(async || chats().is_some(), "the request is in the trace")
            .await;
        decisions.push(chats().unwrap()["metadata"]["cache"].clone());
    }
    assert_eq!(decisions, ["miss", "hit"]);
}
