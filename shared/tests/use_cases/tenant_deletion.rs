//! A tenant that the operator deletes, and what the watchdog makes of what it has.

use std::sync::Arc;

use shared::app::{KnownTenants, RunOutcome, Runner, TenantGate, TenantWalkSummary, TenantWalker};
use shared::domain::{Task, TaskId, TaskStatus, Tenant, TenantStatus, WaitReason};
use shared::ports::{
    AgentStore, Claimed, Created, Horizon, Journal, KeyStore, PageRequest, Retention, StoreError,
    TaskStore, TenantStore,
};
use shared::testing::{Faults, MemoryTenantRetention, When, samples};

use crate::world::{INVOCATION, World};

const HALF_AN_HOUR: u64 = 30 * 60;

/// A world and its tenants. The tenant of the world is active.
pub(crate) struct Tenants {
    pub(crate) world: World,
    pub(crate) stores: MemoryTenantRetention,
}

impl Tenants {
    pub(crate) async fn new() -> Self {
        Self::of(World::new().await).await
    }

    pub(crate) async fn of(world: World) -> Self {
        let stores = MemoryTenantRetention {
            store: world.store.clone(),
            ..MemoryTenantRetention::default()
        };
        let tenant = Tenant::create(world.tenant().clone(), world.now());
        stores.tenants.add(&tenant).await.unwrap();
        Self { world, stores }
    }

    pub(crate) async fn tenant(&self) -> Tenant {
        let found = self.stores.tenants.tenant(self.world.tenant()).await;
        found.unwrap().unwrap()
    }

    async fn delete(&self) {
        let deleting = self.tenant().await.deleting(self.world.now());
        self.stores.tenants.update(&deleting).await.unwrap();
    }

    async fn walk_failing(&self, faults: &Faults) -> Result<TenantWalkSummary, StoreError> {
        let store = || Arc::new(self.world.store.with_faults(faults.clone()));
        let stores = MemoryTenantRetention {
            tenants: self.stores.tenants.with_faults(faults.clone()),
            store: self.world.store.with_faults(faults.clone()),
            ..self.stores.clone()
        };
        let walker = TenantWalker {
            tenants: Arc::new(stores),
            tasks: store(),
            journal: store(),
            retention: store(),
            clock: Arc::new(self.world.clock.clone()),
        };
        walker.walk(self.world.now().plus(INVOCATION)).await
    }

    pub(crate) async fn walk(&self) -> TenantWalkSummary {
        self.walk_failing(&Faults::default()).await.unwrap()
    }

    /// Lets a minute pass before each of so many rounds, and sums up what they did.
    pub(crate) async fn walk_for(&self, minutes: u64) -> TenantWalkSummary {
        let mut all = TenantWalkSummary::default();
        for _ in 0..minutes {
            self.world.pass(60);
            let round = self.walk().await;
            all.tenants += round.tenants;
            all.deleted += round.deleted;
            all.canceled += round.canceled;
            all.failed += round.failed;
        }
        all
    }

    /// A worker that knows the tenants.
    pub(crate) fn worker(&self) -> Runner {
        let plain = self.world.worker_failing(&Faults::default());
        Runner {
            agents: Arc::new(TenantGate::new(
                Arc::clone(&plain.agents),
                Arc::new(KnownTenants::new(
                    Arc::new(self.stores.tenants.clone()),
                    Arc::new(self.stores.keys.clone()),
                    Arc::new(self.world.clock.clone()),
                )),
            )),
            ..plain
        }
    }

    async fn stored(&self, id: TaskId) -> Option<Task> {
        let (store, tenant) = (&self.world.store, self.world.tenant());
        TaskStore::task(store, tenant, id).await.unwrap()
    }

    /// The numbers of the tenant's agents and keys.
    async fn left(&self) -> (usize, usize) {
        let page = PageRequest {
            limit: 100,
            after: None,
        };
        let tenant = self.world.tenant();
        let agents = AgentStore::list(&self.world.store, tenant, &page).await;
        let keys = KeyStore::list(&self.stores.keys, tenant, &page).await;
        (agents.unwrap().entries.len(), keys.unwrap().entries.len())
    }

