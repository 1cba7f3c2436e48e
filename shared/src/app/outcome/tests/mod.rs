//! Tests of `outcome`.

use std::sync::Arc;

use super::*;
use crate::domain::{Deadline, FailureCode, ModelChain, ModelRef, ModelRequest, Provider, Spend};
use crate::policy::{Backoff, Fallback, Retry, RetryBudget};
use crate::ports::Model;
use crate::testing::samples::{self, START, after};
use crate::testing::{Failed, Reply, ScriptedModel, TokioClock};

fn failed(kind: ModelErrorKind, status: Option<u16>, millis: Option<u64>, usage: Usage) -> Reply {
    let spend = Spend {
        attempts: 1,
        usage,
        ..Spend::default()
    };
    let retry_after = millis.map(Duration::from_millis);
    Reply::FailWith {
        kind,
        status,
        should_retry: None,
        retry_after,
        spend,
    }
}

fn limited(millis: u64) -> Reply {
    failed(
        ModelErrorKind::RateLimited,
        Some(429),
        Some(millis),
        Usage::default(),
    )
}

fn task() -> Task {
    samples::task(&samples::agent(&samples::tenant("acme")), START)
}

/// What happens to a task that would rather fail in an outage, whose retried call meets
/// `script` in an invocation that ends after 2 s.
async fn met(script: impl IntoIterator<Item = Reply>) -> FailureDisposition {
    let (model, clock) = (
        Arc::new(ScriptedModel::new(script)),
        Arc::new(TokioClock::default()),
    );
    let retry = Retry::new(model, RetryBudget::default(), Backoff::Steady, clock);
    let request = ModelRequest {
        deadline: Deadline::at(after(2)),
        ..samples::model_request("hello")
    };
    let error = retry.call(&request).await.unwrap_err();
    disposition(&task(), Outage::Fail, &error, after(1))
}

#[tokio::test(start_paused = true)]
async fn a_task_without_time_to_wait_parks_and_only_a_billed_call_counts() {
    let cut = || {
        let wait = Wait {
            until: after(2),
            reason: WaitReason::OutOfTime,
        };
        Reply::FailUntil(ModelErrorKind::OutOfTime, Recovery::at(wait))
    };
    let broken = |status, usage| failed(ModelErrorKind::Unavailable, status, Some(9_000), usage);
    let cases = [
        (vec![limited(5_000)], 5_000, Spent::Nothing),
        (vec![limited(900), limited(800)], 1_700, Spent::Nothing),
        (
            vec![broken(Some(503), Usage::default())],
            9_000,
            Spent::Nothing,
        ),
        (
            vec![broken(Some(503), samples::usage())],
            9_000,
            Spent::Attempt,
        ),
        (
            vec![broken(Some(200), Usage::default())],
            9_000,
            Spent::Attempt,
        ),
        (vec![broken(None, Usage::default())], 9_000, Spent::Attempt),
        (vec![Reply::Hang], 2_500, Spent::Attempt),
        (vec![cut()], 2_000, Spent::Attempt),
        (vec![limited(100), cut()], 2_000, Spent::Attempt),
    ];
    for (script, millis, expected) in cases {
        let FailureDisposition::Park(wait, spent) = met(script.clone()).await else {
            panic!("{script:?}")
        };
        let until = START.plus(Duration::from_millis(millis));
        assert_eq!(
            (wait, spent),
            (
                Wait {
                    until,
                    reason: WaitReason::OutOfTime
                },
                expected
            ),
            "{script:?}"
        );
    }
    assert!(matches!(
        met([limited(11_000)]).await,
        FailureDisposition::Fail(_)
    ));
}

/// What happens to a task that waits in an outage and whose call failed like this.
fn after_failure(task: &Task, error: &ModelError, now: Timestamp) -> FailureDisposition {
    disposition(task, Outage::Wait, error, now)
}

#[track_caller]
fn check_wait(outcome: &FailureDisposition, reason: WaitReason, until: Timestamp) {
    let FailureDisposition::Park(wait, Spent::Nothing) = outcome else {
        panic!("not parked for free")
    };
    assert_eq!(*wait, Wait { until, reason });
}

#[test]
fn a_rate_limit_without_a_named_wait_parks_as_one_for_ever_longer() {
    let error = ModelError::new(samples::model(), ModelErrorKind::RateLimited);
    let task = task();
    check_wait(
        &after_failure(&task, &error, START),
        WaitReason::RateLimit,
        START.plus(task.rate_limit_backoff()),
    );
}

#[test]
fn a_task_in_another_tasks_cooldown_resumes_soon() {
    let task = task();
    for (seconds, until) in [(60, START.plus(task.rate_limit_backoff())), (2, after(2))] {
        let cooldown = Wait {
            until: after(seconds),
            reason: WaitReason::RateLimit,
        };
        let error = ModelError::new(samples::model(), ModelErrorKind::RateLimited)
            .with_recovery(Recovery::by(cooldown));
        check_wait(
            &after_failure(&task, &error, START),
            WaitReason::RateLimit,
            until,
        );
    }
}

