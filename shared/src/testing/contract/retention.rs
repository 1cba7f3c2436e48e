//! The rules of [`Retention`].
//!
//! The list is of all tenants, so these checks live in a past of their own, before everything else in a shared store.

use std::sync::Arc;
use std::time::Duration;

use super::moves::{Move, Store, advance, advance_all, agent, read};
use super::{Broken, Check, Outcome, eventually, holds, same};
use crate::domain::{Agent, CacheUse, ReopenFrom, ReservationId, Task, TaskId, Timestamp, ToolRunner};
use crate::ports::{
    Allowance, Budget, BudgetKey, Budgets, Claimed, Created, Journal, PageRequest, Purged, Reservation, Retention,
    StoreError, TaskFilter, TaskStore,
};
use crate::testing::samples::{self, lease_until};

pub(super) const CHECKS: &[Check<Kept>] = &[
    ("an ended task is listed from its end on, whatever its end, the first to end first", |k| Box::pin(listed(k))),
    ("a task that has not ended, or was opened again, is not listed", |k| Box::pin(living_is_not_listed(k))),
    ("no more than the wanted number are listed, the first to end", |k| Box::pin(limited(k))),
    ("a purged task is gone with all that belongs to it, and its id is free", |k| Box::pin(purged_is_gone(k))),
    ("a task that has not ended, or not long ago, or was opened again, is kept whole", |k| Box::pin(kept_whole(k))),
    ("purging twice, at the same time or what never was is no harm", |k| Box::pin(again_and_again(k))),
    ("nothing of another task is purged", |k| Box::pin(others_stay(k))),
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
    /// What purges them.
    pub retention: Arc<dyn Retention>,
}

/// The moment `seconds` after the start of 2002, when nothing else happens.
const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_009_843_200_000 + seconds * 1_000)
}

impl Kept {
    fn tasks(&self) -> &Store {
        &self.tasks
    }

    /// A new task with a large input, whose budget is reserved from, and whose journal has small and large steps.
    async fn stored(&self, agent: &Agent) -> Result<Task, Broken> {
        let task = samples::task_with_input(agent, &samples::noise(64 * 1_024, 3), at(0));
        self.tasks.create(&task).await?;
        let reservation = Reservation { id: ReservationId::new(at(0)), amount_micro_usd: 7, expires_at: at(90_000) };
        self.budgets
            .reserve(
                &BudgetKey::Task(task.id()),
                &reservation,
                Allowance { cap_micro_usd: 10, spent_before_micro_usd: 0 },
                at(0),
            )
            .await?;
        for step in 1..=30 {
            self.journal.append(&samples::step(task.id(), step, "Paris")).await?;
        }
        let text = samples::noise(1_024 * 1_024, 1);
        self.journal.append(&samples::tool_step(task.id(), 31, ToolRunner::Platform, &text)).await?;
        Ok(task)
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
        advance_all(self.tasks(), &mut task, [claim, Move::Complete(output, end)]).await?;
        Ok(task)
    }

    /// Those of these tasks that are listed.
    async fn listed(&self, moment: Timestamp, of: &[&Task]) -> Result<Vec<TaskId>, StoreError> {
        let all = self.retention.ended_before(moment, 1_000).await?;
        Ok(all.into_iter().filter(|id| of.iter().any(|task| task.id() == *id)).collect())
    }

    async fn purge(&self, tasks: &[&Task]) -> Outcome {
        for task in tasks {
            same(&self.retention.purge(task.id(), at(99_000)).await?, &Purged::Gone)?;
        }
        Ok(())
    }

    /// All that is kept of the task, beside itself: how many steps, and its budget.
    async fn belongings(&self, task: &Task) -> Result<(usize, Budget), StoreError> {
        let steps = self.journal.steps(task.id()).await?.len();
        Ok((steps, self.budgets.budget(&BudgetKey::Task(task.id()), at(0)).await?))
    }

    /// How many changes have left the task's history, and whether its input is apart.
    async fn details(&self, task: &Task) -> Result<(usize, bool), StoreError> {
        let earlier = self.tasks.earlier_history(task.id(), 0..u32::MAX, 1_000).await?;
        Ok((earlier.len(), self.tasks.input(task.id()).await?.is_some()))
    }

    async fn is_whole(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &Some(task.clone()))?;
        let (steps, budget) = self.belongings(task).await?;
        same(&(steps, budget.committed_micro_usd), &(31, 7))?;
        same(&self.details(task).await?, &(task.progress().history.first() as usize, true))
    }

    async fn is_gone(&self, task: &Task) -> Outcome {
        same(&read(self.tasks(), task).await?, &None)?;
        same(&self.belongings(task).await?, &(0, Budget::default()))?;
        same(&self.details(task).await?, &(0, false))
    }
}

