//! The rules of [`TaskStore`](crate::ports::TaskStore) for adding, reading and changing one task.

use std::sync::Arc;

use super::moves::{Move, Store, advance, agent, calls, read, stored};
use super::{Broken, Check, Outcome, holds, same, shown};
use crate::domain::{
    Agent, CacheUse, ClaimRefused, Failure, LimitKind, Output, ReopenFrom, StopReason, Task,
    TaskId, TaskStatus, Usage, Wait, WaitReason,
};
use crate::ports::{Claimed, Created, StoreError};
use crate::testing::samples::{self, after, lease_until};

pub(super) const CHECKS: &[Check<Store>] = &[
    ("a new task is there as it was written", |s| {
        Box::pin(new_task_is_there(s))
    }),
    (
        "a task at the size limits of its input comes back unchanged",
        |s| Box::pin(long_input(s)),
    ),
    ("an unknown task is none", |s| Box::pin(unknown_is_none(s))),
    (
        "another tenant's task is none and can't be added again",
        |s| Box::pin(foreign_is_none(s)),
    ),
    (
        "a second task under an id changes nothing and gets the first",
        |s| Box::pin(second_under_an_id(s)),
    ),
    ("adding the very same task again counts as new", |s| {
        Box::pin(same_task_again(s))
    }),
    (
        "of concurrent tasks under one id one is new and the others get it",
        |s| Box::pin(one_of_many(s)),
    ),
    ("each state comes back unchanged", |s| {
        Box::pin(each_state_survives(s))
    }),
    (
        "each way through a task's life comes back unchanged, and may be stored twice",
        |s| Box::pin(each_way_survives(s)),
    ),
    ("storing the same transition twice succeeds", |s| {
        Box::pin(same_transition_twice(s))
    }),
    (
        "a transition from a stale revision conflicts and changes nothing",
        |s| Box::pin(stale_revision(s)),
    ),
    ("a transition that skips one conflicts", |s| {
        Box::pin(skipped_revision(s))
    }),
    (
        "a transition of an unknown task conflicts and adds nothing",
        |s| Box::pin(unknown_transition(s)),
    ),
    ("of concurrent transitions one is stored", |s| {
        Box::pin(one_transition_of_many(s))
    }),
    (
        "a result of any size up to some MB comes back unchanged, and is gone when the task continues",
        |s| Box::pin(large_results(s)),
    ),
    (
        "a transition with a large result that loses leaves the winner's whole",
        |s| Box::pin(large_loser(s)),
    ),
    ("a refused claim gets a large result whole", |s| {
        Box::pin(refused_with_large_result(s))
    }),
    (
        "a result above 16 MiB is too large and changes nothing",
        |s| Box::pin(too_large(s)),
    ),
];

#[track_caller]
pub(super) fn conflicts(outcome: &Result<(), StoreError>) -> Outcome {
    holds(matches!(outcome, Err(StoreError::Conflict)), || {
        format!("{outcome:?}")
    })
}

