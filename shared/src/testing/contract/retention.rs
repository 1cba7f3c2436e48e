//! The rules of [`Retention`](crate::ports::Retention).
//!
//! The list is of all tenants, so these checks live in a past of their own, before everything else
//! in a shared store.

use std::sync::Arc;
use std::time::Duration;

use super::deletion::{
    deleted_is_due, deleted_is_nobodys, deleted_or_reopened, late_writes_go, not_deleted,
};
use super::moves::{Move, advance, advance_all, agent};
use super::retention_ports::{RetentionPorts, at, before};
use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{CacheUse, ReopenFrom, Task, TaskId};
use crate::ports::{Claimed, Created, Purged, StoreError};
use crate::testing::samples::{self, lease_until};

pub(super) const CHECKS: &[Check<RetentionPorts>] = &[
    (
        "an ended task is due from its end on, in every end state, the first to end first",
        |k| Box::pin(listed(k)),
    ),
    (
        "a task that has not ended, or was opened again, is not due",
        |k| Box::pin(living_is_not_listed(k)),
    ),
    (
        "no more than the wanted number are due, the first to end",
        |k| Box::pin(limited(k)),
    ),
    (
        "a purged task is gone with all that belongs to it, and its id is free",
        |k| Box::pin(purged_is_gone(k)),
    ),
    (
        "a task that has not ended, or not long ago, or was opened again, is ports whole",
        |k| Box::pin(not_purged(k)),
    ),
    (
        "purging twice, at the same time or what never was is no harm",
        |k| Box::pin(again_and_again(k)),
    ),
    ("nothing of another task is purged", |k| {
        Box::pin(others_stay(k))
    }),
    (
        "a deleted task is nobody's at once, and its id is taken until it is gone",
        |k| Box::pin(deleted_is_nobodys(k)),
    ),
    ("a deleted task is due however long tasks are ports", |k| {
        Box::pin(deleted_is_due(k))
    }),
    (
        "what is written late for a task is deleted before its record",
        |k| Box::pin(late_writes_go(k)),
    ),
    (
        "a task that has not ended, or is another tenant's, or none, is not deleted",
        |k| Box::pin(not_deleted(k)),
    ),
    ("of deletions and changes at the same time one wins", |k| {
        Box::pin(deleted_or_reopened(k))
    }),
];

async fn listed(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    let ends = [
        vec![Move::Cancel(at(10))],
        vec![
            Move::Claim(lease_until(at(60)), at(1)),
            Move::Fail(samples::failure(), at(20)),
        ],
        vec![
            Move::Claim(lease_until(at(60)), at(1)),
            Move::Complete(samples::output("a"), at(30)),
        ],
        vec![Move::Settle(at(1_800))],
    ];
    for end in ends {
        let mut task = samples::task(&agent, at(0));
        ports.tasks.create(&task).await?;
        advance_all(ports.tasks(), &mut task, end).await?;
        tasks.push(task);
    }
    let of: Vec<&Task> = tasks.iter().collect();
    for (second, count) in [
        (10, 0),
        (11, 1),
        (20, 1),
        (30, 2),
        (31, 3),
        (1_800, 3),
        (1_801, 4),
    ] {
        let expected: Vec<TaskId> = of.iter().take(count).map(|task| task.id()).collect();
        eventually(|| async { same(&ports.listed(before(at(second)), &of).await?, &expected) })
            .await?;
    }
    ports.purge(&of).await
}

async fn living_is_not_listed(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let [mut queued, mut running, mut reopened] =
        [0, 1, 2].map(|second| samples::task(&agent, at(second)));
    for task in [&queued, &running, &reopened] {
        ports.tasks.create(task).await?;
    }
    advance(
        ports.tasks(),
        &mut running,
        Move::Claim(lease_until(at(60)), at(1)),
    )
    .await?;
    advance(ports.tasks(), &mut reopened, Move::Cancel(at(3))).await?;
    eventually(|| async {
        same(
            &ports.listed(before(at(90)), &[&reopened]).await?,
            &vec![reopened.id()],
        )
    })
    .await?;
    advance(
        ports.tasks(),
        &mut reopened,
        Move::Reopen(ReopenFrom::Checkpoint, at(4)),
    )
    .await?;
    eventually(|| async {
        same(
            &ports
                .listed(before(at(99_000)), &[&queued, &running, &reopened])
                .await?,
            &Vec::new(),
        )
    })
    .await?;
    for task in [&mut queued, &mut running, &mut reopened] {
        advance(ports.tasks(), task, Move::Settle(at(90_000))).await?;
    }
    ports.purge(&[&queued, &running, &reopened]).await
}

