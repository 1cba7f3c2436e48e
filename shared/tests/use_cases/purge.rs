use std::sync::Arc;
use std::time::Duration;

use shared::app::{PurgeSummary, Purger};
use shared::domain::TaskStatus;
use shared::ports::TaskStore;
use shared::testing::{Call, Faults, When};

use crate::sweep::Ticking;
use crate::world::{INVOCATION, World};

const DAY: u64 = 86_400;

pub(crate) fn purger(world: &World, faults: &Faults, keep_for: Option<Duration>) -> Purger {
    let retention = Arc::new(world.store.with_faults(faults.clone()));
    Purger {
        retention,
        keep_for,
        clock: Arc::new(world.clock.clone()),
    }
}

pub(crate) async fn purge(world: &World, faults: &Faults) -> PurgeSummary {
    let until = world.clock.clone();
    let until = shared::ports::Clock::now(&until).plus(INVOCATION);
    purger(world, faults, Some(Duration::from_secs(DAY)))
        .purge(until)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_what_ended_long_ago_is_deleted_with_its_journal() {
    let world = World::new().await;
    let (old, waiting) = (
        world.submit("hello").await.unwrap(),
        world.submit("hello").await.unwrap(),
    );
    world.run(old.id()).await.unwrap();
    world.pass(DAY - 10);
    let young = world.submit("hello").await.unwrap();
    world.run(young.id()).await.unwrap();
    assert_eq!(
        purge(&world, &Faults::default()).await,
        PurgeSummary::default()
    );
    world.pass(11);
    let well = Faults::default();
    let (one, two) = tokio::join!(purge(&world, &well), purge(&world, &well));
    assert!(one.deleted >= 1 && two.failed == 0, "{one:?} {two:?}");
    assert_eq!(
        TaskStore::task(&world.store, world.tenant(), old.id())
            .await
            .unwrap(),
        None
    );
    assert_eq!(world.steps(old.id()).await, []);
    assert_eq!(world.status(young.id()).await, TaskStatus::Completed);
    assert!(
        TaskStore::task(&world.store, world.tenant(), waiting.id())
            .await
            .unwrap()
            .is_some()
    );
}

/// A world in which so many tasks ended long ago.
async fn world_of_old_tasks(count: u32) -> World {
    let world = World::new().await;
    for _ in 0..count {
        let task = world.submit("hello").await.unwrap();
        world
            .tasks()
            .cancel_task(world.tenant(), task.id())
            .await
            .unwrap();
    }
    world.pass(DAY + 1);
    world
}

#[tokio::test]
async fn purge_takes_many_pages_and_leaves_failures_for_the_next_round() {
    let world = world_of_old_tasks(250).await;
    let faults = Faults::default();
    faults.fail_at_nth(Call::Purge, 3, When::Before);
    let first = purge(&world, &faults).await;
    assert_eq!(
        (first.deleted + first.failed >= 250, first.failed),
        (true, 1),
        "{first:?}"
    );
    let second = purge(&world, &Faults::default()).await;
    assert_eq!(second.deleted + first.deleted, 250, "{first:?} {second:?}");
}

#[tokio::test]
async fn tasks_can_be_kept_for_ever() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    world.pass(10_000 * DAY);
    let kept = purger(&world, &Faults::default(), None)
        .purge(world.now().plus(INVOCATION))
        .await
        .unwrap();
    assert_eq!(
        (kept, world.status(task.id()).await),
        (PurgeSummary::default(), TaskStatus::Completed)
    );
}

#[tokio::test]
async fn a_round_whose_time_is_over_leaves_the_rest_to_the_next() {
    let world = world_of_old_tasks(250).await;
    let ticking = Purger {
        clock: Arc::new(Ticking(world.clock.clone())),
        ..purger(&world, &Faults::default(), Some(Duration::from_secs(DAY)))
    };
    // It looks at the clock once to begin with, and once after each page of a hundred.
    let first = ticking
        .purge(world.now().plus(Duration::from_millis(3)))
        .await
        .unwrap();
    assert_eq!(
        first,
        PurgeSummary {
            deleted: 200,
            unfinished: true,
            ..PurgeSummary::default()
        }
    );
    assert_eq!(
        purge(&world, &Faults::default()).await,
        PurgeSummary {
            deleted: 50,
            ..PurgeSummary::default()
        }
    );
}

#[tokio::test]
async fn a_round_that_gets_nowhere_ends_before_its_time() {
    let world = world_of_old_tasks(150).await;
    let faults = Faults::default();
    faults.die_at_nth(Call::Purge, 1, When::Before);
    let stuck = purge(&world, &faults).await;
    assert_eq!(
        stuck,
        PurgeSummary {
            failed: 100,
            unfinished: true,
            ..PurgeSummary::default()
        }
    );
    assert_eq!(
        purge(&world, &Faults::default()).await,
        PurgeSummary {
            deleted: 150,
            ..PurgeSummary::default()
        }
    );
}