    async fn add_key(&self) {
        let sealed = samples::sealed_key(self.world.tenant().as_str());
        self.stores.keys.add(&sealed, 100).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_tenant_leaves_a_tombstone_and_nothing_else() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let ended = world.submit("hello").await.unwrap().id();
    world.run(ended).await.unwrap();
    let queued = world.submit("hello again").await.unwrap().id();
    tenants.add_key().await;
    world.pass(60);
    tenants.delete().await;
    let round = tenants.walk().await;
    assert_eq!((round.deleted, round.tenants), (2, 0), "{round:?}");
    for task in [ended, queued] {
        assert_eq!(tenants.stored(task).await, None);
        assert_eq!(world.store.peek(task), (None, Vec::new()));
    }
    let round = tenants.walk_for(29).await;
    assert_eq!((round.deleted, round.tenants), (0, 0), "{round:?}");
    assert_eq!(tenants.left().await, (1, 1));
    let round = tenants.walk_for(2).await;
    assert_eq!(round.tenants, 1, "{round:?}");
    assert_eq!(tenants.left().await, (0, 0));
    let tombstone = tenants.tenant().await;
    assert_eq!(tombstone.status, TenantStatus::Deleted);
    let again = Tenant::create(world.tenant().clone(), world.now());
    let refused = tenants.stores.tenants.add(&again).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    let round = tenants.walk_for(100).await;
    assert_eq!(round, TenantWalkSummary::default());
}

/// The submission passed the check of its key, then the tenant was deleted, then the task was
/// written.
#[tokio::test]
async fn what_requests_write_late_is_deleted_before_the_tombstone() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    tenants.delete().await;
    for late in [20, 10 * 60, 15 * 60] {
        world.pass(late);
        tenants.walk().await;
        let task = world.submit("hello").await.unwrap().id();
        let agent = samples::agent(world.tenant());
        AgentStore::create(&world.store, &agent).await.unwrap();
        tenants.add_key().await;
        let round = tenants.walk_for(31).await;
        assert_eq!((round.deleted, round.tenants), (1, 0), "{round:?}");
        assert_eq!(tenants.stored(task).await, None);
    }
    let round = tenants.walk_for(31).await;
    assert_eq!(round.tenants, 1, "{round:?}");
    assert_eq!(tenants.left().await, (0, 0));
}

#[tokio::test]
async fn a_task_of_a_deleted_tenant_does_not_run_and_is_not_woken() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let task = world.submit("hello").await.unwrap().id();
    tenants.delete().await;
    let outcome = world.run_by(&tenants.worker(), task).await.unwrap();
    let RunOutcome::Parked(wait) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(wait.reason, WaitReason::TenantSuspended);
    assert_eq!(world.model.requests().len(), 0);
    tenants.walk().await;
    assert_eq!(tenants.stored(task).await, None);
    world.clock.set(wait.until);
    let swept = world.sweep().await.unwrap();
    assert_eq!((swept.overdue, swept.awakened), (0, 0));
    let outcome = world.run_by(&tenants.worker(), task).await.unwrap();
    assert!(matches!(outcome, RunOutcome::Unknown), "{outcome:?}");
}

