//! The rules of [`TaskDetails`](crate::ports::TaskDetails), and of the writes of a store that it
//! reads.

use std::sync::Arc;

use super::moves::{Move, Store, advance, agent, read, stored};
use super::task_store::{conflicts, under_id};
use super::{Broken, Check, Outcome, holds, same};
use crate::domain::task::HISTORY_BLOCK;
use crate::domain::{Agent, Change, Task, ToolRunner};
use crate::ports::{Claimed, Created, INPUT_IN_RECORD, StoreError};
use crate::testing::samples::{self, after, lease_until};

pub(super) const CHECKS: &[Check<Store>] = &[
    (
        "a task comes without a large input, which comes back unchanged",
        |s| Box::pin(inputs_come_back(s)),
    ),
    ("a change of a task leaves its large input as it is", |s| {
        Box::pin(input_stays(s))
    }),
    (
        "a second task with a large input under an id changes nothing",
        |s| Box::pin(second_input(s)),
    ),
    (
        "of concurrent tasks with large inputs under one id one is new",
        |s| Box::pin(one_of_many(s)),
    ),
    (
        "a long history is whole, and each change stays as it is",
        |s| Box::pin(long_history(s)),
    ),
    ("any part of what has left a history can be had", |s| {
        Box::pin(parts(s))
    }),
    ("a transition that moves changes may be stored twice", |s| {
        Box::pin(stored_twice(s))
    }),
    (
        "of transitions that move the same changes one is stored, and the history is the winner's",
        |s| Box::pin(racing_moves(s)),
    ),
    (
        "steps are recorded with a transition that moves changes, or neither is",
        |s| Box::pin(moves_with_steps(s)),
    ),
];

/// All changes of the task, as a reader finds them: the task first.
async fn whole_history(store: &Store, task: &Task) -> Result<Vec<Change>, Broken> {
    let task = read(store, task).await?.ok_or("there is no such task")?;
    let history = &task.progress().history;
    let earlier = store
        .earlier_history(task.id(), 0..history.first(), u32::MAX)
        .await?;
    let all = earlier
        .iter()
        .map(|(number, change)| (*number, change))
        .chain(history.numbered());
    let mut changes = Vec::new();
    for (number, change) in all {
        same(&number, &u32::try_from(changes.len())?)?;
        changes.push(change.clone());
    }
    Ok(changes)
}

/// A task whose next transition moves changes, and that has a worker.
async fn full(store: &Store) -> Result<Task, Broken> {
    let mut task = stored(store, &agent(), after(0)).await?;
    while task.progress().history.recent().len() < 20 {
        advance(
            store,
            &mut task,
            Move::Claim(lease_until(after(60)), after(1)),
        )
        .await?;
        if task.progress().history.recent().len() < 20 {
            advance(store, &mut task, Move::HandOver(after(2))).await?;
        }
    }
    same(&task.progress().history.first(), &0)?;
    Ok(task)
}

async fn inputs_come_back(store: Store) -> Outcome {
    let noise = samples::noise(128 * 1_024, 1);
    let texts = [
        "🦀".repeat(32 * 1_024),
        "\u{0}\"\\\n".repeat(25_000),
        "x".repeat(INPUT_IN_RECORD + 1),
        noise,
    ];
    for text in texts {
        let task = samples::task_with_input(&agent(), &text, after(0));
        same(&store.create(&task).await?, &Created::New)?;
        let bare = task.clone().with_input(None);
        same(
            &store.task(&task.spec().tenant, task.id()).await?,
            &Some(bare.clone()),
        )?;
        same(&store.input(task.id()).await?, &task.spec().input)?;
        same(&store.with_input(bare).await?, &Some(task))?;
    }
    let task = samples::task_with_input(&agent(), &"x".repeat(INPUT_IN_RECORD), after(0));
    store.create(&task).await?;
    same(
        &store.task(&task.spec().tenant, task.id()).await?,
        &Some(task.clone()),
    )?;
    same(&store.input(task.id()).await?, &None)
}

