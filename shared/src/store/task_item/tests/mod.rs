//! Records of tasks: each state survives, damage is reported, and what earlier versions left out is
//! unknown.

mod sizes;

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    BudgetScope, Change, Event, LimitKind, PendingCall, Spent, ToolCall, Wait, WaitReason,
};
use crate::ports::{ModelError, ModelErrorKind};
use crate::testing::samples::{self, after, lease_until};

/// A task in each state.
fn histories() -> Vec<Task> {
    let queued = samples::task(&samples::agent(&samples::tenant("acme")), after(0));
    let later = queued.clone().not_before(after(600));
    let mut running = queued.clone();
    running.claim(lease_until(after(60)), after(1)).unwrap();
    let (mut completed, mut failed, mut timed_out) =
        (running.clone(), running.clone(), queued.clone());
    let mut waiting = running.clone();
    let wait = Wait {
        until: after(30),
        reason: WaitReason::RateLimit,
    };
    waiting.add_spend(samples::answer("").spend);
    let down = ModelError {
        status: Some(503),
        ..ModelError::new(samples::model(), ModelErrorKind::Unavailable)
    };
    waiting.note_setbacks(&down.attempts(), Some(BudgetScope::Tenant));
    waiting.park(1, wait, Spent::Nothing, after(2)).unwrap();
    let (mut asking, mut paused, mut canceled) = (running.clone(), running.clone(), queued.clone());
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "ask".to_owned(),
        arguments: "{}".to_owned(),
    };
    asking
        .require_input(1, vec![PendingCall { number: 2, call }], after(2))
        .unwrap();
    paused.pause(1, LimitKind::MaxSteps, after(2)).unwrap();
    canceled.cancel(after(2)).unwrap();
    let mut to_cancel = running.clone();
    to_cancel.cancel(after(2)).unwrap();
    completed
        .complete(1, samples::output("Paris"), after(2))
        .unwrap();
    failed.fail(1, samples::failure(), after(2)).unwrap();
    timed_out.settle_overdue(after(1_800)).unwrap();
    vec![
        queued, running, waiting, completed, failed, timed_out, asking, paused, canceled,
        to_cancel, later,
    ]
}

/// The task as a record that holds all of it.
fn record(task: &Task) -> Item {
    write(task, pack(task).unwrap().as_ref())
}

fn read_whole(item: &Item) -> Result<Task, StoreError> {
    read(
        item,
        head(item)?.map(|head| head.value_in_head()).transpose()?,
    )
}

#[test]
fn a_task_in_each_state_survives_its_record() {
    for task in histories() {
        assert_eq!(read_whole(&record(&task)).unwrap(), task);
        let summary = read_summary(&record(&task)).unwrap();
        assert_eq!(
            (summary.id, summary.status, summary.attempts),
            (task.id(), task.status(), task.attempts())
        );
    }
}

#[test]
fn setbacks_of_a_later_version_are_left_out_and_the_task_is_read() {
    let [_, _, task, ..] = &histories()[..] else {
        panic!("no task")
    };
    assert!(!task.progress().setbacks.is_empty());
    let mut item = record(task);
    let later =
        r#"{"met":[{"provider":"anthropic","code":"of_a_later_version","status":null,"times":1}]}"#;
    item.insert(SETBACKS.to_owned(), text(later));
    assert!(read_whole(&item).unwrap().progress().setbacks.is_empty());
}

#[test]
fn how_large_a_conversation_is_holds_for_the_steps_that_were_counted() {
    let [task, ..] = &histories()[..] else {
        panic!("no task")
    };
    let known = |change: &dyn Fn(&mut Item)| {
        let mut item = record(task);
        change(&mut item);
        read_whole(&item).unwrap().progress().conversation_bytes
    };
    assert_eq!(known(&|_| ()), Some(0));
    assert_eq!(
        known(&|item| drop(item.insert(STEPS.to_owned(), number(3)))),
        None,
        "an earlier version went on"
    );
    assert_eq!(known(&|item| drop(item.remove(CONVERSATION_BYTES))), None);
    assert_eq!(known(&|item| drop(item.remove(CONVERSATION_STEPS))), None);
}

#[test]
fn a_transition_can_replace_all_that_any_state_writes() {
    for task in histories() {
        for (attribute, _) in progress(&task, pack(&task).unwrap().as_ref()) {
            assert!(MUTABLE.contains(&attribute), "{attribute}");
        }
    }
    for head in blob::HEAD {
        assert!(MUTABLE.contains(&head), "{head}");
    }
}

