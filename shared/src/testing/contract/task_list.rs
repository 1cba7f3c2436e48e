//! The rules of [`TaskStore::list`](crate::ports::TaskStore::list).

use super::moves::{Move, Store, advance, agent, stored};
use super::{Broken, Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, Task, TaskStatus, TenantId};
use crate::ports::{Page, PageRequest, StoreError, TaskFilter, TaskSummary};
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

const ANY: TaskFilter = TaskFilter {
    status: None,
    agent: None,
};

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
        .list(tenant, &ANY, &PageRequest { limit, after })
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
                &all_pages(&store, &agent.tenant, &ANY, limit).await?,
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
                status,
                agent: wanted,
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
    let filter = TaskFilter {
        status: None,
        agent: Some(rare.id),
    };
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

async fn same_moment(store: Store) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(stored(&store, &agent, after(0)).await?);
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.id()));
    let expected = summaries(&tasks);
    eventually(|| async { same(&all_pages(&store, &agent.tenant, &ANY, 1).await?, &expected) })
        .await
}

async fn foreign_is_hidden(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let own = || async {
        same(
            &all_pages(&store, &task.spec().tenant, &ANY, 10).await?,
            &summaries([&task]),
        )
    };
    eventually(own).await?;
    let stranger = samples::fresh_tenant();
    same(&all_pages(&store, &stranger, &ANY, 10).await?, &Vec::new())?;
    let filter = TaskFilter {
        status: None,
        agent: Some(task.spec().agent.id),
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
