//! The rules of [`Journal`].

use std::sync::Arc;

use super::{Broken, Check, Outcome, holds, same};
use crate::domain::{
    ModelRef, Provider, Step, StepKind, StepPlace, StopReason, TaskId, ToolRunner, Usage,
};
use crate::ports::{Journal, StepsRequest, StoreError};
use crate::testing::samples;

pub(super) const CHECKS: &[Check<Arc<dyn Journal>>] = &[
    (
        "steps come back unchanged and in order, however they were written",
        |j| Box::pin(order(j)),
    ),
    (
        "an answer without optional parts comes back unchanged",
        |j| Box::pin(bare_answer(j)),
    ),
    ("steps of another task are not among them", |j| {
        Box::pin(own_task_only(j))
    }),
    ("the very same step may be recorded twice", |j| {
        Box::pin(repetition(j))
    }),
    (
        "another step under a recorded number conflicts and changes nothing",
        |j| Box::pin(conflict(j)),
    ),
    ("each run of a task has steps of its own", |j| {
        Box::pin(runs(j))
    }),
    (
        "of concurrent steps under one number one is recorded",
        |j| Box::pin(one_of_many(j)),
    ),
    (
        "tool calls come back unchanged and in order, however they were written",
        |j| Box::pin(tool_calls(j)),
    ),
    (
        "a step of any size up to some MB comes back unchanged",
        |j| Box::pin(large_steps(j)),
    ),
    ("the very same large step may be recorded twice", |j| {
        Box::pin(large_repetition(j))
    }),
    (
        "of concurrent large steps under one number one is recorded whole",
        |j| Box::pin(one_of_many_large(j)),
    ),
    ("a step above 16 MiB is too large", |j| {
        Box::pin(too_large(j))
    }),
    ("a long journal comes back whole", |j| {
        Box::pin(long_journal(j))
    }),
    ("a step is found at its place and nowhere else", |j| {
        Box::pin(places(j))
    }),
    (
        "a journal is read in parts of so many steps, each step once",
        |j| Box::pin(parts_by_number(j)),
    ),
    (
        "a part has no more bytes than wanted, or a single step",
        |j| Box::pin(parts_by_bytes(j)),
    ),
];

async fn order(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    same(&journal.steps(task).await?, &Vec::new())?;
    let steps: Vec<Step> = (1..=12)
        .map(|number| samples::step(task, number, &format!("é {number} 🦀")))
        .collect();
    for step in steps.iter().rev() {
        journal.append(step).await?;
    }
    same(&journal.steps(task).await?, &steps)?;
    same(
        &journal.step_summaries(task).await?,
        &steps.iter().map(Step::summary).collect(),
    )
}

async fn bare_answer(journal: Arc<dyn Journal>) -> Outcome {
    let mut step = samples::step(TaskId::new(samples::START), 1, "");
    let StepKind::ModelCall { requested, answer } = &mut step.kind else {
        return Err("not a model call".into());
    };
    *requested = ModelRef::new(Provider::OpenAi, "gpt-5.5")?;
    (answer.request_id, answer.stop_reason, answer.usage) =
        (None, StopReason::Refusal, Usage::default());
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
    for other in [
        samples::step(step.task, 1, "goodbye"),
        Step {
            fence: 2,
            ..step.clone()
        },
    ] {
        let refused = journal.append(&other).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    same(&journal.steps(step.task).await?, &vec![step])
}

async fn runs(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let first = [
        samples::step(task, 1, "hello"),
        samples::step(task, 2, "late"),
    ];
    let second = [2, 3].map(|number| Step {
        base: 1,
        ..samples::step(task, number, "again")
    });
    let [hello, late] = &first;
    let [again, last] = &second;
    for step in [hello, again, last, late, again] {
        journal.append(step).await?;
    }
    let refused = journal
        .append(&Step {
            fence: 2,
            ..again.clone()
        })
        .await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    let expected = vec![hello.clone(), late.clone(), again.clone(), last.clone()];
    same(&journal.steps(task).await?, &expected)?;
    same(
        &journal.step_summaries(task).await?,
        &expected.iter().map(Step::summary).collect(),
    )
}

async fn one_of_many(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let mut appends = tokio::task::JoinSet::new();
    for fence in 1..=6 {
        let journal = Arc::clone(&journal);
        let step = Step {
            fence,
            ..samples::step(task, 1, "hello")
        };
        appends.spawn(async move { journal.append(&step).await.map(|()| step) });
    }
    let recorded: Vec<Step> = appends
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    same(&recorded.len(), &1)?;
    same(&journal.steps(task).await?, &recorded)
}

/// The results of tools that a model calls together are recorded as they come.
async fn tool_calls(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let asked = Step {
        kind: StepKind::ModelCall {
            requested: samples::model(),
            answer: samples::answer_calling(
                (2..5).map(|n| samples::tool_call(&format!("call_{n}"), "ask", "{not json")),
            ),
        },
        ..samples::step(task, 1, "")
    };
    let runners = [
        (2, ToolRunner::Platform),
        (3, ToolRunner::Client),
        (4, ToolRunner::Nobody),
    ];
    let results = runners.map(|(number, by)| samples::tool_step(task, number, by, "18 °C \u{0}"));
    let [platform, client, nobody] = &results;
    for step in [&asked, nobody, platform, client, nobody] {
        journal.append(step).await?;
    }
    same(
        &journal.steps(task).await?,
        &[vec![asked.clone()], results.to_vec()].concat(),
    )?;
    let other = samples::tool_step(task, 3, ToolRunner::Client, "19 °C");
    let refused = journal.append(&other).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })
}

