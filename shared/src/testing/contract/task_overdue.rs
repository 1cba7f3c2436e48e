//! The rules of [`TaskStore::overdue`](crate::ports::TaskStore::overdue).
//!
//! The list is of all tenants, so these checks live in a past of their own, before everything else
//! in a shared store, and look only at their own tasks.

use super::moves::{Move, Store, advance, agent, calls, stored};
use super::{Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, LimitKind, Limits, ReopenFrom, Task, Timestamp};
use crate::ports::StoreError;
use crate::testing::samples::{self, lease_until};

pub(super) const CHECKS: &[Check<Store>] = &[
    (
        "a task is overdue from its moment on, most overdue first",
        |s| Box::pin(due_in_order(s)),
    ),
    ("a running task is overdue when its lease ends", |s| {
        Box::pin(lease_end(s))
    }),
    (
        "a task with a near deadline is overdue at its deadline",
        |s| Box::pin(near_deadline(s)),
    ),
    ("an ended task is never overdue", |s| {
        Box::pin(ended_is_never_due(s))
    }),
    (
        "a task that waits for its client is overdue when its wait expires",
        |s| Box::pin(client_wait_end(s)),
    ),
    (
        "a renewed lease, a wish to cancel and a handover move the moment",
        |s| Box::pin(moved_moments(s)),
    ),
    ("a task that was opened again is overdue again", |s| {
        Box::pin(reopened_is_due(s))
    }),
    (
        "no more than the wanted number come, the most overdue ones",
        |s| Box::pin(limited(s)),
    ),
];

/// The moment `seconds` after the start of 2001, when nothing else happens.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(978_307_200_000 + seconds * 1_000)
}

/// The agent's tasks among those overdue at the moment.
async fn overdue(store: &Store, agent: &Agent, now: Timestamp) -> Result<Vec<Task>, StoreError> {
    let all = store
        .overdue(now, 1_000)
        .await?
        .into_iter()
        .filter_map(Result::ok);
    Ok(all
        .filter(|task| task.spec().tenant == agent.tenant)
        .collect())
}

async fn expect(store: &Store, agent: &Agent, now: Timestamp, expected: &[&Task]) -> Outcome {
    let expected: Vec<Task> = expected.iter().copied().cloned().collect();
    eventually(|| async { same(&overdue(store, agent, now).await?, &expected) }).await
}

/// Ends the tasks, so that no other check meets them.
async fn end<const N: usize>(store: &Store, tasks: [Task; N]) -> Outcome {
    for mut task in tasks {
        advance(store, &mut task, Move::Settle(at(90_000))).await?;
    }
    Ok(())
}

async fn due_in_order(store: Store) -> Outcome {
    let agent = agent();
    let (second, first) = (
        stored(&store, &agent, at(3)).await?,
        stored(&store, &agent, at(1)).await?,
    );
    let third = stored(&store, &agent, at(5)).await?;
    expect(&store, &agent, at(60), &[]).await?;
    expect(&store, &agent, at(61), &[&first]).await?;
    expect(&store, &agent, at(64), &[&first, &second]).await?;
    expect(&store, &agent, at(65), &[&first, &second, &third]).await?;
    end(&store, [first, second, third]).await
}

async fn lease_end(store: Store) -> Outcome {
    let agent = agent();
    let mut task = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut task, Move::Claim(lease_until(at(200)), at(1))).await?;
    expect(&store, &agent, at(199), &[]).await?;
    expect(&store, &agent, at(200), &[&task]).await?;
    let lease = lease_until(at(300));
    store
        .claim(&agent.tenant, task.id(), lease, at(200))
        .await?;
    Move::Claim(lease, at(200)).apply(&mut task)?;
    expect(&store, &agent, at(299), &[]).await?;
    expect(&store, &agent, at(300), &[&task]).await?;
    end(&store, [task]).await
}