#[test]
fn a_limit_that_only_other_tasks_met_fails_no_task() {
    let limit = Wait {
        until: after(60),
        reason: WaitReason::RateLimit,
    };
    let open = Wait {
        until: after(60),
        reason: WaitReason::Breaker,
    };
    let busy = ModelErrorKind::RateLimited;
    for (kind, recovery, attempts, waits) in [
        (&busy, Some(Recovery::at(limit)), 0, true),
        (&busy, Some(Recovery::by(limit)), 0, true),
        (&busy, Some(Recovery::at(limit)), 1, false),
        (&busy, None, 1, false),
        (
            &ModelErrorKind::CircuitOpen,
            Some(Recovery::at(open)),
            0,
            false,
        ),
    ] {
        let spend = Spend {
            attempts,
            ..Spend::default()
        };
        let error = ModelError {
            recovery,
            spend,
            ..ModelError::new(samples::model(), kind.clone())
        };
        let outcome = disposition(&task(), Outage::Fail, &error, START);
        assert_eq!(
            matches!(outcome, FailureDisposition::Park(..)),
            waits,
            "{kind:?}"
        );
    }
}

#[test]
fn an_unreadable_response_parks_like_an_outage() {
    let error = ModelError::new(samples::model(), ModelErrorKind::BadAnswer);
    let task = task();
    check_wait(
        &after_failure(&task, &error, START),
        WaitReason::RetryAfter,
        START.plus(task.outage_backoff()),
    );
}

#[test]
fn a_wait_beyond_the_deadline_ends_shortly_before_the_deadline() {
    let (task, wait) = (task(), Duration::from_hours(24));
    let last_try = task.deadline().minus(LAST_TRY);
    for reason in [
        WaitReason::RateLimit,
        WaitReason::RetryAfter,
        WaitReason::Breaker,
    ] {
        let recovery = Recovery::at(Wait {
            until: START.plus(wait),
            reason,
        });
        let kind = ModelErrorKind::RateLimited;
        let error = ModelError::new(samples::model(), kind).with_recovery(recovery);
        check_wait(&after_failure(&task, &error, START), reason, last_try);
        let very_last_try = task.deadline().minus(VERY_LAST_TRY);
        check_wait(
            &after_failure(&task, &error, last_try),
            reason,
            very_last_try,
        );
        assert!(
            matches!(
                after_failure(&task, &error, very_last_try),
                FailureDisposition::Fail(_)
            ),
            "{reason:?}"
        );
        let spend = Spend {
            attempts: 1,
            ..Spend::default()
        };
        let called = ModelError { spend, ..error };
        assert!(
            matches!(
                after_failure(&task, &called, last_try),
                FailureDisposition::Fail(_)
            ),
            "{reason:?}"
        );
    }
}

#[test]
fn the_last_attempt_that_was_paid_names_what_went_wrong() {
    let spend = Spend {
        attempts: 2,
        usage: samples::usage(),
        ..Spend::default()
    };
    let error = ModelError {
        spend,
        ..ModelError::new(samples::model(), ModelErrorKind::BadAnswer)
    };
    let mut task = task();
    for attempt in 1..=MAX_ATTEMPTS {
        let now = after(attempt);
        task.claim(samples::lease_until(after(1_000)), now).unwrap();
        match after_failure(&task, &error, now) {
            FailureDisposition::Park(wait, Spent::Attempt) if attempt < MAX_ATTEMPTS => {
                task.park(
                    task.fence(),
                    Wait { until: now, ..wait },
                    Spent::Attempt,
                    now,
                )
                .unwrap();
            }
            FailureDisposition::Fail(failure) if attempt == MAX_ATTEMPTS => {
                assert_eq!(failure.code, FailureCode::AttemptsExhausted);
                assert_eq!(
                    failure.attempts.last().unwrap().code,
                    FailureCode::ModelBadAnswer
                );
                assert!(
                    failure.message.contains("can't be understood"),
                    "{}",
                    failure.message
                );
            }
            FailureDisposition::Park(..) | FailureDisposition::Fail(_) => {
                panic!("attempt {attempt}")
            }
        }
    }
}