async fn limited(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    for second in 1..=12 {
        let mut task = samples::task(&agent, at(0));
        ports.tasks.create(&task).await?;
        advance(ports.tasks(), &mut task, Move::Cancel(at(second))).await?;
        tasks.push(task);
    }
    let all: Vec<&Task> = tasks.iter().collect();
    eventually(|| async { same(&ports.listed(before(at(60)), &all).await?.len(), &12) }).await?;
    let first = ports.retention.due(before(at(60)), 5).await?;
    same(&first, &tasks.iter().take(5).map(Task::id).collect())?;
    ports.purge(&all).await
}

async fn purged_is_gone(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let task = ports.completed(&agent, at(60)).await?;
    ports.is_whole(&task).await?;
    same(
        &ports.retention.purge(task.id(), before(at(61))).await?,
        &Purged::Gone,
    )?;
    ports.is_gone(&task).await?;
    let claimed = ports
        .tasks
        .claim(&agent.tenant, task.id(), lease_until(at(99)), at(61))
        .await?;
    same(&claimed, &Claimed::Unknown)?;
    eventually(|| async {
        same(
            &ports.listed(before(at(99_000)), &[&task]).await?,
            &Vec::new(),
        )
    })
    .await?;
    eventually(|| async { same(&ports.in_list(&task).await?, &false) }).await?;
    let now = at(70);
    let mut again = Task::submit(
        task.id(),
        &agent,
        samples::input("again"),
        CacheUse::default(),
        now,
    );
    same(&ports.tasks.create(&again).await?, &Created::New)?;
    same(&ports.journal.steps(task.id()).await?, &Vec::new())?;
    advance(ports.tasks(), &mut again, Move::Cancel(now)).await?;
    ports.purge(&[&again]).await
}

async fn not_purged(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let (mut living, recent) = (
        ports.stored(&agent).await?,
        ports.completed(&agent, at(60)).await?,
    );
    let mut reopened = ports.stored(&agent).await?;
    let reopening = [
        Move::Cancel(at(2)),
        Move::Reopen(ReopenFrom::Checkpoint, at(3)),
    ];
    advance_all(ports.tasks(), &mut reopened, reopening).await?;
    for (task, moment) in [
        (&living, at(99_000)),
        (&recent, at(60)),
        (&reopened, at(99_000)),
    ] {
        same(
            &ports.retention.purge(task.id(), before(moment)).await?,
            &Purged::Unchanged,
        )?;
        ports.is_whole(task).await?;
    }
    for task in [&mut living, &mut reopened] {
        advance(ports.tasks(), task, Move::Settle(at(90_000))).await?;
    }
    ports.purge(&[&living, &recent, &reopened]).await
}

async fn again_and_again(ports: RetentionPorts) -> Outcome {
    let task = ports.completed(&agent(), at(60)).await?;
    let mut purges = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (retention, id) = (Arc::clone(&ports.retention), task.id());
        purges.spawn(async move { retention.purge(id, before(at(99_000))).await });
    }
    for purged in purges.join_all().await {
        same(&purged?, &Purged::Gone)?;
    }
    ports.is_gone(&task).await?;
    same(
        &ports.retention.purge(task.id(), before(at(99_000))).await?,
        &Purged::Gone,
    )?;
    let mut never = samples::task(&agent(), at(0));
    same(
        &ports
            .retention
            .purge(never.id(), before(at(99_000)))
            .await?,
        &Purged::Gone,
    )?;
    Move::Cancel(at(1)).apply(&mut never)?;
    let late = ports.tasks.update(&never).await;
    holds(matches!(late, Err(StoreError::Conflict)), || {
        format!("{late:?}")
    })?;
    ports.is_gone(&never).await
}

async fn others_stay(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let ended = ports.completed(&agent, at(60)).await?;
    let other = ports
        .completed(&agent, at(60).plus(Duration::from_millis(1)))
        .await?;
    ports.purge(&[&ended]).await?;
    ports.is_whole(&other).await?;
    ports.purge(&[&other]).await
}
