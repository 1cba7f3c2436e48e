//! A cap on how many tasks of one tenant run at once.

mod own_caps;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::app::{RunError, RunOutcome, Runner, TaskSlots};
use shared::domain::{
    Agent, BudgetScope, CapKind, Caps, KeyId, ModelAnswer, ModelRequest, Task, TaskId, TaskStatus,
    Timestamp, Wait, WaitReason,
};
use shared::ports::{
    AgentStore, CapsOfTask, LimitOwner, Model, ModelError, ModelErrorKind, Recovery, Slot, Slots,
    Taken, TaskMessage,
};
use shared::testing::{
    Captured, Faults, MemorySlots, Reply, SameCaps, ScriptedModel, When, listen, samples,
};

use crate::world::{INVOCATION, World};

/// From the end of an invocation on, with what clocks may differ.
const AFTER_INVOCATION: u64 = INVOCATION.as_secs() + 2;

/// A world in which so many of a tenant's tasks may run at once.
struct Fair {
    world: World,
    slots: MemorySlots,
    most: NonZeroU32,
    /// The caps that each tenant and each key has of its own.
    own: CapsOfTask,
}

impl Fair {
    async fn new(most: u32, script: impl IntoIterator<Item = Reply>) -> Self {
        let world = World::with_model(ScriptedModel::new(script)).await;
        Self {
            world,
            slots: MemorySlots::default(),
            most: NonZeroU32::new(most).unwrap(),
            own: CapsOfTask::default(),
        }
    }

    /// A worker all of whose calls fail by `faults`.
    fn worker_failing(&self, faults: &Faults) -> Runner {
        self.worker_with_slots_failing(faults, faults)
    }

    /// A worker whose calls fail by `faults`, but for those for slots, which fail by `slot_faults`.
    fn worker_with_slots_failing(&self, slot_faults: &Faults, faults: &Faults) -> Runner {
        let slots = TaskSlots::new(
            Arc::new(self.slots.with_faults(slot_faults.clone())),
            Arc::new(SameCaps(self.own)),
            Some(self.most),
            None,
        );
        Runner {
            slots: Some(slots),
            ..self.world.worker_failing(faults)
        }
    }

    async fn run_by(&self, runner: &Runner, task: &Task) -> Result<RunOutcome, RunError> {
        let message = TaskMessage {
            tenant: task.spec().tenant.clone(),
            task: task.id(),
            alone: false,
        };
        runner
            .run(&message, self.world.now().plus(INVOCATION))
            .await
    }

    async fn run(&self, task: &Task) -> Result<RunOutcome, RunError> {
        self.run_by(&self.worker_failing(&Faults::default()), task)
            .await
    }

    async fn submit(&self, count: usize) -> Vec<Task> {
        let inputs = (0..count).map(|number| format!("hello {number}"));
        join_all(inputs.map(|input| async move { self.world.submit(&input).await.unwrap() })).await
    }

    /// A task that was submitted with this key.
    async fn submit_with(&self, key: Option<KeyId>) -> Task {
        let new = shared::app::NewTask {
            key,
            ..self.world.new_task("hello")
        };
        let tasks = self.world.tasks();
        tasks.submit_task(self.world.tenant(), new).await.unwrap()
    }

    async fn submit_for(&self, agent: &Agent) -> Task {
        let new = shared::app::NewTask {
            agent: agent.id,
            ..self.world.new_task("hello")
        };
        self.world
            .tasks()
            .submit_task(&agent.tenant, new)
            .await
            .unwrap()
    }

    fn tenant(&self) -> LimitOwner {
        LimitOwner::Tenant(self.world.tenant().clone())
    }

    fn held(&self) -> Vec<Slot> {
        self.slots.held(&self.tenant())
    }

    /// Somebody else's task takes a slot of the tenant until then.
    async fn occupy(&self, until: Timestamp) -> Slot {
        let slot = Slot {
            task: TaskId::new(samples::START),
            fence: 1,
            until,
        };
        let taken = self
            .slots
            .take(&self.tenant(), &slot, self.most.get(), self.world.now())
            .await
            .unwrap();
        assert_eq!(taken, Taken::Granted);
        slot
    }
}

#[track_caller]
fn turn_of(ran: &Result<RunOutcome, RunError>) -> Timestamp {
    let Ok(RunOutcome::Parked(Wait {
        until,
        reason: WaitReason::Concurrency,
    })) = ran
    else {
        panic!("{ran:?}")
    };
    *until
}

