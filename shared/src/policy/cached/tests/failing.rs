//! A store that fails, at every call, before and after its effect.

use super::*;
use crate::testing::When;

/// How the store fails at a call: once, or from then on.
type Fail = fn(&Faults, u32, When);

const FAIL: [Fail; 2] = [Faults::fail_at, Faults::die_at];

/// Asks while the store fails at each call in turn. The caller must get one of `expected`, and
/// afterwards, when all claims have ended and the store works, there must be an answer for another.
async fn check_every_failure(mode: CacheMode, outage: bool, expected: &[&str]) {
    for fail in FAIL {
        for when in [When::Before, When::After] {
            for call in 1.. {
                let world = World::with_answer(150).await;
                if outage {
                    world.model.then(Reply::Fail(UNAVAILABLE));
                }
                let before = world.calls();
                fail(&world.faults, call, when);
                let outcome = world.process().call(&world.request(mode)).await;
                assert!(
                    expected.contains(&got(&outcome)),
                    "{mode:?}, call {call} {when:?}: {outcome:?}"
                );
                assert_eq!(world.calls() - before, 1, "{mode:?}, call {call} {when:?}");
                let struck = world.faults.struck();
                world.faults.clear();
                pass(30).await;
                let later = world
                    .process()
                    .call(&world.request(CacheMode::Default))
                    .await;
                assert!(
                    ["provider", "cache"].contains(&got(&later)),
                    "{mode:?}, call {call} {when:?}: {later:?}"
                );
                if !struck {
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_costs_no_answer() {
    for mode in [CacheMode::Default, CacheMode::Refresh, CacheMode::Bypass] {
        check_every_failure(mode, false, &["provider"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_in_an_outage_costs_no_more_than_the_old_answer() {
    for mode in [CacheMode::Default, CacheMode::Refresh, CacheMode::Bypass] {
        check_every_failure(mode, true, &["stale", "failed"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_another_process_call_when_the_store_fails() {
    let world = World::new();
    world.held(50).await;
    world.faults.fail_at(3, When::Before);
    assert_eq!(
        got(&world
            .process()
            .call(&world.request(CacheMode::Default))
            .await),
        "provider"
    );
    assert!(world.faults.struck());
}

#[tokio::test(start_paused = true)]
async fn one_process_calls_once_although_the_store_fails() {
    let world = World::new();
    world.faults.die_at(1, When::Before);
    let process = world.process();
    let request = world.request(CacheMode::Default);
    let both = tokio::join!(process.call(&request), process.call(&request));
    assert_eq!(
        (got(&both.0), got(&both.1), world.calls()),
        ("provider", "single_flight", 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_ends_nothing() {
    let world = World::new();
    world.model.hold();
    world.faults.fail_at(2, When::Before);
    let process = world.process();
    let request = world.request(CacheMode::Default);
    let others = async {
        pass(35).await;
        assert!(world.faults.struck());
        assert_eq!(got(&world.process().call(&request).await), "parked");
        world.model.release();
    };
    let (outcome, ()) = tokio::join!(process.call(&request), others);
    assert_eq!((got(&outcome), world.calls()), ("provider", 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_to_be_cached_leaves_no_claim() {
    let world = World::new();
    world.model.then(Reply::Answer(samples::answer(
        &"x".repeat(16 * 1_024 * 1_024),
    )));
    assert_eq!(
        got(&world
            .process()
            .call(&world.request(CacheMode::Default))
            .await),
        "provider"
    );
    assert_eq!(
        got(&world
            .process()
            .call(&world.request(CacheMode::Default))
            .await),
        "provider"
    );
    assert_eq!(world.calls(), 2);
}