async fn new_task_is_there(store: Store) -> Outcome {
    let task = samples::task(&agent(), after(0));
    same(&store.create(&task).await?, &Created::New)?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn long_input(store: Store) -> Outcome {
    for text in ["🦀".repeat(32 * 1_024), "\u{0}\"\\\n".repeat(25_000)] {
        let task = samples::task_with_input(&agent(), &text, after(0));
        same(&store.create(&task).await?, &Created::New)?;
        same(&read(&store, &task).await?, &Some(task))?;
    }
    Ok(())
}

async fn unknown_is_none(store: Store) -> Outcome {
    same(
        &read(&store, &samples::task(&agent(), after(0))).await?,
        &None,
    )
}

async fn foreign_is_none(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let stranger = samples::fresh_tenant();
    same(&store.task(&stranger, task.id()).await?, &None)?;
    let intruder = under_id(task.id(), &samples::agent(&stranger), "mine now");
    let refused = store.create(&intruder).await;
    holds(matches!(refused, Err(StoreError::Conflict)), || {
        format!("{refused:?}")
    })?;
    same(&read(&store, &task).await?, &Some(task))
}

pub(super) fn under_id(id: TaskId, agent: &Agent, input: &str) -> Task {
    Task::submit(
        id,
        agent,
        samples::input(input),
        CacheUse::default(),
        after(1),
    )
}

async fn second_under_an_id(store: Store) -> Outcome {
    let agent = agent();
    let mut task = stored(&store, &agent, after(0)).await?;
    let second = under_id(task.id(), &agent, "something else");
    same(
        &store.create(&second).await?,
        &Created::Existing(Box::new(task.clone())),
    )?;
    let first = task.clone();
    advance(
        &store,
        &mut task,
        Move::Claim(lease_until(after(60)), after(1)),
    )
    .await?;
    same(
        &store.create(&first).await?,
        &Created::Existing(Box::new(task.clone())),
    )?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn same_task_again(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    same(&store.create(&task).await?, &Created::New)?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn one_of_many(store: Store) -> Outcome {
    let agent = agent();
    let id = TaskId::new(after(0));
    let mut creations = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (store, task) = (
            Arc::clone(&store),
            under_id(id, &agent, &format!("input {number}")),
        );
        creations.spawn(async move { store.create(&task).await });
    }
    let mut stored = Vec::new();
    for created in creations.join_all().await {
        match created? {
            Created::New | Created::Deleted => {}
            Created::Existing(task) => stored.push(Some(*task)),
        }
    }
    same(&stored, &vec![store.task(&agent.tenant, id).await?; 5])
}

async fn each_state_survives(store: Store) -> Outcome {
    let bare_failure = Failure {
        attempts: Vec::new(),
        ..samples::failure()
    };
    let empty = Output {
        stop_reason: StopReason::Refusal,
        usage: Usage::default(),
        ..samples::output("")
    };
    let ends = [
        Move::Complete(samples::output("Paris 🗼"), after(62)),
        Move::Complete(empty, after(62)),
        Move::Fail(samples::failure(), after(62)),
        Move::Fail(bare_failure, after(62)),
        Move::Settle(after(1_800)),
    ];
    for end in ends {
        let mut task = stored(&store, &agent(), after(0)).await?;
        for transition in [
            Move::Settle(after(60)),
            Move::Claim(lease_until(after(90)), after(61)),
            end,
        ] {
            advance(&store, &mut task, transition).await?;
            same(&read(&store, &task).await?, &Some(task.clone()))?;
        }
        same(&task.status().is_terminal(), &true)?;
    }
    Ok(())
}

fn claim(second: u64) -> Move {
    Move::Claim(lease_until(after(second + 60)), after(second))
}

/// Parks the task for 10 s.
fn park(reason: WaitReason, second: u64) -> Move {
    let wait = Wait {
        until: after(second + 10),
        reason,
    };
    Move::Park(wait, after(second))
}

/// The states that a task leaves again, each by each of its ways.
fn ways() -> [Vec<Move>; 10] {
    let wait = Wait {
        until: after(30),
        reason: WaitReason::RateLimit,
    };
    [
        vec![
            claim(1),
            Move::Park(wait, after(2)),
            claim(30),
            Move::Renew(after(120), after(31)),
        ],
        vec![
            claim(1),
            park(WaitReason::RetryAfter, 2),
            claim(12),
            park(WaitReason::Concurrency, 13),
            claim(23),
        ],
        vec![claim(1), Move::HandOver(after(2)), claim(3)],
        vec![
            claim(1),
            Move::RequireInput(calls("{}"), after(2)),
            Move::Answer(after(9)),
            claim(10),
        ],
        vec![
            claim(1),
            Move::RequireInput(Vec::new(), after(2)),
            Move::Settle(after(90_000)),
        ],
        vec![
            claim(1),
            Move::Pause(LimitKind::Budget, after(2)),
            Move::Resume(after(9)),
            claim(10),
        ],
        vec![
            claim(1),
            Move::Pause(LimitKind::MaxTokens, after(2)),
            Move::Cancel(after(9)),
        ],
        vec![
            claim(1),
            Move::Cancel(after(2)),
            Move::EndCanceled(after(3)),
            Move::Reopen(from_start(), after(4)),
            claim(5),
        ],
        vec![claim(1), Move::Cancel(after(2)), Move::Settle(after(61))],
        vec![
            claim(1),
            Move::Fail(samples::failure(), after(2)),
            Move::Reopen(ReopenFrom::Checkpoint, after(3)),
            claim(4),
        ],
    ]
}

async fn each_way_survives(store: Store) -> Outcome {
    for way in ways() {
        let mut task = stored(&store, &agent(), after(0)).await?;
        for transition in way {
            advance(&store, &mut task, transition).await?;
            same(&read(&store, &task).await?, &Some(task.clone()))?;
            store.update(&task).await?;
        }
    }
    Ok(())
}

const fn from_start() -> ReopenFrom {
    ReopenFrom::Start { last_step: 7 }
}

async fn same_transition_twice(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    advance(
        &store,
        &mut task,
        Move::Claim(lease_until(after(60)), after(1)),
    )
    .await?;
    store.update(&task).await?;
    advance(&store, &mut task, Move::Fail(samples::failure(), after(2))).await?;
    store.update(&task).await?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn stale_revision(store: Store) -> Outcome {
    let mut task = stored(&store, &agent(), after(0)).await?;
    let mut late = task.clone();
    advance(
        &store,
        &mut task,
        Move::Claim(lease_until(after(60)), after(1)),
    )
    .await?;
    Move::Settle(after(60)).apply(&mut late)?;
    conflicts(&store.update(&late).await)?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn skipped_revision(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let mut hasty = task.clone();
    Move::Claim(lease_until(after(60)), after(1)).apply(&mut hasty)?;
    Move::Complete(samples::output("done"), after(2)).apply(&mut hasty)?;
    conflicts(&store.update(&hasty).await)?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn unknown_transition(store: Store) -> Outcome {
    let mut task = samples::task(&agent(), after(0));
    Move::Settle(after(60)).apply(&mut task)?;
    conflicts(&store.update(&task).await)?;
    same(&read(&store, &task).await?, &None)
}

async fn one_transition_of_many(store: Store) -> Outcome {
    let task = stored(&store, &agent(), after(0)).await?;
    let mut updates = tokio::task::JoinSet::new();
    for second in 60..66 {
        let (store, mut task) = (Arc::clone(&store), task.clone());
        Move::Settle(after(second)).apply(&mut task)?;
        updates.spawn(async move { store.update(&task).await.map(|()| task) });
    }
    let won: Vec<Task> = updates
        .join_all()
        .await
        .into_iter()
        .filter_map(Result::ok)
        .collect();
    same(&won.len(), &1)?;
    same(&read(&store, &task).await?.as_ref(), &won.first())
}

/// Texts that are too large for one record. Once stored, the last one is small again.
fn large_texts() -> [String; 3] {
    [
        samples::noise(400 * 1_024, 1),
        samples::noise(2 * 1_024 * 1_024, 2),
        "🦀 and ".repeat(300_000),
    ]
}

fn failure_of(text: &str) -> Failure {
    Failure {
        message: text.to_owned(),
        ..samples::failure()
    }
}

/// A task with the largest input, which a worker has.
async fn claimed(store: &Store) -> Result<Task, Broken> {
    let mut task = samples::task_with_input(&agent(), &"x".repeat(128 * 1_024), after(0));
    store.create(&task).await?;
    advance(
        store,
        &mut task,
        Move::Claim(lease_until(after(60)), after(1)),
    )
    .await?;
    Ok(task)
}

async fn large_results(store: Store) -> Outcome {
    for text in large_texts() {
        let reopen = Move::Reopen(ReopenFrom::Checkpoint, after(3));
        let ways = [
            vec![Move::Complete(samples::output(&text), after(2))],
            vec![Move::Fail(failure_of(&text), after(2)), reopen],
            vec![
                Move::RequireInput(calls(&text), after(2)),
                Move::Answer(after(3)),
            ],
        ];
        for way in ways {
            let mut task = claimed(&store).await?;
            for transition in way {
                advance(&store, &mut task, transition).await?;
                same(&read(&store, &task).await?, &Some(task.clone()))?;
                store.update(&task).await?;
            }
        }
    }
    Ok(())
}

async fn large_loser(store: Store) -> Outcome {
    let mut task = claimed(&store).await?;
    let mut loser = task.clone();
    let [won, lost] = [1, 2].map(|seed| samples::output(&samples::noise(1_024 * 1_024, seed)));
    advance(&store, &mut task, Move::Complete(won, after(2))).await?;
    Move::Complete(lost, after(2)).apply(&mut loser)?;
    conflicts(&store.update(&loser).await)?;
    same(&read(&store, &task).await?, &Some(task))
}

async fn refused_with_large_result(store: Store) -> Outcome {
    let mut task = claimed(&store).await?;
    advance(
        &store,
        &mut task,
        Move::Complete(samples::output(&samples::noise(1_024 * 1_024, 1)), after(2)),
    )
    .await?;
    let claimed = store
        .claim(
            &task.spec().tenant,
            task.id(),
            lease_until(after(90)),
            after(3),
        )
        .await?;
    let reason = ClaimRefused::Finished(TaskStatus::Completed);
    same(
        &claimed,
        &Claimed::Refused(Box::new(task.clone().with_input(None)), reason),
    )?;
    let again = under_id(
        task.id(),
        &Agent {
            tenant: task.spec().tenant.clone(),
            ..agent()
        },
        "again",
    );
    same(
        &store.create(&again).await?,
        &Created::Existing(Box::new(task)),
    )
}

async fn too_large(store: Store) -> Outcome {
    let task = claimed(&store).await?;
    let text = "y".repeat(16 * 1_024 * 1_024 + 1);
    let ends = [
        Move::Complete(samples::output(&text), after(2)),
        Move::Fail(failure_of(&text), after(2)),
        Move::RequireInput(calls(&text), after(2)),
    ];
    for end in ends {
        let mut finished = task.clone();
        end.apply(&mut finished)?;
        let refused = store.update(&finished).await;
        holds(matches!(refused, Err(StoreError::TooLarge)), || {
            shown(&refused)
        })?;
        same(&read(&store, &task).await?, &Some(task.clone()))?;
    }
    Ok(())
}
