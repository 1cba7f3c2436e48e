//! The tasks of a suspended tenant wait, and continue when it is active again.

use std::sync::Arc;
use std::time::Duration;

use shared::app::{KnownTenants, RunOutcome, Runner, TenantGate, WorkTimes};
use shared::domain::{SuspendedTasks, TaskStatus, Tenant, TenantStatus, WaitReason};
use shared::ports::{Clock, TaskStore, TenantStore};
use shared::testing::{Faults, MemoryKeys, MemoryTenants, TokioClock, When, samples};

use crate::agent_switch::Slow;
use crate::steps::{calculate, calling, world};
use crate::tenant_deletion::Tenants;
use crate::world::{INVOCATION, STEP_RESERVE, World};

/// A worker that knows the world's tenant, which is in this store.
fn worker(world: &World, tenants: MemoryTenants) -> Runner {
    let plain = world.worker_failing(&Faults::default());
    Runner {
        agents: Arc::new(TenantGate::new(
            Arc::clone(&plain.agents),
            Arc::new(KnownTenants::new(
                Arc::new(tenants),
                Arc::new(MemoryKeys::default()),
                Arc::new(world.clock.clone()),
            )),
        )),
        ..plain
    }
}

async fn set(tenants: &MemoryTenants, world: &World, status: TenantStatus) {
    let tenant = Tenant::create(world.tenant().clone(), world.now());
    let tenant = tenants
        .tenant(world.tenant())
        .await
        .unwrap()
        .unwrap_or(tenant);
    if tenant.revision == 1 {
        tenants.add(&tenant).await.unwrap();
    }
    tenants.update(&tenant.changed(status, None)).await.unwrap();
}

#[tokio::test]
async fn a_task_waits_while_its_tenant_is_suspended() {
    let (world, tenants) = (World::new().await, MemoryTenants::default());
    let worker = worker(&world, tenants.clone());
    let task = world.submit("hello").await.unwrap().id();
    set(&tenants, &world, TenantStatus::Suspended).await;
    let outcome = world.run_by(&worker, task).await.unwrap();
    let RunOutcome::Parked(wait) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(wait.reason, WaitReason::TenantSuspended);
    assert_eq!(world.model.requests().len(), 0);
    assert_eq!(world.task(task).await.attempts(), 0, "none counts");

    set(&tenants, &world, TenantStatus::Active).await;
    assert!(wait.until.since(world.now()) >= Duration::from_secs(450));
    world.clock.set(wait.until);
    let ended = world.run_by(&worker, task).await.unwrap();
    assert!(matches!(ended, RunOutcome::Ended(_)), "{ended:?}");
}

/// The worker reads the status with a renewal of its lease, here every few seconds.
#[tokio::test(start_paused = true)]
async fn a_step_that_is_under_way_is_recorded_before_the_task_waits() {
    let world = world([calling([calculate("a", "1+1")])]).await;
    let tenants = MemoryTenants::default();
    let clock = Arc::new(TokioClock::default());
    let plain = world.worker_failing(&Faults::default());
    let gate = TenantGate::new(
        Arc::clone(&plain.agents),
        Arc::new(KnownTenants::new(
            Arc::new(tenants.clone()),
            Arc::new(MemoryKeys::default()),
            Arc::<TokioClock>::clone(&clock),
        )),
    );
    let worker = Runner {
        model: Arc::new(Slow(Arc::clone(&world.model), Duration::from_secs(40))),
        agents: Arc::new(gate),
        clock: Arc::<TokioClock>::clone(&clock),
        times: WorkTimes {
            lease: Duration::from_secs(9),
            step_reserve: STEP_RESERVE,
        },
        ..plain
    };
    let task = world.submit("hello").await.unwrap().id();
    let suspend = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        set(&tenants, &world, TenantStatus::Suspended).await;
    };
    let (outcome, ()) = tokio::join!(world.run_by(&worker, task), suspend);
    let RunOutcome::Parked(wait) = outcome.unwrap() else {
        panic!("it does not wait")
    };
    assert_eq!(wait.reason, WaitReason::TenantSuspended);
    assert_eq!(world.model.requests().len(), 1);
    let recorded = world.steps(task).await;
    assert!(!recorded.is_empty(), "no call is dropped");
    assert_eq!(world.task(task).await.spend().attempts, 1);

    set(&tenants, &world, TenantStatus::Active).await;
    tokio::time::sleep(wait.until.since(clock.now())).await;
    world.clock.set(wait.until);
    let ended = world.run_by(&worker, task).await.unwrap();
    assert_eq!(ended, RunOutcome::Ended(TaskStatus::Completed));
    assert_eq!(world.model.requests().len(), 2);
    let steps = world.steps(task).await;
    assert_eq!(steps[..recorded.len()], recorded);
    assert_eq!(steps.len(), 3);
}

