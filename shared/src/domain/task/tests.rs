//! The rules of a task's life.

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers of tests")]

use proptest::prelude::*;

use super::*;
use crate::domain::{
    AgentConfig, AgentName, Instructions, Limits, ModelChain, ModelRef, Origin, Provider, RetryRules, StopReason,
    Usage, WaitReason,
};

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn queued() -> Task {
    let config = AgentConfig {
        name: AgentName::new("clerk".to_owned()).unwrap(),
        instructions: Instructions::default(),
        models: ModelChain::only(ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5").unwrap().into()),
        tools: Vec::new(),
        builtin_tools: Vec::new(),
        output_schema: None,
        retry: RetryRules::default(),
        cache: None,
        limits: Limits::default(),
    };
    let agent = Agent::create("acme".parse().unwrap(), config, START);
    Task::submit(TaskId::new(START), &agent, TaskInput::new("hello".to_owned()).unwrap(), CacheUse::default(), START)
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn lease(until: u64) -> Lease {
    Lease { worker: WorkerId::new(START), expires_at: after(until) }
}

fn output() -> Output {
    Output {
        text: "hi".to_owned(),
        stop_reason: StopReason::EndTurn,
        tool_calls: Vec::new(),
        model: ModelRef::new(Provider::Anthropic, "claude-sonnet-5-5").unwrap(),
        usage: Usage::default(),
        origin: Origin::Provider,
    }
}

#[test]
fn a_lease_is_exclusive_until_it_expires() {
    let mut task = queued();
    assert_eq!(task.claim(lease(60), after(0)), Ok(()));
    assert_eq!(task.claim(lease(90), after(59)), Err(ClaimRefused::Leased { until: after(60) }));
    assert_eq!(task.claim(lease(120), after(60)), Ok(()));
    assert_eq!(task.fence(), 2);
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
fn a_task_whose_workers_all_die_is_given_up() {
    let mut task = queued();
    let mut settled = Vec::new();
    for attempt in 1..=MAX_ATTEMPTS {
        task.claim(lease(attempt * 10), after(attempt * 10 - 10)).unwrap();
        settled.extend(task.settle_overdue(after(attempt * 10)));
    }
    assert_eq!(settled, [[Overdue::Requeued; 4].as_slice(), &[Overdue::GivenUp]].concat());
    let TaskState::Failed(failure) = task.state() else { panic!("{task:?}") };
    assert!(failure.code.is_dead_letter());
}

fn wait(until: u64) -> Wait {
    Wait { until: after(until), reason: WaitReason::RetryAfter }
}

#[test]
fn a_parked_task_is_had_when_its_wait_is_over_and_not_before() {
    let mut task = queued();
    task.claim(lease(60), after(0)).unwrap();
    task.park(1, wait(30), Spent::Nothing, after(1)).unwrap();
    assert_eq!((task.status(), task.attempts(), task.progress.parkings), (TaskStatus::Waiting, 0, 1));
    assert_eq!(task.claim(lease(60), after(29)), Err(ClaimRefused::Waiting { until: after(30) }));
    assert_eq!(task.claim(lease(60), after(30)), Ok(()));
    assert_eq!((task.fence(), task.attempts()), (2, 1));
}

#[test]
fn the_watchdog_wakes_a_parked_task_whose_message_did_not_come_or_could_not_wait_so_long() {
    for (until, due) in [(30, 90), (901, 961), (902, 902), (1_799, 1_799), (9_000, 1_800)] {
        let mut task = queued();
        task.claim(lease(60), after(0)).unwrap();
        task.park(1, wait(until), Spent::Nothing, after(1)).unwrap();
        assert_eq!(task.due_at(), Some(after(due)), "{until}");
        assert_eq!(task.settle_overdue(after(due - 1)), None);
        let expected = if due == 1_800 { Overdue::TimedOut } else { Overdue::Awakened };
        assert_eq!(task.settle_overdue(after(due)), Some(expected));
    }
}

#[test]
fn a_parking_that_lost_a_paid_answer_counts_until_the_attempts_are_used_up() {
    let mut task = queued();
    for attempt in 1..=MAX_ATTEMPTS {
        assert_eq!(task.attempts(), attempt - 1);
        task.claim(lease(attempt * 10 + 9), after(attempt * 10)).unwrap();
        task.park(task.fence(), wait(attempt * 10 + 5), Spent::ModelCall, after(attempt * 10 + 1)).unwrap();
    }
    assert_eq!(task.status(), TaskStatus::Failed);
}

#[test]
fn pauses_double_up_to_five_minutes_and_differ_between_tasks() {
    let mut task = queued();
    let mut pauses = Vec::new();
    for parkings in 0..9 {
        task.progress.parkings = parkings;
        pauses.push(task.pause().as_secs_f64() / (1.0 - spread(task.id()) / 4.0));
    }
    let rounded: Vec<u64> = pauses.iter().map(|seconds| seconds.round() as u64).collect();
    assert_eq!(rounded, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    let fractions: Vec<f64> = (0..50).map(|_| spread(queued().id())).collect();
    assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
    assert!(fractions.iter().any(|fraction| (fraction - fractions[0]).abs() > 0.05));
}

#[test]
fn nothing_happens_before_it_is_due() {
    let mut task = queued();
    assert_eq!(task.settle_overdue(after(59)), None);
    task.claim(lease(90), after(59)).unwrap();
    assert_eq!(task.settle_overdue(after(89)), None);
    assert_eq!(task.settle_overdue(after(90)), Some(Overdue::Requeued));
}

proptest! {
    /// Never early, late by a quarter of the wait or half a second at most, and not too late because of it.
    #[test]
    fn a_staggered_wait_ends_in_its_bounds(last in any::<u8>(), wait_ms in 0..2_000_000_u64) {
        let mut task = queued();
        task.spec.id = TaskId::derived([last; 16]);
        let until = START.plus(Duration::from_millis(wait_ms));
        let staggered = task.staggered(until, START);
        prop_assert!(until <= staggered && staggered.since(until).as_millis() <= u128::from((wait_ms / 4).max(500)));
        prop_assert!(until >= task.spec.deadline || staggered < task.spec.deadline);
        let [.., last] = *task.id().as_bytes();
        let has_room = last > 0 && task.spec.deadline.since(until) > Duration::from_secs(1);
        prop_assert!(!has_room || until < staggered);
    }

    /// Whatever is tried in whatever order: a refused transition changes nothing, an allowed one raises the revision
    /// by one, fences only grow, an ended task stays as it is, and every other one has a moment to look at it.
    #[test]
    fn any_history_keeps_the_rules(history in prop::collection::vec((0..9_u8, 0..120_u64, 0..7_u64), 0..60)) {
        let mut task = queued();
        let mut now = 0;
        for (act, seconds, fence) in history {
            now += seconds;
            let before = task.clone();
            let changed = match act {
                0 => task.claim(lease(now + 45), after(now)).is_ok(),
                1 => task.complete(fence, output(), after(now)).is_ok(),
                2 => task.fail(fence, Failure::attempts_exhausted(MAX_ATTEMPTS), after(now)).is_ok(),
                3 => task.complete(task.fence(), output(), after(now)).is_ok(),
                4 => task.release(fence, Spent::Nothing, after(now)).is_ok(),
                5 => task.release(fence, Spent::ModelCall, after(now)).is_ok(),
                6 => task.park(fence, wait(now + seconds), Spent::Nothing, after(now)).is_ok(),
                7 => task.park(fence, wait(now + seconds), Spent::ModelCall, after(now)).is_ok(),
                _ => task.settle_overdue(after(now)).is_some(),
            };
            if changed {
                prop_assert_eq!(task.progress.revision, before.progress.revision + 1);
                prop_assert!(!before.status().is_terminal());
            } else {
                prop_assert_eq!(&task, &before);
            }
            prop_assert!(task.fence() >= before.fence() && task.attempts() <= MAX_ATTEMPTS.min(task.fence()));
            prop_assert_eq!(task.due_at().is_none(), task.status().is_terminal());
        }
    }
}
