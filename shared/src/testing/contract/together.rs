//! The rules of [`TaskStore::update_with`]: a transition and steps that are stored together.

use std::sync::Arc;

use super::moves::{Move, advance_all, agent, calls, read, stored};
use super::{Broken, Check, Outcome, holds, same};
use crate::domain::task::MAX_OPEN_CALLS;
use crate::domain::{Step, Task, ToolRunner};
use crate::ports::{Journal, StoreError, TaskStore};
use crate::testing::samples::{self, after, lease_until};

pub(super) const CHECKS: &[Check<Both>] = &[
    (
        "a transition and its steps are there together, and may be stored twice",
        |b| Box::pin(there_together(b)),
    ),
    (
        "as many steps as there may be, of some KB each, are stored together",
        |b| Box::pin(many(b)),
    ),
    ("a large step is stored together with a transition", |b| {
        Box::pin(large(b))
    }),
    (
        "of concurrent transitions with other steps each, one is stored, with all its steps",
        |b| Box::pin(one_of_many(b)),
    ),
    (
        "the same transition with other steps conflicts, and changes nothing",
        |b| Box::pin(same_moment(b)),
    ),
    ("a transition from a stale revision records no step", |b| {
        Box::pin(stale(b))
    }),
    (
        "a step whose number is recorded leaves the task and the journal as they are",
        |b| Box::pin(taken(b)),
    ),
    (
        "a step that is too large leaves the task and the journal as they are",
        |b| Box::pin(too_large(b)),
    ),
];

/// The store of tasks, and the journal with their steps.
#[derive(Clone)]
pub(super) struct Both {
    pub(super) tasks: Arc<dyn TaskStore>,
    pub(super) journal: Arc<dyn Journal>,
}

impl Both {
    /// A task that waits for its client.
    async fn asking(&self) -> Result<Task, Broken> {
        let mut task = stored(&self.tasks, &agent(), after(0)).await?;
        let claim = Move::Claim(lease_until(after(60)), after(1));
        advance_all(
            &self.tasks,
            &mut task,
            [claim, Move::RequireInput(calls("{}"), after(2))],
        )
        .await?;
        Ok(task)
    }

    /// The store has this task with these steps.
    async fn has(&self, task: &Task, steps: &[Step]) -> Outcome {
        same(&read(&self.tasks, task).await?.as_ref(), &Some(task))?;
        let stored = self.journal.steps(task.id()).await?;
        holds(stored == steps, || {
            format!(
                "{} steps, which differ from the {} written",
                stored.len(),
                steps.len()
            )
        })
    }
}

/// The task once its client has answered.
fn answered(task: &Task, second: u64) -> Result<Task, Broken> {
    let mut task = task.clone();
    task.answered(9, after(second))?;
    Ok(task)
}

/// So many answers, each with the text.
fn answers(task: &Task, count: usize, text: &str) -> Vec<Step> {
    (2..)
        .take(count)
        .map(|number| samples::tool_step(task.id(), number, ToolRunner::Client, text))
        .collect()
}

async fn there_together(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let (task, steps) = (answered(&asking, 3)?, answers(&asking, 2, "18 °C"));
    for _ in 0..2 {
        both.tasks.update_with(&task, &steps).await?;
        both.has(&task, &steps).await?;
    }
    Ok(())
}

async fn many(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let (task, steps) = (
        answered(&asking, 3)?,
        answers(&asking, MAX_OPEN_CALLS, &samples::noise(30 * 1_024, 1)),
    );
    both.tasks.update_with(&task, &steps).await?;
    both.has(&task, &steps).await
}

async fn large(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let (task, steps) = (
        answered(&asking, 3)?,
        answers(&asking, 2, &samples::noise(1_024 * 1_024, 1)),
    );
    both.tasks.update_with(&task, &steps).await?;
    both.has(&task, &steps).await
}

async fn one_of_many(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let mut clients = tokio::task::JoinSet::new();
    for second in 3..9 {
        let (tasks, task) = (Arc::clone(&both.tasks), answered(&asking, second)?);
        let mut steps = answers(&asking, 2, &second.to_string());
        if second % 2 == 0 {
            steps.reverse();
        }
        clients.spawn(async move {
            tasks
                .update_with(&task, &steps)
                .await
                .map(|()| (task, steps))
        });
    }
    let mut won = clients.join_all().await.into_iter().filter_map(Result::ok);
    let (task, mut steps) = won.next().ok_or("nobody won")?;
    holds(won.next().is_none(), || "several won".to_owned())?;
    steps.sort_by_key(|step| step.number);
    both.has(&task, &steps).await
}

fn conflicts(outcome: &Result<(), StoreError>) -> Outcome {
    holds(matches!(outcome, Err(StoreError::Conflict)), || {
        format!("{outcome:?}")
    })
}

async fn same_moment(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let (task, steps) = (answered(&asking, 3)?, answers(&asking, 2, "first"));
    both.tasks.update_with(&task, &steps).await?;
    conflicts(
        &both
            .tasks
            .update_with(&task, &answers(&asking, 2, "second"))
            .await,
    )?;
    both.has(&task, &steps).await
}

async fn stale(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let mut canceled = asking.clone();
    advance_all(&both.tasks, &mut canceled, [Move::Cancel(after(3))]).await?;
    conflicts(
        &both
            .tasks
            .update_with(&answered(&asking, 4)?, &answers(&asking, 2, "late"))
            .await,
    )?;
    both.has(&canceled, &[]).await
}

async fn taken(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let first = samples::tool_step(asking.id(), 2, ToolRunner::Client, "first");
    both.journal.append(&first).await?;
    conflicts(
        &both
            .tasks
            .update_with(&answered(&asking, 3)?, &answers(&asking, 2, "second"))
            .await,
    )?;
    both.has(&asking, &[first]).await
}

async fn too_large(both: Both) -> Outcome {
    let asking = both.asking().await?;
    let mut steps = answers(&asking, 2, "small");
    steps.extend(answers(&asking, 3, &"x".repeat(16 * 1_024 * 1_024)).pop());
    let refused = both.tasks.update_with(&answered(&asking, 3)?, &steps).await;
    holds(matches!(refused, Err(StoreError::TooLarge)), || {
        format!("{refused:?}")
    })?;
    both.has(&asking, &[]).await
}
