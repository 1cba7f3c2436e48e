//! What answers and failures of models make of their task, in words that its owner can act on.

use std::time::Duration;

use super::model_failure::failure_of;
use crate::domain::task::MAX_ATTEMPTS;
use crate::domain::{
    FailedAttempt, Failure, FailureCode, MAX_CONVERSATION_BYTES, ModelAnswer, Outage, Output,
    Spent, StopReason, Task, Timestamp, Usage, Wait, WaitReason,
};
use crate::ports::{ModelError, ModelErrorKind};

/// What the last answer makes of its task, which had the results of `tool_calls` before. An empty
/// answer after tool results completes the task with an empty output: the work is done and
/// recorded, and models do end such a turn without a word.
pub(super) fn outcome_of(answer: ModelAnswer, tool_calls: u32) -> Result<Output, Failure> {
    let model = answer.model.name();
    let text = answer.text();
    let (code, message) = match answer.stop_reason {
        StopReason::Refusal => (
            FailureCode::ModelRefused,
            format!("{model} declined to answer"),
        ),
        _ if tool_calls > 0 => return Ok(output(text, &answer)),
        StopReason::MaxTokens if answer.tool_calls().next().is_some() => (
            FailureCode::ModelBadAnswer,
            format!(
                "{model} used up all its tokens inside a tool call, which can't be trusted: raise max_output_tokens"
            ),
        ),
        StopReason::MaxTokens if text.is_empty() => (
            FailureCode::ModelBadAnswer,
            format!(
                "{model} used up all its tokens before it said anything: raise max_output_tokens"
            ),
        ),
        _ if text.is_empty() => (
            FailureCode::ModelBadAnswer,
            format!("{model} gave an empty answer"),
        ),
        StopReason::EndTurn
        | StopReason::ToolUse
        | StopReason::Paused
        | StopReason::MaxTokens
        | StopReason::ContextWindow
        | StopReason::Other => return Ok(output(text, &answer)),
    };
    let earlier = answer.failed.clone();
    let message = match earlier.last() {
        Some(failed) => format!(
            "{message}; before or after it, {} failed as {}",
            failed.model,
            failed.code.as_str()
        ),
        None => message,
    };
    Err(Failure {
        code,
        message,
        attempts: earlier.into_iter().chain([attempt(code, answer)]).collect(),
    })
}

fn output(text: String, answer: &ModelAnswer) -> Output {
    Output {
        text,
        stop_reason: answer.stop_reason,
        model: answer.model.clone(),
        usage: answer.usage,
        origin: answer.origin,
    }
}

/// The answer as an attempt that came to nothing.
fn attempt(code: FailureCode, answer: ModelAnswer) -> FailedAttempt {
    FailedAttempt {
        model: answer.model,
        code,
        status: None,
        request_id: answer.request_id,
        said: None,
    }
}

/// The failure of a task whose answer doesn't fit into the store.
pub(super) fn too_large() -> Failure {
    let message = "the answer is too large to be kept; lower max_output_tokens";
    Failure::of_its_own(FailureCode::OutputTooLarge, message)
}

/// The failure of a task whose conversation is larger than is sent to any model.
pub(super) fn conversation_too_long() -> Failure {
    let most = MAX_CONVERSATION_BYTES / (1_024 * 1_024);
    let message = format!(
        "the conversation has more than {most} MiB, and no model takes so much; retry it from its start"
    );
    Failure::of_its_own(FailureCode::ContextTooLong, message)
}

/// What becomes of a task whose model call failed.
pub(super) enum Aftermath {
    /// It waits, having spent this.
    Park(Wait, Spent),
    /// It fails.
    Fail(Failure),
}

/// How long before its deadline a task whose provider is in trouble tries a last time, and once
/// more if no provider was called then.
const LAST_TRY: Duration = Duration::from_secs(10);
const VERY_LAST_TRY: Duration = Duration::from_secs(1);

/// Whether this is the last call that the task has time for, after a wait: it was parked until
/// shortly before its deadline.
pub(super) fn is_last_try(task: &Task, now: Timestamp) -> bool {
    task.progress().parkings.all > 0 && task.deadline().since(now) <= LAST_TRY
}

