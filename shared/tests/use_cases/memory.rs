//! What a conversation may grow to, and what the conversations of one process may have together.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::app::{Room, RunError, RunOutcome, Runner};
use shared::domain::task::Progress;
use shared::domain::{
    BuiltinTool, FailureCode, HeadKind, JsonSchema, MAX_CONVERSATION_BYTES, MAX_TOOL_TEXT_BYTES,
    MAX_TOOL_TEXTS_BYTES, Message, ModelAnswer, ModelRequest, Step, StepKind, Task, TaskId,
    TaskState, TaskStatus, ToolCall, ToolDefinition, ToolName, ToolRunner, Wait, WaitReason,
};
use shared::ports::{Journal, Model, ModelError, TaskMessage, TaskStore, ToolOutput};
use shared::testing::{Faults, Reply, ScriptedModel, ToolReply, When, samples};

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
            config.builtin_tools = vec![BuiltinTool::Calculator];
            config.tools = vec![ask];
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
    let Some(Message::ToolResults(told)) = world.model.asked()[1].prompt.messages.last().cloned()
    else {
        panic!()
    };
    assert!(
        told.iter()
            .zip(&results)
            .all(|(told, (_, recorded))| told.text == *recorded)
    );
}

/// Among the calls of one answer, and those of the next, whoever answers them.
#[tokio::test]
async fn calls_are_refused_once_the_results_have_reached_what_a_conversation_takes() {
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
    // Those that had begun came to their end.
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
    assert_eq!(world.model.asked().len(), 3);
}

