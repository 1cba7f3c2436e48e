//! Rate limits that name a very long wait: one response does not stop a model for all.

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn limited(retry_after: Duration) -> Reply {
    Reply::FailWith {
        kind: BUSY,
        status: Some(429),
        should_retry: None,
        retry_after: Some(retry_after),
        spend: Spend::default(),
    }
}

fn world(script: impl IntoIterator<Item = Reply>) -> World {
    let world = World::new([]);
    script.into_iter().for_each(|reply| world.model.then(reply));
    world
}

fn parked_until(seconds: u64) -> Result<(), ModelErrorKind> {
    Err(ModelErrorKind::Park(Wait { until: samples::after(seconds), reason: WaitReason::RateLimit }))
}

#[tokio::test(start_paused = true)]
async fn the_next_call_refutes_a_wait_that_only_one_call_met() {
    let world = world([limited(DAY)]);
    let (breaker, other) = (world.breaker(), world.breaker());
    assert_eq!(world.ask(&breaker).await, Err(BUSY));
    assert!(world.circuit().await.is_checked());
    for breaker in [&other, &breaker, &other] {
        assert_eq!(world.ask(breaker).await, Ok(()));
    }
    assert!(world.circuit().await.is_closed());
    assert_eq!(samples::START, world.clock.now(), "nobody has waited");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_two_calls_met_is_probed_once_a_minute_by_all_functions_together() {
    let world = world(vec![limited(DAY); 4]);
    let environments = [world.breaker(), world.breaker(), world.breaker()];
    assert_eq!(world.ask(&environments[0]).await, Err(BUSY));
    assert_eq!(world.ask(&environments[1]).await, Err(BUSY), "the probe that checks it");
    for minute in 1..=2 {
        advance(5 * SECOND).await;
        for breaker in &environments {
            assert_eq!(world.ask(breaker).await, parked_until(60 * minute));
        }
        advance(55 * SECOND).await;
        assert_eq!(world.ask(&environments[2]).await, Err(BUSY), "the probe of this minute");
    }
    assert_eq!(world.asked(), 4);
    advance(60 * SECOND).await;
    assert_eq!(world.ask(&environments[0]).await, Ok(()));
    assert_eq!(world.ask(&environments[0]).await, Ok(()));
    assert!(world.circuit().await.is_closed(), "the quota was raised, and noticed within a minute");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_meets_a_shorter_limit_opens_for_as_long() {
    let world = world([limited(DAY), limited(7 * SECOND), Reply::Fail(BUSY)]);
    let breaker = world.breaker();
    world.ask_times(&breaker, 2).await;
    assert_eq!(world.ask(&breaker).await, parked_until(7));
    advance(7 * SECOND).await;
    assert_eq!(world.ask(&breaker).await, Err(BUSY));
    assert_eq!(world.ask(&breaker).await, parked_until(7 + 30), "the time for which a circuit opens, if none is named");
}

#[tokio::test(start_paused = true)]
async fn other_calls_wait_a_moment_for_the_probe() {
    let world = world([limited(DAY)]);
    let breaker = world.breaker();
    world.ask_times(&breaker, 1).await;
    world.model.hold();
    let spawn = || {
        let (world, breaker) = (world.clone(), Arc::clone(&breaker));
        tokio::spawn(async move { world.ask(&breaker).await })
    };
    let probe = spawn();
    world.model.until_asked(2).await;
    let waiting = spawn();
    advance(SECOND).await;
    assert_eq!(world.asked(), 2);
    world.model.release();
    assert_eq!((probe.await.unwrap(), waiting.await.unwrap()), (Ok(()), Ok(())));
    assert_eq!(world.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_long_is_not_waited_for() {
    let world = world([limited(DAY)]);
    let breaker = world.breaker();
    world.ask_times(&breaker, 1).await;
    world.model.hold();
    let probe = tokio::spawn({
        let (world, breaker) = (world.clone(), Arc::clone(&breaker));
        async move { world.ask(&breaker).await }
    });
    world.model.until_asked(2).await;
    assert_eq!(world.ask(&breaker).await, parked_until(6 + 5));
    let soon = ModelRequest { deadline: Deadline::at(world.clock.now().plus(5 * SECOND)), ..world.question() };
    let refused = breaker.ask(&soon).await.unwrap_err();
    assert_eq!((refused.trouble().kind.clone(), refused.spend.attempts), (BUSY, 0), "there is no time to wait");
    world.model.release();
    assert_eq!(probe.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_not_too_long_is_no_business_of_the_breaker() {
    let world = world([limited(60 * SECOND), limited(60 * SECOND)]);
    let breaker = world.breaker();
    world.ask_times(&breaker, 2).await;
    assert_eq!(world.circuits.writes(), 0);
    assert_eq!(world.ask(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_an_environment_keeps_a_long_wait_for_a_minute() {
    let faults = crate::testing::Faults::default();
    let world = world([limited(DAY)]);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    faults.die_at(1, crate::testing::When::Before);
    assert_eq!(world.ask(&breaker).await, Err(BUSY));
    assert_eq!(world.ask(&breaker).await, parked_until(60));
    advance(60 * SECOND).await;
    assert_eq!(world.ask(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_when_it_is_told_leaves_the_wait_to_the_environment() {
    let faults = crate::testing::Faults::default();
    let world = world([limited(DAY)]);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    faults.die_at(2, crate::testing::When::Before);
    assert_eq!(world.ask(&breaker).await, Err(BUSY));
    assert_eq!(world.ask(&breaker).await, parked_until(60));
}
