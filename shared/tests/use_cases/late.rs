//! What comes late: workers that stood still while their task was taken from them, and clients that
//! answer at once or again.

use std::sync::Arc;

use async_trait::async_trait;
use shared::app::{AppError, RetryFrom, RunOutcome, Runner, Sweeper, Swept, Tasks, ToolAnswer};
use shared::domain::{
    BuiltinTool, FailureCode, JsonSchema, LimitChanges, ModelAnswer, ModelRequest, Step, StepHead,
    StepKind, StepPlace, TaskId, TaskState, TaskStatus, ToolCall, ToolDefinition, ToolName,
};
use shared::ports::{Journal, Model, ModelError, StepsPage, StepsRequest, StoreError};
use shared::testing::{Faults, MemoryStore, Reply, ScriptedModel, When, samples};
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
            config.builtin_tools = vec![BuiltinTool::Calculator];
            config.tools = vec![asking()];
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

/// A model that answers when it is told to.
#[derive(Default)]
struct Standstill {
    asked: Notify,
    go_on: Notify,
}

#[async_trait]
impl Model for Standstill {
    async fn ask(&self, _request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.asked.notify_one();
        self.go_on.notified().await;
        Ok(samples::answer("of the first run"))
    }
}

impl World {
    /// Runs the task in an invocation that stands still in its first question.
    async fn run_with(&self, model: Arc<Standstill>, task: TaskId) -> RunOutcome {
        let runner = Runner {
            model,
            ..self.worker_failing(&Faults::default())
        };
        self.run_by(&runner, task).await.unwrap()
    }

    /// Cancels the task, whose worker is gone, and has it begin afresh.
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

/// The worker stands still in its second question, is taken for dead, and goes on before or after
/// the next one has answered.
#[tokio::test]
async fn a_worker_of_an_earlier_run_has_no_part_in_the_next_one() {
    for comes_first in [true, false] {
        let script = ["a", "lost", "b"].map(|id| calling([calculate(id)]));
        let world = world(script).await;
        let task = world.submit("hello").await.unwrap().id();
        let faults = Faults::default();
        // After the claim, the agent and two steps: over the second answer.
        faults.die_at(5, When::Before);
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
        faults.die_at(5, When::Before);
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
            // Claim, journal (but for the first), agent, answer.
            faults.die_at(if attempt < 5 { 2 } else { 4 }, When::After);
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
        assert_eq!(world.model.asked().len(), 1);
    }
}

/// Two clients, each with texts and an order of its own, at whatever distance.
#[tokio::test]
async fn of_two_clients_that_answer_at_once_one_is_heard_whole() {
    for turns in 0..12 {
        let world = world([calling([ask_human("a"), ask_human("b")])]).await;
        let task = world.submit("hello").await.unwrap().id();
        world.run(task).await.unwrap();
        let tasks = world.tasks();
        let one = tasks.answer_task(
            world.tenant(),
            task,
            vec![answer("a", "one"), answer("b", "one")],
        );
        let two = async {
            for _ in 0..turns {
                yield_now().await;
            }
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("b", "two"), answer("a", "two")],
                )
                .await
        };
        let (one, two) = tokio::join!(one, two);
        let (heard, refused) = if one.is_ok() {
            ("one", two)
        } else {
            ("two", one)
        };
        assert!(
            matches!(refused, Err(AppError::AnsweredOtherwise(_))),
            "{refused:?}"
        );
        let text = |kind| {
            if let StepKind::ToolCall { text, .. } = kind {
                Some(text)
            } else {
                None
            }
        };
        let texts: Vec<String> = world
            .steps(task)
            .await
            .into_iter()
            .filter_map(|step| text(step.kind))
            .collect();
        assert_eq!(texts, [heard, heard]);
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
    }
}

/// The client dies at any call, and comes back with another mind or the same.
#[tokio::test]
async fn a_client_that_died_over_its_answers_may_give_them_again() {
    for at in 1..5 {
        for when in [When::Before, When::After] {
            let world = world([calling([ask_human("a"), ask_human("b")])]).await;
            let task = world.submit("hello").await.unwrap().id();
            world.run(task).await.unwrap();
            let faults = Faults::default();
            faults.die_at(at, when);
            let dying = Tasks {
                store: Arc::new(world.store.with_faults(faults.clone())),
                ..world.tasks_failing(&faults)
            };
            let first = vec![answer("a", "one"), answer("b", "one")];
            drop(dying.answer_task(world.tenant(), task, first.clone()).await);
            let tasks = world.tasks();
            let second = vec![answer("a", "two"), answer("b", "two")];
            let again = match tasks.answer_task(world.tenant(), task, second).await {
                Err(AppError::AnsweredOtherwise(_)) => {
                    tasks.answer_task(world.tenant(), task, first).await
                }
                other => other,
            };
            assert_eq!(
                again.unwrap().status(),
                TaskStatus::Queued,
                "{when:?} call {at}"
            );
            assert_eq!(
                world.run(task).await.unwrap(),
                RunOutcome::Ended(TaskStatus::Completed)
            );
        }
    }
}

