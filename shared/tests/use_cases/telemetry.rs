//! What a task's work leaves in its trace, and in the lines about its waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::field::Empty;

use serde_json::{Value, json};
use shared::app::{NewTask, RunOutcome, Runner, ToolAnswer};
use shared::domain::{
    BuiltinTool, Instructions, ModelAnswer, StopReason, TaskId, TaskStatus, TraceHeader,
};
use shared::policy::{Breaker, BreakerSettings};
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, ModelErrorKind, ToolOutput};
use shared::telemetry::{Service, traces};
use shared::testing::{
    Faults, MemoryCircuits, Reply, ScriptedModel, ToolReply, XrayDaemon, listen, samples,
};
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use crate::lines::{hear, lines};
use crate::world::World;

const CANARY: &str = "canary prompt";

/// A trace that began just now.
fn header() -> TraceHeader {
    samples::trace_of(SystemClock.now())
}

/// A daemon that gets the spans of this thread until the guard is dropped.
fn daemon() -> (XrayDaemon, DefaultGuard) {
    let daemon = XrayDaemon::start().unwrap();
    let layer =
        traces::to_daemon(Service::new("executor", "v1"), &daemon.address().unwrap()).unwrap();
    (daemon, listen(tracing_subscriber::registry().with(layer)))
}

fn received(daemon: &XrayDaemon) -> Vec<(usize, Value)> {
    let spans = daemon.sized_spans();
    assert!(
        spans
            .iter()
            .all(|(_, span)| !span.to_string().contains(CANARY)),
        "{spans:?}"
    );
    spans
}

#[tokio::test]
async fn a_tasks_spans_are_small_and_say_nothing_of_what_it_is_about() {
    let (daemon, _listening) = daemon();

    let call = samples::tool_call(
        "a",
        "calculator",
        &json!({ "expression": CANARY }).to_string(),
    );
    let script = [
        Reply::Answer(samples::answer_calling([call])),
        Reply::Answer(samples::answer(&CANARY.repeat(9_999))),
    ];
    let world = World::with_model(ScriptedModel::new(script)).await;
    let world = world
        .with_agent(|config| config.tools = vec![BuiltinTool::Calculator.into()])
        .await;
    world
        .tools
        .then(ToolReply::Output(ToolOutput::new(CANARY.repeat(9_999))));
    let header = header();
    let new = NewTask {
        trace: Some(header.clone()),
        ..world.new_task(CANARY)
    };
    let task = world
        .tasks()
        .submit_task(world.tenant(), new)
        .await
        .unwrap();
    assert_eq!(world.queue.traces(), [Some(header.clone())]);
    let process = tracing::info_span!(target: "executor", "tasks process", xray_parent = header.as_str(), agent_id = Empty, hop = Empty);
    assert_eq!(
        world.run(task.id()).instrument(process).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );

    let spans = received(&daemon);
    assert!(spans.iter().all(|(bytes, _)| *bytes < 4_096), "{spans:?}");
    check_spans(&spans, &world, task.id());
}

/// A task of two model calls and one tool: who calls whom, and what is said of the task.
#[track_caller]
fn check_spans(spans: &[(usize, Value)], world: &World, task: TaskId) {
    let by_id: BTreeMap<_, _> = spans
        .iter()
        .map(|(_, span)| (span["id"].to_string(), span["name"].clone()))
        .collect();
    let edges = spans.iter().map(|(_, span)| {
        (
            span["name"].as_str().unwrap(),
            by_id.get(&span["parent_id"].to_string()),
        )
    });
    let agent = Value::from(format!("invoke_agent {}", world.agent.id));
    let chat = "chat claude-sonnet-5-5";
    let expected = [
        (chat, Some(&agent)),
        ("execute_tool calculator", Some(&agent)),
        (chat, Some(&agent)),
        (agent.as_str().unwrap(), Some(&Value::from("tasks process"))),
        ("tasks process", None),
    ];
    assert_eq!(edges.collect::<Vec<_>>(), expected);
    for (_, span) in spans {
        let mut texts = span["metadata"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| value.is_string());
        assert!(
            texts.all(|(_, text)| text.as_str().unwrap().parse::<u64>().is_err()),
            "a number as text: {span}"
        );
    }
    let work = &spans
        .iter()
        .find(|(_, span)| span["name"] == agent)
        .unwrap()
        .1;
    let annotations = json!({
        "task_id": task.to_string(), "agent_id": world.agent.id.to_string(), "tenant_id": "acme",
    });
    assert_eq!(work["annotations"], annotations);
}

#[tokio::test]
async fn every_message_of_a_task_carries_its_trace() {
    let world = World::with_model(ScriptedModel::new([Reply::Panic])).await;
    let header = header();
    let new = NewTask {
        trace: Some(header.clone()),
        ..world.new_task("hello")
    };
    world
        .tasks()
        .submit_task(world.tenant(), new)
        .await
        .unwrap();
    world.pass(120);
    assert_eq!(world.sweep().await.unwrap().resent, 1);
    assert_eq!(world.queue.traces(), [Some(header.clone()), Some(header)]);
}

/// What is sent to the daemon while `work` is in a span of this trace.
async fn spans_of(trace: &TraceHeader, work: impl Future<Output = ()>) -> Vec<Value> {
    let (daemon, _listening) = daemon();
    work.instrument(tracing::info_span!(target: "executor", "outer", xray_parent = trace.as_str(), agent_id = Empty, hop = Empty))
        .await;
    received(&daemon)
        .into_iter()
        .map(|(_, span)| span)
        .collect()
}