/// What a failed model call makes of its task. An outage and a rate limit are waited for, unless
/// the agent would rather have its task fail. A wait beyond the task's deadline ends shortly before
/// it: the provider may recover sooner than it said, and no task ends before its time because of a
/// response that another task got.
pub(super) fn aftermath(
    task: &Task,
    agent_wants: Outage,
    error: &ModelError,
    now: Timestamp,
) -> Aftermath {
    let Some(wait) = wait_of(task, error, now) else {
        return Aftermath::Fail(failure_of(error));
    };
    let spent = if may_be_billed(error, wait.reason) {
        Spent::Attempt
    } else {
        Spent::Nothing
    };
    let wait = Wait {
        until: until_for(task, wait, (error, spent), now),
        ..wait
    };
    let waits = wait.reason.is_our_own()
        || agent_wants == Outage::Wait
        || is_limit_of_others(error, wait.reason);
    if !waits || wait.until >= task.deadline() {
        return Aftermath::Fail(failure_of(error));
    }
    if spent == Spent::Nothing || task.attempts() < MAX_ATTEMPTS {
        return Aftermath::Park(wait, spent);
    }
    let Failure {
        message, attempts, ..
    } = failure_of(error);
    let met = &task.progress().setbacks;
    let message = format!(
        "{MAX_ATTEMPTS} attempts in a row came to no result: {met}; the last one: {message}"
    );
    Aftermath::Fail(Failure {
        code: FailureCode::AttemptsExhausted,
        message,
        attempts,
    })
}

/// Whether other tasks met a rate limit and this task's call was not made: it fails no task, not
/// even in an outage.
fn is_limit_of_others(error: &ModelError, reason: WaitReason) -> bool {
    reason == WaitReason::RateLimit && error.kind.is_advice() && error.spend.attempts == 0
}

/// Whether something was paid for in vain, as far as one can tell: an answer that was cut is paid
/// nevertheless, and one that is cut each time must not be paid for ever. A call for which there
/// was no time left may be one, unless it was refused.
fn may_be_billed(error: &ModelError, reason: WaitReason) -> bool {
    let is_refusal = |failed: &FailedAttempt| {
        failed
            .status
            .is_some_and(|status| !(200..300).contains(&status))
    };
    let refused = error
        .attempts()
        .iter()
        .filter(|failed| is_refusal(failed))
        .count();
    let was_cut = reason == WaitReason::OutOfTime && error.spend.attempts as usize > refused;
    error.spend.usage != Usage::default() || was_cut
}

/// The end of the wait for this task. An open circuit names the same moment to all tasks that meet
/// it, so that they are spread; every other wait is spread by who names it. A call that was paid
/// for nothing is one of a few, which are spread over the time that an outage takes.
fn until_for(
    task: &Task,
    wait: Wait,
    (error, spent): (&ModelError, Spent),
    now: Timestamp,
) -> Timestamp {
    let until = match wait.reason {
        WaitReason::SingleFlight
        | WaitReason::OutOfTime
        | WaitReason::Budget
        | WaitReason::Concurrency => {
            return wait.until;
        }
        WaitReason::Breaker => task.staggered(wait.until, now),
        // The circuit is open because of a rate limit: no provider was called.
        WaitReason::RateLimit
            if is_limit_of_others(error, wait.reason)
                && matches!(error.kind, ModelErrorKind::Park(_)) =>
        {
            task.staggered(wait.until, now)
        }
        WaitReason::RateLimit | WaitReason::RetryAfter => wait.until,
    };
    let until = if spent == Spent::Attempt {
        until.max(now.plus(task.paid_pause()))
    } else {
        until
    };
    let [last_try, very_last_try] =
        [LAST_TRY, VERY_LAST_TRY].map(|left| task.deadline().minus(left));
    match until {
        _ if until < task.deadline() => until,
        _ if now < last_try => last_try,
        _ if now < very_last_try && error.spend.attempts == 0 => very_last_try,
        _ => until,
    }
}

