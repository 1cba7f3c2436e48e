//! What comes late: workers that stood still while their task was taken from them, and clients that
//! answer at once or again.

mod answers;
mod unreadable;

use std::sync::Arc;

use async_trait::async_trait;
use shared::app::{
    AppError, RetryFrom, RunError, RunOutcome, Runner, SweepSummary, Sweeper, Tasks, ToolAnswer,
};
use shared::domain::{
    BuiltinTool, FailureCode, JsonSchema, LimitChanges, ModelAnswer, ModelRequest, Step, StepKind,
    StepPlace, StepSummary, Task, TaskId, TaskState, TaskStatus, ToolCall, ToolDefinition,
    ToolName,
};
use shared::ports::{
    Journal, Model, ModelError, ModelErrorKind, StepsPage, StepsRequest, StoreError,
};
use shared::testing::{Call, Faults, MemoryStore, Reply, ScriptedModel, When, samples};
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::world::{INVOCATION, World};

/// The tool of the client's.
fn asking() -> ToolDefinition {
    let schema = JsonSchema::new(serde_json::json!({ "type": "object" })).unwrap();
    ToolDefinition::new(
        ToolName::new("ask_human".to_owned()).unwrap(),
        String::new(),
        schema,
    )
    .unwrap()
}

/// A world whose agent can calculate and ask its client.
async fn world(script: impl IntoIterator<Item = Reply>) -> World {
    let world = World::with_model(ScriptedModel::new(script))
        .await
        .with_agent(|config| {
            config.tools = vec![asking().into(), BuiltinTool::Calculator.into()];
        });
    world.await
}

fn calling(calls: impl IntoIterator<Item = ToolCall>) -> Reply {
    Reply::Answer(samples::answer_calling(calls))
}

