//! The rules of [`Slots`].

use std::sync::Arc;
use std::time::Duration;

use super::{Broken, Check, Outcome, same};
use crate::domain::{TaskId, Timestamp};
use crate::ports::{LimitOwner, Slot, Slots, StoreError, Taken};
use crate::testing::samples::{self, START, after};

type Store = Arc<dyn Slots>;

pub(super) const CHECKS: &[Check<Store>] = &[
    (
        "slots are granted up to the most, and what is refused leaves nothing",
        |s| Box::pin(up_to_the_most(s)),
    ),
    ("a slot that is given back is free, once", |s| {
        Box::pin(given_back(s))
    }),
    ("a task without a slot returns none", |s| {
        Box::pin(nothing_to_give(s))
    }),
    ("the very same slot is taken once, even the last one", |s| {
        Box::pin(repetition(s))
    }),
    ("a task keeps its slot, with the new end", |s| {
        Box::pin(kept(s))
    }),
    (
        "a later worker's slot is neither an earlier one's to change nor to give back",
        |s| Box::pin(fenced(s)),
    ),
    (
        "the slots of dead workers are free at their end, and those of the living are not",
        |s| Box::pin(deaths(s)),
    ),
    (
        "a dead worker that comes back late gives nothing back",
        |s| Box::pin(risen(s)),
    ),
    (
        "more slots of dead workers than one write can clear are cleared",
        |s| Box::pin(many_deaths(s)),
    ),
    ("fewer than are held may be the most from now on", |s| {
        Box::pin(lowered(s))
    }),
    ("owners don't share slots", |s| Box::pin(apart(s))),
    ("of many at once exactly the most are granted", |s| {
        Box::pin(many_at_once(s))
    }),
    (
        "of many at once exactly the most are granted, also over dead workers' slots",
        |s| Box::pin(many_heirs(s)),
    ),
    (
        "slots that are taken and given back by many at once are all free at last",
        |s| Box::pin(many_turns(s)),
    ),
];

fn owner() -> LimitOwner {
    LimitOwner::Tenant(samples::fresh_tenant())
}

/// A new task's slot that ends a minute after [`START`].
fn slot() -> Slot {
    Slot {
        task: TaskId::new(START),
        fence: 1,
        until: after(60),
    }
}

/// Takes slots for new tasks until there is none left: how many there were.
async fn fill(slots: &Store, owner: &LimitOwner, most: u32, now: Timestamp) -> Result<u32, Broken> {
    let until = now.plus(Duration::from_mins(1));
    let mut granted = 0;
    while slots
        .take(owner, &Slot { until, ..slot() }, most, now)
        .await?
        == Taken::Granted
    {
        granted += 1;
    }
    Ok(granted)
}

/// How many of so many new tasks that want a slot at once get one.
async fn race(
    slots: &Store,
    owner: &LimitOwner,
    racers: u32,
    most: u32,
    now: Timestamp,
) -> Result<u32, Broken> {
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..racers {
        let (slots, owner, slot) = (
            Arc::clone(slots),
            owner.clone(),
            Slot {
                until: after(600),
                ..slot()
            },
        );
        racing.spawn(async move { slots.take(&owner, &slot, most, now).await });
    }
    let mut granted = 0;
    for taken in racing.join_all().await {
        granted += u32::from(taken? == Taken::Granted);
    }
    Ok(granted)
}

async fn up_to_the_most(slots: Store) -> Outcome {
    let owner = owner();
    same(&slots.take(&owner, &slot(), 0, START).await?, &Taken::Full)?;
    same(&fill(&slots, &owner, 3, START).await?, &3)?;
    same(&slots.take(&owner, &slot(), 3, START).await?, &Taken::Full)?;
    same(&fill(&slots, &owner, 5, START).await?, &2)
}

async fn given_back(slots: Store) -> Outcome {
    let (owner, one) = (owner(), slot());
    slots.take(&owner, &one, 3, START).await?;
    same(&fill(&slots, &owner, 3, START).await?, &2)?;
    for _ in 0..3 {
        slots.give_back(&owner, &one).await?;
    }
    same(&fill(&slots, &owner, 3, START).await?, &1)
}

async fn nothing_to_give(slots: Store) -> Outcome {
    let owner = owner();
    slots.give_back(&owner, &slot()).await?;
    same(&fill(&slots, &owner, 2, START).await?, &2)?;
    slots.give_back(&owner, &slot()).await?;
    same(&fill(&slots, &owner, 2, START).await?, &0)
}

async fn repetition(slots: Store) -> Outcome {
    let (owner, one) = (owner(), slot());
    for _ in 0..3 {
        same(&slots.take(&owner, &one, 2, START).await?, &Taken::Granted)?;
    }
    same(&fill(&slots, &owner, 2, START).await?, &1)?;
    same(&slots.take(&owner, &one, 2, START).await?, &Taken::Granted)
}

