//! The rules of [`AgentStore`] for changes of agents and their versions.

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{Agent, AgentHead, AgentVersion, Switch, TenantStatus};
use crate::ports::{AgentOfTask, AgentStore, Page, PageRequest, StoreError};
use crate::testing::samples;

type Store = Arc<dyn AgentStore>;

pub(super) const CHECKS: &[Check<Store>] = &[
    ("a change is stored whole, with its new version", |s| {
        Box::pin(change_is_stored(s))
    }),
    ("the very same change may be stored twice", |s| {
        Box::pin(same_change_twice(s))
    }),
    (
        "a change of another revision, tenant or agent conflicts and changes nothing",
        |s| Box::pin(late_change(s)),
    ),
    (
        "of concurrent changes each of a revision one is kept",
        |s| Box::pin(one_of_many(s)),
    ),
    ("the versions are listed newest first, in pages", |s| {
        Box::pin(versions_are_ordered(s))
    }),
    ("a made-up or another list's cursor is refused", |s| {
        Box::pin(made_up_cursor(s))
    }),
    (
        "a task gets its version, whether the agent works, and its cache generation",
        |s| Box::pin(version_of_task(s)),
    ),
];

async fn created(store: &Store) -> Result<AgentHead, StoreError> {
    let head = AgentHead::of(samples::agent(&samples::fresh_tenant()));
    store.add(&head, u32::MAX).await?;
    Ok(head)
}

/// The agent with its next version, of this name.
fn changed(before: &AgentHead, name: &str) -> AgentHead {
    let mut after = before.clone();
    let config = samples::agent_config(name, "");
    after.configure(config, samples::after(before.revision));
    after.revision += 1;
    after
}

async fn head(store: &Store, agent: &Agent) -> Result<Option<AgentHead>, StoreError> {
    store.head(&agent.tenant, agent.id).await
}

async fn change_is_stored(store: Store) -> Outcome {
    let first = created(&store).await?;
    let second = changed(&first, "second");
    store.replace(&first, &second).await?;
    let mut third = changed(&second, "third");
    third.switch = Switch::Disabled;
    third.aliases = [("prod".parse()?, 1), ("Next_1-x".parse()?, 3)].into();
    third.cache_generation = 1_795_000_000_000;
    store.replace(&second, &third).await?;
    same(&head(&store, &first.newest).await?, &Some(third.clone()))?;
    let mut fourth = third.clone();
    fourth.aliases.clear();
    fourth.switch = Switch::Enabled;
    fourth.revision += 1;
    store.replace(&third, &fourth).await?;
    same(&head(&store, &first.newest).await?, &Some(fourth))?;
    for version in [&first.newest, &second.newest, &third.newest] {
        let stored = store.version(&version.tenant, version.version_ref());
        same(&stored.await?, &Some(version.clone()))?;
    }
    Ok(())
}

async fn same_change_twice(store: Store) -> Outcome {
    let first = created(&store).await?;
    let second = changed(&first, "second");
    let mut third = second.clone();
    (third.switch, third.revision) = (Switch::Disabled, 3);
    for (before, after) in [(&first, &second), (&second, &third)] {
        store.replace(before, after).await?;
        store.replace(before, after).await?;
    }
    same(&head(&store, &first.newest).await?, &Some(third))
}

