//! When calls are repeated, and how they end.

mod cooldowns;

use std::sync::Mutex;

use super::*;
use crate::domain::{BudgetScope, Deadline, FailureCode, RetryRules, Spend};
use crate::testing::samples::{START, after, model_request};
use crate::testing::{Failed, Reply, ScriptedModel, TokioClock, failed_of};

/// What each failure that says so has cost.
const SPEND: Spend = Spend {
    attempts: 1,
    usage: crate::testing::samples::usage(),
    cost: crate::domain::Cost {
        micro_usd: 5,
        unpriced_calls: 0,
    },
};

/// Notes when each attempt begins, in milliseconds from [`START`].
struct Timed {
    model: ScriptedModel,
    clock: TokioClock,
    begun: Mutex<Vec<u128>>,
}

#[async_trait]
impl Model for Timed {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.begun
            .lock()
            .unwrap()
            .push(self.clock.now().since(START).as_millis());
        self.model.call(request).await
    }
}

fn retry(script: impl IntoIterator<Item = Reply>, budget: RetryBudget) -> (Retry, Arc<Timed>) {
    let clock = TokioClock::default();
    let timed = Arc::new(Timed {
        model: ScriptedModel::new(script),
        clock,
        begun: Mutex::default(),
    });
    let inner: Arc<dyn Model> = Arc::<Timed>::clone(&timed);
    (
        Retry::new(inner, budget, Backoff::Steady, Arc::new(clock)),
        timed,
    )
}

/// What comes of the script, and when each attempt began.
async fn run(
    script: impl IntoIterator<Item = Reply>,
    request: &ModelRequest,
) -> (Result<ModelAnswer, ModelError>, Vec<u128>) {
    let (retry, timed) = retry(script, RetryBudget::default());
    let outcome = retry.call(request).await;
    let begun = timed.begun.lock().unwrap().clone();
    (outcome, begun)
}

fn with_attempts(attempts: u32) -> ModelRequest {
    ModelRequest {
        retry: RetryRules::default().with_max_attempts(attempts).unwrap(),
        ..model_request("hello")
    }
}

const DOWN: ModelErrorKind = ModelErrorKind::Unavailable;

/// A failure that names a wait.
const fn hinted(kind: ModelErrorKind, hint_ms: u64, should_retry: Option<bool>) -> Reply {
    let retry_after = Some(Duration::from_millis(hint_ms));
    Reply::FailWith {
        kind,
        status: Some(503),
        should_retry,
        retry_after,
        spend: SPEND,
    }
}

const fn limited(hint_ms: u64) -> Reply {
    hinted(ModelErrorKind::RateLimited, hint_ms, None)
}

const LIMITED: ModelErrorKind = ModelErrorKind::RateLimited;

const fn wait(at_ms: u64, reason: WaitReason) -> Wait {
    Wait {
        until: Timestamp::from_millis(START.as_millis() + at_ms),
        reason,
    }
}

const fn later(kind: ModelErrorKind, at_ms: u64, reason: WaitReason) -> Failed {
    (kind, Some(Recovery::at(wait(at_ms, reason))))
}

const fn later_or_sooner(kind: ModelErrorKind, at_ms: u64, reason: WaitReason) -> Failed {
    (kind, Some(Recovery::by(wait(at_ms, reason))))
}

/// A rate limit that ends then.
const fn limited_until(at_ms: u64) -> Failed {
    later(LIMITED, at_ms, WaitReason::RateLimit)
}

/// An outage that ends then.
const fn down_until(at_ms: u64) -> Failed {
    later(DOWN, at_ms, WaitReason::RetryAfter)
}

const fn with_word(kind: ModelErrorKind, should_retry: bool) -> Reply {
    let should_retry = Some(should_retry);
    Reply::FailWith {
        kind,
        status: Some(503),
        should_retry,
        retry_after: None,
        spend: SPEND,
    }
}

/// Checks when attempts begin that meet `script` and then succeed.
#[track_caller]
fn check_times(script: &[Reply], expected_ms: &[u128]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (outcome, begun) = runtime.block_on(run(script.to_vec(), &with_attempts(10)));
    assert_eq!(begun, expected_ms, "{script:?}");
    assert!(outcome.is_ok(), "{script:?}");
}

/// Checks how a call ends that meets `script`.
#[track_caller]
fn check_end(script: &[Reply], request: &ModelRequest, expected: &Failed, expected_ms: &[u128]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (outcome, begun) = runtime.block_on(run(script.to_vec(), request));
    let error = outcome.unwrap_err();
    assert_eq!(
        (&failed_of(&error), &begun[..]),
        (expected, expected_ms),
        "{script:?}"
    );
    assert_eq!(error.attempts().len(), begun.len(), "{script:?}");
    assert!(error.recovery.is_none() || !error.is_retryable());
}

