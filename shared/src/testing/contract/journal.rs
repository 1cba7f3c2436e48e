//! The rules of [`Journal`].

use std::sync::Arc;

use super::{Check, Outcome, holds, same};
use crate::domain::{ModelRef, Provider, Step, StepKind, StopReason, TaskId, Usage};
use crate::ports::{Journal, StoreError};
use crate::testing::samples;

pub(super) const CHECKS: &[Check<Arc<dyn Journal>>] = &[
    ("steps come back unchanged and in order, however they were written", |j| Box::pin(order(j))),
    ("an answer without optional parts comes back unchanged", |j| Box::pin(bare_answer(j))),
    ("steps of another task are not among them", |j| Box::pin(own_task_only(j))),
    ("the very same step may be recorded twice", |j| Box::pin(repetition(j))),
    ("another step under a recorded number conflicts and changes nothing", |j| Box::pin(conflict(j))),
    ("of concurrent steps under one number one is recorded", |j| Box::pin(one_of_many(j))),
    ("a step beyond the record's limit is too large", |j| Box::pin(too_large(j))),
    ("a long journal comes back whole", |j| Box::pin(long_journal(j))),
];

async fn order(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    same(&journal.steps(task).await?, &Vec::new())?;
    let steps: Vec<Step> = (1..=12).map(|number| samples::step(task, number, &format!("é {number} 🦀"))).collect();
    for step in steps.iter().rev() {
        journal.append(step).await?;
    }
    same(&journal.steps(task).await?, &steps)
}

async fn bare_answer(journal: Arc<dyn Journal>) -> Outcome {
    let mut step = samples::step(TaskId::new(samples::START), 1, "");
    let StepKind::ModelCall { requested, answer } = &mut step.kind else { return Err("not a model call".into()) };
    *requested = ModelRef::new(Provider::OpenAi, "gpt-5.5")?;
    (answer.request_id, answer.stop_reason, answer.usage) = (None, StopReason::Refusal, Usage::default());
    journal.append(&step).await?;
    same(&journal.steps(step.task).await?, &vec![step])
}

async fn own_task_only(journal: Arc<dyn Journal>) -> Outcome {
    let (ours, theirs) = (TaskId::new(samples::START), TaskId::new(samples::START));
    journal.append(&samples::step(theirs, 1, "theirs")).await?;
    same(&journal.steps(ours).await?, &Vec::new())
}

async fn repetition(journal: Arc<dyn Journal>) -> Outcome {
    let step = samples::step(TaskId::new(samples::START), 1, "hello");
    journal.append(&step).await?;
    journal.append(&step).await?;
    same(&journal.steps(step.task).await?, &vec![step])
}

async fn conflict(journal: Arc<dyn Journal>) -> Outcome {
    let step = samples::step(TaskId::new(samples::START), 1, "hello");
    journal.append(&step).await?;
    for other in [samples::step(step.task, 1, "goodbye"), Step { fence: 2, ..step.clone() }] {
        let refused = journal.append(&other).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || format!("{refused:?}"))?;
    }
    same(&journal.steps(step.task).await?, &vec![step])
}

async fn one_of_many(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let mut appends = tokio::task::JoinSet::new();
    for fence in 1..=6 {
        let journal = Arc::clone(&journal);
        let step = Step { fence, ..samples::step(task, 1, "hello") };
        appends.spawn(async move { journal.append(&step).await.map(|()| step) });
    }
    let recorded: Vec<Step> = appends.join_all().await.into_iter().filter_map(Result::ok).collect();
    same(&recorded.len(), &1)?;
    same(&journal.steps(task).await?, &recorded)
}

async fn too_large(journal: Arc<dyn Journal>) -> Outcome {
    let step = samples::step(TaskId::new(samples::START), 1, &"x".repeat(400 * 1_024));
    let refused = journal.append(&step).await;
    holds(matches!(refused, Err(StoreError::TooLarge)), || format!("{refused:?}"))?;
    same(&journal.steps(step.task).await?, &Vec::new())
}

/// More than one answer of a store holds (1 MB with DynamoDB).
async fn long_journal(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let text = "long ".repeat(60_000);
    let steps: Vec<Step> = (1..=5).map(|number| samples::step(task, number, &text)).collect();
    for step in &steps {
        journal.append(step).await?;
    }
    same(&journal.steps(task).await?, &steps)
}
