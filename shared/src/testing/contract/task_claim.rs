//! The rules of [`TaskStore::claim`](crate::ports::TaskStore::claim).

use std::sync::Arc;

use super::moves::{Move, Store, advance, agent, calls, read, stored};
use super::{Broken, Check, Outcome, holds, same};
use crate::domain::task::{MAX_ATTEMPTS, MAX_HISTORY};
use crate::domain::{
    ClaimRefused, Lease, LimitKind, ReopenFrom, Task, TaskStatus, Timestamp, Wait, WaitReason,
};
use crate::ports::Claimed;
use crate::testing::samples::{self, after, lease_until};

pub(super) const CHECKS: &[Check<Store>] = &[
    (
        "a queued task is granted and changes as the domain says",
        |s| Box::pin(queued_is_granted(s)),
    ),
    (
        "a task that was queued again is granted under the next fence",
        |s| Box::pin(requeued_is_granted(s)),
    ),
    (
        "a task whose lease holds is refused until it ends, and changes nothing",
        |s| Box::pin(leased_is_refused(s)),
    ),
    (
        "a task whose lease ended is taken over under the next fence",
        |s| Box::pin(ended_lease_is_taken_over(s)),
    ),
    (
        "a parked task is refused until its wait is over, and granted then",
        |s| Box::pin(parked_is_had_in_time(s)),
    ),
    ("a task whose attempts are used up is refused", |s| {
        Box::pin(exhausted_is_refused(s))
    }),
    ("a task past its deadline is refused", |s| {
        Box::pin(past_deadline_is_refused(s))
    }),
    ("an ended task is refused, however it ended", |s| {
        Box::pin(ended_is_refused(s))
    }),
    (
        "a task that waits for its client is refused, even past its deadline, and granted after the answer",
        |s| Box::pin(awaiting_client_is_refused(s)),
    ),
    (
        "a task that is to be canceled is refused even if its worker is gone",
        |s| Box::pin(to_cancel_is_refused(s)),
    ),
    (
        "a task that was handed over is granted under the next fence",
        |s| Box::pin(handed_over_is_granted(s)),
    ),
    ("a lease that was renewed holds until its new end", |s| {
        Box::pin(renewed_lease_holds(s))
    }),
    (
        "a task that was opened again is granted, with all its attempts",
        |s| Box::pin(reopened_is_granted(s)),
    ),
    (
        "the record of a task has the newest changes only, claims included",
        |s| Box::pin(long_history(s)),
    ),
    ("an unknown task and another tenant's are unknown", |s| {
        Box::pin(unknown_is_unknown(s))
    }),
    (
        "the worker that holds the lease is granted it again, unchanged",
        |s| Box::pin(holder_again(s)),
    ),
    ("of concurrent claims exactly one is granted", |s| {
        Box::pin(one_of_many(s))
    }),
];

async fn claim(
    store: &Store,
    task: &Task,
    lease: Lease,
    now: Timestamp,
) -> Result<Claimed, Broken> {
    Ok(store
        .claim(&task.spec().tenant, task.id(), lease, now)
        .await?)
}

/// Claims, expects what the domain makes of `task` and makes `task` that.
async fn granted(store: &Store, task: &mut Task, lease: Lease, now: Timestamp) -> Outcome {
    let claimed = claim(store, task, lease, now).await?;
    task.claim(lease, now)?;
    same(&claimed, &Claimed::Granted(Box::new(task.clone())))?;
    same(&read(store, task).await?, &Some(task.clone()))
}

/// Claims, expects the refusal and `task` unchanged.
async fn refused(store: &Store, task: &Task, now: Timestamp, reason: ClaimRefused) -> Outcome {
    let claimed = claim(store, task, lease_until(after(9_000)), now).await?;
    same(&claimed, &Claimed::Refused(Box::new(task.clone()), reason))?;
    same(&read(store, task).await?, &Some(task.clone()))
}

async fn queued_is_granted(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await
}

