//! The rules of [`Retention`](crate::ports::Retention) for tasks that a client deleted.

use super::moves::{Move, advance, agent, read};
use super::retention_ports::{RetentionPorts, at, before, key};
use super::{Outcome, eventually, holds, same};
use crate::domain::{ReopenFrom, ReservationId, StepKind, Task, TaskId, TaskStatus};
use crate::ports::{Claimed, Created, Deletion, Horizon, Purged, Reservation, StoreError};
use crate::testing::samples::{self, lease_until};

pub(super) async fn deleted_is_nobodys(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let mut task = samples::task(&agent, at(0));
    ports.tasks.create(&task).await?;
    advance(ports.tasks(), &mut task, Move::Cancel(at(60))).await?;
    eventually(|| async { same(&ports.in_list(&task).await?, &true) }).await?;
    ports.delete(&task).await?;
    same(&read(ports.tasks(), &task).await?, &None)?;
    let claimed = ports
        .tasks
        .claim(&agent.tenant, task.id(), lease_until(at(99)), at(61))
        .await?;
    same(&claimed, &Claimed::Unknown)?;
    let mut reopened = task.clone();
    Move::Reopen(ReopenFrom::Checkpoint, at(61)).apply(&mut reopened)?;
    let late = ports.tasks.update(&reopened).await;
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
    same(&ports.tasks.create(&again).await?, &Created::Deleted)?;
    let stranger = samples::agent(&samples::fresh_tenant());
    let foreign = Task::submit(
        task.id(),
        &stranger,
        samples::input("again"),
        task.spec().cache_use,
        at(62),
    );
    let foreign = ports.tasks.create(&foreign).await;
    holds(matches!(foreign, Err(StoreError::Conflict)), || {
        format!("{foreign:?}")
    })?;
    ports.delete(&task).await?;
    eventually(|| async { same(&ports.in_list(&task).await?, &false) }).await?;
    ports.purge(&[&task]).await?;
    ports.is_gone(&task).await?;
    same(
        &ports.tasks.delete(&agent.tenant, task.id()).await?,
        &Deletion::Unknown,
    )?;
    same(&ports.tasks.create(&again).await?, &Created::New)?;
    let mut again = again;
    advance(ports.tasks(), &mut again, Move::Cancel(at(70))).await?;
    ports.purge(&[&again]).await
}

pub(super) async fn deleted_is_due(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let (deleted, other) = (
        ports.completed(&agent, at(60)).await?,
        ports.completed(&agent, at(50)).await?,
    );
    let for_ever = Horizon {
        ended_before: None,
        quiet_before: at(61),
    };
    let of = [&deleted, &other];
    same(&ports.listed(for_ever, &of).await?, &Vec::new())?;
    same(
        &ports.retention.purge(other.id(), for_ever).await?,
        &Purged::Unchanged,
    )?;
    ports.is_whole(&other).await?;
    ports.delete(&deleted).await?;
    eventually(|| async { same(&ports.listed(for_ever, &of).await?, &vec![deleted.id()]) }).await?;
    eventually(|| async {
        same(
            &ports.listed(before(at(55)), &of).await?,
            &vec![deleted.id(), other.id()],
        )
    })
    .await?;
    same(
        &ports.retention.purge(deleted.id(), for_ever).await?,
        &Purged::Gone,
    )?;
    ports.is_gone(&deleted).await?;
    eventually(|| async { same(&ports.listed(for_ever, &of).await?, &Vec::new()) }).await?;
    ports.purge(&[&other]).await
}