async fn large_steps(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let texts = [
        samples::noise(2 * 1_024 * 1_024, 1),
        "easy ".repeat(400_000),
        samples::noise(400 * 1_024, 2),
        String::new(),
        samples::noise(2 * 1_024 * 1_024, 1),
    ];
    let mut steps = Vec::new();
    for (number, text) in (1..).zip(&texts) {
        steps.push(samples::step(task, 2 * number - 1, text));
        steps.push(samples::tool_step(
            task,
            2 * number,
            ToolRunner::Platform,
            text,
        ));
    }
    for step in steps.iter().rev() {
        journal.append(step).await?;
    }
    let stored = journal.steps(task).await?;
    holds(stored == steps, || {
        format!(
            "{} steps, which differ from the {} written",
            stored.len(),
            steps.len()
        )
    })?;
    same(
        &journal.step_summaries(task).await?,
        &steps.iter().map(Step::summary).collect(),
    )
}

fn large(task: TaskId, seed: u64) -> Step {
    samples::tool_step(
        task,
        1,
        ToolRunner::Platform,
        &samples::noise(1_024 * 1_024, seed),
    )
}

async fn large_repetition(journal: Arc<dyn Journal>) -> Outcome {
    let step = large(TaskId::new(samples::START), 1);
    journal.append(&step).await?;
    journal.append(&step).await?;
    let later = Step {
        fence: 2,
        ..step.clone()
    };
    for other in [
        &large(step.task, 2),
        &later,
        &samples::step(step.task, 1, "small"),
    ] {
        let refused = journal.append(other).await;
        holds(matches!(refused, Err(StoreError::Conflict)), || {
            format!("{refused:?}")
        })?;
    }
    same(&journal.steps(step.task).await?, &vec![step])
}

async fn one_of_many_large(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let mut appends = tokio::task::JoinSet::new();
    for seed in 1..=4 {
        let (journal, step) = (Arc::clone(&journal), large(task, seed));
        appends.spawn(async move { journal.append(&step).await.map(|()| step) });
    }
    let recorded: Vec<Step> = appends
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    same(&recorded.len(), &1)?;
    same(&journal.steps(task).await?, &recorded)
}

async fn too_large(journal: Arc<dyn Journal>) -> Outcome {
    let text = "x".repeat(16 * 1_024 * 1_024);
    let task = TaskId::new(samples::START);
    for step in [
        samples::step(task, 1, &text),
        samples::tool_step(task, 1, ToolRunner::Client, &text),
    ] {
        let refused = journal.append(&step).await;
        holds(matches!(refused, Err(StoreError::TooLarge)), || {
            format!("{refused:?}")
        })?;
    }
    same(&journal.steps(task).await?, &Vec::new())
}

/// More than one answer of a store holds (1 MB with DynamoDB).
async fn long_journal(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    let text = "long ".repeat(60_000);
    let steps: Vec<Step> = (1..=5)
        .map(|number| samples::step(task, number, &text))
        .collect();
    for step in &steps {
        journal.append(step).await?;
    }
    same(&journal.steps(task).await?, &steps)
}

