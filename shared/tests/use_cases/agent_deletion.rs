//! Agents that their clients delete.

use std::sync::Arc;

use shared::app::{AgentDeletion, AgentPurgeSummary, AppError, RunOutcome};
use shared::domain::{Agent, TaskStatus};
use shared::ports::{AgentRetention, AgentStore, PageRequest, TaskStore};
use shared::testing::{Faults, When, samples};

use crate::world::{INVOCATION, World};

const QUARTER: u64 = 15 * 60 + 1;

fn deletion(world: &World, faults: &Faults) -> AgentDeletion {
    let store = || Arc::new(world.store.with_faults(faults.clone()));
    AgentDeletion {
        agents: store(),
        retention: store(),
        clock: Arc::new(world.clock.clone()),
    }
}

async fn delete(world: &World, faults: &Faults) -> Result<(), AppError> {
    deletion(world, faults)
        .delete_agent(world.tenant(), world.agent.id)
        .await
}

async fn purge(world: &World, faults: &Faults) -> Option<AgentPurgeSummary> {
    deletion(world, faults)
        .purge(world.now().plus(INVOCATION))
        .await
        .ok()
}

fn round(deleted: u32, restored: u32) -> AgentPurgeSummary {
    AgentPurgeSummary {
        deleted,
        restored,
        ..AgentPurgeSummary::default()
    }
}

async fn newest(world: &World) -> Option<Agent> {
    world
        .store
        .newest(world.tenant(), world.agent.id)
        .await
        .unwrap()
}

async fn version(world: &World) -> Option<Agent> {
    world
        .store
        .version(world.tenant(), world.agent.version_ref())
        .await
        .unwrap()
}

#[tokio::test]
async fn deleted_agent_refuses_tasks_and_is_gone_after_15_minutes() {
    let (world, well) = (World::new().await, Faults::default());
    delete(&world, &well).await.unwrap();
    let refused = world.submit("hello").await;
    assert!(matches!(refused, Err(AppError::Invalid(_))), "{refused:?}");
    let again = delete(&world, &well).await;
    assert!(matches!(again, Err(AppError::NotFound(_))), "{again:?}");
    assert_eq!(purge(&world, &well).await, Some(round(0, 0)));
    assert_eq!(version(&world).await, Some(world.agent.clone()));
    world.pass(QUARTER);
    assert_eq!(purge(&world, &well).await, Some(round(1, 0)));
    assert_eq!((newest(&world).await, version(&world).await), (None, None));
    assert_eq!(purge(&world, &well).await, Some(round(0, 0)));
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    assert_eq!(
        AgentStore::list(&world.store, world.tenant(), &page)
            .await
            .unwrap()
            .entries,
        []
    );
}

#[tokio::test]
async fn an_agent_that_a_task_names_is_refused_until_the_task_is_deleted() {
    let (world, well) = (World::new().await, Faults::default());
    let task = world.submit("hello").await.unwrap();
    for _ in 0..2 {
        let refused = delete(&world, &well).await;
        let Err(AppError::AgentInUse { agent, task: named }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((agent, named), (world.agent.id, task.id()));
        assert_eq!(newest(&world).await, Some(world.agent.clone()));
        world.run(task.id()).await.unwrap();
    }
    world
        .tasks()
        .delete_task(world.tenant(), task.id())
        .await
        .unwrap();
    delete(&world, &well).await.unwrap();
    let foreign = deletion(&world, &well)
        .delete_agent(&samples::tenant("other"), world.agent.id)
        .await;
    assert!(matches!(foreign, Err(AppError::NotFound(_))), "{foreign:?}");
}

/// The submission reads the agent, then the agent is marked, then the task is written.
#[tokio::test]
async fn a_submission_at_the_same_moment_is_worked_on_and_restores_the_agent() {
    let (world, well) = (World::new().await, Faults::default());
    let task = samples::task(&world.agent, world.now());
    delete(&world, &well).await.unwrap();
    TaskStore::create(&world.store, &task).await.unwrap();
    assert_eq!(
        world.run(task.id()).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    world.pass(QUARTER);
    let (one, two) = tokio::join!(purge(&world, &well), purge(&world, &well));
    assert_eq!(one.unwrap().deleted + two.unwrap().deleted, 0);
    assert_eq!(newest(&world).await, Some(world.agent.clone()));
    world.submit("hello again").await.unwrap();
}

#[tokio::test]
async fn submissions_and_a_deletion_never_leave_a_task_without_agent() {
    for seed in 0..40 {
        let (world, well) = (World::new().await, Faults::default());
        // Some yields first, so that the calls interleave otherwise each time.
        let submit = async {
            for _ in 0..seed % 7 {
                tokio::task::yield_now().await;
            }
            world.submit("hello").await
        };
        let remove = async {
            for _ in 0..seed / 7 {
                tokio::task::yield_now().await;
            }
            delete(&world, &well).await
        };
        let (submitted, deleted) = tokio::join!(submit, remove);
        world.pass(QUARTER);
        purge(&world, &well).await.unwrap();
        let is_there = newest(&world).await.is_some();
        match (&submitted, &deleted) {
            (Ok(_), _) => assert!(
                is_there && version(&world).await.is_some(),
                "{seed}: {deleted:?}"
            ),
            (Err(AppError::Invalid(_)), Ok(())) => assert!(!is_there, "{seed}"),
            other => panic!("{seed}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_long_search_for_tasks_continues_in_the_next_round() {
    let (world, well) = (World::new().await, Faults::default());
    let other = samples::agent(world.tenant());
    for _ in 0..5_050 {
        TaskStore::create(&world.store, &samples::task(&other, world.now()))
            .await
            .unwrap();
    }
    delete(&world, &well).await.unwrap();
    world.pass(QUARTER);
    let unfinished = AgentPurgeSummary {
        unfinished: true,
        ..AgentPurgeSummary::default()
    };
    assert_eq!(purge(&world, &well).await, Some(unfinished));
    let [marked] = &world.store.marked_before(world.now(), 10).await.unwrap()[..] else {
        panic!("not one")
    };
    assert!(marked.searched_to.is_some());
    assert_eq!(purge(&world, &well).await, Some(round(1, 0)));
}

#[tokio::test]
async fn a_crash_during_an_agents_deletion_leaves_it_to_the_next_round() {
    for when in [When::Before, When::After] {
        for call in 1.. {
            let (world, well, faults) = (World::new().await, Faults::default(), Faults::default());
            faults.die_at(call, when);
            let deleted = delete(&world, &faults).await;
            world.pass(QUARTER);
            purge(&world, &faults).await;
            if deleted.is_err() && newest(&world).await.is_some() {
                delete(&world, &well).await.unwrap();
                world.pass(QUARTER);
            }
            purge(&world, &well).await.unwrap();
            assert_eq!(
                (newest(&world).await, version(&world).await),
                (None, None),
                "{when:?} {call}"
            );
            if !faults.struck() {
                break;
            }
        }
    }
}