#[tokio::test]
async fn tasks_beyond_a_tenants_cap_wait_and_delay_no_other_tenant() {
    let fair = Fair::new(3, []).await;
    let world = &fair.world;
    let other = samples::agent(&samples::tenant("other"));
    AgentStore::create(&world.store, &other).await.unwrap();
    let (ours, theirs) = (fair.submit(10).await, fair.submit_for(&other).await);
    world.model.hold();
    let runner = fair.worker_failing(&Faults::default());
    let all = join_all(
        ours.iter()
            .chain([&theirs])
            .map(|task| fair.run_by(&runner, task)),
    );
    let (all, ()) = tokio::join!(all, async {
        world.model.until_called(4).await;
        assert_eq!(fair.held().len(), 3);
        world.model.release();
    });
    let (ours_ran, theirs_ran) = all.split_at(10);
    assert!(
        matches!(theirs_ran, [Ok(RunOutcome::Ended(TaskStatus::Completed))]),
        "{theirs_ran:?}"
    );
    let parked: Vec<Timestamp> = ours_ran
        .iter()
        .filter(|ran| matches!(ran, Ok(RunOutcome::Parked(_))))
        .map(turn_of)
        .collect();
    assert_eq!((parked.len(), world.model.requests().len()), (7, 4));
    assert_eq!(fair.held(), []);

    world.clock.set(parked.into_iter().max().unwrap());
    for task in &ours {
        drop(fair.run(task).await);
        let task = world.task(task.id()).await;
        assert_eq!((task.status(), task.attempts()), (TaskStatus::Completed, 1));
    }
    assert_eq!(world.model.requests().len(), 11);
}

#[tokio::test]
async fn however_often_a_task_waits_for_its_turn_it_has_all_its_attempts_left() {
    let fair = Fair::new(1, []).await;
    let world = &fair.world;
    let task = world.submit("hello").await.unwrap();
    let occupied = fair.occupy(samples::after(100_000)).await;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let until = turn_of(&fair.run(&task).await);
        pauses.push(until.since(world.now()).as_secs());
        assert_eq!(world.queue.delays().last(), Some(&until.since(world.now())));
        let early = fair.run(&task).await;
        assert!(matches!(early, Err(RunError::Waiting { .. })), "{early:?}");
        world.clock.set(until);
    }
    assert!(
        pauses.is_sorted() && (2..=4).contains(&pauses[0]) && (30..=60).contains(&pauses[19]),
        "{pauses:?}"
    );
    assert_eq!(
        (
            world.task(task.id()).await.attempts(),
            world.model.requests().len()
        ),
        (0, 0)
    );
    fair.slots
        .give_back(&fair.tenant(), &occupied)
        .await
        .unwrap();
    assert_eq!(
        fair.run(&task).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    assert_eq!(world.task(task.id()).await.attempts(), 1);
}

#[tokio::test]
async fn a_task_whose_turn_never_comes_times_out() {
    let fair = Fair::new(1, []).await;
    let world = &fair.world;
    let task = world.submit("hello").await.unwrap();
    fair.occupy(samples::after(100_000)).await;
    let mut turns = 0;
    while let Ok(RunOutcome::Parked(wait)) = fair.run(&task).await {
        world.clock.set(wait.until);
        turns += 1;
    }
    assert_eq!(world.status(task.id()).await, TaskStatus::TimedOut);
    assert!((30..100).contains(&turns), "{turns}");
    assert_eq!(world.model.requests().len(), 0);
}

#[tokio::test]
async fn waiting_for_a_slot_is_no_outage() {
    let fair = Fair::new(1, []).await;
    let fair = Fair {
        world: fair.world.whose_tasks_fail_in_outages().await,
        ..fair
    };
    let task = fair.world.submit("hello").await.unwrap();
    fair.occupy(samples::after(60)).await;
    turn_of(&fair.run(&task).await);
}

#[tokio::test]
async fn in_whatever_way_the_work_ends_its_slot_is_given_back() {
    let wait = Wait {
        until: samples::after(30),
        reason: WaitReason::RateLimit,
    };
    let ends = [
        (
            Reply::Answer(samples::answer("done")),
            TaskStatus::Completed,
        ),
        (Reply::Fail(ModelErrorKind::Rejected), TaskStatus::Failed),
        (
            Reply::FailUntil(ModelErrorKind::RateLimited, Recovery::at(wait)),
            TaskStatus::Waiting,
        ),
        (
            Reply::Fail(ModelErrorKind::BudgetExhausted(BudgetScope::Task)),
            TaskStatus::Paused,
        ),
    ];
    for (reply, status) in ends {
        let fair = Fair::new(1, [reply]).await;
        let task = fair.world.submit("hello").await.unwrap();
        fair.run(&task).await.unwrap();
        assert_eq!(
            (fair.world.status(task.id()).await, fair.held()),
            (status, vec![])
        );
    }
}

#[tokio::test]
async fn a_store_that_fails_once_anywhere_costs_no_slot() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let fair = Fair::new(1, []).await;
            let task = fair.world.submit("hello").await.unwrap();
            let faults = Faults::default();
            faults.fail_at(call, when);
            drop(
                fair.run_by(
                    &fair.worker_with_slots_failing(&Faults::default(), &faults),
                    &task,
                )
                .await,
            );
            assert_eq!(fair.held(), [], "call {call} {when:?}");
            if !faults.struck() {
                assert!(call > 4, "claim, agent, append, update");
                break;
            }
        }
    }
}

