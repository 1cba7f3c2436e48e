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