#[tokio::test]
async fn overdue_task_is_settled_in_its_trace_or_with_a_link_to_it() {
    let thirty_days = 30 * 86_400;
    for (by_worker, seconds, linked) in [
        (true, 86_400, false),
        (false, 86_400, false),
        (false, thirty_days, true),
    ] {
        let world = World::with_model(ScriptedModel::new([])).await;
        // The exporter goes by the system's clock, what is tested by the world's.
        let own = samples::trace_of(SystemClock.now().minus(Duration::from_mins(1)));
        let header = if linked {
            samples::trace_of(world.now())
        } else {
            header()
        };
        let new = NewTask {
            trace: Some(header.clone()),
            ..world.new_task("hello")
        };
        let task = world
            .tasks()
            .submit_task(world.tenant(), new)
            .await
            .unwrap()
            .id();
        world.pass(seconds);
        let outer = if by_worker { &header } else { &own };
        let spans = spans_of(outer, async {
            if by_worker {
                assert_eq!(
                    world.run(task).await.unwrap(),
                    RunOutcome::Ended(TaskStatus::TimedOut)
                );
            } else {
                assert_eq!(world.sweep().await.unwrap().timed_out, 1);
            }
        });
        let spans = spans.await;
        let settled = spans
            .iter()
            .find(|span| span["name"] == "settle overdue")
            .unwrap();
        let annotations = &settled["annotations"];
        assert_eq!(annotations["task_id"], task.to_string(), "{settled}");
        let (trace, link) = if linked {
            (&own, Value::from(header.trace_id()))
        } else {
            (&header, Value::Null)
        };
        assert_eq!(
            (
                settled["trace_id"].as_str(),
                &annotations["linked_trace_id"]
            ),
            (Some(trace.trace_id()), &link)
        );
    }
}

/// A whole value that is logged by mistake shows no text of a client or a model: the types hide it.
#[tokio::test]
async fn no_value_shows_what_people_models_and_tools_say() {
    let call = samples::tool_call(
        "a",
        "calculator",
        &json!({ "expression": CANARY }).to_string(),
    );
    let script = [
        Reply::Answer(samples::answer_calling([call])),
        Reply::Answer(samples::answer(CANARY)),
    ];
    let world = World::with_model(ScriptedModel::new(script)).await;
    let world = world
        .with_agent(|config| {
            config.tools = vec![BuiltinTool::Calculator.into()];
            config.instructions = Instructions::new(CANARY.to_owned()).unwrap();
        })
        .await;
    world.tools.then(ToolReply::Output(ToolOutput::new(CANARY)));
    let task = world.submit(CANARY).await.unwrap();
    world.run(task.id()).await.unwrap();
    let (task, steps) = (world.task(task.id()).await, world.steps(task.id()).await);
    assert_eq!((task.status(), steps.len()), (TaskStatus::Completed, 3));
    let requests = world.model.requests();
    let answer = ToolAnswer {
        call_id: Some("a".to_owned()),
        step: None,
        text: CANARY.to_owned(),
        is_error: false,
    };
    let shown = format!(
        "{:?}",
        (
            &world.agent,
            &task,
            &steps,
            &requests,
            world.new_task(CANARY),
            answer
        )
    );
    assert!(!shown.contains("canary"), "{shown}");
    assert!(
        shown.contains(&format!("<{} bytes>", CANARY.len())),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_task_that_a_circuit_parked_names_the_circuit() {
    let world = World::with_model(ScriptedModel::new([Reply::Fail(
        ModelErrorKind::Unavailable,
    )]))
    .await;
    let settings = BreakerSettings::default().with_failures(1).unwrap();
    let breaker = Breaker::new(
        Arc::<ScriptedModel>::clone(&world.model),
        Arc::new(MemoryCircuits::default()),
        settings,
        Arc::new(world.clock.clone()),
    );
    let worker = Runner {
        model: Arc::new(breaker),
        ..world.worker_failing(&Faults::default())
    };
    let (heard, _guard) = hear();
    for _ in 0..2 {
        let task = world.submit("hello").await.unwrap();
        world.run_by(&worker, task.id()).await.unwrap();
    }
    let parked: Vec<_> = lines(&heard)
        .into_iter()
        .filter(|line| line["message"] == "task parked")
        .map(|line| {
            ["reason", "provider", "model", "cause", "open_seconds"]
                .map(|field| line[field].clone())
        })
        .collect();
    let model = samples::model();
    let named = json!(["breaker", "anthropic", model.name(), "outage", 30]);
    let unnamed = json!(["retry_after", null, null, null, null]);
    assert_eq!(json!(parked), json!([unnamed, named]));
}

#[tokio::test]
async fn an_answer_is_logged_with_what_was_requested_and_one_that_is_cut_early_warns() {
    let cut = ModelAnswer {
        stop_reason: StopReason::MaxTokens,
        ..samples::answer("The report")
    };
    let world = World::with_model(ScriptedModel::new([Reply::Answer(cut)])).await;
    let world = world
        .with_agent(|config| config.tools = vec![BuiltinTool::Calculator.into()])
        .await;
    let (heard, _guard) = hear();
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let texts = ["model answered", "answer was cut below the requested limit"];
    let said: Vec<_> = lines(&heard)
        .into_iter()
        .filter(|line| texts.contains(&line["message"].as_str().unwrap()))
        .map(|line| {
            ["message", "max_output_tokens", "output_tokens", "tools"]
                .map(|field| line[field].clone())
        })
        .collect();
    let tokens = samples::usage().output_tokens;
    let expected = json!([
        [texts[0], 4_096, tokens, 1],
        [texts[1], 4_096, tokens, null],
    ]);
    assert_eq!(json!(said), expected);
}