fn calculate(id: &str) -> ToolCall {
    samples::tool_call(id, "calculator", r#"{"expression":"1+1"}"#)
}

fn ask_human(id: &str) -> ToolCall {
    samples::tool_call(id, "ask_human", "{}")
}

fn answer(call_id: &str, text: &str) -> ToolAnswer {
    ToolAnswer {
        call_id: Some(call_id.to_owned()),
        step: None,
        text: text.to_owned(),
        is_error: false,
    }
}

/// A model that answers when the test lets it.
#[derive(Default)]
struct Standstill {
    asked: Notify,
    go_on: Notify,
}

#[async_trait]
impl Model for Standstill {
    async fn call(&self, _request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.asked.notify_one();
        self.go_on.notified().await;
        Ok(samples::answer("of the first run"))
    }
}

impl World {
    /// Runs the task in an invocation that stands still in its first request.
    async fn run_with(&self, model: Arc<Standstill>, task: TaskId) -> RunOutcome {
        let runner = Runner {
            model,
            ..self.worker_failing(&Faults::default())
        };
        self.run_by(&runner, task).await.unwrap()
    }

    /// Cancels the task, whose worker is gone, and restarts it.
    async fn begin_afresh(&self, task: TaskId) {
        let (tasks, none) = (self.tasks(), LimitChanges::default());
        assert_eq!(
            tasks
                .cancel_task(self.tenant(), task)
                .await
                .unwrap()
                .status(),
            TaskStatus::Canceled
        );
        tasks
            .retry_task(self.tenant(), task, RetryFrom::Start, none)
            .await
            .unwrap();
    }
}

/// The worker stalls in its second model call, is taken for dead, and continues before or after the
/// next worker has answered.
#[tokio::test]
async fn a_worker_of_an_earlier_run_has_no_part_in_the_next_one() {
    for comes_first in [true, false] {
        let script = ["a", "lost", "b"].map(|id| calling([calculate(id)]));
        let world = world(script).await;
        let task = world.submit("hello").await.unwrap().id();
        let faults = Faults::default();
        // It records an answer and a tool's result, and dies with the second answer.
        faults.die_at_nth(Call::Append, 3, When::Before);
        drop(world.run_failing(task, &faults).await);
        assert_eq!(world.steps(task).await.len(), 2);
        world.pass(61);
        let still = Arc::new(Standstill::default());
        let late = world.run_with(Arc::clone(&still), task);
        let others = async {
            still.asked.notified().await;
            world.pass(61);
            world.begin_afresh(task).await;
            if comes_first {
                still.go_on.notify_one();
                for _ in 0..50 {
                    yield_now().await;
                }
            }
            let ran = world.run(task).await.unwrap();
            still.go_on.notify_one();
            ran
        };
        let (late, ran) = tokio::join!(late, others);
        assert_eq!(
            (late, ran),
            (
                RunOutcome::LeaseLost,
                RunOutcome::Ended(TaskStatus::Completed)
            ),
            "comes first: {comes_first}"
        );
        let (done, steps) = (world.task(task).await, world.steps(task).await);
        let TaskState::Completed(output) = done.state() else {
            panic!("{done:?}")
        };
        assert_ne!(output.text, "of the first run");
        let numbers: Vec<(u32, u32)> = steps.iter().map(|step| (step.number, step.base)).collect();
        assert_eq!(numbers, [(1, 0), (2, 0), (3, 2), (4, 2), (5, 2)]);
        assert_eq!(
            world.store.peek(task).1.len(),
            6,
            "it is recorded all the same"
        );
        assert_eq!((done.progress().steps, done.spend().attempts), (5, 3));
        let keys: Vec<String> = world
            .tools
            .requests()
            .into_iter()
            .map(|request| request.idempotency_key)
            .collect();
        assert_eq!(keys, [format!("{task}/2"), format!("{task}/2/4")]);
    }
}

#[tokio::test]
async fn what_a_lost_worker_recorded_counts_however_its_task_ends() {
    for ends_by in ["cancel", "deadline", "attempts"] {
        let world = world([calling([calculate("a")])]).await;
        let task = world.submit("hello").await.unwrap().id();
        let faults = Faults::default();
        faults.die_at_nth(Call::Append, 3, When::Before);
        drop(world.run_failing(task, &faults).await);
        match ends_by {
            "cancel" => {
                world.pass(61);
                world
                    .tasks()
                    .cancel_task(world.tenant(), task)
                    .await
                    .unwrap();
            }
            "deadline" => {
                world.pass(1_801);
                assert_eq!(world.sweep().await.unwrap().timed_out, 1);
            }
            _ => {
                world.pass(61);
                assert_eq!(world.sweep().await.unwrap().requeued, 1);
            }
        }
        let left = world.task(task).await;
        assert_eq!(
            (
                left.progress().steps,
                left.spend().attempts,
                left.attempts()
            ),
            (2, 1, 1),
            "{ends_by}"
        );
    }
}

/// The fifth worker records a step and disappears: its task is not given up.
#[tokio::test]
async fn a_task_that_got_on_under_its_last_attempt_has_more() {
    for by_message in [true, false] {
        let world = world([]).await;
        let task = world.submit("hello").await.unwrap().id();
        for attempt in 1..=5 {
            let faults = Faults::default();
            let last_call = if attempt < 5 {
                Call::ReadAgent
            } else {
                Call::Append
            };
            faults.die_at_nth(last_call, 1, When::After);
            drop(world.run_failing(task, &faults).await);
            world.pass(61);
            if attempt < 5 {
                assert_eq!(world.sweep().await.unwrap().requeued, 1);
            }
        }
        assert_eq!(world.store.peek(task).1.len(), 1);
        if by_message {
            assert!(world.run(task).await.is_err(), "the message comes back");
        } else {
            assert_eq!(world.sweep().await.unwrap().requeued, 1);
        }
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed),
            "by message: {by_message}"
        );
        assert_eq!(world.model.requests().len(), 1);
    }
}

/// A worker records the last answer and is gone: a retry only has to say so.
#[tokio::test]
async fn a_recorded_answer_is_not_asked_for_again_by_a_retry() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap().id();
    let faults = Faults::default();
    faults.die_at_nth(Call::Append, 1, When::After);
    drop(world.run_failing(task, &faults).await);
    world.pass(61);
    let (tasks, none) = (world.tasks(), LimitChanges::default());
    tasks.cancel_task(world.tenant(), task).await.unwrap();
    tasks
        .retry_task(world.tenant(), task, RetryFrom::Checkpoint, none)
        .await
        .unwrap();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(world.model.requests().len(), 1);
}
