//! The usage of a tenant: what workers add, and what the daily check adds for those that were lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::app::{
    UsageCheckSummary, UsageChecker, UsageFilter, UsageGroup, UsageGrouping, UsageReports,
};
use shared::domain::{Spend, SpendPart, SpendRow, Tenant, Timestamp};
use shared::ports::{CheckPlace, ModelErrorKind, TenantStore, UsageStore};
use shared::testing::{Call, Faults, MemoryTenants, MemoryUsage, Reply, When, samples};

use crate::world::{INVOCATION, World};

const DAY: u64 = samples::START.day();

fn checker(world: &World, usage: MemoryUsage, tenants: MemoryTenants) -> UsageChecker {
    UsageChecker {
        usage: Arc::new(usage),
        tasks: Arc::new(world.store.clone()),
        tenants: Arc::new(tenants),
        home: world.tenant().clone(),
        clock: Arc::new(world.clock.clone()),
        ended: Mutex::default(),
    }
}

async fn check(world: &World) -> UsageCheckSummary {
    let checker = checker(world, world.usage.clone(), MemoryTenants::default());
    let until = world.now().plus(INVOCATION);
    checker.check(until).await.unwrap()
}

/// Waits until the next day's check would run.
fn pass_to_next_check(world: &World) {
    let next = Timestamp::start_of_day(world.now().day() + 1);
    let wait = next.since(world.now()) + Duration::from_hours(2);
    world.pass(wait.as_secs());
}

async fn rows(world: &World) -> Vec<SpendRow> {
    let days = 0..=u64::from(u32::MAX);
    world.usage.rows(world.tenant(), days, 1_000).await.unwrap()
}

async fn total(world: &World) -> Spend {
    let rows = rows(world).await;
    rows.iter()
        .fold(Spend::NONE, |sum, row| sum.plus(row.spend))
}

/// All usage of the tenant after the check of the next day.
pub(crate) async fn usage_after_check(world: &World) -> Spend {
    pass_to_next_check(world);
    check(world).await;
    total(world).await
}

#[tokio::test]
async fn a_worker_adds_what_its_task_cost() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    let spent = world.task(task.id()).await.spend();
    assert_eq!((spent.attempts, spent.usage), (1, samples::usage()));
    let [row] = &rows(&world).await[..] else {
        panic!("one task of one model is one row")
    };
    assert_eq!(row.spend, spent);
    let key = &row.key;
    assert_eq!((key.day, key.agent, key.key), (DAY, world.agent.id, None));
    assert_eq!(key.part, SpendPart::Model(samples::model()));
    let again = world.submit("hello again").await.unwrap();
    world.run(again.id()).await.unwrap();
    assert_eq!(total(&world).await, spent.plus(spent));
    pass_to_next_check(&world);
    let nothing = UsageCheckSummary {
        tenants: 1,
        ..UsageCheckSummary::default()
    };
    assert_eq!(check(&world).await, nothing);
}

#[tokio::test]
async fn a_failed_call_counts_and_a_task_after_midnight_counts_on_its_day() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let spend = samples::answer("broken").spend;
    world.model.then(Reply::FailWith {
        kind: ModelErrorKind::BadAnswer,
        status: None,
        should_retry: None,
        retry_after: None,
        spend,
    });
    world.run(task.id()).await.unwrap();
    assert_eq!(total(&world).await, spend);
    pass_to_next_check(&world);
    world.run(task.id()).await.unwrap();
    let rows = rows(&world).await;
    assert!(rows.iter().all(|row| row.key.day == DAY), "{rows:?}");
    assert_eq!(total(&world).await, world.task(task.id()).await.spend());
}

#[tokio::test]
async fn a_later_worker_adds_what_a_lost_one_spent() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let faults = Faults::default();
    faults.die_at_nth(Call::Append, 1, When::After);
    world.run_failing(task.id(), &faults).await.unwrap_err();
    assert_eq!(rows(&world).await, []);
    world.pass(70);
    world.run(task.id()).await.unwrap();
    let [row] = &rows(&world).await[..] else {
        panic!("the second worker makes no call")
    };
    assert_eq!(row.key.part, SpendPart::Lost);
    assert_eq!(row.spend, world.task(task.id()).await.spend());
}