/// Cap 1, so that any slot that is left stands in the way of everyone.
#[tokio::test]
async fn wherever_a_worker_dies_its_slot_ends_with_its_invocation() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let fair = Fair::new(1, []).await;
            let world = &fair.world;
            let tasks = fair.submit(2).await;
            let faults = Faults::default();
            faults.die_at(call, when);
            drop(fair.run_by(&fair.worker_failing(&faults), &tasks[0]).await);
            if !faults.struck() {
                assert!(call > 6, "claim, take, agent, append, update, give back");
                break;
            }
            let case = format!("call {call} {when:?}");
            world.pass(AFTER_INVOCATION);
            world.sweep().await.unwrap();
            assert_eq!(
                fair.run(&tasks[1]).await.unwrap(),
                RunOutcome::Ended(TaskStatus::Completed),
                "{case}"
            );
            drop(fair.run(&tasks[0]).await);
            assert_eq!(
                world.status(tasks[0].id()).await,
                TaskStatus::Completed,
                "{case}"
            );
            assert_eq!(fair.held(), [], "{case}");
        }
    }
}

struct Panicking;

#[async_trait]
impl Model for Panicking {
    async fn call(&self, _request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        panic!("as the test wants it")
    }
}

#[tokio::test]
async fn a_worker_that_panics_keeps_its_slot_no_longer_than_its_invocation() {
    let fair = Fair::new(1, []).await;
    let tasks = fair.submit(2).await;
    let runner = Runner {
        model: Arc::new(Panicking),
        ..fair.worker_failing(&Faults::default())
    };
    let message = TaskMessage {
        tenant: fair.world.tenant().clone(),
        task: tasks[0].id(),
        alone: false,
    };
    let until = fair.world.now().plus(INVOCATION);
    assert!(
        tokio::spawn(async move { runner.run(&message, until).await })
            .await
            .is_err_and(|died| died.is_panic())
    );
    turn_of(&fair.run(&tasks[1]).await);
    fair.world.pass(AFTER_INVOCATION);
    assert_eq!(
        fair.run(&tasks[1]).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
}

/// The first worker lost its lease when the second one took the task over; what it does late must
/// not free the slot.
#[tokio::test(start_paused = true)]
async fn late_worker_does_not_free_the_slot_of_its_successor() {
    let fair = Fair::new(1, []).await;
    let world = &fair.world;
    let tasks = fair.submit(2).await;
    world.model.hold();
    let [first, second] = [(); 2].map(|()| fair.worker_failing(&Faults::default()));
    let late = fair.run_by(&first, &tasks[0]);
    let (late, heir, ()) = tokio::join!(
        late,
        async {
            world.model.until_called(1).await;
            world.pass(AFTER_INVOCATION);
            fair.run_by(&second, &tasks[0]).await
        },
        async {
            // The first worker notices at its next look, a second later; the second one is still
            // asking then.
            world.model.until_called(2).await;
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            assert_eq!(
                fair.held()
                    .iter()
                    .map(|slot| slot.fence)
                    .collect::<Vec<_>>(),
                [2]
            );
            turn_of(&fair.run(&tasks[1]).await);
            world.model.release();
        }
    );
    assert_eq!(
        (late.unwrap(), heir.unwrap()),
        (
            RunOutcome::LeaseLost,
            RunOutcome::Ended(TaskStatus::Completed)
        )
    );
    assert_eq!(fair.held(), []);
}

#[tokio::test]
async fn when_slots_can_not_be_told_tasks_run_and_each_invocation_says_so_once() {
    let logged = Captured::default();
    let _listening = listen(
        tracing_subscriber::fmt()
            .with_writer(logged.clone())
            .with_ansi(false)
            .finish(),
    );
    let fair = Fair::new(1, []).await;
    let faults = Faults::default();
    faults.die_now();
    let runner = fair.worker_with_slots_failing(&faults, &Faults::default());
    for warnings in 1..3 {
        let tasks = fair.submit(5).await;
        for ran in join_all(tasks.iter().map(|task| fair.run_by(&runner, task))).await {
            assert_eq!(ran.unwrap(), RunOutcome::Ended(TaskStatus::Completed));
        }
        assert_eq!(logged.text().matches("WARN").count(), warnings);
        fair.world.pass(1);
    }
}

#[tokio::test]
async fn a_canceled_task_does_not_wait_for_its_turn() {
    let fair = Fair::new(1, []).await;
    let world = &fair.world;
    let task = world.submit("hello").await.unwrap();
    fair.occupy(samples::after(100_000)).await;
    turn_of(&fair.run(&task).await);
    world
        .tasks()
        .cancel_task(world.tenant(), task.id())
        .await
        .unwrap();
    assert_eq!(world.status(task.id()).await, TaskStatus::Canceled);
}
