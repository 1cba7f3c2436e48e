//! A store that is down, slow or loses its answers never keeps a call from being made.

use tokio::time::Instant;

use super::*;
use crate::testing::{Faults, When};

#[tokio::test(start_paused = true)]
async fn a_dead_store_is_read_once_per_view_and_a_process_protects_itself() {
    let (world, faults) = (World::new(vec![DOWN; 6]), Faults::default());
    faults.die_at(1, When::Before);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    world.call_times(&breaker, 5).await;
    assert_eq!(world.call(&breaker).await, refused_until(30));
    assert_eq!(
        (
            world.calls(),
            world.circuits.reads(),
            world.circuits.writes()
        ),
        (5, 1, 1)
    );
    advance(30 * SECOND).await;
    assert_eq!(
        world.call(&breaker).await,
        Err((DOWN, None)),
        "there is no one to elect a prober"
    );
    assert_eq!(
        world.call(&breaker).await,
        refused_until(60),
        "the row of failures continues"
    );
    advance(30 * SECOND).await;
    world.call_times(&breaker, 50).await;
    assert_eq!((world.calls(), world.circuits.reads()), (56, 3));
}

#[tokio::test(start_paused = true)]
async fn an_environment_shares_its_circuit_when_the_store_is_back() {
    let (world, faults) = (World::new(vec![DOWN; 6]), Faults::default());
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    faults.die_at(1, When::Before);
    world.call_times(&breaker, 5).await;
    faults.clear();
    assert_eq!(
        world.call(&breaker).await,
        refused_until(30),
        "what it knows itself still holds"
    );
    assert!(world.circuit().await.is_closed());
    advance(30 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Err((DOWN, None)));
    assert_eq!(
        world.circuit().await.state,
        CircuitState::Open {
            until: samples::after(60)
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_failure_under_an_open_circuit_ends_with_the_cooldown() {
    let (world, faults) = (World::new(vec![DOWN; 5]), Faults::default());
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    world.call_times(&breaker, 5).await;
    faults.die_at(1, When::Before);
    advance(29 * SECOND).await;
    assert_eq!(world.call(&breaker).await, refused_until(30));
    advance(SECOND).await;
    for _ in 0..10 {
        assert_eq!(world.call(&breaker).await, Ok(()));
    }
    faults.clear();
    advance(5 * SECOND).await;
    world.call_times(&breaker, 2).await;
    assert!(world.circuit().await.is_closed());
}

#[tokio::test(start_paused = true)]
async fn calls_go_through_if_a_prober_can_t_be_elected() {
    let (world, faults) = (World::new(vec![DOWN; 5]), Faults::default());
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    world.call_times(&breaker, 5).await;
    advance(30 * SECOND).await;
    faults.die_at(2, When::Before);
    for _ in 0..10 {
        assert_eq!(world.call(&breaker).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_half_a_second_per_view() {
    let world = World::new([]);
    let breaker = world.breaker_with(Slow(world.circuits.clone(), 10 * SECOND));
    for _ in 0..3 {
        let begun = Instant::now();
        let requests = vec![world.request(); 10];
        let answers =
            futures::future::join_all(requests.iter().map(|request| breaker.call(request))).await;
        assert!(answers.iter().all(Result::is_ok));
        world.call_times(&breaker, 10).await;
        assert_eq!(begun.elapsed(), Duration::from_millis(500));
        advance(5 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_dies_after_its_election_is_followed_by_another() {
    let (world, faults) = (World::new(vec![DOWN; 5]), Faults::default());
    let doomed = world.breaker_with(world.circuits.with_faults(faults.clone()));
    world.call_times(&doomed, 5).await;
    advance(30 * SECOND).await;
    faults.die_at(2, When::After);
    assert_eq!(
        world.call(&doomed).await,
        Ok(()),
        "it can't know that it was elected"
    );
    let other = world.breaker();
    assert_eq!(world.call(&other).await, refused_until(35));
    advance(65 * SECOND).await;
    world.call_times(&other, 2).await;
    assert!(world.circuit().await.is_closed());
}

/// Trips, fails a probe, recovers; one store call of it fails. However it goes, no call is refused
/// for longer than a lease after the last window, and the circuit ends closed.
async fn check_recovery(call: u32, when: When) -> bool {
    let (world, faults) = (World::new(vec![DOWN; 6]), Faults::default());
    faults.fail_at(call, when);
    let breaker = world.breaker_with(world.circuits.with_faults(faults.clone()));
    world.call_times(&breaker, 5).await;
    let seconds = world.clock.now().since(samples::START).as_secs();
    assert_eq!(
        world.call(&breaker).await,
        refused_until(seconds + 30),
        "call {call} {when:?}"
    );
    for _ in 0..40 {
        advance(5 * SECOND).await;
        drop(world.call(&breaker).await);
    }
    assert_eq!(world.call(&breaker).await, Ok(()), "call {call} {when:?}");
    assert_eq!(
        world.call(&world.breaker()).await,
        Ok(()),
        "call {call} {when:?}"
    );
    assert!(world.circuit().await.is_closed(), "call {call} {when:?}");
    faults.struck()
}

#[tokio::test(start_paused = true)]
async fn any_one_lost_request_or_answer_of_the_store_is_got_over() {
    for when in [When::Before, When::After] {
        let mut call = 1;
        while check_recovery(call, when).await {
            call += 1;
        }
        assert!(
            call > 6,
            "{call}: the story has a look-up, a trip and three probes"
        );
    }
}
