//! Cached answers of an agent, after its client has cleared its cache.

use std::sync::Arc;

use shared::app::{AgentDraft, AppError, NewTask, RunOutcome, Runner};
use shared::domain::{Agent, AgentHead, AgentId, CacheRules, CacheTerms, Switch, TaskStatus};
use shared::policy::{CacheSettings, Cached};
use shared::ports::AgentStore;
use shared::testing::{Faults, MemoryAnswers, samples};

use crate::world::World;

/// A worker with a cache.
fn worker(world: &World) -> Runner {
    let worker = world.worker_failing(&Faults::default());
    let (answers, settings) = (Arc::new(MemoryAnswers::default()), CacheSettings::default());
    let clock = Arc::clone(&worker.clock);
    Runner {
        model: Arc::new(Cached::new(worker.model, answers, settings, clock)),
        cache: CacheRules::On(CacheTerms::default()),
        ..worker
    }
}

/// Runs a new task of the agent with always the same input, and returns how many calls its model has had.
async fn calls_after(world: &World, worker: &Runner, agent: AgentId) -> usize {
    let new = NewTask::of(agent, samples::input("hello"));
    let task = world.tasks().submit_task(world.tenant(), new).await;
    let ran = world.run_by(worker, task.unwrap().id()).await.unwrap();
    assert_eq!(ran, RunOutcome::Ended(TaskStatus::Completed));
    world.model.requests().len()
}

async fn clear(world: &World, agent: AgentId) {
    let cleared = world.agents().clear_cache(world.tenant(), agent).await;
    cleared.unwrap();
}

async fn head(world: &World) -> AgentHead {
    let head = world.store.head(world.tenant(), world.agent.id).await;
    head.unwrap().unwrap()
}

#[tokio::test]
async fn a_cleared_agent_gets_no_earlier_answer_and_another_agent_does() {
    let world = World::new().await;
    let worker = worker(&world);
    let other = Agent {
        config: world.agent.config.clone(),
        ..samples::agent(world.tenant())
    };
    AgentStore::create(&world.store, &other).await.unwrap();
    let agent = world.agent.id;
    assert_eq!(calls_after(&world, &worker, agent).await, 1);
    assert_eq!(calls_after(&world, &worker, agent).await, 1);
    clear(&world, agent).await;
    assert_eq!(calls_after(&world, &worker, other.id).await, 1);
    assert_eq!(calls_after(&world, &worker, agent).await, 2);
    assert_eq!(calls_after(&world, &worker, agent).await, 2);
    // What the first agent cached since then is not for the other one, cleared later.
    world.pass(1);
    clear(&world, other.id).await;
    assert_eq!(calls_after(&world, &worker, other.id).await, 3);
    clear(&world, agent).await;
    clear(&world, agent).await;
    assert_eq!(calls_after(&world, &worker, agent).await, 4);
}

#[tokio::test]
async fn a_generation_only_rises_whatever_else_changes_the_agent() {
    let world = Arc::new(World::new().await);
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..4 {
        let clearing = Arc::clone(&world);
        changes.spawn(async move { clear(&clearing, clearing.agent.id).await });
        let patching = Arc::clone(&world);
        changes.spawn(async move {
            let patched = |agent: &AgentHead| {
                Ok::<AgentDraft, AppError>(AgentDraft {
                    config: samples::agent_config(&format!("name {number}"), ""),
                    unlisted: Vec::new(),
                    switch: agent.switch,
                })
            };
            let (tenant, id) = (patching.tenant(), patching.agent.id);
            patching
                .agents()
                .patch_agent(tenant, id, patched)
                .await
                .unwrap();
        });
    }
    changes.join_all().await;
    let raised = head(&world).await;
    assert!(raised.cache_generation >= samples::START.as_millis());
    assert_eq!(raised.newest.version, 5);
    // The clock of another function may be behind.
    world.switch(Switch::Disabled).await;
    let mut late = head(&world).await;
    late.clear_cache(samples::START.minus(crate::world::INVOCATION));
    assert_eq!(late.cache_generation, raised.cache_generation + 1);
}