async fn near_deadline(store: Store) -> Outcome {
    let mut agent = agent();
    agent.config.limits = Limits::default().with_timeout_seconds(10)?;
    let task = stored(&store, &agent, at(0)).await?;
    expect(&store, &agent, at(9), &[]).await?;
    expect(&store, &agent, at(10), &[&task]).await?;
    end(&store, [task]).await
}

async fn ended_is_never_due(store: Store) -> Outcome {
    let agent = agent();
    let mut done = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut done, Move::Claim(lease_until(at(100)), at(1))).await?;
    advance(
        &store,
        &mut done,
        Move::Complete(samples::output("a"), at(2)),
    )
    .await?;
    let mut failed = stored(&store, &agent, at(0)).await?;
    advance(
        &store,
        &mut failed,
        Move::Claim(lease_until(at(100)), at(1)),
    )
    .await?;
    advance(&store, &mut failed, Move::Fail(samples::failure(), at(2))).await?;
    let mut late = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut late, Move::Settle(at(90_000))).await?;
    let mut canceled = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut canceled, Move::Cancel(at(2))).await?;
    expect(&store, &agent, at(90_000), &[]).await
}

async fn client_wait_end(store: Store) -> Outcome {
    let agent = agent();
    for wait in [
        Move::RequireInput(calls("{}"), at(2)),
        Move::Pause(LimitKind::MaxSteps, at(2)),
    ] {
        let mut task = stored(&store, &agent, at(0)).await?;
        advance(&store, &mut task, Move::Claim(lease_until(at(100)), at(1))).await?;
        advance(&store, &mut task, wait).await?;
        expect(&store, &agent, at(86_401), &[]).await?;
        expect(&store, &agent, at(86_402), &[&task]).await?;
        end(&store, [task]).await?;
    }
    Ok(())
}

async fn moved_moments(store: Store) -> Outcome {
    let agent = agent();
    let mut task = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut task, Move::Claim(lease_until(at(100)), at(1))).await?;
    advance(&store, &mut task, Move::Renew(at(150), at(50))).await?;
    expect(&store, &agent, at(149), &[]).await?;
    expect(&store, &agent, at(150), &[&task]).await?;
    advance(&store, &mut task, Move::HandOver(at(140))).await?;
    expect(&store, &agent, at(199), &[]).await?;
    expect(&store, &agent, at(200), &[&task]).await?;
    advance(
        &store,
        &mut task,
        Move::Claim(lease_until(at(250)), at(190)),
    )
    .await?;
    advance(&store, &mut task, Move::Cancel(at(191))).await?;
    expect(&store, &agent, at(249), &[]).await?;
    expect(&store, &agent, at(250), &[&task]).await?;
    end(&store, [task]).await
}

async fn reopened_is_due(store: Store) -> Outcome {
    let agent = agent();
    let mut task = stored(&store, &agent, at(0)).await?;
    advance(&store, &mut task, Move::Cancel(at(1))).await?;
    expect(&store, &agent, at(1_000), &[]).await?;
    advance(
        &store,
        &mut task,
        Move::Reopen(ReopenFrom::Checkpoint, at(1_000)),
    )
    .await?;
    expect(&store, &agent, at(1_059), &[]).await?;
    expect(&store, &agent, at(1_060), &[&task]).await?;
    end(&store, [task]).await
}

async fn limited(store: Store) -> Outcome {
    let agent = agent();
    let (first, second) = (
        stored(&store, &agent, at(0)).await?,
        stored(&store, &agent, at(1)).await?,
    );
    eventually(|| async { same(&overdue(&store, &agent, at(61)).await?.len(), &2) }).await?;
    let most_overdue = store.overdue(at(61), 1).await?;
    same(&most_overdue.len(), &1)?;
    let due_at = most_overdue
        .into_iter()
        .flatten()
        .next()
        .and_then(|task| task.due_at());
    holds(due_at.is_some() && due_at <= first.due_at(), || {
        format!("due at {due_at:?}")
    })?;
    end(&store, [first, second]).await
}
