//! Agents that their clients change, and the aliases of their versions.

use futures::future::join_all;
use shared::app::{AgentDraft, Agents, AppError, NewTask, VersionChoice};
use shared::domain::agent_head::MAX_ALIASES;
use shared::domain::{
    Agent, AgentHead, AgentVersion, AliasName, AliasSet, Instructions, Invalid, ModelChain,
    ModelRef, Provider, Switch, TaskStatus, Unlisted,
};
use shared::ports::{AgentStore, PageRequest};
use shared::testing::samples;

use crate::world::World;

/// The agent with this line added to its instructions.
fn with_line(agent: &AgentHead, line: &str) -> AgentDraft {
    let mut config = agent.newest.config.clone();
    let text = format!("{}\n{line}", config.instructions.as_str());
    config.instructions = Instructions::new(text).unwrap();
    AgentDraft {
        config,
        unlisted: vec![Unlisted::Refused],
        switch: agent.switch,
    }
}

async fn change(world: &World, line: &str) -> Agent {
    let patched = |agent: &AgentHead| Ok::<_, AppError>(with_line(agent, line));
    let (tenant, id) = (world.tenant(), world.agent.id);
    let changed = world.agents().patch_agent(tenant, id, patched).await;
    changed.unwrap().newest
}

async fn set_alias(world: &World, name: &str, version: u32) -> Result<AliasSet, AppError> {
    let (tenant, id, name) = (world.tenant(), world.agent.id, name.parse().unwrap());
    world.agents().set_alias(tenant, id, (&name, version)).await
}

fn choosing(world: &World, version: VersionChoice) -> NewTask {
    NewTask {
        version,
        ..world.new_task("hello")
    }
}

fn alias(name: &str) -> VersionChoice {
    VersionChoice::Alias(name.parse().unwrap())
}

async fn submitted(world: &World, version: VersionChoice) -> Result<u32, AppError> {
    let new = choosing(world, version);
    let task = world.tasks().submit_task(world.tenant(), new).await?;
    Ok(task.spec().agent.version)
}

#[tokio::test]
async fn a_change_is_the_next_version_and_tasks_keep_theirs() {
    let world = World::new().await;
    let before = world.submit("hello").await.unwrap();
    world.pass(7);
    let changed = change(&world, "Be brief.").await;
    assert_eq!((changed.version, changed.created_at), (2, world.now()));
    let after = world.submit("hello").await.unwrap();
    assert_eq!(
        (before.spec().agent.version, after.spec().agent.version),
        (1, 2)
    );
    for task in [before.id(), after.id()] {
        world.run(task).await.unwrap();
        assert_eq!(world.status(task).await, TaskStatus::Completed);
    }
    let asked = world.model.requests();
    let instructions: Vec<_> = asked
        .iter()
        .map(|request| request.prompt.instructions.clone())
        .collect();
    assert_eq!(
        instructions,
        [
            world.agent.config.instructions.as_str(),
            changed.config.instructions.as_str()
        ]
    );
}

