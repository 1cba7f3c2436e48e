//! A task's history is whole, although several writers change the task at once or too late, and die
//! at any point.

#![allow(
    clippy::indexing_slicing,
    reason = "there are as many writers as places"
)]

use std::time::Duration;

use proptest::prelude::*;
use shared::app::Tasks;
use shared::domain::task::MAX_HISTORY;
use shared::domain::{
    Change, Lease, LimitKind, ReopenFrom, Spent, Task, TaskId, Timestamp, Wait, WaitReason,
};
use shared::ports::{Claimed, TaskStore};
use shared::testing::{Faults, When, samples};

use crate::world::World;

/// What one of three writers does to the task as it last read it, which may be long ago.
#[derive(Debug, Clone)]
struct Act {
    writer: usize,
    what: u8,
    /// Whether it first reads the task.
    reads: bool,
    /// How its write fails, if it does.
    fault: Option<When>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let fault =
        prop_oneof![4 => Just(None), 1 => Just(Some(When::Before)), 1 => Just(Some(When::After))];
    let act = (0..3_usize, 0..12_u8, prop::bool::weighted(0.7), fault);
    prop::collection::vec(
        act.prop_map(|(writer, what, reads, fault)| Act {
            writer,
            what,
            reads,
            fault,
        }),
        1..250,
    )
}

/// Makes the transition, if the task allows it.
fn change(task: &mut Task, what: u8, now: Timestamp) -> bool {
    let fence = task.fence();
    let wait = Wait {
        until: now,
        reason: WaitReason::Breaker,
    };
    match what {
        0 => task
            .renew(fence, now.plus(Duration::from_secs(5)), now)
            .is_ok(),
        1 | 2 => task.hand_over(fence, now).is_ok(),
        3 => task.park(fence, wait, Spent::Nothing, now).is_ok(),
        4 => task.pause(fence, LimitKind::Budget, now).is_ok(),
        5 => task.resume(task.limits(), now).is_ok(),
        6 => matches!(task.cancel(now), Ok(Some(_))),
        7 | 8 => task
            .reopen(ReopenFrom::Checkpoint, task.limits(), now)
            .is_ok(),
        _ => task.settle_overdue(now).is_some(),
    }
}

/// The task's changes, in pages of this size.
async fn told(tasks: &Tasks, world: &World, id: TaskId, limit: u32) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let from = u32::try_from(changes.len()).unwrap();
        let part = tasks
            .list_history(world.tenant(), id, from, limit)
            .await
            .unwrap();
        for (number, change) in part.changes {
            assert_eq!(
                number as usize,
                changes.len(),
                "a number is missing, or comes twice"
            );
            changes.push(change);
        }
        if !part.more {
            return changes;
        }
    }
}

async fn play(acts: Vec<Act>) {
    let world = World::new().await;
    let id = world.submit("hello").await.unwrap().id();
    let tasks = world.tasks();
    let first = world.task(id).await;
    let mut seen = [first.clone(), first.clone(), first];
    let mut before = told(&tasks, &world, id, 100).await;
    for (number, act) in acts.into_iter().enumerate() {
        world.pass(7);
        let now = world.now();
        if act.reads {
            seen[act.writer] = world.task(id).await;
        }
        let faults = Faults::default();
        if let Some(when) = act.fault {
            faults.fail_next(when);
        }
        let store = world.store.with_faults(faults);
        if act.what > 9 {
            let lease: Lease = samples::lease_until(now.plus(Duration::from_secs(5)));
            if let Ok(Claimed::Granted(task)) = store.claim(world.tenant(), id, lease, now).await {
                seen[act.writer] = *task;
            }
        } else {
            let mut changed = seen[act.writer].clone();
            if change(&mut changed, act.what, now) && store.update(&changed).await.is_ok() {
                seen[act.writer] = changed;
            }
        }
        let limit = u32::try_from(number % 40 + 1).unwrap();
        let after = told(&tasks, &world, id, limit).await;
        assert!(after.starts_with(&before), "a change has changed");
        assert!(
            after.len() <= before.len() + 1,
            "one write makes one change at most"
        );
        assert!(world.task(id).await.progress().history.recent().len() <= MAX_HISTORY);
        before = after;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_history_is_gapless_and_no_change_ever_changes(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(acts));
    }
}
