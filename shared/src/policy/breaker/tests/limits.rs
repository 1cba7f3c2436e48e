//! Rate limits that name a very long wait: one response does not stop a model for all.

use super::*;
use crate::ports::Recovery;
use crate::testing::{Captured, Failed, listen};

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

fn parked_until(seconds: u64) -> Result<(), Failed> {
    let wait = Wait {
        until: samples::after(seconds),
        reason: WaitReason::RateLimit,
    };
    Err((BUSY, Some(Recovery::at(wait))))
}

#[tokio::test(start_paused = true)]
async fn the_next_answer_refutes_a_wait_that_only_one_call_met() {
    let world = world([limited(DAY)]);
    let (breaker, other) = (world.breaker(), world.breaker());
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert!(world.circuit().await.is_suspected());
    for breaker in [&other, &breaker, &other] {
        assert_eq!(world.call(breaker).await, Ok(()));
    }
    assert!(world.circuit().await.is_closed());
    assert_eq!(samples::START, world.clock.now(), "nobody has waited");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_two_calls_met_is_probed_once_a_minute() {
    let world = world(vec![limited(DAY); 4]);
    let environments = [world.breaker(), world.breaker(), world.breaker()];
    assert_eq!(world.call(&environments[0]).await, Err((BUSY, None)));
    assert_eq!(
        world.call(&environments[1]).await,
        Err((BUSY, None)),
        "the second response confirms it"
    );
    for minute in 1..=2 {
        advance(5 * SECOND).await;
        for breaker in &environments {
            assert_eq!(world.call(breaker).await, parked_until(60 * minute));
        }
        advance(55 * SECOND).await;
        assert_eq!(
            world.call(&environments[2]).await,
            Err((BUSY, None)),
            "the probe of this minute"
        );
    }
    assert_eq!(world.calls(), 4);
    advance(60 * SECOND).await;
    assert_eq!(world.call(&environments[0]).await, Ok(()));
    assert_eq!(world.call(&environments[0]).await, Ok(()));
    assert!(
        world.circuit().await.is_closed(),
        "the quota was raised, and noticed within a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_meets_a_shorter_limit_opens_for_as_long() {
    let world = world([
        limited(DAY),
        limited(DAY),
        limited(7 * SECOND),
        Reply::Fail(BUSY),
    ]);
    let breaker = world.breaker();
    world.call_times(&breaker, 2).await;
    advance(60 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert_eq!(world.call(&breaker).await, parked_until(60 + 7));
    advance(7 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert_eq!(
        world.call(&breaker).await,
        parked_until(67 + 30),
        "the time for which a circuit opens, if none is named"
    );
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_while_a_limit_is_only_suspected() {
    let world = world([limited(DAY)]);
    let breaker = world.breaker();
    world.call_times(&breaker, 1).await;
    world.model.hold();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (world, breaker) = (world.clone(), Arc::clone(&breaker));
            tokio::spawn(async move { world.call(&breaker).await })
        })
        .collect();
    world.model.until_called(4).await;
    world.model.release();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert!(world.circuit().await.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_suspected_model_opens_the_circuit_as_an_outage() {
    let world = world([vec![limited(DAY)], vec![Reply::Fail(DOWN); 5]].concat());
    let breaker = world.breaker();
    world.call_times(&breaker, 5).await;
    assert!(
        world.circuit().await.is_suspected(),
        "four failures are not enough"
    );
    world.call_times(&breaker, 1).await;
    assert_eq!(world.circuit().await.cause, CircuitCause::Outage);
    assert_eq!(world.call(&breaker).await, refused_until(30));
}

#[tokio::test(start_paused = true)]
async fn two_functions_that_meet_the_limit_at_once_suspect_it_together() {
    let world = world(vec![limited(DAY); 3]);
    let (first, second) = (world.breaker(), world.breaker());
    world.model.hold();
    let spawn = |breaker: &Arc<Breaker>| {
        let (world, breaker) = (world.clone(), Arc::clone(breaker));
        tokio::spawn(async move { world.call(&breaker).await })
    };
    let calls = [spawn(&first), spawn(&second)];
    world.model.until_called(2).await;
    world.model.release();
    for call in calls {
        assert_eq!(call.await.unwrap(), Err((BUSY, None)));
    }
    assert!(world.circuit().await.is_suspected());
    assert_eq!(world.call(&second).await, Err((BUSY, None)));
    assert_eq!(world.call(&second).await, parked_until(60));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_not_too_long_is_no_business_of_the_breaker() {
    let world = world([limited(60 * SECOND), limited(60 * SECOND)]);
    let breaker = world.breaker();
    world.call_times(&breaker, 2).await;
    assert_eq!(world.circuits.writes(), 0);
    assert_eq!(world.call(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_an_environment_keeps_a_long_wait_for_a_minute() {
    let faults = crate::testing::Faults::default();
    let world = world([limited(DAY)]);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    faults.die_at(1, crate::testing::When::Before);
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert_eq!(world.call(&breaker).await, parked_until(60));
    advance(60 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_the_change_leaves_the_wait_to_the_environment() {
    let faults = crate::testing::Faults::default();
    let world = world([limited(DAY)]);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    faults.die_at(2, crate::testing::When::Before);
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert_eq!(world.call(&breaker).await, parked_until(60));
}

/// The lines of a model whose provider names a wait of a day, and then is down.
#[tokio::test(start_paused = true)]
async fn the_line_of_a_change_says_what_made_it() {
    let captured = Captured::default();
    let writer = tracing_subscriber::fmt().with_writer(captured.clone());
    let _listening = listen(writer.with_ansi(false).finish());
    let world = world([vec![limited(DAY)], vec![Reply::Fail(DOWN); 6]].concat());
    let breaker = world.breaker();
    world.call_times(&breaker, 6).await;
    advance(30 * SECOND).await;
    world.call_times(&breaker, 1).await;
    let text = captured.text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("WARN"))
        .map(|line| line.split("cause=").nth(1).unwrap())
        .collect();
    let (open, again) = (
        "\"outage\" failures=5 threshold=5 failed_probes=0 open_seconds=30 until_ms=",
        "\"outage\" failures=6 threshold=5 failed_probes=1 open_seconds=60 until_ms=",
    );
    assert_eq!(lines[0], "\"rate_limit\" retry_after_ms=86400000");
    assert!(
        lines[1].starts_with(open) && lines[2].starts_with(again),
        "{text}"
    );
    assert_eq!(lines.len(), 3, "{text}");
}