async fn late_change(store: Store) -> Outcome {
    let first = created(&store).await?;
    let second = changed(&first, "second");
    store.replace(&first, &second).await?;
    let mut switched = first.clone();
    (switched.switch, switched.revision) = (Switch::Disabled, 2);
    let nobody = AgentHead::of(samples::agent(&first.newest.tenant));
    let mut of_another = second.clone();
    of_another.newest.tenant = samples::fresh_tenant();
    for (before, after) in [
        (&first, &changed(&first, "late")),
        (&first, &switched),
        (&nobody, &changed(&nobody, "nobody")),
        (&of_another, &changed(&of_another, "of another")),
    ] {
        let refused = store.replace(before, after).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    same(&head(&store, &first.newest).await?, &Some(second.clone()))?;
    same(&head(&store, &nobody.newest).await?, &None)?;
    let version = store.version(&first.newest.tenant, second.newest.version_ref());
    same(&version.await?, &Some(second.newest))
}

async fn one_of_many(store: Store) -> Outcome {
    let first = created(&store).await?;
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (store, before) = (Arc::clone(&store), first.clone());
        changes.spawn(async move {
            let mut after = before.clone();
            if number % 2 == 0 {
                after = changed(&before, &format!("clerk {number}"));
            } else {
                after.aliases = [("prod".parse().ok()?, number)].into();
                after.revision += 1;
            }
            store.replace(&before, &after).await.ok().map(|()| after)
        });
    }
    let kept: Vec<AgentHead> = changes.join_all().await.into_iter().flatten().collect();
    holds(kept.len() == 1, || format!("{} were kept", kept.len()))?;
    same(&head(&store, &first.newest).await?.as_ref(), &kept.first())
}

async fn versions_are_ordered(store: Store) -> Outcome {
    let mut head = created(&store).await?;
    let mut expected = vec![head.newest.clone()];
    for number in 2..=11 {
        let next = changed(&head, &format!("clerk {number}"));
        store.replace(&head, &next).await?;
        expected.insert(0, next.newest.clone());
        head = next;
    }
    let (tenant, id) = (&head.newest.tenant, head.newest.id);
    // Another agent of the tenant has versions, too.
    store.create(&samples::agent(tenant)).await?;
    for limit in [1, 3, 11, 100] {
        let (mut all, mut after) = (Vec::new(), None);
        for _ in 0..20 {
            let page = store
                .versions(tenant, id, &PageRequest { limit, after })
                .await?;
            for entry in page.entries {
                all.push(entry?);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        same(&all, &expected)?;
    }
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let foreign = store.versions(&samples::fresh_tenant(), id, &page).await?;
    let Page { entries, next } = foreign;
    holds(entries.is_empty() && next.is_none(), || {
        format!("{entries:?}")
    })
}

async fn made_up_cursor(store: Store) -> Outcome {
    let first = created(&store).await?;
    let second = AgentHead::of(samples::agent(&first.newest.tenant));
    store.add(&second, u32::MAX).await?;
    let (tenant, id) = (&first.newest.tenant, first.newest.id);
    let page = |after| PageRequest { limit: 1, after };
    let of_agents = store.list(tenant, &page(None)).await?.next;
    holds(of_agents.is_some(), || {
        "a second page was expected".to_owned()
    })?;
    let made_up = ["", "x", "1", "v", "v1x", "76", "ffff"].map(|made_up| Some(made_up.to_owned()));
    for cursor in made_up.into_iter().chain([of_agents]) {
        let refused = store.versions(tenant, id, &page(cursor.clone())).await;
        holds(matches!(refused, Err(StoreError::Cursor)), || {
            format!("{cursor:?}: {refused:?}")
        })?;
    }
    Ok(())
}

async fn version_of_task(store: Store) -> Outcome {
    let first = created(&store).await?;
    let mut second = changed(&first, "second");
    (second.switch, second.cache_generation) = (Switch::Disabled, 1_795_000_000_000);
    let (tenant, id) = (&first.newest.tenant, first.newest.id);
    let of_task = async |version| {
        let version = AgentVersion { id, version };
        store.of_task(tenant, version).await
    };
    let expected = |of: &AgentHead, now: &AgentHead| {
        Some(AgentOfTask {
            agent: of.newest.clone(),
            switch: now.switch,
            cache_generation: now.cache_generation,
            tenant: TenantStatus::Active,
        })
    };
    same(&of_task(1).await?, &expected(&first, &first))?;
    store.replace(&first, &second).await?;
    same(&of_task(1).await?, &expected(&first, &second))?;
    same(&of_task(2).await?, &expected(&second, &second))?;
    same(&of_task(3).await?, &None)?;
    let foreign = samples::fresh_tenant();
    let foreign = store.of_task(&foreign, first.newest.version_ref()).await?;
    same(&foreign, &None)?;
    let never = samples::agent(tenant);
    same(&store.of_task(tenant, never.version_ref()).await?, &None)
}
