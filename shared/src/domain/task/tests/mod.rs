//! The rules of a task's life.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of tests"
)]

mod clients;
mod waits;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Agent, AgentConfig, AgentName, BudgetScope, FailureCode, Instructions, Limits, ModelChain,
    ModelRef, Origin, Provider, RetryRules, StepSummary, StepSummaryKind, StopReason, ToolCall,
    Usage, WaitReason,
};

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn queued() -> Task {
    let config = AgentConfig {
        name: AgentName::new("clerk".to_owned()).unwrap(),
        instructions: Instructions::default(),
        models: ModelChain::only(
            ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5")
                .unwrap()
                .into(),
        ),
        tools: Vec::new(),
        output_schema: None,
        retry: RetryRules::default(),
        cache: None,
        limits: Limits::default(),
    };
    let agent = Agent::create("acme".parse().unwrap(), config, START);
    Task::submit(
        TaskId::new(START),
        &agent,
        TaskInput::new("hello".to_owned()).unwrap(),
        CacheUse::default(),
        START,
    )
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn lease(until: u64) -> Lease {
    Lease {
        worker: WorkerId::new(START),
        expires_at: after(until),
    }
}

fn output() -> Output {
    Output {
        text: "hi".to_owned(),
        stop_reason: StopReason::EndTurn,
        model: ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5").unwrap(),
        usage: Usage::default(),
        origin: Origin::Provider,
    }
}

#[test]
fn a_lease_is_exclusive_until_it_expires() {
    let mut task = queued();
    assert_eq!(task.claim(lease(60), after(0)), Ok(()));
    assert_eq!(
        task.claim(lease(90), after(59)),
        Err(ClaimRefused::Leased { until: after(60) })
    );
    assert_eq!(task.claim(lease(120), after(60)), Ok(()));
    assert_eq!(task.fence(), 2);
}

#[test]
fn a_stay_in_a_state_lasts_until_another_state_begins() {
    let mut task = queued();
    assert_eq!(task.last_stay(), None, "it has ended no state yet");
    task.settle_overdue(after(60)).unwrap();
    assert_eq!(task.last_stay(), None, "it is still queued");
    task.claim(lease(90), after(70)).unwrap();
    assert_eq!(
        task.last_stay(),
        Some((TaskStatus::Queued, Duration::from_secs(70)))
    );
    task.cancel(after(75)).unwrap();
    assert_eq!(task.last_stay(), None, "its worker still holds the lease");
    task.end_canceled(1, after(80)).unwrap();
    assert_eq!(
        task.last_stay(),
        Some((TaskStatus::Running, Duration::from_secs(10)))
    );
}

#[test]
fn a_worker_that_lost_its_lease_changes_nothing() {
    let mut task = queued();
    task.claim(lease(60), after(0)).unwrap();
    let lost = task.fence();
    task.claim(lease(120), after(60)).unwrap();
    let before = task.clone();
    assert_eq!(task.complete(lost, output(), after(61)), Err(LeaseLost));
    assert_eq!(task, before);
    assert_eq!(task.complete(task.fence(), output(), after(61)), Ok(()));
    assert_eq!(task.status(), TaskStatus::Completed);
}

#[test]
fn an_unclaimed_task_is_sent_again_ever_more_seldom() {
    let mut task = queued();
    let mut moments = Vec::new();
    while let Some(due_at) = task.due_at() {
        moments.push(due_at.since(START).as_secs());
        task.settle_overdue(due_at);
    }
    assert_eq!(moments, [60, 180, 420, 900, 1_800]);
    assert_eq!(task.status(), TaskStatus::TimedOut);
}

#[test]
fn a_task_whose_workers_all_die_fails() {
    let mut task = queued();
    let mut settled = Vec::new();
    for attempt in 1..=MAX_ATTEMPTS {
        task.claim(lease(attempt * 10), after(attempt * 10 - 10))
            .unwrap();
        settled.extend(task.settle_overdue(after(attempt * 10)));
    }
    assert_eq!(
        settled,
        [[Overdue::Requeued; 4].as_slice(), &[Overdue::GivenUp]].concat()
    );
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert!(failure.code.is_dead_letter());
}

#[test]
fn nothing_happens_before_it_is_due() {
    let mut task = queued();
    assert_eq!(task.settle_overdue(after(59)), None);
    task.claim(lease(90), after(59)).unwrap();
    assert_eq!(task.settle_overdue(after(89)), None);
    assert_eq!(task.settle_overdue(after(90)), Some(Overdue::Requeued));
}

fn call() -> PendingCall {
    let call = ToolCall {
        id: "a".to_owned(),
        name: "ask".to_owned(),
        arguments: "{}".to_owned(),
    };
    PendingCall { number: 2, call }
}

fn running() -> Task {
    let mut task = queued();
    task.claim(lease(60), after(0)).unwrap();
    task
}

#[test]
fn an_attempt_under_which_the_journal_grows_is_worth_it() {
    let mut task = queued();
    for attempt in 1..=20 {
        task.claim(lease(attempt * 10), after(attempt * 10 - 10))
            .unwrap();
        assert!(task.note_steps(recorded(attempt as u32)));
        assert!(!task.note_steps(recorded(attempt as u32)), "known already");
        task.renew(task.fence(), after(attempt * 10), after(attempt * 10 - 9))
            .unwrap();
        assert_eq!(
            task.settle_overdue(after(attempt * 10)),
            Some(Overdue::Requeued)
        );
    }
    assert_eq!(
        (task.attempts(), task.progress.steps, task.spend().attempts),
        (1, 20, 20)
    );
}

/// A journal of so many answers.
fn recorded(steps: u32) -> impl Iterator<Item = StepSummary> {
    let spend = Spend {
        attempts: 1,
        ..Spend::default()
    };
    (1..=steps).map(move |number| StepSummary {
        base: 0,
        number,
        kind: StepSummaryKind::ModelCall,
        spend,
        bytes: 100,
    })
}

#[test]
fn a_task_knows_how_large_its_conversation_is() {
    let known = |task: &Task| task.progress.conversation_bytes;
    let mut task = running();
    assert_eq!(known(&task), Some(0));
    task.note_steps(recorded(3));
    assert_eq!(known(&task), Some(300));
    // The second is not there yet; the third takes memory all the same.
    let mut gap = running();
    assert!(gap.note_steps(recorded(3).filter(|step| step.number != 2)));
    assert_eq!((known(&gap), gap.progress.steps), (Some(200), 1));
    task.require_input(1, vec![call()], after(2)).unwrap();
    task.answered(50, after(3)).unwrap();
    assert_eq!(known(&task), Some(350));
    task.cancel(after(4)).unwrap();
    task.reopen(ReopenFrom::Checkpoint, Limits::default(), after(5))
        .unwrap();
    assert_eq!(known(&task), Some(350));
    task.cancel(after(6)).unwrap();
    task.reopen(
        ReopenFrom::Start { last_step: 3 },
        Limits::default(),
        after(7),
    )
    .unwrap();
    task.note_steps(recorded(3));
    assert_eq!(known(&task), Some(0), "steps of another run are not read");
}

#[test]
fn conversation_size_is_unknown_until_the_steps_are_read() {
    let mut task = running();
    task.progress.conversation_bytes = None;
    task.require_input(1, vec![call()], after(2)).unwrap();
    task.answered(50, after(3)).unwrap();
    assert_eq!(task.progress.conversation_bytes, None);
    task.note_steps(recorded(2));
    assert_eq!(task.progress.conversation_bytes, Some(200));
}

#[test]
fn a_renewed_lease_holds_longer_and_only_for_its_holder() {
    let mut task = running();
    assert_eq!(task.renew(2, after(90), after(20)), Err(LeaseLost));
    task.renew(1, after(90), after(20)).unwrap();
    assert_eq!(task.due_at(), Some(after(90)));
    assert_eq!(
        task.claim(lease(120), after(89)),
        Err(ClaimRefused::Leased { until: after(90) })
    );
}

#[test]
fn a_task_is_handed_over_until_it_was_often_enough() {
    let mut task = queued();
    for hop in 1..=MAX_HOPS {
        task.claim(lease(60), after(0)).unwrap();
        task.hand_over(task.fence(), after(1)).unwrap();
        assert_eq!(
            (task.status(), task.progress.hops, task.attempts()),
            (TaskStatus::Queued, hop, 0)
        );
    }
    task.claim(lease(60), after(0)).unwrap();
    task.hand_over(task.fence(), after(1)).unwrap();
    let TaskState::Failed(failure) = task.state() else {
        panic!("{task:?}")
    };
    assert_eq!(failure.code, FailureCode::HopsExhausted);
}

#[test]
fn only_a_task_that_waits_for_a_worker_is_dead_lettered_by_the_queue() {
    let mut parked = running();
    parked.park(1, wait(30), Spent::Nothing, after(1)).unwrap();
    for mut task in [running(), parked] {
        assert!(!task.dead_letter(after(2)));
    }
    let mut stranded = queued();
    for moment in [60, 180, 420, 900] {
        assert!(
            !stranded.dead_letter(after(moment)),
            "an outage of some minutes costs nothing but time"
        );
        assert_eq!(
            stranded.settle_overdue(after(moment)),
            Some(Overdue::Resent)
        );
    }
    assert!(stranded.dead_letter(after(901)));
    let TaskState::Failed(failure) = stranded.state() else {
        panic!("{stranded:?}")
    };
    assert!(failure.code.is_dead_letter());
}

#[test]
fn a_history_tells_lost_workers_from_others() {
    let was_lost = |prepare: fn(&mut Task), moment: u64| {
        let mut task = running();
        prepare(&mut task);
        task.settle_overdue(after(moment)).unwrap();
        task.progress.history.recent().last().unwrap().lost
    };
    assert!(was_lost(|_| {}, 60), "requeued");
    assert!(was_lost(|_| {}, 1_800), "timed out");
    assert!(
        was_lost(|task| assert!(task.cancel(after(1)).is_ok()), 60),
        "canceled"
    );
    assert!(
        was_lost(|task| task.progress.attempts = MAX_ATTEMPTS, 60),
        "given up"
    );
    let mut by_client = running();
    by_client.cancel(after(60)).unwrap();
    assert!(
        by_client.progress.history.recent().last().unwrap().lost,
        "canceled by its client, who came before the watchdog"
    );
    assert!(
        !was_lost(|task| task.renew(1, after(2_000), after(1)).unwrap(), 1_800),
        "timed out by its worker"
    );
    assert!(
        !was_lost(
            |task| task.release(1, Spent::Attempt, after(1)).unwrap(),
            90
        ),
        "resent"
    );
}

proptest! {
    /// Never early, late by a quarter of the wait or half a second at most, and not too late
    /// because of it.
    #[test]
    fn a_staggered_wait_ends_in_its_bounds(last in any::<u8>(), wait_ms in 0..2_000_000_u64) {
        let mut task = queued();
        task.spec.id = TaskId::derived([last; 16]);
        let until = START.plus(Duration::from_millis(wait_ms));
        let staggered = task.staggered(until, START);
        prop_assert!(until <= staggered && staggered.since(until).as_millis() <= u128::from((wait_ms / 4).max(500)));
        prop_assert!(until >= task.deadline() || staggered < task.deadline());
        let [.., last] = *task.id().as_bytes();
        let has_room = last > 0 && task.deadline().since(until) > Duration::from_secs(1);
        prop_assert!(!has_room || until < staggered);
    }

    /// In any order of transitions: a refused transition changes nothing, an allowed one raises the
    /// revision by one, fences only grow, an ended task stays as it is, and every other task has a
    /// moment at which the watchdog checks it. The changes that left the record and the changes in
    /// it are together the whole history, each as it was.
    #[test]
    fn any_history_keeps_the_rules(history in prop::collection::vec((0..20_u8, 0..120_u64, 0..7_u64), 0..90)) {
        let mut task = queued();
        let (mut now, mut moved, mut whole) = (0, Vec::new(), task.progress.history.recent().to_vec());
        for (act, seconds, fence) in history {
            now += seconds;
            let before = task.clone();
            let (current, at) = (task.fence(), after(now));
            let changed = match act {
                0 => task.claim(lease(now + 45), at).is_ok(),
                1 => task.complete(fence, output(), at).is_ok(),
                2 => task.fail(fence, Failure::attempts_exhausted(MAX_ATTEMPTS, 0, &Setbacks::default()), at).is_ok(),
                3 => task.complete(current, output(), at).is_ok(),
                4 => task.release(fence, Spent::Nothing, at).is_ok(),
                5 => task.release(fence, Spent::Attempt, at).is_ok(),
                6 => task.park(fence, wait(now + seconds), Spent::Nothing, at).is_ok(),
                7 => task.park(fence, wait(now + seconds), Spent::Attempt, at).is_ok(),
                8 => task.renew(current, after(now + 45), at).is_ok(),
                9 => task.hand_over(current, at).is_ok(),
                10 => task.require_input(current, vec![call()], at).is_ok(),
                11 => task.pause(current, LimitKind::Budget, at).is_ok(),
                12 => task.end_canceled(fence, at).is_ok(),
                13 => matches!(task.cancel(at), Ok(Some(_))),
                14 => task.reopen(ReopenFrom::Checkpoint, Limits::default(), at).is_ok(),
                15 => task.resume(Limits::default(), at).is_ok(),
                16 => task.answered(0, at).is_ok(),
                17 => task.dead_letter(at),
                _ => task.settle_overdue(at).is_some(),
            };
            if changed {
                prop_assert_eq!(task.progress.revision, before.progress.revision + 1);
                prop_assert!(!before.status().is_terminal() || act == 14);
                for (first, block) in task.progress.history.leaving() {
                    prop_assert_eq!((first as usize, block.len()), (moved.len(), HISTORY_BLOCK as usize));
                    moved.extend_from_slice(block);
                }
                let told = [moved.as_slice(), task.progress.history.recent()].concat();
                prop_assert!(told.starts_with(&whole) && told.len() <= whole.len() + 1);
                prop_assert_eq!(task.progress.history.first() as usize, moved.len());
                prop_assert!(task.progress.history.recent().len() <= MAX_HISTORY);
                whole = told;
            } else {
                prop_assert_eq!(&task, &before);
            }
            prop_assert!(task.fence() >= before.fence() && task.attempts() <= MAX_ATTEMPTS.min(task.fence()));
            prop_assert_eq!(task.due_at().is_none(), task.status().is_terminal());
            prop_assert!(!task.progress.cancel_requested || task.status() == TaskStatus::Running);
        }
    }
}

fn wait(until: u64) -> Wait {
    Wait {
        until: after(until),
        reason: WaitReason::RetryAfter,
    }
}
