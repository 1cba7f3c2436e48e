//! Agents that their clients archive, and what the watchdog makes of them.

use std::sync::Arc;

use shared::app::{AgentPurgeSummary, AgentPurger, AppError, RetryFrom, RunOutcome};
use shared::domain::{Agent, LimitChanges, Task, TaskStatus};
use shared::ports::{AgentRetention, AgentStore, PageRequest, TaskStore};
use shared::testing::{Faults, When, samples};

use crate::world::{INVOCATION, World};

const QUARTER: u64 = 15 * 60;
const SIX_HOURS: u64 = 6 * 60 * 60;

async fn archive(world: &World) -> Result<(), AppError> {
    let (tenant, id) = (world.tenant(), world.agent.id);
    world.agents().archive_agent(tenant, id).await
}

async fn purge_failing(world: &World, faults: &Faults) -> Option<AgentPurgeSummary> {
    let purger = AgentPurger {
        retention: Arc::new(world.store.with_faults(faults.clone())),
        clock: Arc::new(world.clock.clone()),
    };
    purger.purge(world.now().plus(INVOCATION)).await.ok()
}

async fn purge(world: &World) -> AgentPurgeSummary {
    purge_failing(world, &Faults::default()).await.unwrap()
}

fn round(deleted: u32, named: u32) -> AgentPurgeSummary {
    AgentPurgeSummary {
        deleted,
        named,
        ..AgentPurgeSummary::default()
    }
}

async fn version(world: &World) -> Option<Agent> {
    let version = world.agent.version_ref();
    let found = world.store.version(world.tenant(), version).await;
    found.unwrap()
}

async fn delete_task(world: &World, task: &Task) {
    let deleted = world.tasks().delete_task(world.tenant(), task.id()).await;
    deleted.unwrap();
}

#[tokio::test]
async fn an_archived_agent_refuses_tasks_and_is_gone_after_15_minutes() {
    let world = World::new().await;
    let foreign = samples::tenant("other");
    let foreign = world.agents().archive_agent(&foreign, world.agent.id).await;
    assert!(matches!(foreign, Err(AppError::NotFound(_))), "{foreign:?}");
    archive(&world).await.unwrap();
    let refused = world.submit("hello").await;
    assert!(matches!(refused, Err(AppError::Invalid(_))), "{refused:?}");
    let (tenant, id) = (world.tenant(), world.agent.id);
    let found = world.agents().find_agent(tenant, id).await;
    assert!(matches!(found, Err(AppError::NotFound(_))), "{found:?}");
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let listed = world.agents().list_agents(tenant, &page).await.unwrap();
    assert_eq!(listed.entries, []);
    world.pass(QUARTER - 1);
    archive(&world).await.unwrap();
    assert_eq!(purge(&world).await, round(0, 0));
    assert_eq!(version(&world).await, Some(world.agent.clone()));
    world.pass(1);
    assert_eq!(purge(&world).await, round(1, 0));
    assert_eq!(version(&world).await, None);
    assert_eq!(purge(&world).await, round(0, 0));
    let again = archive(&world).await;
    assert!(matches!(again, Err(AppError::NotFound(_))), "{again:?}");
}

#[tokio::test]
async fn tasks_of_an_archived_agent_keep_their_version_until_they_are_deleted() {
    let world = World::new().await;
    let first = world.submit("hello").await.unwrap();
    world.pass(1);
    let second = world.submit("hello again").await.unwrap();
    let (tasks, tenant) = (world.tasks(), world.tenant());
    tasks.cancel_task(tenant, second.id()).await.unwrap();
    archive(&world).await.unwrap();
    let ended = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(first.id()).await.unwrap(), ended);
    world.pass(QUARTER);
    assert_eq!(purge(&world).await, round(0, 1));
    assert_eq!(purge(&world).await, round(0, 0), "it is left alone");
    // Weeks later, its ended task is retried.
    world.pass(30 * 24 * 60 * 60);
    let (from, limits) = (RetryFrom::Checkpoint, LimitChanges::default());
    let retried = tasks.retry_task(tenant, second.id(), from, limits).await;
    retried.unwrap();
    assert_eq!(purge(&world).await, round(0, 1));
    assert_eq!(world.run(second.id()).await.unwrap(), ended);
    delete_task(&world, &first).await;
    world.pass(SIX_HOURS);
    assert_eq!(purge(&world).await, round(0, 1), "the second names it");
    assert_eq!(version(&world).await, Some(world.agent.clone()));
    delete_task(&world, &second).await;
    world.pass(SIX_HOURS);
    assert_eq!(purge(&world).await, round(1, 0));
    assert_eq!(version(&world).await, None);
}

/// The submission reads the agent, then the agent is archived, then the task is written.
#[tokio::test]
async fn a_submission_at_the_same_moment_is_worked_on() {
    let world = World::new().await;
    let task = samples::task(&world.agent, world.now());
    archive(&world).await.unwrap();
    TaskStore::create(&world.store, &task).await.unwrap();
    world.pass(QUARTER);
    let (one, two) = tokio::join!(purge(&world), purge(&world));
    assert_eq!((one.deleted, two.deleted), (0, 0));
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    let refused = world.submit("hello again").await;
    assert!(matches!(refused, Err(AppError::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn submissions_and_an_archiving_never_leave_a_task_without_agent() {
    for seed in 0..40 {
        let world = World::new().await;
        // Some yields first, so that the calls interleave otherwise each time.
        let submit = async {
            for _ in 0..seed % 7 {
                tokio::task::yield_now().await;
            }
            world.submit("hello").await
        };
        let end = async {
            for _ in 0..seed / 7 {
                tokio::task::yield_now().await;
            }
            archive(&world).await
        };
        let (submitted, archived) = tokio::join!(submit, end);
        archived.unwrap();
        world.pass(QUARTER);
        purge(&world).await;
        let is_there = version(&world).await.is_some();
        match &submitted {
            Ok(_) => assert!(is_there, "{seed}"),
            Err(AppError::Invalid(_)) => assert!(!is_there, "{seed}"),
            other => panic!("{seed}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_scan_of_more_tasks_than_a_round_scans_goes_on_in_the_next() {
    let world = World::new().await;
    let other = samples::agent(world.tenant());
    for _ in 0..5_050 {
        let task = samples::task(&other, world.now());
        TaskStore::create(&world.store, &task).await.unwrap();
    }
    archive(&world).await.unwrap();
    world.pass(QUARTER);
    let unfinished = AgentPurgeSummary {
        unfinished: true,
        ..AgentPurgeSummary::default()
    };
    assert_eq!(purge(&world).await, unfinished);
    let due = world.store.due_agents(world.now(), 10).await.unwrap();
    let [archived] = due.as_slice() else {
        panic!("{due:?}")
    };
    assert!(archived.scanned_to.is_some());
    assert_eq!(purge(&world).await, round(1, 0));
}

#[tokio::test]
async fn who_dies_over_an_archived_agent_leaves_it_to_the_next_round() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let (world, faults) = (World::new().await, Faults::default());
            let task = world.submit("hello").await.unwrap();
            world.run(task.id()).await.unwrap();
            archive(&world).await.unwrap();
            world.pass(QUARTER);
            faults.die_at(call, when);
            purge_failing(&world, &faults).await;
            assert!(version(&world).await.is_some(), "{when:?} {call}");
            delete_task(&world, &task).await;
            world.pass(SIX_HOURS);
            purge_failing(&world, &faults).await;
            purge(&world).await;
            assert_eq!(version(&world).await, None, "{when:?} {call}");
            if !faults.struck() {
                break;
            }
        }
    }
}
