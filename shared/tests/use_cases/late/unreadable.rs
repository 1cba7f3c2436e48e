//! Tasks whose journal can not be read.

use super::*;

/// A journal with a record that is damaged or of an unknown version.
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

    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError> {
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
        faults.die_at_nth(Call::ReadAgent, 1, When::Before);
        drop(self.run_failing(task, &faults).await);
    }

    async fn sweep_unreadable(&self) -> SweepSummary {
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
async fn tasks_with_an_unreadable_journal_end_and_block_no_others() {
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
        "failed after 5 attempts without progress: workers were lost or could not record their results; since step 0, they \
         reported no failed model call"
    );
    assert!(world.model.requests().is_empty());
}

/// A task whose model called a tool in step 1 and the client in step 3. It has two more calls after
/// the client's answer.
async fn task_of_three_steps(world: &World) -> TaskId {
    let task = world.submit("hello").await.unwrap().id();
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::AwaitsClient(TaskStatus::InputRequired)
    );
    assert_eq!(world.task(task).await.progress().steps, 3);
    task
}

/// Delivers the task's message until its attempts are used up. Each worker finds that the step is
/// missing, and none calls the model.
async fn fail_all_attempts(world: &World, task: TaskId, missing: &str) {
    let asked = world.model.requests().len();
    for _ in 0..4 {
        let error = world.run(task).await.unwrap_err();
        let RunError::Store(StoreError::Corrupt { key, reason }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((key, reason.as_str()), (task.to_string(), missing));
    }
    assert_eq!(
        world.run(task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Failed)
    );
    let failed = world.task(task).await;
    let TaskState::Failed(failure) = failed.state() else {
        panic!("{failed:?}")
    };
    assert_eq!(failure.code, FailureCode::AttemptsExhausted);
    assert_eq!(world.model.requests().len(), asked);
}

async fn retry(world: &World, task: TaskId, from: RetryFrom) -> Result<Task, AppError> {
    let (tasks, none) = (world.tasks(), LimitChanges::default());
    tasks.retry_task(world.tenant(), task, from, none).await
}

#[tokio::test]
async fn a_task_with_a_missing_step_calls_no_model_until_it_is_restarted() {
    for missing in 1..=3 {
        let script = [calling([calculate("a")]), calling([ask_human("b")])];
        let world = world(script).await;
        let task = task_of_three_steps(&world).await;
        world.store.delete_step(task, missing);
        let answers = vec![answer("b", "yes")];
        world
            .tasks()
            .answer_task(world.tenant(), task, answers)
            .await
            .unwrap();
        let reason = format!("step {missing} of 3 is missing");
        fail_all_attempts(&world, task, &reason).await;

        let continued = retry(&world, task, RetryFrom::Checkpoint).await;
        assert!(
            matches!(continued, Err(AppError::Unreadable(_))),
            "{continued:?}"
        );
        let restarted = retry(&world, task, RetryFrom::Start).await.unwrap();
        let base = restarted.progress().base;
        assert!(base >= 3, "no number is used twice: {base}");
        assert_eq!(
            world.run(task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Completed)
        );
        let numbers: Vec<u32> = world
            .steps(task)
            .await
            .iter()
            .map(|step| step.number)
            .collect();
        let earlier = (1..=base).filter(|number| *number != missing);
        assert_eq!(numbers, earlier.chain([base + 1]).collect::<Vec<_>>());
    }
}

/// The tool's result is the last step that is recorded when the model fails.
#[tokio::test]
async fn a_missing_last_result_of_a_tool_is_not_made_again() {
    let script = [
        calling([calculate("a")]),
        Reply::Fail(ModelErrorKind::Unavailable),
    ];
    let world = world(script).await;
    let task = world.submit("hello").await.unwrap().id();
    let parked = world.run(task).await.unwrap();
    assert!(matches!(parked, RunOutcome::Parked(_)), "{parked:?}");
    assert_eq!(world.task(task).await.progress().steps, 2);
    world.store.delete_step(task, 2);
    world.pass(600);
    fail_all_attempts(&world, task, "step 2 of 2 is missing").await;
    assert_eq!(world.tools.requests().len(), 1);
}

/// In a run after the first one, too, and beside a step that the task's record does not count yet.
#[tokio::test]
async fn a_missing_step_is_noticed_in_a_later_run() {
    let script = ["a", "b", "c"].map(|id| calling([calculate(id)]));
    let world = world(script).await;
    let task = world.submit("hello").await.unwrap().id();
    let faults = Faults::default();
    faults.die_at_nth(Call::Append, 3, When::Before);
    drop(world.run_failing(task, &faults).await);
    world.pass(61);
    world.begin_afresh(task).await;
    let faults = Faults::default();
    faults.die_at_nth(Call::Append, 3, When::After);
    drop(world.run_failing(task, &faults).await);
    world.pass(61);
    assert_eq!(world.sweep().await.unwrap().requeued, 1);
    let lost = world.task(task).await;
    assert_eq!((lost.progress().base, lost.progress().steps), (2, 5));
    world.store.delete_step(task, 4);
    // The lost worker was the first attempt.
    let error = world.run(task).await.unwrap_err();
    let reason = "step 4 of 5 is missing";
    assert!(
        matches!(&error, RunError::Store(StoreError::Corrupt { reason: of, .. }) if of == reason),
        "{error:?}"
    );
    assert_eq!(world.tools.requests().len(), 2);
}
