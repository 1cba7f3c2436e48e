//! The rules of [`AgentStore`].

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{Agent, AgentHead, AgentId, AgentVersion, TenantId};
use crate::ports::{AgentStore, Page, PageRequest, StoreError, UnreadableAgent};
use crate::testing::samples;

type Store = Arc<dyn AgentStore>;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("a new agent is its newest and its first version", |s| {
        Box::pin(new_agent_is_there(s))
    }),
    ("texts of any characters come back unchanged", |s| {
        Box::pin(texts_survive(s))
    }),
    ("an unknown agent or version is none", |s| {
        Box::pin(unknown_is_none(s))
    }),
    ("another tenant's agent is none and in no list", |s| {
        Box::pin(foreign_is_none(s))
    }),
    (
        "adding the very same agent again succeeds, another under its id conflicts",
        |s| Box::pin(taken_id(s)),
    ),
    ("of concurrent agents under one id one is stored", |s| {
        Box::pin(one_of_many(s))
    }),
    (
        "the list is complete, oldest first, in pages of the wanted size",
        |s| Box::pin(list_is_ordered(s)),
    ),
    ("a made-up cursor is refused", |s| {
        Box::pin(made_up_cursor(s))
    }),
    ("a cursor of another tenant shows nothing of it", |s| {
        Box::pin(foreign_cursor(s))
    }),
];

async fn new_agent_is_there(store: Store) -> Outcome {
    let agent = samples::agent(&samples::fresh_tenant());
    store.create(&agent).await?;
    same(
        &store.newest(&agent.tenant, agent.id).await?,
        &Some(agent.clone()),
    )?;
    same(
        &store.version(&agent.tenant, agent.version_ref()).await?,
        &Some(agent),
    )
}

async fn texts_survive(store: Store) -> Outcome {
    let config = samples::agent_config("Zoë 🦀 – 数", &"ß\"\\\u{0}\u{1f600}\n".repeat(3_000));
    let agent = Agent::create(samples::fresh_tenant(), config, samples::START);
    store.create(&agent).await?;
    same(
        &store.newest(&agent.tenant, agent.id).await?,
        &Some(agent.clone()),
    )?;
    let silent = Agent::create(agent.tenant, samples::agent_config("x", ""), samples::START);
    store.create(&silent).await?;
    same(
        &store.version(&silent.tenant, silent.version_ref()).await?,
        &Some(silent),
    )
}

async fn unknown_is_none(store: Store) -> Outcome {
    let agent = samples::agent(&samples::fresh_tenant());
    same(&store.newest(&agent.tenant, agent.id).await?, &None)?;
    same(
        &store.version(&agent.tenant, agent.version_ref()).await?,
        &None,
    )?;
    same(
        &page(&store, &agent.tenant, 10, None).await?,
        &Page {
            entries: Vec::new(),
            next: None,
        },
    )?;
    store.create(&agent).await?;
    let other = AgentId::new(samples::START);
    same(&store.newest(&agent.tenant, other).await?, &None)?;
    same(
        &store
            .version(
                &agent.tenant,
                AgentVersion {
                    id: agent.id,
                    version: 2,
                },
            )
            .await?,
        &None,
    )
}

async fn foreign_is_none(store: Store) -> Outcome {
    let agent = samples::agent(&samples::fresh_tenant());
    store.create(&agent).await?;
    let stranger = samples::fresh_tenant();
    same(&store.newest(&stranger, agent.id).await?, &None)?;
    same(&store.version(&stranger, agent.version_ref()).await?, &None)?;
    same(
        &page(&store, &stranger, 10, None).await?.entries,
        &Vec::new(),
    )
}

async fn taken_id(store: Store) -> Outcome {
    let agent = samples::agent(&samples::fresh_tenant());
    store.create(&agent).await?;
    store.create(&agent).await?;
    let other = Agent {
        config: samples::agent_config("impostor", ""),
        ..agent.clone()
    };
    let refused = store.create(&other).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    same(
        &store.newest(&agent.tenant, agent.id).await?,
        &Some(agent.clone()),
    )?;
    same(
        &store.version(&agent.tenant, agent.version_ref()).await?,
        &Some(agent),
    )
}

async fn one_of_many(store: Store) -> Outcome {
    let agent = samples::agent(&samples::fresh_tenant());
    let mut creations = tokio::task::JoinSet::new();
    for number in 0..6 {
        let store = Arc::clone(&store);
        let agent = Agent {
            config: samples::agent_config(&format!("clerk {number}"), ""),
            ..agent.clone()
        };
        creations.spawn(async move { store.create(&agent).await.map(|()| agent) });
    }
    let stored: Vec<Agent> = creations
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    holds(stored.len() == 1, || {
        format!("{} were stored", stored.len())
    })?;
    same(
        &store.newest(&agent.tenant, agent.id).await?.as_ref(),
        &stored.first(),
    )
}

async fn list_is_ordered(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    let mut expected = Vec::new();
    for second in 0..5 {
        let config = samples::agent_config(&format!("clerk {second}"), "");
        expected.push(Agent::create(
            tenant.clone(),
            config,
            samples::after(second),
        ));
    }
    for agent in expected.iter().rev() {
        store.create(agent).await?;
    }
    for limit in [1, 2, 5, 100] {
        same(&all_pages(&store, &tenant, limit).await?, &expected)?;
    }
    let one_at_least = page(&store, &tenant, 0, None).await?;
    same(&one_at_least.entries.len(), &1)
}

async fn made_up_cursor(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    for cursor in ["", "x", "0", "agt_", "ffff", "é", "AGENT#", "eyJ9"] {
        let refused = store
            .list(
                &tenant,
                &PageRequest {
                    limit: 1,
                    after: Some(cursor.to_owned()),
                },
            )
            .await;
        holds(matches!(refused, Err(StoreError::Cursor)), || {
            format!("{cursor:?}: {refused:?}")
        })?;
    }
    Ok(())
}

async fn foreign_cursor(store: Store) -> Outcome {
    let (ours, theirs) = (samples::fresh_tenant(), samples::fresh_tenant());
    for tenant in [&theirs, &theirs, &ours] {
        store.create(&samples::agent(tenant)).await?;
    }
    let cursor = page(&store, &theirs, 1, None).await?.next;
    holds(cursor.is_some(), || "a second page was expected".to_owned())?;
    let page = page(&store, &ours, 10, cursor).await?;
    holds(
        page.entries
            .iter()
            .flatten()
            .all(|head| head.newest.tenant == ours),
        || format!("{page:?}"),
    )
}

async fn page(
    store: &Store,
    tenant: &TenantId,
    limit: u32,
    after: Option<String>,
) -> Result<Page<Result<AgentHead, UnreadableAgent>>, StoreError> {
    store.list(tenant, &PageRequest { limit, after }).await
}

async fn all_pages(store: &Store, tenant: &TenantId, limit: u32) -> Result<Vec<Agent>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..20 {
        let page = page(store, tenant, limit, after).await?;
        all.extend(page.entries.into_iter().flatten().map(|head| head.newest));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(all)
}