/// Steps of three runs, some with the same number, in the order of their places.
async fn three_runs(journal: &Arc<dyn Journal>) -> Result<(TaskId, Vec<Step>), Broken> {
    let task = TaskId::new(samples::START);
    let step = |number, base| Step {
        base,
        ..samples::tool_step(task, number, ToolRunner::Platform, "2")
    };
    let steps = vec![
        step(1, 0),
        step(2, 0),
        step(2, 1),
        step(3, 0),
        step(3, 1),
        step(3, 2),
        step(11, 2),
    ];
    for step in steps.iter().rev() {
        journal.append(step).await?;
    }
    Ok((task, steps))
}

async fn places(journal: Arc<dyn Journal>) -> Outcome {
    let (task, steps) = three_runs(&journal).await?;
    for step in &steps {
        same(
            &journal.step(task, step.place()).await?,
            &Some(step.clone()),
        )?;
    }
    for (number, base) in [(0, 0), (1, 1), (11, 0), (4, 0), (u32::MAX, u32::MAX)] {
        same(
            &journal.step(task, StepPlace { number, base }).await?,
            &None,
        )?;
    }
    same(
        &journal
            .step(
                TaskId::new(samples::START),
                StepPlace { number: 1, base: 0 },
            )
            .await?,
        &None,
    )
}

async fn parts_by_number(journal: Arc<dyn Journal>) -> Outcome {
    let (task, steps) = three_runs(&journal).await?;
    for limit in 1..=8 {
        let wanted = StepsRequest {
            after: StepPlace::after(0),
            limit,
            max_bytes: u64::MAX,
        };
        same(&parts(&journal, task, wanted).await?.concat(), &steps)?;
    }
    for (number, left) in [(1, 6), (2, 4), (3, 1), (10, 1), (11, 0), (u32::MAX, 0)] {
        let wanted = StepsRequest {
            after: StepPlace::after(number),
            limit: 100,
            max_bytes: u64::MAX,
        };
        same(
            &parts(&journal, task, wanted).await?.concat(),
            &steps.iter().skip(7 - left).cloned().collect(),
        )?;
    }
    let wanted = StepsRequest {
        after: StepPlace { number: 3, base: 1 },
        limit: 1,
        max_bytes: u64::MAX,
    };
    same(
        &journal.page(task, &wanted).await?.steps,
        &steps.iter().skip(5).take(1).cloned().collect(),
    )
}

async fn parts_by_bytes(journal: Arc<dyn Journal>) -> Outcome {
    let task = TaskId::new(samples::START);
    // Zeros take next to nothing in a store that compresses; it is what they take in memory that
    // counts.
    let texts = [
        "0".repeat(3_000_000),
        "0".repeat(1_000),
        "0".repeat(1_000),
        "0".repeat(2_000_000),
        String::new(),
    ];
    let step = |(number, text): (u32, &String)| {
        samples::tool_step(task, number, ToolRunner::Platform, text)
    };
    let steps: Vec<Step> = (1..).zip(&texts).map(step).collect();
    for step in &steps {
        journal.append(step).await?;
    }
    let wanted = StepsRequest {
        after: StepPlace::after(0),
        limit: 100,
        max_bytes: 1_000_000,
    };
    let numbers = |part: Vec<Step>| part.iter().map(|step| step.number).collect();
    let found: Vec<Vec<u32>> = parts(&journal, task, wanted)
        .await?
        .into_iter()
        .map(numbers)
        .collect();
    same(&found, &vec![vec![1], vec![2, 3], vec![4], vec![5]])
}

/// The pages of a journal. Only the last page may be empty.
async fn parts(
    journal: &Arc<dyn Journal>,
    task: TaskId,
    mut wanted: StepsRequest,
) -> Result<Vec<Vec<Step>>, Broken> {
    let mut parts = Vec::new();
    loop {
        let page = journal.page(task, &wanted).await?;
        holds(page.steps.len() <= wanted.limit as usize, || {
            format!("{} steps", page.steps.len())
        })?;
        parts.push(page.steps);
        let Some(next) = page.next else {
            return Ok(parts);
        };
        holds(next > wanted.after, || {
            format!("{next:?} is not after {:?}", wanted.after)
        })?;
        wanted.after = next;
    }
}