#[tokio::test]
async fn an_answer_may_come_again_while_the_next_one_is_waited_for() {
    let world = world([calling([ask_human("a")]), calling([ask_human("b")])]).await;
    let task = world.submit("hello").await.unwrap().id();
    let tasks = world.tasks();
    world.run(task).await.unwrap();
    tasks
        .answer_task(world.tenant(), task, vec![answer("a", "yes")])
        .await
        .unwrap();
    world.run(task).await.unwrap();
    let again = tasks
        .answer_task(world.tenant(), task, vec![answer("a", "yes")])
        .await
        .unwrap();
    assert_eq!(again.status(), TaskStatus::InputRequired);
    let other = tasks
        .answer_task(world.tenant(), task, vec![answer("a", "no")])
        .await;
    assert!(matches!(other, Err(AppError::Invalid(_))), "{other:?}");
}

/// A model that uses its ids again, and a client that comes late to the first call.
#[tokio::test]
async fn an_answer_that_says_its_step_is_not_taken_for_another_calls() {
    let world = world([
        calling([ask_human("call_0")]),
        calling([ask_human("call_0")]),
    ])
    .await;
    let task = world.submit("hello").await.unwrap().id();
    let tasks = world.tasks();
    let to = |step, text| {
        vec![ToolAnswer {
            step: Some(step),
            ..answer("call_0", text)
        }]
    };
    world.run(task).await.unwrap();
    let early = tasks
        .answer_task(world.tenant(), task, to(4, "early"))
        .await;
    assert!(matches!(early, Err(AppError::Invalid(_))), "{early:?}");
    tasks
        .answer_task(world.tenant(), task, to(2, "first"))
        .await
        .unwrap();
    world.run(task).await.unwrap();
    let late = tasks
        .answer_task(world.tenant(), task, to(2, "other"))
        .await;
    assert!(matches!(late, Err(AppError::Invalid(_))), "{late:?}");
    let again = tasks
        .answer_task(world.tenant(), task, to(2, "first"))
        .await
        .unwrap();
    assert_eq!(again.status(), TaskStatus::InputRequired);
    tasks
        .answer_task(world.tenant(), task, to(4, "second"))
        .await
        .unwrap();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

/// An answer meets a cancel and a new run at whatever distance: it goes into the old run or
/// nowhere.
#[tokio::test]
async fn an_answer_that_meets_a_new_run_costs_it_nothing() {
    for turns in 0..25 {
        let calls = || calling([ask_human("a"), ask_human("b")]);
        let world = world([calls(), calls()]).await;
        let task = world.submit("hello").await.unwrap().id();
        world.run(task).await.unwrap();
        let tasks = world.tasks();
        let answers = async {
            for _ in 0..turns {
                yield_now().await;
            }
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("a", "one"), answer("b", "one")],
                )
                .await
        };
        let afresh = async {
            let (tasks, none) = (world.tasks(), LimitChanges::default());
            tasks.cancel_task(world.tenant(), task).await.unwrap();
            tasks
                .retry_task(world.tenant(), task, RetryFrom::Start, none)
                .await
                .unwrap();
            world.run(task).await.unwrap()
        };
        let (_, ran) = tokio::join!(answers, afresh);
        assert_eq!(
            ran,
            RunOutcome::AwaitsClient(TaskStatus::InputRequired),
            "{turns} turns"
        );
        if world.status(task).await == TaskStatus::InputRequired {
            tasks
                .answer_task(
                    world.tenant(),
                    task,
                    vec![answer("a", "two"), answer("b", "two")],
                )
                .await
                .unwrap();
        }
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
        assert_eq!(world.model.asked().len(), 3, "{turns} turns");
    }
}

