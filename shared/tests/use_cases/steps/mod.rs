//! The loop over an agent's steps: models, tools, the client, limits, and time.

mod limits;
mod retries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::app::{
    AppError, NewTask, RetryFrom, RunError, RunOutcome, Runner, SweepSummary, ToolAnswer,
};
use shared::domain::BudgetScope;
use shared::domain::{
    BuiltinTool, FailureCode, JsonSchema, LimitChanges, LimitKind, Message, ModelAnswer,
    ModelRequest, OnLimit, Step, StepKind, StopReason, TaskId, TaskState, TaskStatus, ToolCall,
    ToolDefinition, ToolName, ToolResult, ToolRunner, ToolUse,
};
use shared::ports::{Clock, Model, ModelError, ModelErrorKind, TaskMessage, ToolOutput};
use shared::testing::{Faults, ManualClock, Reply, ScriptedModel, ToolReply, samples};

use crate::world::World;

pub(crate) fn calculate(id: &str, expression: &str) -> ToolCall {
    samples::tool_call(
        id,
        "calculator",
        &format!(r#"{{"expression":"{expression}"}}"#),
    )
}

pub(crate) fn ask_human(id: &str) -> ToolCall {
    samples::tool_call(id, "ask_human", r#"{"question":"Really?"}"#)
}

pub(crate) fn calling(calls: impl IntoIterator<Item = ToolCall>) -> Reply {
    Reply::Answer(samples::answer_calling(calls))
}

/// A world whose agent has two tools of the platform's and one of its client's.
pub(crate) async fn world(script: impl IntoIterator<Item = Reply>) -> World {
    let schema = serde_json::json!({
        "type": "object", "properties": { "question": { "type": "string" } }, "required": ["question"],
    });
    let schema = JsonSchema::new(schema).unwrap();
    let ask = ToolDefinition::new(
        ToolName::new("ask_human".to_owned()).unwrap(),
        String::new(),
        schema,
    )
    .unwrap();
    let world = World::with_model(ScriptedModel::new(script)).await;
    world
        .with_agent(|config| {
            config.tools = vec![
                ask.into(),
                BuiltinTool::Calculator.into(),
                BuiltinTool::CurrentTime.into(),
            ];
        })
        .await
}

fn answer(call_id: &str, text: &str) -> ToolAnswer {
    ToolAnswer {
        call_id: Some(call_id.to_owned()),
        step: None,
        text: text.to_owned(),
        is_error: false,
    }
}

async fn results(world: &World, task: TaskId) -> Vec<(u32, ToolRunner, String, bool)> {
    let result = |step: Step| match step.kind {
        StepKind::ToolCall {
            by, text, is_error, ..
        } => Some((step.number, by, text, is_error)),
        StepKind::ModelCall { .. } => None,
    };
    world
        .steps(task)
        .await
        .into_iter()
        .filter_map(result)
        .collect()
}

#[tokio::test]
async fn tools_are_run_and_their_results_go_back_to_the_model() {
    let calls = [calculate("a", "1+1"), calculate("b", "2+2")];
    let world = world([calling(calls.clone())]).await;
    for text in ["2", "4"] {
        world.tools.then(ToolReply::Output(ToolOutput::new(text)));
    }
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let requests = world.model.requests();
    let expected = [
        Message::user("hello"),
        Message::Assistant(samples::answer_calling(calls).content),
        Message::ToolResults(vec![result("a", "2"), result("b", "4")]),
    ];
    assert_eq!(
        (requests.len(), &requests[1].prompt.messages[..]),
        (2, &expected[..])
    );
    let tools: Vec<&str> = requests[0]
        .prompt
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    assert_eq!(tools, ["ask_human", "calculator", "current_time"]);
    let keys: Vec<String> = world
        .tools
        .requests()
        .into_iter()
        .map(|request| request.idempotency_key)
        .collect();
    assert_eq!(
        keys,
        [format!("{}/2", task.id()), format!("{}/3", task.id())]
    );
    let task = world.task(task.id()).await;
    assert_eq!((task.progress().steps, task.spend().attempts), (4, 2));
}

fn result(call_id: &str, text: &str) -> ToolResult {
    ToolResult {
        call_id: call_id.to_owned(),
        text: text.to_owned(),
        is_error: false,
    }
}

#[tokio::test]
async fn calls_that_can_not_be_made_go_back_to_the_model_as_errors() {
    let calls = [
        samples::tool_call("a", "calculator", r#"{"expression":7}"#),
        samples::tool_call("b", "calculator", "{"),
        samples::tool_call("c", "rm", "{}"),
        samples::tool_call("d", "ask_human", "{}"),
    ];
    let world = world([calling(calls)]).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let results = results(&world, task.id()).await;
    assert!(
        results
            .iter()
            .all(|(_, by, _, is_error)| *by == ToolRunner::Nobody && *is_error),
        "{results:?}"
    );
    let hints = [
        "expression",
        "JSON",
        "ask_human, calculator, current_time",
        "question",
    ];
    for ((_, _, text, _), hint) in results.iter().zip(hints) {
        assert!(text.contains(hint), "{text} lacks {hint}");
    }
    assert!(world.tools.requests().is_empty());
}

#[tokio::test]
async fn a_model_that_keeps_calling_what_is_not_there_is_stopped() {
    let script =
        (0..100).map(|number| calling([samples::tool_call(&number.to_string(), "rm", "{}")]));
    let world = world(script).await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let requests = world.model.requests().len();
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!((failure.code, requests), (FailureCode::BadToolCalls, 22));
}

#[tokio::test]
async fn a_model_whose_calls_the_rules_forbid_is_stopped_before_it_can_make_another() {
    for (most, expected) in [(None, 5), (Some(1), 1), (Some(7), 7)] {
        let call = |number: i32| calling([calculate(&number.to_string(), "1+1")]);
        let model = ScriptedModel::new((0..100).map(call));
        let world = World::with_model(model)
            .await
            .with_agent(|config| {
                config.tools = vec![BuiltinTool::Calculator.into()];
                if let Some(most) = most {
                    config.limits = config.limits.with_max_blocked_calls(most).unwrap();
                }
            })
            .await;
        // An error of another kind is the model's to react to, however often.
        for number in 0..100 {
            world.tools.then(ToolReply::Output(if number % 2 == 0 {
                ToolOutput::error("busy")
            } else {
                ToolOutput::blocked("not allowed")
            }));
        }
        let task = world.submit("hello").await.unwrap();
        assert_eq!(
            world.run(task.id()).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Failed)
        );
        let blocked = |step: &Step| {
            matches!(
                step.kind,
                StepKind::ToolCall {
                    is_blocked: true,
                    is_error: true,
                    ..
                }
            )
        };
        let steps = world.steps(task.id()).await;
        assert_eq!(steps.iter().filter(|step| blocked(step)).count(), expected);
        assert!(blocked(steps.last().unwrap()), "{steps:?}");
        let task = world.task(task.id()).await;
        let TaskState::Failed(failure) = task.state() else {
            panic!("{task:?}")
        };
        assert_eq!(failure.code, FailureCode::BlockedToolCalls);
        let said = format!("max_blocked_calls is {expected}");
        assert!(failure.message.contains(&said), "{failure:?}");
    }
}

#[tokio::test]
async fn an_answers_further_calls_are_not_made_at_the_limit_of_blocked_calls() {
    let calls = (0..90).map(|number| calculate(&number.to_string(), "1+1"));
    let world = World::with_model(ScriptedModel::new([calling(calls)]))
        .await
        .with_agent(|config| {
            config.tools = vec![BuiltinTool::Calculator.into()];
            config.limits = config.limits.with_max_blocked_calls(1).unwrap();
        })
        .await;
    world
        .tools
        .then(ToolReply::Output(ToolOutput::blocked("not allowed")));
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    assert_eq!(world.status(task.id()).await, TaskStatus::Failed);
    let made = world.tools.requests().len();
    assert!(made <= 16, "{made} calls were made");
}

#[tokio::test]
async fn the_clients_tools_have_the_task_wait_for_its_answers() {
    let world = world([calling([
        ask_human("a"),
        calculate("b", "1+1"),
        ask_human("c"),
    ])])
    .await;
    let task = world.submit("hello").await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::AwaitsClient(TaskStatus::InputRequired)
    );
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::AwaitsClient(TaskStatus::InputRequired)
    );
    let waiting = world.task(task.id()).await;
    let TaskState::InputRequired { calls, .. } = waiting.state() else {
        panic!("{waiting:?}")
    };
    let requests: Vec<(u32, &str)> = calls
        .iter()
        .map(|call| (call.number, call.call.id.as_str()))
        .collect();
    assert_eq!(requests, [(2, "a"), (4, "c")]);
    assert_eq!(
        results(&world, task.id()).await.len(),
        1,
        "the platform's own tool has run"
    );

    // A day that the client takes is not the task's time.
    world.pass(80_000);
    assert_eq!(world.sweep().await.unwrap(), SweepSummary::default());
    check_answers(&world, task.id()).await;
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let last = world.model.requests().pop().unwrap();
    let Some(Message::ToolResults(given)) = last.prompt.messages.last() else {
        panic!("{last:?}")
    };
    let texts: Vec<&str> = given.iter().map(|result| result.text.as_str()).collect();
    assert_eq!((texts[0], texts[2]), ("yes", "no"));
}