async fn kept(slots: Store) -> Outcome {
    let (owner, one) = (owner(), slot());
    slots.take(&owner, &one, 1, START).await?;
    // In time, and from its former worker's death, which nobody has noticed.
    for (fence, now, until) in [(1, 30, 90), (2, 60, 120), (3, 120, 180)] {
        let renewed = Slot {
            fence,
            until: after(until),
            ..one
        };
        same(
            &slots.take(&owner, &renewed, 1, after(now)).await?,
            &Taken::Granted,
        )?;
        same(
            &slots.take(&owner, &slot(), 1, after(until - 1)).await?,
            &Taken::Full,
        )?;
    }
    same(
        &slots
            .take(
                &owner,
                &Slot {
                    until: after(300),
                    ..slot()
                },
                1,
                after(180),
            )
            .await?,
        &Taken::Granted,
    )?;
    same(
        &slots.take(&owner, &one, 1, after(180)).await?,
        &Taken::Full,
    )
}

async fn fenced(slots: Store) -> Outcome {
    let (owner, early) = (owner(), slot());
    let late = Slot {
        fence: 2,
        until: after(90),
        ..early
    };
    slots.take(&owner, &early, 1, START).await?;
    slots.take(&owner, &late, 1, START).await?;
    same(
        &slots.take(&owner, &early, 1, START).await?,
        &Taken::Granted,
    )?;
    slots.give_back(&owner, &early).await?;
    same(
        &slots.take(&owner, &slot(), 1, after(89)).await?,
        &Taken::Full,
    )?;
    slots.give_back(&owner, &late).await?;
    same(
        &slots.take(&owner, &slot(), 1, START).await?,
        &Taken::Granted,
    )
}

async fn deaths(slots: Store) -> Outcome {
    let owner = owner();
    for until in [60, 60, 61, 300] {
        let taken = slots
            .take(
                &owner,
                &Slot {
                    until: after(until),
                    ..slot()
                },
                4,
                START,
            )
            .await?;
        same(&taken, &Taken::Granted)?;
    }
    same(&fill(&slots, &owner, 4, after(59)).await?, &0)?;
    same(&fill(&slots, &owner, 4, after(60)).await?, &2)?;
    same(&fill(&slots, &owner, 4, after(61)).await?, &1)?;
    // All but the last one end a minute or so after they were taken.
    same(&fill(&slots, &owner, 4, after(200)).await?, &3)?;
    same(&fill(&slots, &owner, 4, after(7 * 24 * 60 * 60)).await?, &4)
}

async fn risen(slots: Store) -> Outcome {
    let (owner, dead) = (owner(), slot());
    slots.take(&owner, &dead, 1, START).await?;
    same(&fill(&slots, &owner, 1, after(60)).await?, &1)?;
    slots.give_back(&owner, &dead).await?;
    same(&fill(&slots, &owner, 1, after(60)).await?, &0)
}

async fn many_deaths(slots: Store) -> Outcome {
    let owner = owner();
    same(&fill(&slots, &owner, 120, START).await?, &120)?;
    same(&fill(&slots, &owner, 120, after(60)).await?, &120)
}

async fn lowered(slots: Store) -> Outcome {
    let (owner, one) = (owner(), slot());
    slots.take(&owner, &one, 4, START).await?;
    same(&fill(&slots, &owner, 4, START).await?, &3)?;
    same(&fill(&slots, &owner, 3, START).await?, &0)?;
    slots.give_back(&owner, &one).await?;
    same(&fill(&slots, &owner, 3, START).await?, &0)?;
    same(&fill(&slots, &owner, 2, after(60)).await?, &2)
}

async fn apart(slots: Store) -> Outcome {
    let key = LimitOwner::Key(samples::token().id());
    for owner in [owner(), owner(), key] {
        same(&fill(&slots, &owner, 2, START).await?, &2)?;
    }
    Ok(())
}

async fn many_at_once(slots: Store) -> Outcome {
    let owner = owner();
    same(&race(&slots, &owner, 80, 20, START).await?, &20)?;
    same(&fill(&slots, &owner, 21, START).await?, &1)
}

async fn many_heirs(slots: Store) -> Outcome {
    let owner = owner();
    same(&fill(&slots, &owner, 20, START).await?, &20)?;
    same(&race(&slots, &owner, 80, 20, after(60)).await?, &20)?;
    same(&fill(&slots, &owner, 21, after(60)).await?, &1)
}

async fn many_turns(slots: Store) -> Outcome {
    let owner = owner();
    let mut turns = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (slots, owner, slot) = (Arc::clone(&slots), owner.clone(), slot());
        turns.spawn(async move {
            for fence in 1..4 {
                let slot = Slot { fence, ..slot };
                slots.take(&owner, &slot, 7, START).await?;
                slots.give_back(&owner, &slot).await?;
                slots.give_back(&owner, &slot).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    for turn in turns.join_all().await {
        turn?;
    }
    same(&fill(&slots, &owner, 7, START).await?, &7)
}