/// A model may make any number of calls at once; its client gets them in portions.
#[tokio::test]
async fn no_more_calls_are_open_at_once_than_can_be_answered_together() {
    let calls: Vec<ToolCall> = (0..100)
        .map(|number| ask_human(&number.to_string()))
        .collect();
    let world = world([calling(calls)]).await.with_agent(|config| {
        config.tools = vec![asking()];
        config.limits = config.limits.with_max_steps(1_000).unwrap();
    });
    let world = world.await;
    let task = world.submit("hello").await.unwrap().id();
    for open in [64, 36] {
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::AwaitsClient(TaskStatus::InputRequired)
        );
        let waiting = world.task(task).await;
        let TaskState::InputRequired { calls, .. } = waiting.state() else {
            panic!("{waiting:?}")
        };
        assert_eq!(calls.len(), open);
        let answers = calls
            .iter()
            .map(|call| answer(&call.call.id, "yes"))
            .collect();
        world
            .tasks()
            .answer_task(world.tenant(), task, answers)
            .await
            .unwrap();
    }
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(
        (world.steps(task).await.len(), world.model.asked().len()),
        (102, 2)
    );
}

/// A worker records the last answer and is gone: a retry only has to say so.
#[tokio::test]
async fn a_recorded_answer_is_not_asked_for_again_by_a_retry() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap().id();
    let faults = Faults::default();
    // The claim, the agent and the answer.
    faults.die_at(3, When::After);
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
    assert_eq!(world.model.asked().len(), 1);
}

/// A journal of which a record is damaged, or of a version that is not known here.
struct Unreadable(MemoryStore);

#[async_trait]
impl Journal for Unreadable {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        self.0.append(step).await
    }

    async fn step(&self, task: TaskId, _: StepPlace) -> Result<Option<Step>, StoreError> {
        Err(damaged(task))
    }

    async fn page(&self, task: TaskId, _: &StepsRequest) -> Result<StepsPage, StoreError> {
        Err(damaged(task))
    }

    async fn heads(&self, task: TaskId) -> Result<Vec<StepHead>, StoreError> {
        Err(damaged(task))
    }
}

fn damaged(task: TaskId) -> StoreError {
    StoreError::Corrupt {
        key: task.to_string(),
        reason: "it is damaged".to_owned(),
    }
}

impl World {
    /// Claims the task and disappears.
    async fn lose_worker(&self, task: TaskId) {
        let faults = Faults::default();
        faults.die_at(2, When::Before);
        drop(self.run_failing(task, &faults).await);
    }

    async fn sweep_unreadable(&self) -> Swept {
        let sweeper = Sweeper {
            tasks: Arc::new(self.store.clone()),
            journal: Arc::new(Unreadable(self.store.clone())),
            queue: Arc::new(self.queue.clone()),
            clock: Arc::new(self.clock.clone()),
        };
        sweeper.sweep(self.now().plus(INVOCATION)).await.unwrap()
    }
}

/// More of them than the watchdog reads at once.
#[tokio::test]
async fn tasks_whose_journal_can_not_be_read_come_to_an_end_and_keep_nobody_from_it() {
    let world = world([]).await;
    let mut tasks = Vec::new();
    for _ in 0..130 {
        let task = world.submit("hello").await.unwrap().id();
        world.lose_worker(task).await;
        tasks.push(task);
    }
    world.pass(61);
    assert_eq!(world.sweep_unreadable().await.requeued, 130);
    world.pass(1_800);
    assert_eq!(world.sweep_unreadable().await.timed_out, 130);

    let canceled = world.submit("hello").await.unwrap().id();
    world.lose_worker(canceled).await;
    world.pass(61);
    let clients = Tasks {
        journal: Arc::new(Unreadable(world.store.clone())),
        ..world.tasks()
    };
    let canceled = clients.cancel_task(world.tenant(), canceled).await.unwrap();
    assert_eq!(canceled.status(), TaskStatus::Canceled);
}

#[tokio::test]
async fn a_task_whose_journal_can_not_be_read_is_given_up_by_its_workers() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap().id();
    world.lose_worker(task).await;
    world.pass(61);
    let journal = Arc::new(Unreadable(world.store.clone()));
    for _ in 0..4 {
        let runner = Runner {
            journal: Arc::<Unreadable>::clone(&journal) as Arc<dyn Journal>,
            ..world.worker_failing(&Faults::default())
        };
        drop(world.run_by(&runner, task).await);
    }
    let given_up = world.task(task).await;
    let TaskState::Failed(failure) = given_up.state() else {
        panic!("{given_up:?}")
    };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
    assert_eq!(
        failure.message,
        "given up after 5 attempts that came to nothing: workers were lost or could not record what they did; since step 0, they \
         reported no failed model call"
    );
    assert!(world.model.asked().is_empty());
}
