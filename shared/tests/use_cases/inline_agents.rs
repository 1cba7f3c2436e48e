//! Agents that submissions define, and what the watchdog makes of them.

use std::sync::Arc;

use shared::app::{AgentDraft, AgentPurgeSummary, AgentPurger, AppError, NewTask, RunOutcome};
use shared::domain::{
    AgentVersion, ModelChain, ModelRef, Provider, Switch, Task, TaskStatus, Unlisted,
};
use shared::ports::AgentStore;
use shared::testing::{Faults, When, samples};

use crate::world::{INVOCATION, World};

const MINUTE: u64 = 60;
/// From when on an agent may be removed after a noted use.
const DUE: u64 = 25 * MINUTE;
const SIX_HOURS: u64 = 6 * 60 * MINUTE;

fn definition() -> AgentDraft {
    AgentDraft {
        config: samples::agent_config("inline", "Be brief."),
        unlisted: vec![Unlisted::Refused],
        switch: Switch::Enabled,
    }
}

fn inline(world: &World) -> NewTask {
    NewTask::inline(world.tenant(), definition(), samples::input("hello"))
}

async fn submit_failing(world: &World, new: NewTask, faults: &Faults) -> Result<Task, AppError> {
    let tasks = world.tasks_with_store_failing(faults);
    tasks.submit_task(world.tenant(), new).await
}

async fn submit(world: &World) -> Task {
    let submitted = submit_failing(world, inline(world), &Faults::default()).await;
    submitted.unwrap()
}

/// Whether the inline agent is stored.
async fn is_there(world: &World) -> bool {
    let version = AgentVersion::inline(inline(world).agent);
    let found = world.store.version(world.tenant(), version).await;
    found.unwrap().is_some()
}

async fn purge(world: &World) -> AgentPurgeSummary {
    let purger = AgentPurger {
        retention: Arc::new(world.store.clone()),
        clock: Arc::new(world.clock.clone()),
    };
    purger.purge(world.now().plus(INVOCATION)).await.unwrap()
}

fn round(deleted: u32, named: u32) -> AgentPurgeSummary {
    AgentPurgeSummary {
        deleted,
        named,
        ..AgentPurgeSummary::default()
    }
}

/// Ends and deletes the task.
async fn delete(world: &World, task: &Task) {
    let (tasks, tenant) = (world.tasks(), world.tenant());
    tasks.cancel_task(tenant, task.id()).await.unwrap();
    tasks.delete_task(tenant, task.id()).await.unwrap();
}

#[tokio::test]
async fn an_inline_agent_stays_as_long_as_a_task_names_it() {
    let world = World::new().await;
    let first = submit(&world).await;
    world.pass(MINUTE);
    let second = submit(&world).await;
    assert_eq!(first.spec().agent, second.spec().agent);
    let ended = RunOutcome::Ended(TaskStatus::Completed);
    assert_eq!(world.run(first.id()).await.unwrap(), ended);
    world.pass(DUE - MINUTE - 1);
    assert_eq!(purge(&world).await, round(0, 0));
    world.pass(1);
    assert_eq!(purge(&world).await, round(0, 1));
    let (tasks, tenant) = (world.tasks(), world.tenant());
    tasks.delete_task(tenant, first.id()).await.unwrap();
    world.pass(SIX_HOURS);
    assert_eq!(purge(&world).await, round(0, 1), "the second names it");
    delete(&world, &second).await;
    world.pass(SIX_HOURS);
    assert_eq!(purge(&world).await, round(1, 0));
    assert!(!is_there(&world).await);
    submit(&world).await;
    assert!(is_there(&world).await);
}

#[tokio::test]
async fn a_use_that_is_not_noted_is_found_by_the_scan() {
    let world = World::new().await;
    delete(&world, &submit(&world).await).await;
    world.pass(10 * MINUTE);
    submit(&world).await;
    world.pass(DUE - 10 * MINUTE);
    assert_eq!(purge(&world).await, round(0, 1));
    assert!(is_there(&world).await);
}