#[tokio::test]
async fn of_racing_changes_none_is_lost() {
    let world = World::new().await;
    let lines: Vec<String> = (0..6).map(|number| format!("line {number}")).collect();
    let mut versions: Vec<u32> = join_all(lines.iter().map(|line| change(&world, line)))
        .await
        .iter()
        .map(|agent| agent.version)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7]);
    let (tenant, id) = (world.tenant(), world.agent.id);
    let newest = world.store.newest(tenant, id).await.unwrap().unwrap();
    let text = newest.config.instructions.as_str();
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    let page = PageRequest {
        limit: 100,
        after: None,
    };
    let listed = world.agents().list_versions(tenant, id, &page).await;
    let numbers: Vec<u32> = listed
        .unwrap()
        .entries
        .iter()
        .map(|agent| agent.version)
        .collect();
    assert_eq!(numbers, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn changes_of_different_kinds_lose_none_of_each_other() {
    let world = World::new().await;
    tokio::join!(
        async { change(&world, "Be brief.").await.version },
        async { set_alias(&world, "prod", 1).await.unwrap() },
        world.switch(Switch::Disabled),
        async { set_alias(&world, "next", 1).await.unwrap() },
    );
    let (tenant, id) = (world.tenant(), world.agent.id);
    let head = world.agents().find_agent(tenant, id).await.unwrap();
    assert_eq!(
        (head.newest.version, head.switch, head.aliases.len()),
        (2, Switch::Disabled, 2)
    );
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_version() {
    let world = World::new().await;
    world.switch(Switch::Enabled).await;
    let (tenant, id) = (world.tenant(), world.agent.id);
    let head = world.agents().find_agent(tenant, id).await.unwrap();
    assert_eq!(head, AgentHead::of(world.agent.clone()));
    world.switch(Switch::Disabled).await;
    let head = world.agents().find_agent(tenant, id).await.unwrap();
    assert_eq!(head.newest, world.agent, "the switch is no version's");
}

#[tokio::test]
async fn a_changed_agent_is_admitted_like_a_new_one() {
    let world = World::new().await;
    let unknown = ModelRef::new(Provider::OpenAi, "gpt-9").unwrap();
    let with = |unlisted| {
        let model = unknown.clone();
        move |agent: &AgentHead| {
            let mut config = agent.newest.config.clone();
            config.models = ModelChain::only(model.clone().into());
            Ok::<AgentDraft, AppError>(AgentDraft {
                config,
                unlisted: vec![unlisted],
                switch: agent.switch,
            })
        }
    };
    let (agents, tenant, id) = (world.agents(), world.tenant(), world.agent.id);
    let refused = agents
        .patch_agent(tenant, id, with(Unlisted::Refused))
        .await;
    let Err(AppError::Invalid(rules)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(rules[0].field, "/models/0/model");
    let head = agents.find_agent(tenant, id).await.unwrap();
    assert_eq!(head, AgentHead::of(world.agent.clone()));
    let changed = agents
        .patch_agent(tenant, id, with(Unlisted::Allowed))
        .await;
    assert_eq!(changed.unwrap().newest.version, 2);
}

/// The deployment had a server of its own when the agent was created.
#[tokio::test]
async fn an_agent_that_would_not_be_admitted_today_can_still_be_stopped() {
    let llama = ModelRef::new(Provider::OpenAiCompatible, "llama").unwrap();
    let world = World::new().await;
    let world = world
        .with_agent(|config| config.models = ModelChain::only(llama.into()))
        .await;
    let agents = Agents {
        providers: vec![Provider::Anthropic],
        ..world.agents()
    };
    let (tenant, id) = (world.tenant(), world.agent.id);
    let changed = |agent: &AgentHead| Ok::<_, AppError>(with_line(agent, "Be brief."));
    let refused = agents.patch_agent(tenant, id, changed).await;
    let Err(AppError::Invalid(rules)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(rules[0].field, "/models/0/provider");
    let stopped = |agent: &AgentHead| {
        Ok::<_, AppError>(AgentDraft {
            config: agent.newest.config.clone(),
            unlisted: Vec::new(),
            switch: Switch::Disabled,
        })
    };
    let agent = agents.patch_agent(tenant, id, stopped).await.unwrap();
    assert_eq!((agent.newest.version, agent.switch), (1, Switch::Disabled));
}

#[tokio::test]
async fn an_alias_names_a_version_until_it_is_moved() {
    let world = World::new().await;
    change(&world, "Be brief.").await;
    assert_eq!(submitted(&world, VersionChoice::Newest).await.unwrap(), 2);
    assert_eq!(
        submitted(&world, VersionChoice::Number(1)).await.unwrap(),
        1
    );
    assert_eq!(
        set_alias(&world, "prod", 2).await.unwrap(),
        AliasSet::Created
    );
    assert_eq!(submitted(&world, alias("prod")).await.unwrap(), 2);
    assert_eq!(
        set_alias(&world, "prod", 1).await.unwrap(),
        AliasSet::Moved { from: 2 }
    );
    assert_eq!(submitted(&world, alias("prod")).await.unwrap(), 1);
    let (agents, tenant, id) = (world.agents(), world.tenant(), world.agent.id);
    let prod: AliasName = "prod".parse().unwrap();
    assert_eq!(agents.find_alias(tenant, id, &prod).await.unwrap(), 1);
    agents.remove_alias(tenant, id, &prod).await.unwrap();
    let again = agents.remove_alias(tenant, id, &prod).await;
    assert!(matches!(again, Err(AppError::NotFound(_))), "{again:?}");
    let found = agents.find_alias(tenant, id, &prod).await;
    assert!(matches!(found, Err(AppError::NotFound(_))), "{found:?}");
}

#[tokio::test]
async fn what_no_version_has_is_refused_at_its_place() {
    let world = World::new().await;
    for version in [0, 2, u32::MAX] {
        let refused = set_alias(&world, "prod", version).await;
        let Err(AppError::Invalid(rules)) = refused else {
            panic!("{refused:?}")
        };
        let rule = Invalid::new("/version", "must be a version of the agent: 1 to 1");
        assert_eq!(rules, [rule]);
    }
    for (choice, field) in [
        (VersionChoice::Number(0), "/agent_version"),
        (VersionChoice::Number(2), "/agent_version"),
        (alias("prod"), "/alias"),
    ] {
        let refused = submitted(&world, choice).await;
        let Err(AppError::Invalid(rules)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(rules[0].field, field);
    }
    for number in 0..MAX_ALIASES {
        set_alias(&world, &format!("a{number}"), 1).await.unwrap();
    }
    let refused = set_alias(&world, "one-more", 1).await;
    assert!(
        matches!(refused, Err(AppError::TooManyAliases)),
        "{refused:?}"
    );
    set_alias(&world, "a0", 1).await.unwrap();
}

#[tokio::test]
async fn a_repeated_submission_gets_its_task_whatever_became_of_the_agent() {
    let world = World::new().await;
    change(&world, "Be brief.").await;
    set_alias(&world, "prod", 1).await.unwrap();
    let keyed = |version| NewTask {
        idempotency_key: Some("k1".parse().unwrap()),
        ..choosing(&world, version)
    };
    let submit = async |new| world.tasks().submit_task(world.tenant(), new).await;
    let first = submit(keyed(alias("prod"))).await.unwrap();
    world.pass(1);
    let again = async |version| {
        let task = submit(keyed(version)).await?;
        Ok::<_, AppError>((task.id(), task.spec().agent.version))
    };
    let same = (first.id(), 1);
    set_alias(&world, "prod", 2).await.unwrap();
    assert_eq!(again(alias("prod")).await.unwrap(), same);
    assert_eq!(again(VersionChoice::Number(1)).await.unwrap(), same);
    let other = again(VersionChoice::Number(2)).await;
    assert!(
        matches!(other, Err(AppError::IdempotencyKeyReused)),
        "{other:?}"
    );
    let (agents, tenant, id) = (world.agents(), world.tenant(), world.agent.id);
    let prod: AliasName = "prod".parse().unwrap();
    agents.remove_alias(tenant, id, &prod).await.unwrap();
    assert_eq!(again(alias("prod")).await.unwrap(), same);
    world.switch(Switch::Disabled).await;
    assert_eq!(again(alias("prod")).await.unwrap(), same);
    agents.archive_agent(tenant, id).await.unwrap();
    assert_eq!(again(alias("prod")).await.unwrap(), same);
    let mut other_input = keyed(alias("prod"));
    other_input.input = samples::input("good bye");
    let other_input = submit(other_input).await;
    assert!(
        matches!(other_input, Err(AppError::IdempotencyKeyReused)),
        "{other_input:?}"
    );
    assert_eq!(world.queue.sent().len(), 1);
    let version = AgentVersion { id, version: 1 };
    assert!(agents.find_version(tenant, version).await.is_ok());
}
