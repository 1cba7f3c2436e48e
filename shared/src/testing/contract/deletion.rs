//! The rules of [`Retention`] for tasks that a client deleted.

use super::kept::{Kept, at, before, key};
use super::moves::{Move, advance, agent, read};
use super::{Outcome, eventually, holds, same};
use crate::domain::{ReopenFrom, ReservationId, StepKind, Task, TaskId, TaskStatus};
use crate::ports::{Claimed, Created, Deletion, Horizon, Purged, Reservation, StoreError};
use crate::testing::samples::{self, lease_until};

pub(super) async fn deleted_is_nobodys(kept: Kept) -> Outcome {
    let agent = agent();
    let mut task = samples::task(&agent, at(0));
    kept.tasks.create(&task).await?;
    advance(kept.tasks(), &mut task, Move::Cancel(at(60))).await?;
    eventually(|| async { same(&kept.in_list(&task).await?, &true) }).await?;
    kept.delete(&task).await?;
    same(&read(kept.tasks(), &task).await?, &None)?;
    let claimed = kept
        .tasks
        .claim(&agent.tenant, task.id(), lease_until(at(99)), at(61))
        .await?;
    same(&claimed, &Claimed::Unknown)?;
    let mut reopened = task.clone();
    Move::Reopen(ReopenFrom::Checkpoint, at(61)).apply(&mut reopened)?;
    let late = kept.tasks.update(&reopened).await;
    holds(matches!(late, Err(StoreError::Conflict)), || {
        format!("{late:?}")
    })?;
    let again = Task::submit(
        task.id(),
        &agent,
        samples::input("again"),
        task.spec().cache_use,
        at(62),
    );
    same(&kept.tasks.create(&again).await?, &Created::Deleted)?;
    let stranger = samples::agent(&samples::fresh_tenant());
    let foreign = Task::submit(
        task.id(),
        &stranger,
        samples::input("again"),
        task.spec().cache_use,
        at(62),
    );
    let foreign = kept.tasks.create(&foreign).await;
    holds(matches!(foreign, Err(StoreError::Conflict)), || {
        format!("{foreign:?}")
    })?;
    kept.delete(&task).await?;
    eventually(|| async { same(&kept.in_list(&task).await?, &false) }).await?;
    kept.purge(&[&task]).await?;
    kept.is_gone(&task).await?;
    same(
        &kept.tasks.delete(&agent.tenant, task.id()).await?,
        &Deletion::Unknown,
    )?;
    same(&kept.tasks.create(&again).await?, &Created::New)?;
    let mut again = again;
    advance(kept.tasks(), &mut again, Move::Cancel(at(70))).await?;
    kept.purge(&[&again]).await
}

pub(super) async fn deleted_is_due(kept: Kept) -> Outcome {
    let agent = agent();
    let (deleted, other) = (
        kept.completed(&agent, at(60)).await?,
        kept.completed(&agent, at(50)).await?,
    );
    let for_ever = Horizon {
        ended_before: None,
        quiet_before: at(61),
    };
    let of = [&deleted, &other];
    same(&kept.listed(for_ever, &of).await?, &Vec::new())?;
    same(
        &kept.retention.purge(other.id(), for_ever).await?,
        &Purged::Kept,
    )?;
    kept.is_whole(&other).await?;
    kept.delete(&deleted).await?;
    eventually(|| async { same(&kept.listed(for_ever, &of).await?, &vec![deleted.id()]) }).await?;
    eventually(|| async {
        same(
            &kept.listed(before(at(55)), &of).await?,
            &vec![deleted.id(), other.id()],
        )
    })
    .await?;
    same(
        &kept.retention.purge(deleted.id(), for_ever).await?,
        &Purged::Gone,
    )?;
    kept.is_gone(&deleted).await?;
    eventually(|| async { same(&kept.listed(for_ever, &of).await?, &Vec::new()) }).await?;
    kept.purge(&[&other]).await
}