/// The wait that may bring an answer; `None` if nothing does.
fn wait_of(task: &Task, error: &ModelError, now: Timestamp) -> Option<Wait> {
    // For a model that is out of service and names no wait.
    let is_limited = match &error.kind {
        ModelErrorKind::ParkAtMost(wait) => wait.reason == WaitReason::RateLimit,
        kind => *kind == ModelErrorKind::RateLimited,
    };
    let pause = if is_limited {
        Wait {
            until: now.plus(task.rate_limit_backoff()),
            reason: WaitReason::RateLimit,
        }
    } else {
        Wait {
            until: now.plus(task.outage_pause()),
            reason: WaitReason::RetryAfter,
        }
    };
    match &error.kind {
        ModelErrorKind::Park(wait) => Some(*wait),
        ModelErrorKind::ParkAtMost(wait) => Some(wait.or_sooner(pause)),
        ModelErrorKind::CircuitOpen { until } => Some(Wait {
            until: *until,
            reason: WaitReason::Breaker,
        }),
        ModelErrorKind::Unavailable
        | ModelErrorKind::Timeout
        | ModelErrorKind::RateLimited
        | ModelErrorKind::BadAnswer
        | ModelErrorKind::KeyUnavailable => (error.should_retry != Some(false)).then_some(pause),
        ModelErrorKind::QuotaExhausted
        | ModelErrorKind::Authentication
        | ModelErrorKind::KeyMissing
        | ModelErrorKind::Rejected
        | ModelErrorKind::ContextTooLong
        | ModelErrorKind::Refused
        | ModelErrorKind::BudgetExhausted(_)
        | ModelErrorKind::Unpriced => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{
        Deadline, FailureCode, ModelChain, ModelRef, ModelRequest, Provider, Spend,
    };
    use crate::policy::{Backoff, Fallback, Retry, RetryBudget};
    use crate::ports::Model;
    use crate::testing::samples::{self, START, after};
    use crate::testing::{Reply, ScriptedModel, TokioClock};

    fn failed(
        kind: ModelErrorKind,
        status: Option<u16>,
        millis: Option<u64>,
        usage: Usage,
    ) -> Reply {
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

    /// What becomes of a task that would rather fail in an outage, whose retried call meets
    /// `script` in an invocation that ends after 2 s.
    async fn met(script: impl IntoIterator<Item = Reply>) -> Aftermath {
        let (model, clock) = (
            Arc::new(ScriptedModel::new(script)),
            Arc::new(TokioClock::default()),
        );
        let retry = Retry::new(model, RetryBudget::default(), Backoff::Steady, clock);
        let request = ModelRequest {
            deadline: Deadline::at(after(2)),
            ..samples::question("hello")
        };
        let error = retry.ask(&request).await.unwrap_err();
        aftermath(&task(), Outage::Fail, &error, after(1))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_had_no_time_to_wait_is_parked_and_only_what_may_be_billed_counts() {
        let cut = || {
            failed(
                ModelErrorKind::Park(Wait {
                    until: after(2),
                    reason: WaitReason::OutOfTime,
                }),
                None,
                None,
                Usage::default(),
            )
        };
        let broken =
            |status, usage| failed(ModelErrorKind::Unavailable, status, Some(9_000), usage);
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
            let Aftermath::Park(wait, spent) = met(script.clone()).await else {
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
        assert!(matches!(met([limited(11_000)]).await, Aftermath::Fail(_)));
    }

    /// What becomes of a task that waits in an outage and whose call failed like this.
    fn after_failure(task: &Task, error: &ModelError, now: Timestamp) -> Aftermath {
        aftermath(task, Outage::Wait, error, now)
    }

    #[track_caller]
    fn check_wait(outcome: &Aftermath, reason: WaitReason, until: Timestamp) {
        let Aftermath::Park(wait, Spent::Nothing) = outcome else {
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
    fn a_task_in_the_cooldown_of_another_task_comes_back_soon_where_another_process_may_take_it() {
        let task = task();
        for (seconds, until) in [(60, START.plus(task.rate_limit_backoff())), (2, after(2))] {
            let cooldown = Wait {
                until: after(seconds),
                reason: WaitReason::RateLimit,
            };
            let error = ModelError::new(samples::model(), ModelErrorKind::ParkAtMost(cooldown));
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
        for (kind, attempts, waits) in [
            (ModelErrorKind::Park(limit), 0, true),
            (ModelErrorKind::ParkAtMost(limit), 0, true),
            (ModelErrorKind::Park(limit), 1, false),
            (ModelErrorKind::RateLimited, 1, false),
            (ModelErrorKind::CircuitOpen { until: after(60) }, 0, false),
        ] {
            let spend = Spend {
                attempts,
                ..Spend::default()
            };
            let error = ModelError {
                spend,
                ..ModelError::new(samples::model(), kind.clone())
            };
            let outcome = aftermath(&task(), Outage::Fail, &error, START);
            assert_eq!(matches!(outcome, Aftermath::Park(..)), waits, "{kind:?}");
        }
    }

    #[test]
    fn an_unreadable_response_parks_like_an_outage() {
        let error = ModelError::new(samples::model(), ModelErrorKind::BadAnswer);
        let task = task();
        check_wait(
            &after_failure(&task, &error, START),
            WaitReason::RetryAfter,
            START.plus(task.outage_pause()),
        );
    }

    #[test]
    fn a_wait_beyond_the_deadline_ends_shortly_before_it_and_the_last_try_fails() {
        let (task, wait) = (task(), Duration::from_hours(24));
        let last_try = task.deadline().minus(LAST_TRY);
        for reason in [
            WaitReason::RateLimit,
            WaitReason::RetryAfter,
            WaitReason::Breaker,
        ] {
            let advice = ModelErrorKind::Park(Wait {
                until: START.plus(wait),
                reason,
            });
            let error = ModelError::new(samples::model(), advice);
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
                    Aftermath::Fail(_)
                ),
                "{reason:?}"
            );
            let spend = Spend {
                attempts: 1,
                ..Spend::default()
            };
            let called = ModelError { spend, ..error };
            assert!(
                matches!(after_failure(&task, &called, last_try), Aftermath::Fail(_)),
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
                Aftermath::Park(wait, Spent::Attempt) if attempt < MAX_ATTEMPTS => {
                    task.park(
                        task.fence(),
                        Wait { until: now, ..wait },
                        Spent::Attempt,
                        now,
                    )
                    .unwrap();
                }
                Aftermath::Fail(failure) if attempt == MAX_ATTEMPTS => {
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
                Aftermath::Park(..) | Aftermath::Fail(_) => panic!("attempt {attempt}"),
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
                let Aftermath::Park(wait, spent) = after_failure(&task, &error, now) else {
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
    fn a_try_is_the_last_one_if_its_task_waited_until_its_time_was_nearly_over() {
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
        let cut = ModelErrorKind::Park(Wait {
            until: task().deadline(),
            reason: WaitReason::OutOfTime,
        });
        let error = ModelError::new(samples::model(), cut);
        let Aftermath::Fail(failure) = aftermath(&task(), Outage::Wait, &error, START) else {
            panic!("parked")
        };
        assert_eq!(failure.code, FailureCode::ModelTimeout);
    }

    /// What a task waits for after a round through two models that fail in these ways.
    async fn waits_after(kinds: [ModelErrorKind; 2]) -> Option<Wait> {
        let model = |name| ModelRef::new(Provider::OpenAi, name).unwrap().into();
        let request = ModelRequest {
            chain: ModelChain::new(vec![model("first"), model("second")]).unwrap(),
            ..samples::question("hello")
        };
        let fallback = Fallback::new(Arc::new(ScriptedModel::new(kinds.map(Reply::Fail))));
        let error = fallback.ask(&request).await.unwrap_err();
        match aftermath(&task(), Outage::Wait, &error, START) {
            Aftermath::Park(wait, _) => Some(wait),
            Aftermath::Fail(_) => None,
        }
    }

    #[tokio::test]
    async fn a_task_comes_back_when_the_first_model_of_its_chain_may_answer() {
        let down = ModelErrorKind::Unavailable;
        let named = |seconds| {
            ModelErrorKind::Park(Wait {
                until: after(seconds),
                reason: WaitReason::RateLimit,
            })
        };
        let refuses = ModelErrorKind::CircuitOpen {
            until: after(3_600),
        };
        for (kinds, expected) in [
            ([named(3_600), down.clone()], Some(WaitReason::RateLimit)),
            (
                [refuses.clone(), ModelErrorKind::Timeout],
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
}
