//! The rules of [`Retention`].
//!
//! The list is of all tenants, so these checks live in a past of their own, before everything else
//! in a shared store.

use std::sync::Arc;
use std::time::Duration;

use super::moves::{Move, Store, advance, advance_all, agent, read};
use super::{Broken, Check, Outcome, eventually, holds, same};
use crate::domain::{
    Agent, AnswerKey, CacheUse, ModelAnswer, ReopenFrom, ReservationId, Spend, StepKind, Task,
    TaskId, TaskStatus, Timestamp, ToolRunner, WorkerId,
};
use crate::ports::{
    Allowance, AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, Asking, Budget, BudgetKey,
    Budgets, Claimed, Created, Deletion, Horizon, Journal, KeptAnswer, PageRequest, Purged,
    Reservation, Retention, StoreError, TaskFilter, TaskStore,
};
use crate::testing::samples::{self, lease_until};

pub(super) const CHECKS: &[Check<Kept>] = &[
    (
        "an ended task is due from its end on, whatever its end, the first to end first",
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
        "a task that has not ended, or not long ago, or was opened again, is kept whole",
        |k| Box::pin(kept_whole(k)),
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
    ("a deleted task is due however long tasks are kept", |k| {
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

/// Where all that belongs to a task is kept.
#[derive(Clone)]
pub struct Kept {
    /// The tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// Their journals.
    pub journal: Arc<dyn Journal>,
    /// Their budgets.
    pub budgets: Arc<dyn Budgets>,
    /// The cached answers that they used.
    pub answers: Arc<dyn AnswerCache>,
    /// What purges them.
    pub retention: Arc<dyn Retention>,
}

/// The moment `seconds` after the start of 2002, when nothing else happens.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_009_843_200_000 + seconds * 1_000)
}

/// Tasks that ended before this moment are deleted, and nobody works for them any more.
const fn before(moment: Timestamp) -> Horizon {
    Horizon {
        ended_before: Some(moment),
        quiet_before: moment,
    }
}

/// The key of an answer that only this task uses.
fn key(task: &Task) -> AnswerKey {
    let id = task.id();
    AnswerKey::new(
        [id.as_bytes().as_slice(), id.as_bytes()]
            .concat()
            .try_into()
            .unwrap_or_default(),
    )
}

impl Kept {
    fn tasks(&self) -> &Store {
        &self.tasks
    }

    /// A new task with a large input, whose budget is reserved from, and whose journal has small
    /// and large steps, one of them with a cached answer.
    async fn stored(&self, agent: &Agent) -> Result<Task, Broken> {
        let task = samples::task_with_input(agent, &samples::noise(64 * 1_024, 3), at(0));
        self.tasks.create(&task).await?;
        let reservation = Reservation {
            id: ReservationId::new(at(0)),
            amount_micro_usd: 7,
            expires_at: at(90_000),
        };
        self.reserve(&task, &reservation).await?;
        self.keep_answer(&task).await?;
        let mut first = samples::step(task.id(), 1, "Paris");
        if let StepKind::ModelCall { answer, .. } = &mut first.kind {
            answer.kept_as = Some(Box::new(key(&task)));
        }
        self.journal.append(&first).await?;
        for step in 2..=30 {
            self.journal
                .append(&samples::step(task.id(), step, "Paris"))
                .await?;
        }
        let text = samples::noise(1_024 * 1_024, 1);
        self.journal
            .append(&samples::tool_step(
                task.id(),
                31,
                ToolRunner::Platform,
                &text,
            ))
            .await?;
        Ok(task)
    }

    async fn reserve(&self, task: &Task, reservation: &Reservation) -> Outcome {
        self.budgets
            .reserve(
                &BudgetKey::Task(task.id()),
                reservation,
                Allowance {
                    cap_micro_usd: 10,
                    spent_before_micro_usd: 0,
                },
                at(0),
            )
            .await?;
        Ok(())
    }

    /// Keeps a large answer, and the claim to ask for a newer one.
    async fn keep_answer(&self, task: &Task) -> Outcome {
        let answer = ModelAnswer {
            spend: Spend::default(),
            ..samples::answer(&samples::noise(64 * 1_024, 3))
        };
        let kept = KeptAnswer {
            answer,
            made_at: at(0),
            fresh_until: at(1),
            ends_at: at(99_000),
        };
        self.answers.replace(&key(task), &kept).await?;
        let (owner, now, until) = (WorkerId::new(at(2)), at(2), at(99_000));
        let claim = AnswerClaim {
            owner,
            now,
            until,
            not_before: at(0),
            forget_at: at(99_000),
        };
        same(
            &self.answers.claim(&key(task), &claim).await?,
            &AnswerClaimed::Granted,
        )
    }

    /// A task with a long history that ends at this moment with a large output.
    async fn completed(&self, agent: &Agent, end: Timestamp) -> Result<Task, Broken> {
        let mut task = self.stored(agent).await?;
        for _ in 0..20 {
            let claim = Move::Claim(lease_until(end), at(1));
            advance_all(self.tasks(), &mut task, [claim, Move::HandOver(at(1))]).await?;
        }
        let output = samples::output(&samples::noise(512 * 1_024, 2));
        let claim = Move::Claim(lease_until(end), at(1));
        advance_all(
            self.tasks(),
            &mut task,
            [claim, Move::Complete(output, end)],
        )
        .await?;
        Ok(task)
    }

    /// Those of these tasks that are due.
    async fn listed(&self, horizon: Horizon, of: &[&Task]) -> Result<Vec<TaskId>, StoreError> {
        let all = self.retention.due(horizon, 1_000).await?;
        Ok(all
            .into_iter()
            .filter(|id| of.iter().any(|task| task.id() == *id))
            .collect())
    }

    async fn purge(&self, tasks: &[&Task]) -> Outcome {
        for task in tasks {
            same(
                &self.retention.purge(task.id(), before(at(99_000))).await?,
                &Purged::Gone,
            )?;
        }
        Ok(())
    }

    /// All that is kept of the task, beside itself: how many steps, its budget, and its cached
    /// answer.
    async fn belongings(&self, task: &Task) -> Result<(usize, Budget, AnswerSeen), StoreError> {
        let steps = self.journal.steps(task.id()).await?.len();
        let budget = self
            .budgets
            .budget(&BudgetKey::Task(task.id()), at(0))
            .await?;
        Ok((
            steps,
            budget,
            self.answers.look(&key(task), at(2), at(0)).await?,
        ))
    }

    async fn has_nothing(&self, task: &Task) -> Outcome {
        let seen = AnswerSeen {
            kept: None,
            asking: Asking::Nobody,
        };
        same(&self.belongings(task).await?, &(0, Budget::default(), seen))
    }

    async fn in_list(&self, task: &Task) -> Result<bool, StoreError> {
        let page = PageRequest {
            limit: 10,
            after: None,
        };
        let list = self
            .tasks
            .list(&task.spec().tenant, &TaskFilter::default(), &page)
            .await?;
        Ok(list.entries.iter().any(|entry| entry.id == task.id()))
    }

    async fn delete(&self, task: &Task) -> Outcome {
        same(
            &self.tasks.delete(&task.spec().tenant, task.id()).await?,
            &Deletion::Begun,
        )
    }

    /// How many changes have left the task's history, and whether its input is apart.
    async fn details(&self, task: &Task) -> Result<(usize, bool), StoreError> {
        let earlier = self
            .tasks
            .earlier_history(task.id(), 0..u32::MAX, 1_000)
            .await?;
        Ok((earlier.len(), self.tasks.input(task.id()).await?.is_some()))
    }

    async fn is_whole(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &Some(task.clone()))?;
        let (steps, budget, answer) = self.belongings(task).await?;
        same(
            &(steps, budget.committed_micro_usd, answer.kept.is_some()),
            &(31, 7, true),
        )?;
        same(
            &self.details(task).await?,
            &(task.progress().history.first() as usize, true),
        )
    }

    async fn is_gone(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &None)?;
        self.has_nothing(task).await?;
        same(&self.details(task).await?, &(0, false))
    }
}

async fn listed(kept: Kept) -> Outcome {
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
        kept.tasks.create(&task).await?;
        advance_all(kept.tasks(), &mut task, end).await?;
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
        eventually(|| async { same(&kept.listed(before(at(second)), &of).await?, &expected) })
            .await?;
    }
    kept.purge(&of).await
}

