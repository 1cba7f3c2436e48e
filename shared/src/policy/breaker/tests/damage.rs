//! Records of circuits that no executor wrote.

use super::*;
use crate::domain::{Lease, WorkerId};
use crate::testing::{Captured, listen};

/// Stores a circuit of this state, and makes a call.
async fn call_under(world: &World, state: CircuitState) -> (Result<(), Failed>, String) {
    let heard = Captured::default();
    let writer = tracing_subscriber::fmt().with_writer(heard.clone());
    let _listening = listen(writer.with_ansi(false).finish());
    let damaged = Circuit {
        revision: 1,
        state,
        ..Circuit::default()
    };
    let (model, now) = (samples::model(), world.clock.now());
    let stored = world.circuits.replace(&model, &damaged, now).await;
    assert_eq!(stored.unwrap(), Replaced::Done);
    (world.call(&world.breaker()).await, heard.text())
}

const WARNING: &str = "circuit record is open for longer than any executor opens it";

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_open_for_days_is_probed_at_once() {
    let until = samples::after(3 * 24 * 3_600);
    let lease = Lease {
        worker: WorkerId::new(samples::START),
        expires_at: until,
    };
    let probed = CircuitState::HalfOpen {
        successes: 0,
        probe: Some(lease),
    };
    for state in [CircuitState::Open { until }, probed] {
        let world = World::new([]);
        let (called, heard) = call_under(&world, state).await;
        assert_eq!(called, Ok(()), "{state:?}");
        for part in [
            WARNING,
            "provider=anthropic",
            "model=\"claude-sonnet-5-5\"",
            "open_seconds=259200",
        ] {
            assert!(heard.contains(part), "{part}: {heard}");
        }
        assert_eq!(
            world.circuit().await.state,
            CircuitState::HalfOpen {
                successes: 1,
                probe: None
            }
        );
        assert_eq!(world.call(&world.breaker()).await, Ok(()));
        assert!(world.circuit().await.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_time_that_an_executor_opens_a_circuit_is_trusted() {
    let world = World::new([]);
    let open = CircuitState::Open {
        until: samples::after(120),
    };
    let (called, heard) = call_under(&world, open).await;
    assert_eq!(called, refused_until(120));
    assert!(!heard.contains(WARNING), "{heard}");
}
