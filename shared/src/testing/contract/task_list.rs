//! The rules of [`TaskStore::list`](crate::ports::TaskStore::list).

use super::moves::{Move, Store, advance, agent, stored};
use super::{Broken, Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, Metadata, MetadataPair, Task, TaskStatus, TenantId};
use crate::ports::{Page, PageRequest, StoreError, TaskFilter, TaskOrder, TaskSummary};
use crate::testing::samples::{self, after, lease_until};

pub(super) const CHECKS: &[Check<Store>] = &[
    (
        "the list is complete, newest first, in pages of the wanted size",
        |s| Box::pin(list_is_ordered(s)),
    ),
    ("a filter shows what it names, on pages of any size", |s| {
        Box::pin(filters(s))
    }),
    ("a filter that little passes still fills its page", |s| {
        Box::pin(sparse_filter(s))
    }),
    ("several states are shown together", |s| {
        Box::pin(several_states(s))
    }),
    (
        "a pair of metadata is found, and nothing that is like it",
        |s| Box::pin(metadata(s)),
    ),
    ("a time has a first moment and ends before its last", |s| {
        Box::pin(times(s))
    }),
    ("the oldest first, in pages of any size", |s| {
        Box::pin(oldest_first(s))
    }),
    ("a cursor outside of the wanted time is refused", |s| {
        Box::pin(cursor_of_another_time(s))
    }),
    ("tasks of one moment are all listed", |s| {
        Box::pin(same_moment(s))
    }),
    ("another tenant's tasks are not in the list", |s| {
        Box::pin(foreign_is_hidden(s))
    }),
    ("a made-up cursor is refused", |s| {
        Box::pin(made_up_cursor(s))
    }),
    ("a cursor of another tenant shows nothing of it", |s| {
        Box::pin(foreign_cursor(s))
    }),
];

fn of_agent(agent: &Agent) -> TaskFilter {
    TaskFilter {
        agent: Some(agent.id),
        ..TaskFilter::default()
    }
}

fn summaries<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Vec<TaskSummary> {
    tasks.into_iter().map(samples::summary).collect()
}

async fn page(
    store: &Store,
    tenant: &TenantId,
    limit: u32,
    after: Option<String>,
) -> Result<Page<TaskSummary>, StoreError> {
    store
        .list(
            tenant,
            &TaskFilter::default(),
            &PageRequest { limit, after },
        )
        .await
}

async fn all_pages(
    store: &Store,
    tenant: &TenantId,
    filter: &TaskFilter,
    limit: u32,
) -> Result<Vec<TaskSummary>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..100 {
        let page = store
            .list(tenant, filter, &PageRequest { limit, after })
            .await?;
        all.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(all)
}

/// A task in each status, newest first.
async fn one_of_each(store: &Store, agent: &Agent) -> Result<Vec<Task>, Broken> {
    let claim = || Move::Claim(lease_until(after(90)), after(30));
    let histories = [
        vec![],
        vec![claim()],
        vec![claim(), Move::Complete(samples::output("a"), after(40))],
        vec![claim(), Move::Fail(samples::failure(), after(40))],
        vec![Move::Settle(after(3_600))],
    ];
    let mut tasks = Vec::new();
    for (second, history) in (0..).zip(histories) {
        let mut task = stored(store, agent, after(second)).await?;
        for transition in history {
            advance(store, &mut task, transition).await?;
        }
        tasks.insert(0, task);
    }
    Ok(tasks)
}

async fn list_is_ordered(store: Store) -> Outcome {
    let agent = agent();
    same(
        &page(&store, &agent.tenant, 10, None).await?,
        &Page {
            entries: Vec::new(),
            next: None,
        },
    )?;
    let expected = summaries(&one_of_each(&store, &agent).await?);
    for limit in [1, 2, 5, 100] {
        eventually(|| async {
            same(
                &all_pages(&store, &agent.tenant, &TaskFilter::default(), limit).await?,
                &expected,
            )
        })
        .await?;
    }
    let first = page(&store, &agent.tenant, 2, None).await?;
    same(&first.entries, &expected.iter().take(2).cloned().collect())?;
    same(
        &page(&store, &agent.tenant, 0, None).await?.entries.len(),
        &1,
    )?;
    same(&page(&store, &agent.tenant, 5, None).await?.next, &None)
}