async fn living_is_not_listed(kept: Kept) -> Outcome {
    let agent = agent();
    let [mut queued, mut running, mut reopened] =
        [0, 1, 2].map(|second| samples::task(&agent, at(second)));
    for task in [&queued, &running, &reopened] {
        kept.tasks.create(task).await?;
    }
    advance(
        kept.tasks(),
        &mut running,
        Move::Claim(lease_until(at(60)), at(1)),
    )
    .await?;
    advance(kept.tasks(), &mut reopened, Move::Cancel(at(3))).await?;
    eventually(|| async {
        same(
            &kept.listed(before(at(90)), &[&reopened]).await?,
            &vec![reopened.id()],
        )
    })
    .await?;
    advance(
        kept.tasks(),
        &mut reopened,
        Move::Reopen(ReopenFrom::Checkpoint, at(4)),
    )
    .await?;
    eventually(|| async {
        same(
            &kept
                .listed(before(at(99_000)), &[&queued, &running, &reopened])
                .await?,
            &Vec::new(),
        )
    })
    .await?;
    for task in [&mut queued, &mut running, &mut reopened] {
        advance(kept.tasks(), task, Move::Settle(at(90_000))).await?;
    }
    kept.purge(&[&queued, &running, &reopened]).await
}

async fn limited(kept: Kept) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    for second in 1..=12 {
        let mut task = samples::task(&agent, at(0));
        kept.tasks.create(&task).await?;
        advance(kept.tasks(), &mut task, Move::Cancel(at(second))).await?;
        tasks.push(task);
    }
    let all: Vec<&Task> = tasks.iter().collect();
    eventually(|| async { same(&kept.listed(before(at(60)), &all).await?.len(), &12) }).await?;
    let first = kept.retention.due(before(at(60)), 5).await?;
    same(&first, &tasks.iter().take(5).map(Task::id).collect())?;
    kept.purge(&all).await
}