async fn listed(kept: Kept) -> Outcome {
    let agent = agent();
    let mut tasks = Vec::new();
    let ends = [
        vec![Move::Cancel(at(10))],
        vec![Move::Claim(lease_until(at(60)), at(1)), Move::Fail(samples::failure(), at(20))],
        vec![Move::Claim(lease_until(at(60)), at(1)), Move::Complete(samples::output("a"), at(30))],
        vec![Move::Settle(at(1_800))],
    ];
    for end in ends {
        let mut task = samples::task(&agent, at(0));
        kept.tasks.create(&task).await?;
        advance_all(kept.tasks(), &mut task, end).await?;
        tasks.push(task);
    }
    let of: Vec<&Task> = tasks.iter().collect();
    for (second, count) in [(10, 0), (11, 1), (20, 1), (30, 2), (31, 3), (1_800, 3), (1_801, 4)] {
        let expected: Vec<TaskId> = of.iter().take(count).map(|task| task.id()).collect();
        eventually(|| async { same(&kept.listed(at(second), &of).await?, &expected) }).await?;
    }
    kept.purge(&of).await
}

async fn living_is_not_listed(kept: Kept) -> Outcome {
    let agent = agent();
    let [mut queued, mut running, mut reopened] = [0, 1, 2].map(|second| samples::task(&agent, at(second)));
    for task in [&queued, &running, &reopened] {
        kept.tasks.create(task).await?;
    }
    advance(kept.tasks(), &mut running, Move::Claim(lease_until(at(60)), at(1))).await?;
    advance(kept.tasks(), &mut reopened, Move::Cancel(at(3))).await?;
    eventually(|| async { same(&kept.listed(at(90), &[&reopened]).await?, &vec![reopened.id()]) }).await?;
    advance(kept.tasks(), &mut reopened, Move::Reopen(ReopenFrom::Checkpoint, at(4))).await?;
    eventually(|| async { same(&kept.listed(at(99_000), &[&queued, &running, &reopened]).await?, &Vec::new()) })
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
    eventually(|| async { same(&kept.listed(at(60), &all).await?.len(), &12) }).await?;
    let first = kept.retention.ended_before(at(60), 5).await?;
    same(&first, &tasks.iter().take(5).map(Task::id).collect())?;
    kept.purge(&all).await
}

async fn purged_is_gone(kept: Kept) -> Outcome {
    let agent = agent();
    let task = kept.completed(&agent, at(60)).await?;
    kept.is_whole(&task).await?;
    same(&kept.retention.purge(task.id(), at(61)).await?, &Purged::Gone)?;
    kept.is_gone(&task).await?;
    let claimed = kept.tasks.claim(&agent.tenant, task.id(), lease_until(at(99)), at(61)).await?;
    same(&claimed, &Claimed::Unknown)?;
    eventually(|| async { same(&kept.listed(at(99_000), &[&task]).await?, &Vec::new()) }).await?;
    eventually(|| async {
        let page = PageRequest { limit: 10, after: None };
        same(&kept.tasks.list(&agent.tenant, &TaskFilter::default(), &page).await?.entries, &Vec::new())
    })
    .await?;
    let now = at(70);
    let mut again = Task::submit(task.id(), &agent, samples::input("again"), CacheUse::default(), now);
    same(&kept.tasks.create(&again).await?, &Created::New)?;
    same(&kept.journal.steps(task.id()).await?, &Vec::new())?;
    advance(kept.tasks(), &mut again, Move::Cancel(now)).await?;
    kept.purge(&[&again]).await
}

async fn kept_whole(kept: Kept) -> Outcome {
    let agent = agent();
    let (mut living, recent) = (kept.stored(&agent).await?, kept.completed(&agent, at(60)).await?);
    let mut reopened = kept.stored(&agent).await?;
    let reopening = [Move::Cancel(at(2)), Move::Reopen(ReopenFrom::Checkpoint, at(3))];
    advance_all(kept.tasks(), &mut reopened, reopening).await?;
    for (task, moment) in [(&living, at(99_000)), (&recent, at(60)), (&reopened, at(99_000))] {
        same(&kept.retention.purge(task.id(), moment).await?, &Purged::Kept)?;
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
        purges.spawn(async move { retention.purge(id, at(99_000)).await });
    }
    for purged in purges.join_all().await {
        same(&purged?, &Purged::Gone)?;
    }
    kept.is_gone(&task).await?;
    same(&kept.retention.purge(task.id(), at(99_000)).await?, &Purged::Gone)?;
    let mut never = samples::task(&agent(), at(0));
    same(&kept.retention.purge(never.id(), at(99_000)).await?, &Purged::Gone)?;
    Move::Cancel(at(1)).apply(&mut never)?;
    let late = kept.tasks.update(&never).await;
    holds(matches!(late, Err(StoreError::Conflict)), || format!("{late:?}"))?;
    kept.is_gone(&never).await
}

async fn others_stay(kept: Kept) -> Outcome {
    let agent = agent();
    let ended = kept.completed(&agent, at(60)).await?;
    let other = kept.completed(&agent, at(60).plus(Duration::from_millis(1))).await?;
    kept.purge(&[&ended]).await?;
    kept.is_whole(&other).await?;
    kept.purge(&[&other]).await
}
