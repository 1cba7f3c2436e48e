//! What a conversation may grow to, and what the conversations of one process may have together.

mod room;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::app::{Room, RunError, RunOutcome, Runner};
use shared::domain::task::Progress;
use shared::domain::{
    BuiltinTool, FailureCode, JsonSchema, MAX_CONVERSATION_BYTES, MAX_TOOL_TEXT_BYTES,
    MAX_TOOL_TEXTS_BYTES, Message, ModelAnswer, ModelRequest, Step, StepKind, StepSummaryKind,
    Task, TaskId, TaskState, TaskStatus, ToolCall, ToolDefinition, ToolName, ToolRunner, Wait,
    WaitReason,
};
use shared::ports::{Journal, Model, ModelError, TaskMessage, TaskStore, ToolOutput};
use shared::testing::{Call, Faults, Reply, ScriptedModel, ToolReply, When, samples};

use crate::world::World;

fn calculate(id: &str) -> ToolCall {
    samples::tool_call(id, "calculator", r#"{"expression":"1+1"}"#)
}

fn calling(calls: impl IntoIterator<Item = ToolCall>) -> Reply {
    Reply::Answer(samples::answer_calling(calls))
}

/// A world whose agent has a calculator, and a tool of its client's.
async fn world(script: impl IntoIterator<Item = Reply>) -> World {
    let schema = JsonSchema::new(serde_json::json!({ "type": "object" })).unwrap();
    let ask = ToolDefinition::new(
        ToolName::new("ask_human".to_owned()).unwrap(),
        String::new(),
        schema,
    )
    .unwrap();
    let world = World::with_model(ScriptedModel::new(script)).await;
    world
        .with_agent(|config| {
            config.tools = vec![ask.into(), BuiltinTool::Calculator.into()];
        })
        .await
}

impl World {
    fn tools_say(&self, times: usize, text: &str) {
        for _ in 0..times {
            self.tools.then(ToolReply::Output(ToolOutput::new(text)));
        }
    }

    /// A worker with room for conversations of so many bytes.
    fn worker_with_room(&self, bytes: u64) -> Runner {
        Runner {
            room: Room::of(bytes),
            ..self.worker_failing(&Faults::default())
        }
    }

    /// The results of the task's tools: who answered, and what.
    async fn results(&self, task: TaskId) -> Vec<(ToolRunner, String)> {
        let result = |step: Step| match step.kind {
            StepKind::ToolCall { by, text, .. } => Some((by, text)),
            StepKind::ModelCall { .. } => None,
        };
        self.steps(task)
            .await
            .into_iter()
            .filter_map(result)
            .collect()
    }
}

#[tokio::test]
async fn no_result_is_longer_than_a_conversation_takes() {
    let world = world([calling([calculate("a"), calculate("b")])]).await;
    world.tools_say(1, &"\u{1}".repeat(2 * 1_024 * 1_024));
    let task = world.submit("hello").await.unwrap().id();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let results = world.results(task).await;
    assert_eq!(
        results
            .iter()
            .map(|(_, text)| text.len())
            .collect::<Vec<_>>(),
        [MAX_TOOL_TEXT_BYTES, 20]
    );
    let Some(Message::ToolResults(told)) =
        world.model.requests()[1].prompt.messages.last().cloned()
    else {
        panic!()
    };
    assert!(
        told.iter()
            .zip(&results)
            .all(|(told, (_, recorded))| told.text == *recorded)
    );
}

/// Among the calls of one answer, and the calls of the next answer, run by the platform or the
/// client.
#[tokio::test]
async fn tool_calls_are_refused_once_the_results_fill_the_conversation() {
    let many: Vec<_> = (0..28)
        .map(|number| calculate(&number.to_string()))
        .collect();
    let clients = samples::tool_call("x", "ask_human", "{}");
    let world = world([calling(many), calling([clients, calculate("y")])]).await;
    world.tools_say(28, &"a".repeat(MAX_TOOL_TEXT_BYTES));
    let task = world.submit("hello").await.unwrap().id();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let results = world.results(task).await;
    let (ran, refused): (Vec<_>, Vec<_>) = results
        .iter()
        .partition(|(by, _)| *by == ToolRunner::Platform);
    let bytes: usize = ran.iter().map(|(_, text)| text.len()).sum();
    // The calls that had begun were completed.
    let most = usize::try_from(MAX_TOOL_TEXTS_BYTES).unwrap();
    assert!(
        (most..most + 8 * MAX_TOOL_TEXT_BYTES).contains(&bytes),
        "{bytes}"
    );
    assert_eq!(
        (ran.len(), world.tools.requests().len()),
        (30 - refused.len(), ran.len())
    );
    assert!(refused.len() > 12, "{}", refused.len());
    assert!(
        refused
            .iter()
            .all(|(by, text)| *by == ToolRunner::Nobody && text.contains("4 MiB")),
        "{refused:?}"
    );
    assert_eq!(world.model.requests().len(), 3);
}

#[tokio::test]
async fn model_that_keeps_calling_tools_when_full_is_stopped() {
    let script = (0..50).map(|number| calling([calculate(&number.to_string())]));
    let world = world(script).await;
    world.tools_say(8, &"a".repeat(MAX_TOOL_TEXT_BYTES));
    let task = world.submit("hello").await.unwrap().id();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let task = world.task(task).await;
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(
        (failure.code, world.model.requests().len()),
        (FailureCode::BadToolCalls, 30)
    );
    assert!(
        failure.message.contains("no more results"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_result_counts_as_soon_as_it_is_there() {
    let world = world([calling([calculate("slow"), calculate("quick")])]).await;
    world.tools.then(ToolReply::Hang);
    world.tools_say(1, &"quick ".repeat(1_000));
    let task = world.submit("hello").await.unwrap().id();
    let client = async {
        world.tools.until_run(2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world
            .tasks()
            .cancel_task(world.tenant(), task)
            .await
            .unwrap();
    };
    let (ran, ()) = tokio::join!(world.run(task), client);
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Canceled));
    let steps = world.steps(task).await;
    assert_eq!(
        steps.iter().map(|step| step.number).collect::<Vec<_>>(),
        [1, 3]
    );
    let bytes = steps.iter().map(|step| step.kind.content_bytes()).sum();
    assert_eq!(
        world.task(task).await.progress().conversation_bytes,
        Some(bytes)
    );
}

#[tokio::test]
async fn task_knows_its_conversation_size_after_each_change() {
    let world = world([calling([
        calculate("a"),
        samples::tool_call("b", "ask_human", "{}"),
    ])])
    .await;
    let task = world.submit("hello").await.unwrap().id();
    let check = async |status| {
        let bytes = world
            .steps(task)
            .await
            .iter()
            .map(|step| step.kind.content_bytes())
            .sum();
        let stored = world.task(task).await;
        assert_eq!(
            (stored.status(), stored.progress().conversation_bytes),
            (status, Some(bytes))
        );
    };
    check(TaskStatus::Queued).await;
    world.run(task).await.unwrap();
    check(TaskStatus::InputRequired).await;
    let answer = shared::app::ToolAnswer {
        call_id: Some("b".to_owned()),
        step: None,
        text: "yes \u{1}".repeat(99),
        is_error: false,
    };
    world
        .tasks()
        .answer_task(world.tenant(), task, vec![answer])
        .await
        .unwrap();
    check(TaskStatus::Queued).await;
    world.run(task).await.unwrap();
    check(TaskStatus::Completed).await;
}

/// Two tasks that fit when they begin, and no longer when both have a step.
#[tokio::test]
async fn a_task_that_outgrows_the_room_leaves_after_its_step_and_goes_on_later() {
    let world = world([calling([calculate("a")]), calling([calculate("b")])]).await;
    let tasks = [
        world.submit("one").await.unwrap().id(),
        world.submit("two").await.unwrap().id(),
    ];
    let worker = world.worker_with_room(1);
    let ran = join_all(tasks.map(|task| world.run_by(&worker, task))).await;
    let [
        Ok(RunOutcome::Ended(TaskStatus::Completed)),
        Ok(RunOutcome::Parked(wait)),
    ] = &ran[..]
    else {
        panic!("{ran:?}")
    };
    let parked = world.task(tasks[1]).await;
    let progress = parked.progress();
    assert_eq!(
        (parked.attempts(), progress.hops, progress.parkings.turns),
        (0, 0, 1)
    );
    assert!(
        progress.steps > 0 && progress.conversation_bytes > Some(1),
        "{progress:?}"
    );
    assert_eq!(
        (wait.reason, world.queue.delays().len()),
        (WaitReason::Concurrency, 3),
        "its message comes back"
    );
    assert_eq!(world.queue.delays()[2], wait.until.since(world.now()));

    world.pass(5);
    assert_eq!(
        world.run_by(&worker, tasks[1]).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(
        (world.model.requests().len(), world.tools.requests().len()),
        (4, 2),
        "nothing is done twice"
    );
}

/// A conversation that no model takes is refused before it is sent, and before more of it is read
/// than memory holds.
#[tokio::test]
async fn a_conversation_that_no_model_takes_ends_its_task() {
    let part = usize::try_from(MAX_CONVERSATION_BYTES / 3).unwrap();
    for parts in [3_u32, 7] {
        let world = world([]).await;
        let task = world.submit("hello").await.unwrap().id();
        for number in 0..parts {
            let kind = StepKind::ModelCall {
                requested: samples::model(),
                answer: ModelAnswer {
                    content: vec![
                        samples::said(&"a".repeat(part)),
                        samples::answer_calling([calculate("a")]).content.remove(0),
                    ],
                    ..samples::answer_calling([])
                },
            };
            world
                .store
                .append(&Step {
                    kind,
                    ..samples::step(task, 2 * number + 1, "")
                })
                .await
                .unwrap();
            let result = samples::tool_step(task, 2 * number + 2, ToolRunner::Platform, "2");
            world.store.append(&result).await.unwrap();
        }
        lose_worker(&world, task).await;
        world.pass(61);
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Failed)
        );
        let failed = world.task(task).await;
        let TaskState::Failed(failure) = failed.state() else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (failure.code, world.model.requests().len()),
            (FailureCode::ContextTooLong, 0)
        );
        let bytes = world
            .steps(task)
            .await
            .iter()
            .map(|step| step.kind.content_bytes())
            .sum();
        assert_eq!(
            (
                failed.progress().steps,
                failed.progress().conversation_bytes
            ),
            (2 * parts, Some(bytes))
        );
    }
}

/// Claims the task and disappears.
async fn lose_worker(world: &World, task: TaskId) {
    let faults = Faults::default();
    faults.die_at_nth(Call::ReadAgent, 1, When::Before);
    drop(world.run_failing(task, &faults).await);
}