async fn filters(store: Store) -> Outcome {
    let agent = agent();
    let other = samples::agent(&agent.tenant);
    let mut tasks = one_of_each(&store, &other).await?;
    tasks.extend(one_of_each(&store, &agent).await?);
    tasks.sort_by_key(|task| std::cmp::Reverse((task.spec().created_at, task.id())));
    for status in TaskStatus::ALL.map(Some).into_iter().chain([None]) {
        for wanted in [Some(agent.id), Some(other.id), None] {
            let filter = TaskFilter {
                statuses: status.into_iter().collect(),
                agent: wanted,
                ..TaskFilter::default()
            };
            let passes = |task: &&Task| {
                status.is_none_or(|status| task.status() == status)
                    && wanted.is_none_or(|wanted| task.spec().agent.id == wanted)
            };
            let expected = summaries(tasks.iter().filter(passes));
            for limit in [1, 3, 100] {
                eventually(|| async {
                    same(
                        &all_pages(&store, &agent.tenant, &filter, limit).await?,
                        &expected,
                    )
                })
                .await?;
            }
        }
    }
    Ok(())
}

async fn sparse_filter(store: Store) -> Outcome {
    let (agent, rare) = (agent(), agent());
    let rare = Agent {
        tenant: agent.tenant.clone(),
        ..rare
    };
    let oldest = stored(&store, &rare, after(0)).await?;
    for second in 1..=12 {
        stored(&store, &agent, after(second)).await?;
    }
    let filter = of_agent(&rare);
    eventually(|| async {
        let page = store
            .list(
                &agent.tenant,
                &filter,
                &PageRequest {
                    limit: 1,
                    after: None,
                },
            )
            .await?;
        same(&page.entries, &summaries([&oldest]))
    })
    .await
}

/// The list is the tasks, on pages of any size.
async fn lists(store: &Store, agent: &Agent, filter: &TaskFilter, tasks: &[&Task]) -> Outcome {
    let expected = summaries(tasks.iter().copied());
    for limit in [1, 3, 100] {
        eventually(|| async {
            same(
                &all_pages(store, &agent.tenant, filter, limit).await?,
                &expected,
            )
        })
        .await?;
    }
    Ok(())
}

async fn several_states(store: Store) -> Outcome {
    let agent = agent();
    let tasks = one_of_each(&store, &agent).await?;
    let statuses = vec![TaskStatus::Queued, TaskStatus::Failed, TaskStatus::Waiting];
    let wanted: Vec<&Task> = tasks
        .iter()
        .filter(|task| statuses.contains(&task.status()))
        .collect();
    let filter = TaskFilter {
        statuses,
        ..TaskFilter::default()
    };
    lists(&store, &agent, &filter, &wanted).await
}

async fn metadata(store: Store) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    for (second, pairs) in [
        vec![("order", "17"), ("shop", "berlin")],
        vec![("order", "17 "), ("shop", "17")],
        vec![("Order", "17")],
        vec![("order", "17")],
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        let at = after(u64::try_from(second).unwrap_or_default());
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let noted = Metadata::new(pairs.collect()).map_err(|broken| format!("{broken:?}"))?;
        let task = samples::task(&agent, at).noting(noted);
        store.create(&task).await?;
        tasks.push(task);
    }
    let pair = MetadataPair::new("order".to_owned(), "17".to_owned());
    let filter = TaskFilter {
        metadata: Some(pair.map_err(|broken| broken.to_string())?),
        ..TaskFilter::default()
    };
    let [first, _, _, fourth, _] = tasks.as_slice() else {
        return Err("five tasks were stored".into());
    };
    lists(&store, &agent, &filter, &[fourth, first]).await
}

/// Four tasks, one a second, oldest first.
async fn four(store: &Store, agent: &Agent) -> Result<Vec<Task>, Broken> {
    let mut tasks = Vec::new();
    for second in 0..4 {
        tasks.push(stored(store, agent, after(second)).await?);
    }
    Ok(tasks)
}