#[test]
fn the_latest_named_wait_holds_and_else_the_wait_doubles() {
    check_times(&[], &[0]);
    let plain = Reply::Fail;
    check_times(
        &[const { Reply::Fail(DOWN) }; 4],
        &[0, 500, 1_500, 3_500, 7_500],
    );
    let latest = [
        limited(5_000),
        hinted(DOWN, 1_000, None),
        plain(ModelErrorKind::Timeout),
    ];
    check_times(&latest, &[0, 5_000, 6_000, 8_000]);
    check_times(
        &[limited(10_000), plain(ModelErrorKind::KeyUnavailable)],
        &[0, 10_000, 11_000],
    );
    check_times(
        &[plain(ModelErrorKind::RateLimited), limited(1)],
        &[0, 500, 501],
    );
    check_times(&[hinted(ModelErrorKind::Timeout, 7_000, None)], &[0, 7_000]);
    check_times(
        &[hinted(ModelErrorKind::Rejected, 7_000, Some(true))],
        &[0, 7_000],
    );
}

#[test]
fn what_another_attempt_cannot_mend_is_final_at_once() {
    let kinds = [
        (ModelErrorKind::CircuitOpen, None),
        later(ModelErrorKind::CircuitOpen, 9_000, WaitReason::Breaker),
        limited_until(9_000),
        (ModelErrorKind::OutOfTime, None),
        (ModelErrorKind::InFlight, None),
        (ModelErrorKind::BudgetReserved, None),
        (ModelErrorKind::QuotaExhausted, None),
        (ModelErrorKind::Authentication, None),
        (ModelErrorKind::KeyMissing, None),
        (ModelErrorKind::Rejected, None),
        (ModelErrorKind::Refused, None),
        (ModelErrorKind::ContextTooLong, None),
        (ModelErrorKind::BudgetExhausted(BudgetScope::Task), None),
        (ModelErrorKind::Unpriced, None),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    for failed in kinds {
        let (outcome, begun) =
            runtime.block_on(run([failed.clone().into()], &model_request("hello")));
        let error = outcome.unwrap_err();
        assert_eq!(
            (failed_of(&error), error.earlier, begun),
            (failed, Vec::new(), vec![0])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_providers_word_goes_before_the_kind() {
    let (outcome, begun) = run(
        [with_word(ModelErrorKind::Rejected, true)],
        &model_request("hello"),
    )
    .await;
    assert_eq!(
        (outcome.unwrap().failed[0].code, begun),
        (FailureCode::ModelRejected, vec![0, 500])
    );
    let (outcome, begun) = run([with_word(DOWN, false)], &model_request("hello")).await;
    assert_eq!((outcome.unwrap_err().kind, begun.len()), (DOWN, 1));
}

#[test]
fn a_wait_that_is_too_long_ends_the_call_with_its_end() {
    let soon = |millis| ModelRequest {
        deadline: Deadline::at(START.plus(Duration::from_millis(millis))),
        ..model_request("hello")
    };
    let ample = model_request("hello");
    check_end(&[limited(10_001)], &ample, &limited_until(10_001), &[0]);
    check_end(
        &[hinted(DOWN, 50_000, None)],
        &ample,
        &down_until(50_000),
        &[0],
    );
    check_end(
        &[limited(10_001)],
        &soon(5_000),
        &limited_until(10_001),
        &[0],
    );
}

#[test]
fn a_wait_that_only_the_deadline_forbids_lacks_time_and_no_more() {
    let soon = |millis, attempts| ModelRequest {
        deadline: Deadline::at(START.plus(Duration::from_millis(millis))),
        ..with_attempts(attempts)
    };
    let check = |script: &[Reply], request, (kind, at_ms), begun: &[u128]| {
        let expected = later(kind, at_ms, WaitReason::OutOfTime);
        check_end(script, &request, &expected, begun);
    };
    check(&[limited(5_000)], soon(5_000, 3), (LIMITED, 5_000), &[0]);
    check(&[Reply::Fail(DOWN)], soon(500, 3), (DOWN, 500), &[0]);
    let timeout = (ModelErrorKind::Timeout, 3_500);
    check(&[Reply::Hang], soon(3_000, 3), timeout, &[0]);
    // A wait must leave as much time as it takes.
    check(
        &[limited(2_400), limited(1_400)],
        soon(5_000, 3),
        (LIMITED, 3_800),
        &[0, 2_400],
    );
    // Without another attempt, more time would not have helped.
    let last = limited_until(5_000);
    check_end(&[limited(5_000)], &soon(5_000, 1), &last, &[0]);
    check_end(&[Reply::Fail(DOWN)], &soon(500, 1), &(DOWN, None), &[0]);
}

#[test]
fn a_hint_outlives_the_attempts() {
    let until = limited_until;
    check_end(
        &[limited(100), limited(200)],
        &with_attempts(2),
        &until(300),
        &[0, 100],
    );
    check_end(
        &[hinted(ModelErrorKind::RateLimited, 100, Some(false))],
        &model_request("hello"),
        &until(100),
        &[0],
    );
    let brief = ModelRequest {
        retry: RetryRules::default().with_max_seconds(1).unwrap(),
        ..model_request("hello")
    };
    check_end(
        &[limited(700), limited(400)],
        &brief,
        &until(1_100),
        &[0, 700],
    );
    check_end(
        &[limited(100), Reply::Fail(DOWN)],
        &with_attempts(2),
        &(DOWN, None),
        &[0, 100],
    );
}

#[test]
fn an_unreadable_response_is_worth_one_more_attempt() {
    const BAD: ModelErrorKind = ModelErrorKind::BadAnswer;
    check_times(&[Reply::Fail(BAD)], &[0, 500]);
    check_times(
        &[Reply::Fail(DOWN), Reply::Fail(BAD), Reply::Fail(DOWN)],
        &[0, 500, 1_500, 3_500],
    );
    check_end(
        &vec![Reply::Fail(BAD); 3],
        &with_attempts(9),
        &(BAD, None),
        &[0, 500],
    );
    check_end(
        &[Reply::Fail(BAD), Reply::Fail(DOWN), Reply::Fail(BAD)],
        &with_attempts(9),
        &(BAD, None),
        &[0, 500, 1_500],
    );
    check_end(&[Reply::Fail(BAD)], &with_attempts(1), &(BAD, None), &[0]);
}

#[test]
fn used_up_attempts_and_time_end_with_the_last_error() {
    let down = || vec![Reply::Fail(DOWN), Reply::Fail(DOWN), limited(20_000)];
    check_end(&down(), &with_attempts(1), &(DOWN, None), &[0]);
    check_end(&down(), &with_attempts(2), &(DOWN, None), &[0, 500]);
    let brief = |seconds| ModelRequest {
        retry: with_attempts(9).retry.with_max_seconds(seconds).unwrap(),
        ..model_request("hello")
    };
    check_end(&down(), &brief(1), &(DOWN, None), &[0, 500]);
    check_end(&down(), &brief(2), &limited_until(21_500), &[0, 500, 1_500]);
}

#[tokio::test(start_paused = true)]
async fn all_calls_share_the_budget() {
    let (retry, timed) = retry(vec![Reply::Fail(DOWN); 3], RetryBudget::new(1, 1).unwrap());
    assert_eq!(
        retry
            .call(&model_request("hello"))
            .await
            .unwrap_err()
            .attempts()
            .len(),
        2
    );
    assert_eq!(
        retry
            .call(&model_request("hello"))
            .await
            .unwrap_err()
            .attempts()
            .len(),
        1
    );
    assert_eq!(
        retry.call(&model_request("hello")).await.unwrap().failed,
        []
    );
    timed.model.then(limited(100));
    let error = retry.call(&model_request("hello")).await.unwrap_err();
    assert_eq!(failed_of(&error), limited_until(600));
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_and_their_cost_stay_with_the_answer_and_with_the_error() {
    let script = vec![
        with_word(DOWN, true),
        hinted(ModelErrorKind::RateLimited, 100, Some(true)),
    ];
    let (outcome, _) = run(script.clone(), &model_request("hello")).await;
    let answer = outcome.unwrap();
    let codes: Vec<_> = answer
        .failed
        .iter()
        .map(|failed| (failed.code, failed.status))
        .collect();
    let expected = [
        (FailureCode::ModelUnavailable, Some(503)),
        (FailureCode::ModelRateLimited, Some(503)),
    ];
    assert_eq!(codes, expected);
    assert_eq!(
        (answer.spend.attempts, answer.spend.cost.micro_usd),
        (3, 10)
    );
    let (outcome, _) = run(script, &with_attempts(2)).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.attempts(), answer.failed);
    assert_eq!((error.spend.attempts, error.spend.cost.micro_usd), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_makes_no_more_attempts() {
    let (retry, timed) = retry([limited(5_000)], RetryBudget::default());
    assert!(
        tokio::time::timeout(Duration::from_secs(1), retry.call(&model_request("hello")))
            .await
            .is_err()
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(timed.model.requests().len(), 1);
}
