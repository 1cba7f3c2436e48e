//! What a worker does beside its steps: it renews its lease, and hears its client's wish to cancel.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;
use tracing::field::Empty;

use async_trait::async_trait;
use shared::app::{RunOutcome, Runner, Tasks, WorkTimes};
use shared::domain::{
    BuiltinTool, Change, Lease, ModelAnswer, ModelRequest, Step, Task, TaskId, TaskInput,
    TaskState, TaskStatus, TenantId, Timestamp,
};
use shared::ports::store::{
    Claimed, Created, Deletion, Page, PageRequest, TaskFilter, TaskSummary,
};
use shared::ports::{Model, ModelError, ModelErrorKind, StoreError, TaskDetails, TaskStore};
use shared::testing::{Faults, MemoryStore, Reply, ScriptedModel, TokioClock, samples};

use crate::steps::{ask_human, calculate, calling, world};
use crate::world::{STEP_RESERVE, World};

/// How long a model takes to answer, and then the store, which takes longer.
const ANSWERING: Duration = Duration::from_millis(9);
const STORING: Duration = Duration::from_millis(10);

/// A model that answers after [`ANSWERING`].
struct Brief(Arc<ScriptedModel>);

#[async_trait]
impl Model for Brief {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        tokio::time::sleep(ANSWERING).await;
        self.0.call(request).await
    }
}

/// A store that takes [`STORING`] to read or change a task. A call that is dropped before that has
/// done nothing.
struct Slower(MemoryStore);

#[async_trait]
impl TaskDetails for Slower {
    async fn input(&self, id: TaskId) -> Result<Option<TaskInput>, StoreError> {
        self.0.input(id).await
    }

    async fn earlier_history(
        &self,
        id: TaskId,
        numbers: Range<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, Change)>, StoreError> {
        self.0.earlier_history(id, numbers, limit).await
    }
}

#[async_trait]
impl TaskStore for Slower {
    async fn create(&self, task: &Task) -> Result<Created, StoreError> {
        self.0.create(task).await
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, StoreError> {
        tokio::time::sleep(STORING).await;
        TaskStore::task(&self.0, tenant, id).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        TaskStore::list(&self.0, tenant, filter, page).await
    }

    async fn claim(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.0.claim(tenant, id, lease, now).await
    }

    async fn update(&self, task: &Task) -> Result<(), StoreError> {
        tokio::time::sleep(STORING).await;
        self.0.update(task).await
    }

    async fn update_with(&self, task: &Task, steps: &[Step]) -> Result<(), StoreError> {
        self.0.update_with(task, steps).await
    }

    async fn delete(&self, tenant: &TenantId, id: TaskId) -> Result<Deletion, StoreError> {
        self.0.delete(tenant, id).await
    }

    async fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        self.0.overdue(now, limit).await
    }
}

/// A task of nearly a thousand steps, each shorter than a request to the store, and what works on
/// it.
async fn task_of_brief_steps() -> (World, TaskId, Runner) {
    let world =
        world((0..480).map(|number| calling([calculate(&number.to_string(), "1+1")]))).await;
    let world = world
        .with_agent(|config| {
            config.tools = vec![BuiltinTool::Calculator.into()];
            config.limits = config
                .limits
                .with_max_steps(1_000)
                .unwrap()
                .with_max_tool_calls(1_000)
                .unwrap();
        })
        .await;
    let task = world.submit("hello").await.unwrap().id();
    let runner = Runner {
        model: Arc::new(Brief(Arc::clone(&world.model))),
        tasks: Arc::new(Slower(world.store.clone())),
        clock: Arc::new(TokioClock::default()),
        times: WorkTimes {
            lease: Duration::from_secs(3),
            step_reserve: STEP_RESERVE,
        },
        ..world.worker_failing(&Faults::default())
    };
    (world, task, runner)
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_within_two_seconds_however_short_the_steps_are() {
    let (world, task, runner) = task_of_brief_steps().await;
    let begun = tokio::time::Instant::now();
    let client = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(
            world
                .tasks()
                .cancel_task(world.tenant(), task)
                .await
                .unwrap()
                .progress()
                .cancel_requested
        );
    };
    let (ran, ()) = tokio::join!(world.run_by(&runner, task), client);
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Canceled));
    assert!(
        begun.elapsed() <= Duration::from_millis(2_500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_in_time_however_short_the_steps_are() {
    let (world, task, runner) = task_of_brief_steps().await;
    let clock = Arc::clone(&runner.clock);
    let observer = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let TaskState::Running(lease) = world.task(task).await.state().clone() else {
                break;
            };
            assert!(
                lease.expires_at > clock.now(),
                "the lease ended while its worker was at work"
            );
        }
    };
    let (ran, ()) = tokio::join!(world.run_by(&runner, task), observer);
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
    assert!(clock.now().since(samples::START) > Duration::from_secs(4));
}

/// The client's wish is stored while the worker stores the answer.
#[tokio::test]
async fn a_cancel_that_was_accepted_before_the_end_decides() {
    let answered = || Reply::Answer(samples::answer("hi"));
    let asks_client = || calling([ask_human("a")]);
    for last in [
        answered(),
        asks_client(),
        Reply::Fail(ModelErrorKind::Rejected),
    ] {
        let world = world([last]).await;
        let task = world.submit("hello").await.unwrap().id();
        let client: Arc<dyn Model> = Arc::new(Canceling {
            tasks: world.tasks(),
            tenant: world.tenant().clone(),
            task,
            model: Arc::clone(&world.model),
        });
        let runner = Runner {
            model: client,
            ..world.worker_failing(&Faults::default())
        };
        assert_eq!(
            world.run_by(&runner, task).await.unwrap(),
            RunOutcome::Ended(TaskStatus::Canceled)
        );
        let task = world.task(task).await;
        assert_eq!(
            (task.status(), task.progress().cancel_requested),
            (TaskStatus::Canceled, false)
        );
    }
}

/// A model whose task is canceled just before it answers.
struct Canceling {
    tasks: Tasks,
    tenant: TenantId,
    task: TaskId,
    model: Arc<ScriptedModel>,
}

#[async_trait]
impl Model for Canceling {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let span = tracing::info_span!(target: "api", "request", task_id = Empty, agent_id = Empty);
        let canceled = self
            .tasks
            .cancel_task(&self.tenant, self.task)
            .instrument(span)
            .await
            .unwrap();
        assert!(canceled.progress().cancel_requested);
        self.model.call(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_call_that_is_open_within_two_seconds() {
    let world = world([]).await;
    let task = world.submit("hello").await.unwrap();
    world.model.hold();
    let begun = tokio::time::Instant::now();
    let client = async {
        world.model.until_called(1).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let requested_at = begun.elapsed();
        let task = world
            .tasks()
            .cancel_task(world.tenant(), task.id())
            .await
            .unwrap();
        assert!(task.progress().cancel_requested);
        requested_at
    };
    let (ran, requested_at) = tokio::join!(world.run(task.id()), client);
    assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Canceled));
    assert!(begun.elapsed() <= requested_at + Duration::from_secs(2));
    let cost = world.task(task.id()).await.spend();
    assert_eq!(
        (cost.attempts, cost.cost.unpriced_calls),
        (1, 1),
        "its provider may bill the call"
    );
    let again = world
        .tasks()
        .cancel_task(world.tenant(), task.id())
        .await
        .unwrap();
    assert_eq!(
        (again.status(), again.progress().cancel_requested),
        (TaskStatus::Canceled, false)
    );
}
