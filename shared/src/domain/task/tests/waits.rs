//! How long tasks wait, and how the watchdog wakes them.

use super::*;
use crate::domain::task::backoffs::spread;

#[test]
fn a_parked_task_is_had_when_its_wait_is_over_and_not_before() {
    let mut task = queued();
    task.claim(lease(60), after(0)).unwrap();
    task.park(1, wait(30), Spent::Nothing, after(1)).unwrap();
    assert_eq!(
        (task.status(), task.attempts(), task.progress.parkings.all),
        (TaskStatus::Waiting, 0, 1)
    );
    assert_eq!(
        task.claim(lease(60), after(29)),
        Err(ClaimRefused::Waiting { until: after(30) })
    );
    assert_eq!(task.claim(lease(60), after(30)), Ok(()));
    assert_eq!((task.fence(), task.attempts()), (2, 1));
}

#[test]
fn watchdog_wakes_a_parked_task_without_a_message() {
    for (until, due) in [
        (30, 90),
        (901, 961),
        (902, 902),
        (1_799, 1_799),
        (9_000, 1_800),
    ] {
        let mut task = queued();
        task.claim(lease(60), after(0)).unwrap();
        task.park(1, wait(until), Spent::Nothing, after(1)).unwrap();
        assert_eq!(task.due_at(), Some(after(due)), "{until}");
        assert_eq!(task.settle_overdue(after(due - 1)), None);
        let expected = if due == 1_800 {
            Overdue::TimedOut
        } else {
            Overdue::Awakened
        };
        assert_eq!(task.settle_overdue(after(due)), Some(expected));
    }
}

#[test]
fn parking_after_a_lost_paid_answer_counts_as_an_attempt() {
    let mut task = queued();
    for attempt in 1..=MAX_ATTEMPTS {
        assert_eq!(task.attempts(), attempt - 1);
        task.claim(lease(attempt * 10 + 9), after(attempt * 10))
            .unwrap();
        task.park(
            task.fence(),
            wait(attempt * 10 + 5),
            Spent::Attempt,
            after(attempt * 10 + 1),
        )
        .unwrap();
    }
    assert_eq!(task.status(), TaskStatus::Failed);
}

#[test]
fn backoffs_double_up_to_five_minutes_and_differ_between_tasks() {
    let mut task = queued();
    let mut pauses = Vec::new();
    for outages in 0..9 {
        task.progress.parkings.outages = outages;
        pauses.push(task.outage_backoff().as_secs_f64() / (1.0 - spread(task.id()) / 4.0));
    }
    let rounded: Vec<u64> = pauses
        .iter()
        .map(|seconds| seconds.round() as u64)
        .collect();
    assert_eq!(rounded, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    let fractions: Vec<f64> = (0..50).map(|_| spread(queued().id())).collect();
    assert!(
        fractions
            .iter()
            .all(|fraction| (0.0..1.0).contains(fraction))
    );
    assert!(
        fractions
            .iter()
            .any(|fraction| (fraction - fractions[0]).abs() > 0.05)
    );
}

#[test]
fn waits_for_a_rate_limit_double_up_to_a_minute() {
    let mut task = queued();
    task.spec.id = TaskId::derived([0; 16]);
    let waits = [0, 1, 2, 3, 4, 5, u32::MAX].map(|rate_limits| {
        task.progress.parkings.rate_limits = rate_limits;
        task.rate_limit_backoff().as_secs()
    });
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60]);
}

#[test]
fn only_waits_of_its_own_kind_make_a_pause_longer() {
    use WaitReason::{
        Breaker, Budget, Concurrency, OutOfTime, RateLimit, RetryAfter, SingleFlight,
    };
    let mut task = queued();
    for (at, reason) in (0..).zip([
        RateLimit,
        SingleFlight,
        Concurrency,
        OutOfTime,
        RetryAfter,
        Budget,
        Breaker,
    ]) {
        task.claim(lease(at * 10 + 9), after(at * 10)).unwrap();
        task.park(
            task.fence(),
            Wait {
                until: after(at * 10 + 5),
                reason,
            },
            Spent::Nothing,
            after(at * 10),
        )
        .unwrap();
    }
    assert_eq!(
        task.progress.parkings,
        Parkings {
            all: 7,
            outages: 1,
            rate_limits: 1,
            turns: 1
        }
    );
    task.claim(lease(99), after(90)).unwrap();
    task.note_steps(recorded(1));
    assert_eq!(task.progress.parkings, Parkings::default());
}

#[test]
fn slot_backoff_grows_until_the_deadline_is_near() {
    let mut task = queued();
    task.spec.id = TaskId::derived([0; 16]);
    let pauses = [0, 1, 2, 3, 4, 5, u32::MAX].map(|turns| {
        task.progress.parkings.turns = turns;
        task.slot_backoff(START).as_secs()
    });
    assert_eq!(pauses, [4, 8, 16, 32, 60, 60, 60]);
    let pressed = [60, 20, 2, 1, 0]
        .map(|left| task.slot_backoff(task.deadline().minus(Duration::from_secs(left))));
    assert_eq!(pressed.map(|pause| pause.as_secs()), [30, 10, 1, 1, 1]);
    task.spec.id = TaskId::derived([255; 16]);
    assert_eq!(task.slot_backoff(START).as_secs(), 30);
}