/// Answers to the calls a and c: some are refused, and valid ones are accepted twice.
async fn check_answers(world: &World, id: TaskId) {
    let tasks = world.tasks();
    let both = || vec![answer("c", "no"), answer("a", "yes")];
    let partly = tasks
        .answer_task(world.tenant(), id, vec![answer("a", "yes")])
        .await;
    let wrong = tasks
        .answer_task(
            world.tenant(),
            id,
            vec![answer("x", "yes"), answer("b", "")],
        )
        .await;
    for (refused, rules) in [(partly, 1), (wrong, 4)] {
        assert!(
            matches!(&refused, Err(AppError::Invalid(broken)) if broken.len() == rules),
            "{refused:?}"
        );
    }
    for _ in 0..2 {
        let answered = tasks.answer_task(world.tenant(), id, both()).await.unwrap();
        assert_eq!(answered.status(), TaskStatus::Queued);
    }
    let other = tasks
        .answer_task(world.tenant(), id, vec![answer("a", "other")])
        .await;
    assert!(
        matches!(&other, Err(AppError::AnsweredOtherwise(call)) if call == "a"),
        "{other:?}"
    );
    let unknown = tasks
        .answer_task(world.tenant(), id, vec![answer("x", "yes")])
        .await;
    assert!(
        matches!(unknown, Err(AppError::WrongState(TaskStatus::Queued))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_client_that_stays_silent_fails_its_task() {
    let world = world([calling([ask_human("a")])]).await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    world.pass(86_399);
    assert_eq!(world.sweep().await.unwrap().expired, 0);
    world.pass(1);
    assert_eq!(world.sweep().await.unwrap().expired, 1);
    let task = world.task(task.id()).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::InputExpired);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_as_long_as_its_worker_lives() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap();
    world.model.hold();
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task: task.id(),
        alone: false,
    };
    let worker = world.worker_failing(&Faults::default());
    let long = worker.run(&message, world.now().plus(Duration::from_mins(10)));
    let others = async {
        world.model.until_called(1).await;
        for _ in 0..30 {
            world.pass(10);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let met = world.run(task.id()).await;
            assert!(matches!(met, Err(RunError::Leased { .. })), "{met:?}");
        }
        world.model.release();
    };
    let (ran, ()) = tokio::join!(long, others);
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    assert_eq!(world.task(task.id()).await.fence(), 1);
}

#[tokio::test(start_paused = true)]
async fn tools_that_a_model_calls_together_run_together() {
    let world = world([calling(["a", "b", "c"].map(|id| calculate(id, "1+1")))]).await;
    for _ in 0..3 {
        world.tools.then(ToolReply::Hang);
    }
    let task = world.submit("hello").await.unwrap();
    let begun = tokio::time::Instant::now();
    let until_all_run = async {
        world.tools.until_run(3).await;
        begun.elapsed()
    };
    let (ran, all_run_after) = tokio::join!(world.run(task.id()), until_all_run);
    assert_eq!(
        (ran.unwrap(), all_run_after),
        (RunOutcome::Ended(TaskStatus::Completed), Duration::ZERO)
    );
    let timed_out = results(&world, task.id()).await;
    assert!(
        timed_out.len() == 3 && timed_out.iter().all(|(_, _, _, is_error)| *is_error),
        "{timed_out:?}"
    );
}