pub(super) async fn late_writes_go(kept: Kept) -> Outcome {
    let agent = agent();
    let task = kept.completed(&agent, at(60)).await?;
    let quiet_before = |moment| Horizon {
        ended_before: None,
        quiet_before: moment,
    };
    kept.delete(&task).await?;
    for _ in 0..2 {
        same(
            &kept
                .retention
                .purge(task.id(), quiet_before(at(60)))
                .await?,
            &Purged::Emptied,
        )?;
        kept.is_gone(&task).await?;
        eventually(|| async {
            same(
                &kept.listed(quiet_before(at(60)), &[&task]).await?,
                &Vec::new(),
            )
        })
        .await?;
    }
    write_late(&kept, &task).await?;
    let again = Task::submit(
        task.id(),
        &agent,
        samples::input("again"),
        task.spec().cache_use,
        at(62),
    );
    same(&kept.tasks.create(&again).await?, &Created::Deleted)?;
    eventually(|| async {
        same(
            &kept.listed(quiet_before(at(61)), &[&task]).await?,
            &vec![task.id()],
        )
    })
    .await?;
    same(
        &kept
            .retention
            .purge(task.id(), quiet_before(at(61)))
            .await?,
        &Purged::Gone,
    )?;
    kept.is_gone(&task).await?;
    eventually(|| async {
        same(
            &kept.listed(before(at(99_000)), &[&task]).await?,
            &Vec::new(),
        )
    })
    .await
}

/// A worker that does not know that its task is deleted records a step, its answer and its cost.
async fn write_late(kept: &Kept, task: &Task) -> Outcome {
    kept.keep_answer(task).await?;
    let mut step = samples::step(task.id(), 32, &samples::noise(512 * 1_024, 4));
    if let StepKind::ModelCall { answer, .. } = &mut step.kind {
        answer.kept_as = Some(Box::new(key(task)));
    }
    kept.journal.append(&step).await?;
    let reservation = Reservation {
        id: ReservationId::new(at(0)),
        amount_micro_usd: 7,
        expires_at: at(90_000),
    };
    kept.reserve(task, &reservation).await
}

pub(super) async fn not_deleted(kept: Kept) -> Outcome {
    let agent = agent();
    let mut task = kept.stored(&agent).await?;
    let delete = async |tenant| kept.tasks.delete(tenant, task.id()).await;
    same(
        &delete(&agent.tenant).await?,
        &Deletion::NotEnded(TaskStatus::Queued),
    )?;
    let stranger = samples::fresh_tenant();
    same(&delete(&stranger).await?, &Deletion::Unknown)?;
    same(
        &kept.tasks.delete(&agent.tenant, TaskId::new(at(0))).await?,
        &Deletion::Unknown,
    )?;
    kept.is_whole(&task).await?;
    advance(
        kept.tasks(),
        &mut task,
        Move::Claim(lease_until(at(60)), at(1)),
    )
    .await?;
    same(
        &kept.tasks.delete(&agent.tenant, task.id()).await?,
        &Deletion::NotEnded(TaskStatus::Running),
    )?;
    advance(
        kept.tasks(),
        &mut task,
        Move::Complete(samples::output("a"), at(2)),
    )
    .await?;
    same(
        &kept.tasks.delete(&stranger, task.id()).await?,
        &Deletion::Unknown,
    )?;
    kept.is_whole(&task).await?;
    kept.delete(&task).await?;
    same(
        &kept.tasks.delete(&stranger, task.id()).await?,
        &Deletion::Unknown,
    )?;
    kept.purge(&[&task]).await
}

pub(super) async fn deleted_or_reopened(kept: Kept) -> Outcome {
    let agent = agent();
    for _ in 0..8 {
        let mut task = samples::task(&agent, at(0));
        kept.tasks.create(&task).await?;
        advance(kept.tasks(), &mut task, Move::Cancel(at(1))).await?;
        let mut reopened = task.clone();
        Move::Reopen(ReopenFrom::Checkpoint, at(2)).apply(&mut reopened)?;
        let deletion = kept.tasks.delete(&agent.tenant, task.id());
        let (deletion, update) = tokio::join!(deletion, kept.tasks.update(&reopened));
        match (deletion?, update) {
            (Deletion::Begun, Err(StoreError::Conflict)) => {
                same(&read(kept.tasks(), &task).await?, &None)?;
            }
            (Deletion::NotEnded(TaskStatus::Queued), Ok(())) => {
                same(&read(kept.tasks(), &task).await?, &Some(reopened.clone()))?;
                advance(kept.tasks(), &mut reopened, Move::Cancel(at(3))).await?;
            }
            other => return Err(format!("{other:?}").into()),
        }
        kept.purge(&[&task]).await?;
    }
    Ok(())
}