#[test]
fn a_task_is_in_the_shard_of_those_to_look_at_until_it_ends() {
    for task in histories() {
        let (shard, moment) = match task.finished_at() {
            Some(ended) => (keys::ended_shard(task.id()), ended),
            None => (keys::due_shard(task.id()), task.due_at().unwrap()),
        };
        assert_eq!(
            (&record(&task)[DUE_SHARD], &record(&task)[DUE_AT]),
            (&text(shard), &items::moment(moment))
        );
    }
}

#[test]
fn a_damaged_record_is_reported() {
    let common = [
        "pk",
        "v",
        "tenant_id",
        "agent_id",
        "agent_version",
        "input",
        "created_at",
        "deadline",
        "revision",
        "fence",
        "attempts",
        "sends",
        "updated_at",
        "status",
    ];
    let of_state: [&[&str]; 10] = [
        &["resend_at"],
        &["lease_worker", "lease_expires_at"],
        &["resend_at", "wait_reason", "wait_until"],
        &[
            "codec",
            "raw_bytes",
            "sha256",
            "stored",
            "stop_reason",
            "usage",
            "origin",
            "answered_by",
        ],
        &["codec", "raw_bytes", "sha256", "stored", "failure_code"],
        &[],
        &[
            "codec",
            "raw_bytes",
            "sha256",
            "stored",
            "since",
            "input_expires_at",
        ],
        &["limit", "since", "input_expires_at"],
        &[],
        &["lease_worker", "lease_expires_at"],
    ];
    for (task, of_state) in histories().iter().zip(of_state) {
        items::checks::check_robustness(&record(task), &[&common, of_state].concat(), read_whole);
    }
}

#[test]
fn a_record_is_of_its_tenant_only() {
    for task in histories() {
        assert!(is_of(&samples::tenant("acme"), &record(&task)).unwrap());
        assert!(!is_of(&samples::tenant("other"), &record(&task)).unwrap());
    }
}

/// What the version before makes of the history in a record when it changes the task, or renews its
/// lease: it keeps a hundred changes, does not know of their numbers, and may find claims beyond.
/// Returns how many it removed.
fn changed_by_the_version_before(item: &mut Item, change: Option<&Change>) -> usize {
    let Some(AttributeValue::L(entries)) = item.get_mut(HISTORY) else {
        panic!("no history")
    };
    entries.extend(change.map(change_form::change));
    let surplus = entries.len().saturating_sub(100);
    entries.drain(..surplus);
    let revision: u64 = Fields::of_index(item).number(REVISION).unwrap();
    item.insert(REVISION.to_owned(), number(revision + 1));
    surplus
}

/// This version and the one before change a task in turns, as while one is deployed, or for long
/// after a rollback. No number that this version wrote ever stands for another change, and none is
/// missing unless the version before removed changes.
#[test]
fn no_number_is_given_twice_whatever_the_version_before_does() {
    for (ours, theirs) in [(30, 1), (1, 30), (12, 70), (3, 150), (1, 300)] {
        let mut item = record(&samples::task(
            &samples::agent(&samples::tenant("acme")),
            after(0),
        ));
        let (mut told, mut removed) = (BTreeMap::new(), 0);
        for round in 0..800 {
            if round % (ours + theirs) >= ours {
                let resent = Change::new(after(round), Event::Resent);
                removed +=
                    changed_by_the_version_before(&mut item, (round % 3 > 0).then_some(&resent));
                continue;
            }
            let mut task = read_whole(&item).unwrap();
            if task.hand_over(task.fence(), after(round)).is_err() {
                task.claim(lease_until(after(99_999)), after(round))
                    .unwrap();
            }
            let history = &task.progress().history;
            let moved = history
                .leaving()
                .flat_map(|(first, block)| (first..).zip(block));
            for (number, change) in moved.chain(history.numbered()) {
                let before = told.insert(number, change.clone());
                assert!(
                    before.is_none_or(|before| before == *change),
                    "{ours}, {theirs}: {number} was another"
                );
            }
            item = record(&task);
        }
        let last = told.keys().last().copied().unwrap_or_default();
        assert_eq!(
            (removed == 0, theirs < 150),
            (told.len() == last as usize + 1, removed == 0),
            "{ours}, {theirs}"
        );
    }
}