async fn times(store: Store) -> Outcome {
    let agent = agent();
    let tasks = four(&store, &agent).await?;
    for (from, before, wanted) in [
        (Some(1), Some(3), 1..3),
        (Some(1), None, 1..4),
        (None, Some(3), 0..3),
        (Some(3), Some(3), 0..0),
        (Some(0), Some(u64::MAX / 1_000), 0..4),
    ] {
        let filter = TaskFilter {
            created_from: from.map(after),
            created_before: before.map(after),
            ..TaskFilter::default()
        };
        let wanted: Vec<&Task> = tasks
            .iter()
            .skip(wanted.start)
            .take(wanted.len())
            .rev()
            .collect();
        lists(&store, &agent, &filter, &wanted).await?;
    }
    Ok(())
}

async fn oldest_first(store: Store) -> Outcome {
    let agent = agent();
    let tasks = four(&store, &agent).await?;
    let filter = TaskFilter {
        order: TaskOrder::Oldest,
        ..TaskFilter::default()
    };
    lists(&store, &agent, &filter, &tasks.iter().collect::<Vec<_>>()).await
}

async fn cursor_of_another_time(store: Store) -> Outcome {
    let agent = agent();
    four(&store, &agent).await?;
    let next = || async { Ok::<_, StoreError>(page(&store, &agent.tenant, 1, None).await?.next) };
    eventually(|| async { same(&next().await?.is_some(), &true) }).await?;
    let cursor = next().await?;
    let filter = TaskFilter {
        created_before: Some(after(2)),
        ..TaskFilter::default()
    };
    let wanted = PageRequest {
        limit: 1,
        after: cursor,
    };
    let refused = store.list(&agent.tenant, &filter, &wanted).await;
    holds(matches!(refused, Err(StoreError::Cursor)), || {
        format!("{refused:?}")
    })
}

async fn same_moment(store: Store) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(stored(&store, &agent, after(0)).await?);
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id()));
    let expected = summaries(&tasks);
    eventually(|| async {
        same(
            &all_pages(&store, &agent.tenant, &TaskFilter::default(), 1).await?,
            &expected,
        )
    })
    .await
}

async fn foreign_is_hidden(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let own = || async {
        same(
            &all_pages(&store, &task.spec().tenant, &TaskFilter::default(), 10).await?,
            &summaries([&task]),
        )
    };
    eventually(own).await?;
    let stranger = samples::fresh_tenant();
    same(
        &all_pages(&store, &stranger, &TaskFilter::default(), 10).await?,
        &Vec::new(),
    )?;
    let filter = TaskFilter {
        agent: Some(task.spec().agent.id),
        ..TaskFilter::default()
    };
    same(
        &all_pages(&store, &stranger, &filter, 10).await?,
        &Vec::new(),
    )
}

async fn made_up_cursor(store: Store) -> Outcome {
    let tenant = samples::fresh_tenant();
    for cursor in [
        "",
        "x",
        "0",
        "tsk_",
        "ffff",
        "é",
        "TASK#",
        "eyJ9",
        "1795000000000",
    ] {
        let refused = page(&store, &tenant, 1, Some(cursor.to_owned())).await;
        holds(matches!(refused, Err(StoreError::Cursor)), || {
            format!("{cursor:?}: {refused:?}")
        })?;
    }
    Ok(())
}

async fn foreign_cursor(store: Store) -> Outcome {
    let (ours, theirs) = (agent(), agent());
    for (agent, second) in [(&theirs, 2), (&theirs, 1), (&ours, 0)] {
        stored(&store, agent, after(second)).await?;
    }
    eventually(|| async {
        let cursor = page(&store, &theirs.tenant, 1, None).await?.next;
        holds(cursor.is_some(), || "a second page was expected".to_owned())?;
        let page = page(&store, &ours.tenant, 10, cursor).await?;
        same(
            &page.entries.iter().map(|task| task.agent.id).collect(),
            &vec![ours.id],
        )
    })
    .await
}