#[test]
fn calls_that_are_paid_for_nothing_are_spread_over_twenty_minutes() {
    let paid = Spend {
        attempts: 1,
        usage: samples::usage(),
        ..Spend::default()
    };
    for kind in [ModelErrorKind::BadAnswer, ModelErrorKind::Unavailable] {
        let error = ModelError {
            spend: paid,
            ..ModelError::new(samples::model(), kind)
        };
        let (mut task, mut now, mut pauses) = (task(), after(1), Vec::new());
        for _ in 1..MAX_ATTEMPTS {
            task.claim(samples::lease_until(after(9_999)), now).unwrap();
            let FailureDisposition::Park(wait, spent) = after_failure(&task, &error, now) else {
                panic!("{error}")
            };
            task.park(task.fence(), wait, spent, now).unwrap();
            pauses.push(wait.until.since(now));
            now = wait.until;
        }
        let least = [3, 22, 135, 810].map(Duration::from_secs);
        assert!(
            pauses
                .iter()
                .zip(least)
                .all(|(pause, least)| *pause >= least),
            "{pauses:?}"
        );
    }
}

#[test]
fn a_try_is_the_last_one_if_its_task_waited_until_its_deadline() {
    let mut task = task();
    let last_try = task.deadline().minus(LAST_TRY);
    assert!(!is_last_try(&task, last_try), "it never waited");
    task.claim(samples::lease_until(task.deadline()), START)
        .unwrap();
    let wait = Wait {
        until: last_try,
        reason: WaitReason::Breaker,
    };
    task.park(task.fence(), wait, Spent::Nothing, START)
        .unwrap();
    assert!(
        is_last_try(&task, last_try)
            && !is_last_try(&task, last_try.minus(Duration::from_millis(1)))
    );
}

#[test]
fn an_empty_answer_after_tool_results_completes_the_task() {
    let empty = |stop_reason| ModelAnswer {
        stop_reason,
        ..samples::answer("")
    };
    for reason in [
        StopReason::EndTurn,
        StopReason::MaxTokens,
        StopReason::ContextWindow,
        StopReason::Other,
    ] {
        let output = outcome_of(empty(reason), 1).unwrap();
        assert_eq!((output.text.as_str(), output.stop_reason), ("", reason));
        assert_eq!(
            outcome_of(empty(reason), 0).unwrap_err().code,
            FailureCode::ModelBadAnswer
        );
    }
    let refused = outcome_of(empty(StopReason::Refusal), 1).unwrap_err();
    assert_eq!(refused.code, FailureCode::ModelRefused);
}

#[test]
fn a_model_that_is_too_slow_for_the_tasks_time_is_a_timeout() {
    let recovery = Recovery::at(Wait {
        until: task().deadline(),
        reason: WaitReason::OutOfTime,
    });
    let kind = ModelErrorKind::OutOfTime;
    let error = ModelError::new(samples::model(), kind).with_recovery(recovery);
    let FailureDisposition::Fail(failure) = disposition(&task(), Outage::Wait, &error, START)
    else {
        panic!("parked")
    };
    assert_eq!(failure.code, FailureCode::ModelTimeout);
}

/// What a task waits for after a round through two models that fail in these ways.
async fn waits_after(failures: [Failed; 2]) -> Option<Wait> {
    let model = |name| ModelRef::new(Provider::OpenAi, name).unwrap().into();
    let request = ModelRequest {
        chain: ModelChain::new(vec![model("first"), model("second")]).unwrap(),
        ..samples::model_request("hello")
    };
    let fallback = Fallback::new(Arc::new(ScriptedModel::new(failures.map(Reply::from))));
    let error = fallback.call(&request).await.unwrap_err();
    match disposition(&task(), Outage::Wait, &error, START) {
        FailureDisposition::Park(wait, _) => Some(wait),
        FailureDisposition::Fail(_) => None,
    }
}

#[tokio::test]
async fn a_task_comes_back_when_the_first_model_of_its_chain_may_answer() {
    let later = |kind, seconds, reason| {
        let until = after(seconds);
        (kind, Some(Recovery::at(Wait { until, reason })))
    };
    let down = (ModelErrorKind::Unavailable, None);
    let named = |seconds| later(ModelErrorKind::RateLimited, seconds, WaitReason::RateLimit);
    let refuses = later(ModelErrorKind::CircuitOpen, 3_600, WaitReason::Breaker);
    for (kinds, expected) in [
        ([named(3_600), down.clone()], Some(WaitReason::RateLimit)),
        (
            [refuses.clone(), (ModelErrorKind::Timeout, None)],
            Some(WaitReason::RetryAfter),
        ),
        ([named(1), down], Some(WaitReason::RateLimit)),
        ([named(4), refuses], Some(WaitReason::RateLimit)),
    ] {
        let [first, second] = kinds.clone();
        for kinds in [[first.clone(), second.clone()], [second, first]] {
            let waits = waits_after(kinds.clone()).await;
            assert_eq!(waits.map(|wait| wait.reason), expected, "{kinds:?}");
            assert!(
                waits.is_none_or(|wait| wait.until <= after(5)),
                "{kinds:?}: {waits:?}"
            );
        }
    }
}