#[tokio::test]
async fn a_model_that_keeps_calling_tools_when_the_conversation_is_full_is_stopped() {
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
        (failure.code, world.model.asked().len()),
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
async fn a_task_knows_its_conversations_size_after_each_of_its_workers_and_clients() {
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
        let kept = world.task(task).await;
        assert_eq!(
            (kept.status(), kept.progress().conversation_bytes),
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
        (world.model.asked().len(), world.tools.requests().len()),
        (4, 2),
        "nothing is done twice"
    );
}

/// A task whose worker recorded a step and then released it.
async fn begun(world: &World) -> TaskId {
    let task = world.submit("begun").await.unwrap().id();
    world
        .model
        .then(calling([samples::tool_call("x", "ask_human", "{}")]));
    world.run(task).await.unwrap();
    let answer = shared::app::ToolAnswer {
        call_id: None,
        step: Some(2),
        text: "a".repeat(9_000),
        is_error: false,
    };
    world
        .tasks()
        .answer_task(world.tenant(), task, vec![answer])
        .await
        .unwrap();
    task
}

/// Runs the task beside another one that is being worked on.
async fn run_beside_another(
    world: &World,
    worker: &Runner,
    task: TaskId,
) -> Result<RunOutcome, RunError> {
    let other = world.submit("other").await.unwrap().id();
    let asked = world.model.asked().len();
    world.model.hold();
    let meanwhile = async {
        world.model.until_asked(asked + 1).await;
        let mut run = pin!(world.run_by(worker, task));
        tokio::select! {
            ran = &mut run => {
                world.model.release();
                ran
            }
            () = world.model.until_asked(asked + 2) => {
                world.model.release();
                run.await
            }
        }
    };
    let (other, ran) = tokio::join!(world.run_by(worker, other), meanwhile);
    assert_eq!(other.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    ran
}

#[tokio::test]
async fn a_task_that_does_not_fit_beside_others_is_put_off_before_its_journal_is_read_and_runs_alone()
 {
    let world = world([]).await;
    let task = begun(&world).await;
    let before = world.task(task).await;
    let worker = world.worker_with_room(9_000);
    let sent = world.queue.sent().len();
    let ran = run_beside_another(&world, &worker, task).await;
    let Ok(RunOutcome::Parked(Wait {
        until,
        reason: WaitReason::Concurrency,
    })) = ran
    else {
        panic!("{ran:?}")
    };
    let parked = world.task(task).await;
    assert_eq!(
        (parked.attempts(), parked.progress().hops, parked.fence()),
        (0, 0, before.fence() + 1)
    );
    assert_eq!(
        parked.progress().conversation_bytes,
        before.progress().conversation_bytes
    );
    assert_eq!(
        world.queue.sent().len(),
        sent + 2,
        "one of the other task, and one of its own"
    );
    assert!(matches!(
        world.run_by(&worker, task).await,
        Err(RunError::Waiting { .. })
    ));

    world.pass(until.since(world.now()).as_secs() + 1);
    let asked = world.model.asked().len();
    assert_eq!(
        world.run_by(&worker, task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed),
        "it is oversized and alone"
    );
    assert_eq!(world.model.asked().len(), asked + 1);
}

#[tokio::test]
async fn a_task_that_fits_beside_others_is_not_put_off() {
    let world = world([]).await;
    let task = begun(&world).await;
    let ran = run_beside_another(&world, &world.worker_with_room(10_000), task).await;
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
}

/// As an earlier version leaves a task that it worked on.
#[tokio::test]
async fn a_conversation_of_unknown_size_is_measured_by_its_journal() {
    for (room, fits) in [(9_000, false), (10_000, true)] {
        let world = world([]).await;
        let task = begun(&world).await;
        let kept = world.task(task).await;
        let progress = kept.progress().clone();
        let unknown = Progress {
            conversation_bytes: None,
            revision: progress.revision + 1,
            ..progress
        };
        world
            .store
            .update(&Task::restore(kept.spec().clone(), unknown))
            .await
            .unwrap();
        let ran = run_beside_another(&world, &world.worker_with_room(room), task)
            .await
            .unwrap();
        assert_eq!(
            matches!(ran, RunOutcome::Parked(_)),
            !fits,
            "{room}: {ran:?}"
        );
        world.pass(10);
        if !fits {
            assert_eq!(
                world.run(task).await.unwrap(),
                RunOutcome::Ended(TaskStatus::Completed)
            );
        }
        assert!(world.task(task).await.progress().conversation_bytes > Some(9_000));
    }
}

/// As when its worker ran out of memory: it could record steps, and no more.
#[tokio::test]
async fn a_conversation_that_turns_out_larger_than_its_record_says_is_known_when_its_task_is_put_off()
 {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap().id();
    let asked = samples::answer_calling([calculate("a")]);
    let kind = StepKind::ModelCall {
        requested: samples::model(),
        answer: asked,
    };
    let steps = [
        Step {
            kind,
            ..samples::step(task, 1, "")
        },
        samples::tool_step(task, 2, ToolRunner::Platform, &"a".repeat(9_000)),
    ];
    for step in &steps {
        world.store.append(step).await.unwrap();
    }
    lose_worker(&world, task).await;
    world.pass(61);
    assert_eq!(
        world.task(task).await.progress().conversation_bytes,
        Some(0)
    );
    let worker = world.worker_with_room(9_000);
    let ran = run_beside_another(&world, &worker, task).await.unwrap();
    assert!(
        matches!(
            ran,
            RunOutcome::Parked(Wait {
                reason: WaitReason::Concurrency,
                ..
            })
        ),
        "{ran:?}"
    );
    let parked = world.task(task).await;
    let bytes = steps.iter().map(|step| step.kind.content_bytes()).sum();
    assert_eq!(
        (
            parked.progress().conversation_bytes,
            parked.progress().steps
        ),
        (Some(bytes), 2)
    );
    assert_eq!(
        (parked.attempts(), parked.spend().attempts),
        (0, 1),
        "what its worker recorded is accounted for"
    );
    world.pass(10);
    assert_eq!(
        world.run_by(&worker, task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(world.model.asked().len(), 2, "once for each task");
}

#[tokio::test]
async fn room_is_free_again_however_a_worker_leaves() {
    let world = world([]).await;
    let worker = world.worker_with_room(1);
    for _ in 0..3 {
        let task = begun(&world).await;
        assert_eq!(
            world.run_by(&worker, task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
    }
    let task = begun(&world).await;
    let message = TaskMessage {
        tenant: world.tenant().clone(),
        task,
        alone: false,
    };
    let until = world.now().plus(Duration::from_mins(1));
    let panicking = Arc::new(Runner {
        model: Arc::new(Panicking),
        ..world.worker_with_room(1)
    });
    let runner = Arc::clone(&panicking);
    assert!(
        tokio::spawn(async move { runner.run(&message, until).await })
            .await
            .is_err()
    );
    for room in [&worker.room, &panicking.room] {
        assert!(format!("{room:?}").contains("places: []"), "{room:?}");
    }
}

struct Panicking;

#[async_trait]
impl Model for Panicking {
    async fn ask(&self, _: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        panic!("a defect")
    }
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
            (failure.code, world.model.asked().len()),
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
    faults.die_at(2, When::Before);
    drop(world.run_failing(task, &faults).await);
}

/// Calls a tool once, as the conversation tells, and says so that it was asked.
struct Turns(Arc<ScriptedModel>);

#[async_trait]
impl Model for Turns {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        drop(self.0.ask(request).await);
        let is_first = request.prompt.messages.len() == 1;
        Ok(if is_first {
            samples::answer_calling([calculate("a")])
        } else {
            samples::answer("done")
        })
    }
}

/// Whoever dies at whichever call: two tasks share a worker that has room for one of them.
#[tokio::test]
async fn wherever_a_worker_of_tasks_that_crowd_each_other_dies_each_completes_and_does_nothing_twice()
 {
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for at in 1.. {
            let world = world([]).await;
            let tasks = [
                world.submit("one").await.unwrap().id(),
                world.submit("two").await.unwrap().id(),
            ];
            let (faults, well) = (Faults::default(), Faults::default());
            faults.die_at(at, when);
            for _round in 0..100 {
                let faults = if faults.struck() { &well } else { &faults };
                let model = Arc::new(Turns(Arc::clone(&world.model)));
                let worker = Runner {
                    model,
                    room: Room::of(1),
                    ..world.worker_failing(faults)
                };
                drop(join_all(tasks.map(|task| world.run_by(&worker, task))).await);
                let over = join_all(tasks.map(|task| world.status(task))).await;
                if over.iter().all(|status| status.is_terminal()) {
                    break;
                }
                world.pass(7);
                world.sweep().await.unwrap();
            }
            for task in tasks {
                let case = format!("death {when:?} call {at}");
                let done = world.task(task).await;
                assert_eq!(
                    (done.status(), done.progress().steps),
                    (TaskStatus::Completed, 3),
                    "{case}"
                );
                let heads = world.steps(task).await;
                let kinds: Vec<bool> = heads
                    .iter()
                    .map(|step| step.head().kind == HeadKind::ModelCall)
                    .collect();
                assert_eq!(kinds, [true, false, true], "{case}");
                assert!(done.attempts() <= 2, "{case}: {} attempts", done.attempts());
            }
            // The answers that a death may have lost, one a task.
            let (asked, ran) = (world.model.asked().len(), world.tools.requests().len());
            assert!(
                (4..=6).contains(&asked) && (2..=4).contains(&ran),
                "call {at}: {asked} questions, {ran} tools"
            );
            if !faults.struck() {
                assert!(at > 12, "{at}");
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 24, "{deaths}");
}