async fn input_stays(store: Store) -> Outcome {
    let mut task = samples::task_with_input(&agent(), &samples::noise(128 * 1_024, 1), after(0));
    store.create(&task).await?;
    let lease = lease_until(after(60));
    let claimed = store
        .claim(&task.spec().tenant, task.id(), lease, after(1))
        .await?;
    task.claim(lease, after(1))?;
    let mut bare = task.clone().with_input(None);
    same(&claimed, &Claimed::Granted(Box::new(bare.clone())))?;
    advance(&store, &mut bare, Move::Renew(after(90), after(2))).await?;
    same(
        &read(&store, &task)
            .await?
            .map(|stored| stored.with_input(None)),
        &Some(bare),
    )?;
    // The same transition, by one that has the input.
    advance(&store, &mut task, Move::Renew(after(90), after(2))).await?;
    same(&read(&store, &task).await?, &Some(task))
}

fn with_noise(agent: &Agent, task: &Task, seed: u64) -> Task {
    under_id(task.id(), agent, &samples::noise(64 * 1_024, seed))
}

async fn second_input(store: Store) -> Outcome {
    let agent = agent();
    let first = samples::task_with_input(&agent, &samples::noise(128 * 1_024, 1), after(0));
    same(&store.create(&first).await?, &Created::New)?;
    same(&store.create(&first).await?, &Created::New)?;
    let second = with_noise(&agent, &first, 2);
    same(
        &store.create(&second).await?,
        &Created::Existing(Box::new(first.clone())),
    )?;
    let small = under_id(first.id(), &agent, "small");
    same(
        &store.create(&small).await?,
        &Created::Existing(Box::new(first.clone())),
    )?;
    same(&read(&store, &first).await?, &Some(first))?;
    let first = stored(&store, &agent, after(0)).await?;
    let second = with_noise(&agent, &first, 2);
    same(
        &store.create(&second).await?,
        &Created::Existing(Box::new(first.clone())),
    )?;
    same(&store.input(first.id()).await?, &None)
}