async fn purged_is_gone(kept: Kept) -> Outcome {
    let agent = agent();
    let task = kept.completed(&agent, at(60)).await?;
    kept.is_whole(&task).await?;
    same(
        &kept.retention.purge(task.id(), before(at(61))).await?,
        &Purged::Gone,
    )?;
    kept.is_gone(&task).await?;
    let claimed = kept
        .tasks
        .claim(&agent.tenant, task.id(), lease_until(at(99)), at(61))
        .await?;
    same(&claimed, &Claimed::Unknown)?;
    eventually(|| async {
        same(
            &kept.listed(before(at(99_000)), &[&task]).await?,
            &Vec::new(),
        )
    })
    .await?;
    eventually(|| async { same(&kept.in_list(&task).await?, &false) }).await?;
    let now = at(70);
    let mut again = Task::submit(
        task.id(),
        &agent,
        samples::input("again"),
        CacheUse::default(),
        now,
    );
    same(&kept.tasks.create(&again).await?, &Created::New)?;
    same(&kept.journal.steps(task.id()).await?, &Vec::new())?;
    advance(kept.tasks(), &mut again, Move::Cancel(now)).await?;
    kept.purge(&[&again]).await
}

async fn kept_whole(kept: Kept) -> Outcome {
    let agent = agent();
    let (mut living, recent) = (
        kept.stored(&agent).await?,
        kept.completed(&agent, at(60)).await?,
    );
    let mut reopened = kept.stored(&agent).await?;
    let reopening = [
        Move::Cancel(at(2)),
        Move::Reopen(ReopenFrom::Checkpoint, at(3)),
    ];
    advance_all(kept.tasks(), &mut reopened, reopening).await?;
    for (task, moment) in [
        (&living, at(99_000)),
        (&recent, at(60)),
        (&reopened, at(99_000)),
    ] {
        same(
            &kept.retention.purge(task.id(), before(moment)).await?,
            &Purged::Kept,
        )?;
        kept.is_whole(task).await?;
    }
    for task in [&mut living, &mut reopened] {
        advance(kept.tasks(), task, Move::Settle(at(90_000))).await?;
    }
    kept.purge(&[&living, &recent, &reopened]).await
}

async fn again_and_again(kept: Kept) -> Outcome {
    let task = kept.completed(&agent(), at(60)).await?;
    let mut purges = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (retention, id) = (Arc::clone(&kept.retention), task.id());
        purges.spawn(async move { retention.purge(id, before(at(99_000))).await });
    }
    for purged in purges.join_all().await {
        same(&purged?, &Purged::Gone)?;
    }
    kept.is_gone(&task).await?;
    same(
        &kept.retention.purge(task.id(), before(at(99_000))).await?,
        &Purged::Gone,
    )?;
    let mut never = samples::task(&agent(), at(0));
    same(
        &kept.retention.purge(never.id(), before(at(99_000))).await?,
        &Purged::Gone,
    )?;
    Move::Cancel(at(1)).apply(&mut never)?;
    let late = kept.tasks.update(&never).await;
    holds(matches!(late, Err(StoreError::Conflict)), || {
        format!("{late:?}")
    })?;
    kept.is_gone(&never).await
}

async fn others_stay(kept: Kept) -> Outcome {
    let agent = agent();
    let ended = kept.completed(&agent, at(60)).await?;
    let other = kept
        .completed(&agent, at(60).plus(Duration::from_millis(1)))
        .await?;
    kept.purge(&[&ended]).await?;
    kept.is_whole(&other).await?;
    kept.purge(&[&other]).await
}

async fn deleted_is_nobodys(kept: Kept) -> Outcome {
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

async fn deleted_is_due(kept: Kept) -> Outcome {
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

async fn late_writes_go(kept: Kept) -> Outcome {
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
    kept.keep_answer(&task).await?;
    let mut step = samples::step(task.id(), 32, &samples::noise(512 * 1_024, 4));
    if let StepKind::ModelCall { answer, .. } = &mut step.kind {
        answer.kept_as = Some(Box::new(key(&task)));
    }
    kept.journal.append(&step).await?;
    let reservation = Reservation {
        id: ReservationId::new(at(0)),
        amount_micro_usd: 7,
        expires_at: at(90_000),
    };
    kept.reserve(&task, &reservation).await?;
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

async fn not_deleted(kept: Kept) -> Outcome {
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

async fn deleted_or_reopened(kept: Kept) -> Outcome {
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
