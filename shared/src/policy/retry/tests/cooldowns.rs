//! Waits that a response named, and that all calls of the process keep.

use super::*;
use crate::testing::{Captured, listen};

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_model_named_holds_for_every_call() {
    let (retry, timed) = retry(
        [limited(60_000), hinted(DOWN, 5_000, None)],
        RetryBudget::default(),
    );
    let call = async |request: ModelRequest| {
        retry
            .call(&request)
            .await
            .map_err(|error| failed_of(&error))
    };
    let begun = || timed.begun.lock().unwrap().clone();
    assert_eq!(
        call(model_request("hello")).await,
        Err(limited_until(60_000))
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        call(model_request("another")).await,
        Err(later_or_sooner(LIMITED, 60_000, WaitReason::RateLimit))
    );
    assert_eq!(begun(), [0]);

    // A short rest of it is waited out, if there is time.
    tokio::time::sleep(Duration::from_secs(33)).await;
    let soon = ModelRequest {
        deadline: Deadline::at(after(60)),
        ..with_attempts(1)
    };
    assert_eq!(
        call(soon).await,
        Err(later(LIMITED, 60_000, WaitReason::OutOfTime))
    );
    let later = ModelRequest {
        deadline: Deadline::at(after(120)),
        ..with_attempts(1)
    };
    assert_eq!(call(later.clone()).await, Err(down_until(65_000)));
    assert!(call(later).await.is_ok());
    assert_eq!(begun(), [0, 60_000, 65_000]);
}

#[tokio::test(start_paused = true)]
async fn a_last_try_ignores_another_calls_wait_and_keeps_its_own() {
    let (retry, timed) = retry([limited(60_000), limited(30_000)], RetryBudget::default());
    drop(retry.call(&model_request("hello")).await);
    let last_try = ModelRequest {
        is_last_try: true,
        ..model_request("another")
    };
    let own = retry.call(&last_try).await.unwrap_err();
    assert_eq!(
        (failed_of(&own), own.spend.attempts),
        (limited_until(30_000), 1)
    );
    assert!(retry.call(&last_try).await.is_ok());
    assert_eq!(timed.begun.lock().unwrap().clone(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_another_call_met_between_two_attempts_is_not_our_own() {
    let (retry, _) = retry([limited(2_000), limited(40_000)], RetryBudget::default());
    let (first, second) = (model_request("hello"), model_request("another"));
    let between = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pause = Cooldown {
            until: after(41),
            kind: ModelErrorKind::RateLimited,
        };
        retry
            .cooldowns
            .add(second.model(), pause, retry.clock.now());
    };
    let (outcome, ()) = tokio::join!(retry.call(&first), between);
    assert_eq!(
        failed_of(&outcome.unwrap_err()),
        later_or_sooner(LIMITED, 41_000, WaitReason::RateLimit)
    );
}

#[test]
fn a_wait_beyond_the_longest_cooldown_ends_with_it() {
    let ample = model_request("hello");
    check_end(&[limited(86_400_000)], &ample, &limited_until(60_000), &[0]);
    check_end(
        &[hinted(DOWN, 86_400_000, None)],
        &ample,
        &down_until(60_000),
        &[0],
    );
}

#[tokio::test(start_paused = true)]
async fn other_calls_do_not_wait_for_what_the_breaker_checks() {
    let (retry, timed) = retry([limited(61_000)], RetryBudget::default());
    assert_eq!(
        failed_of(&retry.call(&model_request("hello")).await.unwrap_err()),
        limited_until(60_000)
    );
    assert!(retry.call(&model_request("another")).await.is_ok());
    timed.model.then(hinted(DOWN, 86_400_000, None));
    assert_eq!(
        failed_of(&retry.call(&model_request("hello")).await.unwrap_err()),
        down_until(60_000)
    );
    let waits = failed_of(&retry.call(&model_request("another")).await.unwrap_err());
    assert_eq!(
        waits,
        later_or_sooner(DOWN, 60_000, WaitReason::RetryAfter),
        "an outage with a named wait is believed for a cooldown"
    );
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_retry_has_the_wait_that_the_provider_named() {
    let captured = Captured::default();
    let writer = tracing_subscriber::fmt().with_writer(captured.clone());
    let _listening = listen(writer.with_ansi(false).finish());
    let (retry, _) = retry([limited(2_000)], RetryBudget::default());
    retry.call(&model_request("hello")).await.unwrap();
    let text = captured.text();
    assert!(text.contains(" retry_after_ms=2000 "), "{text}");
}