#[tokio::test]
async fn the_daily_check_adds_what_is_missing_once() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    let mut worker = world.worker_failing(&Faults::default());
    let down = Faults::default();
    down.fail_at(1, When::Before);
    worker.usage = Arc::new(world.usage.with_faults(down));
    world.run_by(&worker, task.id()).await.unwrap();
    assert_eq!(rows(&world).await, [], "the row could not be added");
    assert_eq!(check(&world).await.corrected, 0, "the day has not ended");
    pass_to_next_check(&world);
    assert_eq!(check(&world).await.corrected, 1);
    let spent = world.task(task.id()).await.spend();
    assert_eq!(total(&world).await, spent);
    assert_eq!(check(&world).await.corrected, 0);
    let [row] = &rows(&world).await[..] else {
        panic!("one row")
    };
    assert_eq!((row.key.day, &row.key.part), (DAY, &SpendPart::Missing));
    // The next day's check finds the day once more, and nothing to add.
    pass_to_next_check(&world);
    assert_eq!(check(&world).await.corrected, 0);
    assert_eq!(total(&world).await, spent);
}

#[tokio::test]
async fn a_check_that_dies_anywhere_is_continued() {
    let tenants = MemoryTenants::default();
    for name in ["a", "b", "c"] {
        let tenant = Tenant::create(samples::tenant(name), samples::START);
        tenants.add(&tenant).await.unwrap();
    }
    for when in [When::Before, When::After] {
        for at in 1.. {
            let world = World::new().await;
            let task = world.submit("hello").await.unwrap();
            let mut worker = world.worker_failing(&Faults::default());
            worker.usage = Arc::new(MemoryUsage::default());
            world.run_by(&worker, task.id()).await.unwrap();
            pass_to_next_check(&world);
            let faults = Faults::default();
            faults.die_at(at, when);
            let dying = checker(
                &world,
                world.usage.with_faults(faults.clone()),
                tenants.with_faults(faults.clone()),
            );
            let until = world.now().plus(INVOCATION);
            let died = dying.check(until).await;
            if !faults.struck() {
                assert!(at > 8, "{at}");
                break;
            }
            died.unwrap_err();
            let other = checker(&world, world.usage.clone(), tenants.clone());
            other.check(until).await.unwrap();
            let spent = world.task(task.id()).await.spend();
            assert_eq!(total(&world).await, spent, "{when:?} {at}");
            let place = world.usage.check().await.unwrap();
            assert_eq!(place.unwrap().place, CheckPlace::End);
        }
    }
}

#[tokio::test]
async fn a_check_without_time_leaves_the_rest_to_the_next() {
    let world = World::new().await;
    let task = world.submit("hello").await.unwrap();
    world.run(task.id()).await.unwrap();
    pass_to_next_check(&world);
    let checker = checker(&world, world.usage.clone(), MemoryTenants::default());
    let late = checker.check(world.now()).await.unwrap();
    assert!(late.unfinished && late.tenants == 0, "{late:?}");
    let done = checker.check(world.now().plus(INVOCATION)).await.unwrap();
    assert!(!done.unfinished && done.tenants == 1, "{done:?}");
}

#[tokio::test]
async fn a_report_groups_what_was_spent() {
    let world = World::new().await;
    for _ in 0..2 {
        let task = world.submit("hello").await.unwrap();
        world.run(task.id()).await.unwrap();
        pass_to_next_check(&world);
    }
    let reports = UsageReports::new(Arc::new(world.usage.clone()));
    let all = total(&world).await;
    let whole = UsageFilter {
        days: DAY..=DAY + 9,
        key: None,
    };
    for (by, expected) in [
        (
            UsageGrouping::Agent,
            vec![UsageGroup::Agent(world.agent.id)],
        ),
        (UsageGrouping::Key, vec![UsageGroup::Key(None)]),
        (
            UsageGrouping::Model,
            vec![UsageGroup::Model(Some(samples::model()))],
        ),
        (
            UsageGrouping::Day,
            vec![UsageGroup::Day(DAY), UsageGroup::Day(DAY + 1)],
        ),
    ] {
        let report = reports
            .report(world.tenant(), whole.clone(), by)
            .await
            .unwrap();
        let groups: Vec<UsageGroup> = report.groups.into_iter().map(|(group, _)| group).collect();
        assert_eq!((groups, report.total), (expected, all));
    }
    let of_a_key = UsageFilter {
        key: Some(samples::token().id()),
        ..whole
    };
    let none = reports
        .report(world.tenant(), of_a_key, UsageGrouping::Day)
        .await
        .unwrap();
    assert_eq!((none.groups, none.total), (vec![], Spend::NONE));
}