async fn requeued_is_granted(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    advance(&store, &mut task, Move::Settle(after(61))).await?;
    granted(&store, &mut task, lease_until(after(122)), after(62)).await
}

async fn leased_is_refused(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    let until = ClaimRefused::Leased { until: after(61) };
    refused(&store, &task, after(1), until).await?;
    refused(
        &store,
        &task,
        Timestamp::from_millis(after(61).as_millis() - 1),
        until,
    )
    .await
}

async fn ended_lease_is_taken_over(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    granted(&store, &mut task, lease_until(after(121)), after(61)).await
}

async fn parked_is_had_in_time(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    let wait = Wait {
        until: after(30),
        reason: WaitReason::Breaker,
    };
    advance(&store, &mut task, Move::Park(wait, after(2))).await?;
    let early = Timestamp::from_millis(after(30).as_millis() - 1);
    refused(
        &store,
        &task,
        early,
        ClaimRefused::Waiting { until: after(30) },
    )
    .await?;
    granted(&store, &mut task, lease_until(after(91)), after(30)).await
}

async fn exhausted_is_refused(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    for attempt in 1..=MAX_ATTEMPTS {
        granted(
            &store,
            &mut task,
            lease_until(after(attempt * 10)),
            after(attempt * 10 - 10),
        )
        .await?;
    }
    refused(
        &store,
        &task,
        after(MAX_ATTEMPTS * 10),
        ClaimRefused::Overdue,
    )
    .await
}

async fn past_deadline_is_refused(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    refused(&store, &task, task.deadline(), ClaimRefused::Overdue).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    refused(&store, &task, task.deadline(), ClaimRefused::Overdue).await
}

async fn ended_is_refused(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    let lease = lease_until(after(61));
    granted(&store, &mut task, lease, after(1)).await?;
    advance(
        &store,
        &mut task,
        Move::Complete(samples::output("done"), after(2)),
    )
    .await?;
    refused(
        &store,
        &task,
        after(3),
        ClaimRefused::Finished(TaskStatus::Completed),
    )
    .await?;
    let holder = claim(&store, &task, lease, after(3)).await?;
    same(
        &holder,
        &Claimed::Refused(
            Box::new(task),
            ClaimRefused::Finished(TaskStatus::Completed),
        ),
    )?;
    for end in [Move::Cancel(after(2)), Move::Settle(after(1_800))] {
        let mut task = stored(&store, &agent(), after(0)).await?;
        advance(&store, &mut task, end).await?;
        refused(
            &store,
            &task,
            after(3),
            ClaimRefused::Finished(task.status()),
        )
        .await?;
    }
    Ok(())
}

async fn awaiting_client_is_refused(store: Store) -> Outcome {
    let waits = [
        (
            Move::RequireInput(calls("{}"), after(2)),
            Move::Answer(after(5_000)),
        ),
        (
            Move::Pause(LimitKind::MaxSteps, after(2)),
            Move::Resume(after(5_000)),
        ),
    ];
    for (wait, go_on) in waits {
        let mut task = stored(&store, &agent(), after(0)).await?;
        granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
        advance(&store, &mut task, wait).await?;
        for now in [after(3), task.deadline(), after(5_000)] {
            refused(
                &store,
                &task,
                now,
                ClaimRefused::AwaitsClient(task.status()),
            )
            .await?;
        }
        advance(&store, &mut task, go_on).await?;
        granted(&store, &mut task, lease_until(after(5_061)), after(5_001)).await?;
    }
    Ok(())
}

async fn to_cancel_is_refused(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    advance(&store, &mut task, Move::Cancel(after(2))).await?;
    refused(
        &store,
        &task,
        after(3),
        ClaimRefused::Leased { until: after(61) },
    )
    .await?;
    refused(&store, &task, after(61), ClaimRefused::Overdue).await?;
    advance(&store, &mut task, Move::EndCanceled(after(62))).await?;
    refused(
        &store,
        &task,
        after(63),
        ClaimRefused::Finished(TaskStatus::Canceled),
    )
    .await
}