#[tokio::test]
async fn the_status_is_read_once_in_30_seconds() {
    let (world, tenants) = (World::new().await, MemoryTenants::default());
    let worker = worker(&world, tenants.clone());
    let run = async || {
        let task = world.submit("hello").await.unwrap().id();
        let outcome = world.run_by(&worker, task).await.unwrap();
        matches!(outcome, RunOutcome::Parked(_))
    };
    assert!(!run().await);
    set(&tenants, &world, TenantStatus::Suspended).await;
    world.pass(29);
    assert!(!run().await);
    world.pass(1);
    assert!(run().await);
}

#[tokio::test]
async fn a_status_that_can_not_be_read_is_the_last_known_one() {
    let (world, tenants) = (World::new().await, MemoryTenants::default());
    let faults = Faults::default();
    let worker = worker(&world, tenants.with_faults(faults.clone()));
    let run = async || {
        let task = world.submit("hello").await.unwrap().id();
        let outcome = world.run_by(&worker, task).await.unwrap();
        matches!(outcome, RunOutcome::Parked(_))
    };
    faults.fail_next(When::Before);
    assert!(!run().await, "an unknown tenant is active");
    set(&tenants, &world, TenantStatus::Suspended).await;
    world.pass(30);
    assert!(run().await);
    world.pass(30);
    faults.fail_next(When::Before);
    assert!(run().await, "still suspended");
}

impl Tenants {
    async fn suspend(&self, tasks: SuspendedTasks) {
        let before = self.tenant().await;
        let suspended = before
            .changed(TenantStatus::Suspended, None)
            .with_suspended_tasks(tasks, self.world.now());
        self.stores.tenants.update(&suspended).await.unwrap();
    }
}

#[tokio::test]
async fn the_tasks_of_a_suspended_tenant_are_canceled_if_the_operator_says_so() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let ended = world.submit("hello").await.unwrap().id();
    world.run(ended).await.unwrap();
    let [queued, running] = [
        world.submit("hello again").await.unwrap().id(),
        world.submit("and again").await.unwrap().id(),
    ];
    let lease = samples::lease_until(world.now().plus(INVOCATION));
    let claimed = world
        .store
        .claim(world.tenant(), running, lease, world.now());
    claimed.await.unwrap();
    tenants.suspend(SuspendedTasks::Wait).await;
    assert_eq!(tenants.walk_for(1).await.canceled, 0);

    tenants.suspend(SuspendedTasks::Cancel).await;
    let round = tenants.walk_for(2).await;
    assert_eq!((round.canceled, round.deleted), (2, 0), "{round:?}");
    let status = async |id| world.status(id).await;
    assert_eq!(status(ended).await, TaskStatus::Completed);
    assert_eq!(status(queued).await, TaskStatus::Canceled);
    assert_eq!(status(running).await, TaskStatus::Canceled);

    let late = world.submit("passed the check before").await.unwrap().id();
    let round = tenants.walk_for(61).await;
    assert_eq!((round.canceled, round.failed), (1, 0), "{round:?}");
    assert_eq!(status(late).await, TaskStatus::Canceled);
    assert_eq!(tenants.tenant().await.quiet_since, None, "the walk is over");
}

#[tokio::test]
async fn a_tenant_that_is_active_again_keeps_its_tasks() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let task = world.submit("hello").await.unwrap().id();
    tenants.suspend(SuspendedTasks::Cancel).await;
    let active = tenants.tenant().await.changed(TenantStatus::Active, None);
    tenants.stores.tenants.update(&active).await.unwrap();
    assert_eq!(tenants.walk_for(61).await.canceled, 0);
    assert_eq!(world.status(task).await, TaskStatus::Queued);
}