pub(super) async fn late_writes_go(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let task = ports.completed(&agent, at(60)).await?;
    let quiet_before = |moment| Horizon {
        ended_before: None,
        quiet_before: moment,
    };
    ports.delete(&task).await?;
    for _ in 0..2 {
        same(
            &ports
                .retention
                .purge(task.id(), quiet_before(at(60)))
                .await?,
            &Purged::Emptied,
        )?;
        ports.is_gone(&task).await?;
        eventually(|| async {
            same(
                &ports.listed(quiet_before(at(60)), &[&task]).await?,
                &Vec::new(),
            )
        })
        .await?;
    }
    write_late(&ports, &task).await?;
    let again = Task::submit(
        task.id(),
        &agent,
        samples::input("again"),
        task.spec().cache_use,
        at(62),
    );
    same(&ports.tasks.create(&again).await?, &Created::Deleted)?;
    eventually(|| async {
        same(
            &ports.listed(quiet_before(at(61)), &[&task]).await?,
            &vec![task.id()],
        )
    })
    .await?;
    same(
        &ports
            .retention
            .purge(task.id(), quiet_before(at(61)))
            .await?,
        &Purged::Gone,
    )?;
    ports.is_gone(&task).await?;
    eventually(|| async {
        same(
            &ports.listed(before(at(99_000)), &[&task]).await?,
            &Vec::new(),
        )
    })
    .await
}

/// A worker that does not know that its task is deleted records a step, its answer and its cost.
async fn write_late(ports: &RetentionPorts, task: &Task) -> Outcome {
    ports.keep_answer(task).await?;
    let mut step = samples::step(task.id(), 32, &samples::noise(512 * 1_024, 4));
    if let StepKind::ModelCall { answer, .. } = &mut step.kind {
        answer.cache_key = Some(Box::new(key(task)));
    }
    ports.journal.append(&step).await?;
    let reservation = Reservation {
        id: ReservationId::new(at(0)),
        amount_micro_usd: 7,
        expires_at: at(90_000),
    };
    ports.reserve(task, &reservation).await
}

pub(super) async fn not_deleted(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    let mut task = ports.stored(&agent).await?;
    let delete = async |tenant| ports.tasks.delete(tenant, task.id()).await;
    same(
        &delete(&agent.tenant).await?,
        &Deletion::NotEnded(TaskStatus::Queued),
    )?;
    let stranger = samples::fresh_tenant();
    same(&delete(&stranger).await?, &Deletion::Unknown)?;
    same(
        &ports
            .tasks
            .delete(&agent.tenant, TaskId::new(at(0)))
            .await?,
        &Deletion::Unknown,
    )?;
    ports.is_whole(&task).await?;
    advance(
        ports.tasks(),
        &mut task,
        Move::Claim(lease_until(at(60)), at(1)),
    )
    .await?;
    same(
        &ports.tasks.delete(&agent.tenant, task.id()).await?,
        &Deletion::NotEnded(TaskStatus::Running),
    )?;
    advance(
        ports.tasks(),
        &mut task,
        Move::Complete(samples::output("a"), at(2)),
    )
    .await?;
    same(
        &ports.tasks.delete(&stranger, task.id()).await?,
        &Deletion::Unknown,
    )?;
    ports.is_whole(&task).await?;
    ports.delete(&task).await?;
    same(
        &ports.tasks.delete(&stranger, task.id()).await?,
        &Deletion::Unknown,
    )?;
    ports.purge(&[&task]).await
}

pub(super) async fn deleted_or_reopened(ports: RetentionPorts) -> Outcome {
    let agent = agent();
    for _ in 0..8 {
        let mut task = samples::task(&agent, at(0));
        ports.tasks.create(&task).await?;
        advance(ports.tasks(), &mut task, Move::Cancel(at(1))).await?;
        let mut reopened = task.clone();
        Move::Reopen(ReopenFrom::Checkpoint, at(2)).apply(&mut reopened)?;
        let deletion = ports.tasks.delete(&agent.tenant, task.id());
        let (deletion, update) = tokio::join!(deletion, ports.tasks.update(&reopened));
        match (deletion?, update) {
            (Deletion::Begun, Err(StoreError::Conflict)) => {
                same(&read(ports.tasks(), &task).await?, &None)?;
            }
            (Deletion::NotEnded(TaskStatus::Queued), Ok(())) => {
                same(&read(ports.tasks(), &task).await?, &Some(reopened.clone()))?;
                advance(ports.tasks(), &mut reopened, Move::Cancel(at(3))).await?;
            }
            other => return Err(format!("{other:?}").into()),
        }
        ports.purge(&[&task]).await?;
    }
    Ok(())
}