#[tokio::test]
async fn a_later_use_by_the_id_puts_the_removal_off() {
    let world = World::new().await;
    let first = submit(&world).await;
    delete(&world, &first).await;
    world.pass(DUE - 1);
    let by_id = NewTask::of(first.spec().agent.id, samples::input("hello again"));
    let second = submit_failing(&world, by_id, &Faults::default()).await;
    world.pass(1);
    assert_eq!(purge(&world).await, round(0, 0));
    delete(&world, &second.unwrap()).await;
    world.pass(DUE - 1);
    assert_eq!(purge(&world).await, round(1, 0));
}

#[tokio::test]
async fn submissions_and_a_removal_never_leave_a_task_without_agent() {
    for seed in 0..100 {
        let world = World::new().await;
        let first = submit(&world).await;
        delete(&world, &first).await;
        world.pass(DUE);
        let new = if seed % 2 == 0 {
            inline(&world)
        } else {
            NewTask::of(first.spec().agent.id, samples::input("hello again"))
        };
        // Some yields first, so that the calls interleave otherwise each time.
        let submit = async {
            for _ in 0..seed % 10 {
                tokio::task::yield_now().await;
            }
            submit_failing(&world, new, &Faults::default()).await
        };
        let end = async {
            for _ in 0..seed / 10 {
                tokio::task::yield_now().await;
            }
            purge(&world).await
        };
        let (submitted, _) = tokio::join!(submit, end);
        match &submitted {
            Ok(_) => assert!(is_there(&world).await, "{seed}"),
            Err(AppError::Invalid(_)) => assert!(!is_there(&world).await, "{seed}"),
            other => panic!("{seed}: {other:?}"),
        }
        world.pass(DUE);
        purge(&world).await;
        assert_eq!(is_there(&world).await, submitted.is_ok(), "{seed}");
    }
}

#[tokio::test]
async fn submissions_of_one_definition_at_once_share_its_agent() {
    let world = Arc::new(World::new().await);
    let mut submitting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        submitting.spawn(async move { submit(&world).await });
    }
    let tasks = submitting.join_all().await;
    for task in &tasks {
        assert_eq!(task.spec().agent, tasks[0].spec().agent);
        let ended = RunOutcome::Ended(TaskStatus::Completed);
        assert_eq!(world.run(task.id()).await.unwrap(), ended);
    }
}

#[tokio::test]
async fn a_submission_that_dies_leaves_a_task_with_its_agent_or_an_agent_that_is_removed() {
    let keyed = |world: &World| NewTask {
        idempotency_key: Some("k1".parse().unwrap()),
        ..inline(world)
    };
    for when in [When::Before, When::After] {
        for call in 1.. {
            let (world, faults) = (World::new().await, Faults::default());
            faults.die_at(call, when);
            submit_failing(&world, keyed(&world), &faults).await.ok();
            let has_struck = faults.struck();
            world.pass(DUE);
            let AgentPurgeSummary { deleted, named, .. } = purge(&world).await;
            assert_eq!(is_there(&world).await, named == 1, "{when:?} {call}");
            assert!(deleted + named <= 1);
            let again = submit_failing(&world, keyed(&world), &Faults::default()).await;
            let ended = RunOutcome::Ended(TaskStatus::Completed);
            let ran = world.run(again.unwrap().id()).await.unwrap();
            assert_eq!(ran, ended, "{when:?} {call}");
            if !has_struck {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_submission_that_breaks_a_rule_is_refused_at_its_place_and_stores_no_agent() {
    let world = World::new().await;
    let mut tasks = world.tasks();
    tasks.providers = vec![Provider::Anthropic];
    let mut unserved = definition();
    let llama = ModelRef::new(Provider::OpenAiCompatible, "llama").unwrap();
    unserved.config.models = ModelChain::only(llama.into());
    let unserved = NewTask::inline(world.tenant(), unserved, samples::input("hello"));
    let mut unlimited = inline(&world);
    unlimited.limits.max_steps = Some(0);
    let before = world.store.content();
    for (new, place) in [
        (unserved, "/agent/models/0/provider"),
        (unlimited, "/limits/max_steps"),
    ] {
        let refused = tasks.submit_task(world.tenant(), new).await;
        let Err(AppError::Invalid(broken)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(broken[0].field, place);
        assert_eq!(world.store.content(), before);
    }
}