async fn handed_over_is_granted(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    for second in [1, 3, 5, 7, 9, 11] {
        granted(&store, &mut task, lease_until(after(61)), after(second)).await?;
        advance(&store, &mut task, Move::HandOver(after(second + 1))).await?;
    }
    same(&(task.fence(), task.progress().hops), &(6, 6))
}

async fn renewed_lease_holds(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    granted(&store, &mut task, lease_until(after(61)), after(1)).await?;
    advance(&store, &mut task, Move::Renew(after(90), after(30))).await?;
    refused(
        &store,
        &task,
        after(89),
        ClaimRefused::Leased { until: after(90) },
    )
    .await?;
    granted(&store, &mut task, lease_until(after(150)), after(90)).await
}

async fn reopened_is_granted(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    for attempt in 1..=MAX_ATTEMPTS {
        granted(
            &store,
            &mut task,
            lease_until(after(attempt * 10)),
            after(attempt * 10 - 10),
        )
        .await?;
    }
    advance(&store, &mut task, Move::Settle(after(60))).await?;
    refused(
        &store,
        &task,
        after(61),
        ClaimRefused::Finished(TaskStatus::Failed),
    )
    .await?;
    advance(
        &store,
        &mut task,
        Move::Reopen(ReopenFrom::Start { last_step: 3 }, after(9_000)),
    )
    .await?;
    granted(&store, &mut task, lease_until(after(9_061)), after(9_001)).await?;
    same(&(task.attempts(), task.progress().base), &(1, 3))
}

async fn long_history(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    for second in (1..=60).map(|round| round * 10) {
        granted(
            &store,
            &mut task,
            lease_until(after(second + 10)),
            after(second),
        )
        .await?;
        advance(&store, &mut task, Move::HandOver(after(second))).await?;
        for attempt in 1..=MAX_ATTEMPTS {
            let end = after(second + attempt * 10);
            granted(
                &store,
                &mut task,
                lease_until(end),
                after(second + attempt * 10 - 10),
            )
            .await?;
            let kept = task.progress().history.recent().len();
            holds(kept <= MAX_HISTORY, || format!("{kept} changes"))?;
        }
        advance(
            &store,
            &mut task,
            Move::HandOver(after(second + MAX_ATTEMPTS * 10)),
        )
        .await?;
    }
    same(&task.progress().history.first(), &465)
}

async fn unknown_is_unknown(store: Store) -> Outcome {
    let task = samples::task(&agent(), after(0));
    let lease = lease_until(after(61));
    same(
        &claim(&store, &task, lease, after(1)).await?,
        &Claimed::Unknown,
    )?;
    same(&read(&store, &task).await?, &None)?;
    store.create(&task).await?;
    same(
        &store
            .claim(&samples::fresh_tenant(), task.id(), lease, after(1))
            .await?,
        &Claimed::Unknown,
    )?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn holder_again(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    let lease = lease_until(after(61));
    granted(&store, &mut task, lease, after(1)).await?;
    same(
        &claim(&store, &task, lease, after(1)).await?,
        &Claimed::Granted(Box::new(task.clone())),
    )?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn one_of_many(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, task) = (Arc::clone(&store), task.clone());
        claims.spawn(async move { claim(&store, &task, lease_until(after(61)), after(1)).await });
    }
    let (mut winners, mut seen_by_losers) = (Vec::new(), Vec::new());
    for claimed in claims.join_all().await {
        match claimed? {
            Claimed::Granted(task) => winners.push(*task),
            Claimed::Refused(task, reason) => seen_by_losers.push((*task, reason)),
            Claimed::Unknown => return Err("the task is unknown".into()),
        }
    }
    let [winner] = winners.as_slice() else {
        return Err(format!("{} were granted", winners.len()).into());
    };
    same(&winner.fence(), &1)?;
    same(
        &seen_by_losers,
        &vec![(winner.clone(), ClaimRefused::Leased { until: after(61) }); 7],
    )
}