/// The worker holds its lease, stalls, and then writes a step and its result.
#[tokio::test]
async fn a_worker_of_a_deleted_tenant_brings_no_record_back() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let id = world.submit("hello").await.unwrap().id();
    let (store, tenant) = (&world.store, world.tenant());
    let lease = samples::lease_until(world.now().plus(INVOCATION));
    let claimed = store.claim(tenant, id, lease, world.now()).await.unwrap();
    let Claimed::Granted(mut held) = claimed else {
        panic!("{claimed:?}")
    };
    tenants.delete().await;
    let round = tenants.walk().await;
    assert_eq!((round.deleted, round.failed), (0, 0), "its worker is told");
    assert!(
        tenants
            .stored(id)
            .await
            .unwrap()
            .progress()
            .cancel_requested
    );
    world.pass(60);
    assert_eq!(tenants.walk().await.deleted, 1);

    let step = samples::step(id, 1, "Paris");
    store.append(&step).await.unwrap();
    let fence = held.fence();
    held.complete(fence, samples::output("Paris"), world.now())
        .unwrap();
    let late = TaskStore::update(store, &held).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    assert_eq!(tenants.stored(id).await, None);
    let task = samples::task(&world.agent, world.now());
    let created = TaskStore::create(store, &task).await.unwrap();
    assert_eq!(created, Created::New, "only its own id is taken");

    world.pass(20 * 60);
    let now = world.now();
    let horizon = Horizon {
        ended_before: None,
        quiet_before: now.minus(INVOCATION),
    };
    for due in Retention::due(store, horizon, 100).await.unwrap() {
        store.purge(due, horizon).await.unwrap();
    }
    assert_eq!(store.peek(id), (None, Vec::new()), "the late step is gone");
    let round = tenants.walk_for(65).await;
    assert_eq!(round.tenants, 1, "{round:?}");
}

#[tokio::test]
async fn more_tasks_than_a_round_walks_through_are_left_to_the_next() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    for _ in 0..2_050 {
        let task = samples::task(&world.agent, world.now());
        TaskStore::create(&world.store, &task).await.unwrap();
    }
    tenants.delete().await;
    let round = tenants.walk().await;
    assert_eq!((round.deleted, round.unfinished), (2_000, true));
    let round = tenants.walk().await;
    assert_eq!((round.deleted, round.unfinished), (50, false));
}

#[tokio::test]
async fn who_dies_at_any_call_leaves_the_deletion_to_the_next_round() {
    let mut calls = 0;
    for at in 1..100 {
        for when in [When::Before, When::After] {
            let tenants = Tenants::new().await;
            let world = &tenants.world;
            let task = world.submit("hello").await.unwrap().id();
            tenants.add_key().await;
            tenants.delete().await;
            let faults = Faults::default();
            faults.die_at(at, when);
            for _ in 0..3 {
                drop(tenants.walk_failing(&faults).await);
                world.pass(HALF_AN_HOUR);
            }
            calls = faults.calls();
            let round = tenants.walk_for(65).await;
            assert_eq!(round.failed, 0, "{at} {when:?}: {round:?}");
            assert_eq!(tenants.tenant().await.status, TenantStatus::Deleted);
            assert_eq!(tenants.left().await, (0, 0), "{at} {when:?}");
            assert_eq!(tenants.stored(task).await, None);
        }
        if at > calls {
            return;
        }
    }
    panic!("{calls} calls are too many");
}

#[tokio::test]
async fn two_rounds_at_once_delete_a_tenant_once() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    for _ in 0..20 {
        world.submit("hello").await.unwrap();
    }
    tenants.delete().await;
    let mut buried = 0;
    for _ in 0..4 {
        let (one, two) = tokio::join!(tenants.walk(), tenants.walk());
        assert_eq!((one.failed, two.failed), (0, 0));
        buried += (one.tenants + two.tenants).min(1);
        world.pass(HALF_AN_HOUR);
    }
    assert_eq!(buried, 1);
    assert_eq!(tenants.tenant().await.status, TenantStatus::Deleted);
    assert_eq!(tenants.left().await, (0, 0));
    let ended = world.submit("hello").await;
    assert!(ended.is_err(), "its agent is gone");
}

#[tokio::test]
async fn another_tenant_keeps_everything() {
    let tenants = Tenants::new().await;
    let world = &tenants.world;
    let other = samples::agent(&samples::tenant("other"));
    AgentStore::create(&world.store, &other).await.unwrap();
    let task = samples::task(&other, world.now());
    TaskStore::create(&world.store, &task).await.unwrap();
    tenants.delete().await;
    let round = tenants.walk_for(65).await;
    assert_eq!((round.tenants, round.deleted), (1, 0));
    let stored = TaskStore::task(&world.store, &other.tenant, task.id()).await;
    assert_eq!(stored.unwrap().unwrap().status(), TaskStatus::Queued);
    let newest = world.store.newest(&other.tenant, other.id).await;
    assert_eq!(newest.unwrap(), Some(other));
}