/// A store may also say of one that comes at the same moment that it should come again.
async fn one_of_many(store: Store) -> Outcome {
    let agent = agent();
    let id = samples::task(&agent, after(0));
    let mut creations = tokio::task::JoinSet::new();
    for seed in 0..6 {
        let (store, task) = (Arc::clone(&store), with_noise(&agent, &id, seed));
        creations.spawn(async move { (store.create(&task).await, task) });
    }
    let (mut new, mut others) = (Vec::new(), Vec::new());
    for (created, task) in creations.join_all().await {
        match created {
            Ok(Created::New) => new.push(Some(task)),
            Ok(Created::Existing(task)) => others.push(Some(*task)),
            Ok(Created::Deleted) => holds(false, || "nobody deleted it".to_owned())?,
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let stored = read(&store, &id).await?;
    same(&new, &vec![stored.clone()])?;
    holds(others.iter().all(|other| *other == stored), || {
        format!("{} others", others.len())
    })
}

async fn long_history(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    let mut earlier = whole_history(&store, &task).await?;
    for second in 1..=40 {
        let lease = lease_until(after(second + 10));
        let claimed = store
            .claim(&task.spec().tenant, task.id(), lease, after(second))
            .await?;
        let Claimed::Granted(granted) = claimed else {
            return Err("the claim is refused".into());
        };
        task = *granted;
        advance(
            &store,
            &mut task,
            Move::Renew(after(second + 20), after(second)),
        )
        .await?;
        advance(&store, &mut task, Move::HandOver(after(second))).await?;
        let now = whole_history(&store, &task).await?;
        same(&now.len(), &(earlier.len() + 2))?;
        holds(now.starts_with(&earlier), || {
            format!("a change has changed after {}", earlier.len())
        })?;
        earlier = now;
    }
    Ok(())
}

async fn parts(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    for second in 1..=40 {
        advance(
            &store,
            &mut task,
            Move::Claim(lease_until(after(second + 10)), after(second)),
        )
        .await?;
        advance(&store, &mut task, Move::HandOver(after(second))).await?;
    }
    let (earlier, first) = (
        whole_history(&store, &task).await?,
        task.progress().history.first(),
    );
    let all: Vec<(u32, Change)> = (0..).zip(earlier).collect();
    for start in [
        0,
        1,
        HISTORY_BLOCK - 1,
        HISTORY_BLOCK,
        HISTORY_BLOCK + 1,
        first - 1,
        first,
    ] {
        for (end, limit) in [
            (first, 100),
            (first, 1),
            (first, HISTORY_BLOCK + 1),
            (start + 1, 9),
            (start, 9),
            (0, 9),
        ] {
            let found = store.earlier_history(task.id(), start..end, limit).await?;
            let wanted = all
                .iter()
                .filter(|(number, _)| (start..end.min(first)).contains(number));
            same(&found, &wanted.take(limit as usize).cloned().collect())?;
        }
    }
    same(
        &store
            .earlier_history(samples::task(&agent(), after(0)).id(), 0..9, 9)
            .await?,
        &Vec::new(),
    )
}

async fn stored_twice(store: Store) -> Outcome {
    let mut task = full(&store).await?;
    let earlier = whole_history(&store, &task).await?;
    advance(&store, &mut task, Move::HandOver(after(3))).await?;
    same(&task.progress().history.first(), &HISTORY_BLOCK)?;
    store.update(&task).await?;
    let now = whole_history(&store, &task).await?;
    holds(
        now.starts_with(&earlier) && now.len() == earlier.len() + 1,
        || format!("{} changes", now.len()),
    )
}

async fn racing_moves(store: Store) -> Outcome {
    let task = full(&store).await?;
    let earlier = whole_history(&store, &task).await?;
    let mut updates = tokio::task::JoinSet::new();
    for second in 3..9 {
        let (store, mut task) = (Arc::clone(&store), task.clone());
        Move::HandOver(after(second)).apply(&mut task)?;
        updates.spawn(async move { store.update(&task).await.map(|()| task) });
    }
    let won: Vec<Task> = updates
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    let [winner] = won.as_slice() else {
        return Err(format!("{} were stored", won.len()).into());
    };
    let last = winner.progress().history.recent().last().cloned();
    same(
        &whole_history(&store, &task).await?,
        &earlier.iter().cloned().chain(last).collect(),
    )?;
    // One that is much too late.
    let (mut late, mut next) = (task, winner.clone());
    for second in 10..30 {
        advance(
            &store,
            &mut next,
            Move::Claim(lease_until(after(60)), after(second)),
        )
        .await?;
        advance(&store, &mut next, Move::HandOver(after(second))).await?;
    }
    let earlier = whole_history(&store, &next).await?;
    Move::HandOver(after(3)).apply(&mut late)?;
    conflicts(&store.update(&late).await)?;
    same(&whole_history(&store, &next).await?, &earlier)
}

async fn moves_with_steps(store: Store) -> Outcome {
    let mut task = full(&store).await?;
    let earlier = whole_history(&store, &task).await?;
    let step = |text| samples::tool_step(task.id(), 1, ToolRunner::Client, text);
    let [first, other] = [step("one"), step("other")];
    let mut loser = task.clone();
    Move::HandOver(after(3)).apply(&mut task)?;
    store
        .update_with(&task, std::slice::from_ref(&first))
        .await?;
    store
        .update_with(&task, std::slice::from_ref(&first))
        .await?;
    let now = whole_history(&store, &task).await?;
    holds(
        now.starts_with(&earlier) && now.len() == earlier.len() + 1,
        || format!("{} changes", now.len()),
    )?;
    Move::HandOver(after(4)).apply(&mut loser)?;
    conflicts(&store.update_with(&loser, &[other]).await)?;
    same(&whole_history(&store, &task).await?, &now)
}
