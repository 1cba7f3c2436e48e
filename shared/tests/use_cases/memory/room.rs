//! The room that the conversations of one process share.

use super::*;

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
    let requests = world.model.requests().len();
    world.model.hold();
    let meanwhile = async {
        world.model.until_called(requests + 1).await;
        let mut run = pin!(world.run_by(worker, task));
        tokio::select! {
            ran = &mut run => {
                world.model.release();
                ran
            }
            () = world.model.until_called(requests + 2) => {
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
async fn task_that_does_not_fit_waits_unread_and_runs_alone() {
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
    let requests = world.model.requests().len();
    assert_eq!(
        world.run_by(&worker, task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed),
        "it is oversized and alone"
    );
    assert_eq!(world.model.requests().len(), requests + 1);
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
        let stored = world.task(task).await;
        let progress = stored.progress().clone();
        let unknown = Progress {
            conversation_bytes: None,
            revision: progress.revision + 1,
            ..progress
        };
        world
            .store
            .update(&Task::restore(stored.spec().clone(), unknown))
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
async fn larger_conversation_than_recorded_is_noted_when_postponed() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap().id();
    let requests = samples::answer_calling([calculate("a")]);
    let kind = StepKind::ModelCall {
        requested: samples::model(),
        answer: requests,
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
    assert_eq!(world.model.requests().len(), 2, "once for each task");
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
    async fn call(&self, _: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        panic!("a defect")
    }
}

/// Calls a tool once, as the conversation tells, and says so that it was asked.
struct Turns(Arc<ScriptedModel>);

#[async_trait]
impl Model for Turns {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        drop(self.0.call(request).await);
        let is_first = request.prompt.messages.len() == 1;
        Ok(if is_first {
            samples::answer_calling([calculate("a")])
        } else {
            samples::answer("done")
        })
    }
}

/// A worker dies at each call in turn: two tasks share a worker that has room for one of them.
#[tokio::test]
async fn crowded_tasks_complete_once_wherever_their_worker_dies() {
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
                    .map(|step| step.summary().kind == StepSummaryKind::ModelCall)
                    .collect();
                assert_eq!(kinds, [true, false, true], "{case}");
                assert!(done.attempts() <= 2, "{case}: {} attempts", done.attempts());
            }
            // The answers that a death may have lost, one a task.
            let (requests, ran) = (world.model.requests().len(), world.tools.requests().len());
            assert!(
                (4..=6).contains(&requests) && (2..=4).contains(&ran),
                "call {at}: {requests} requests, {ran} tools"
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
