//! Ten execution environments before one provider that goes down and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

const EXECUTORS: usize = 10;
const LATENCY: Duration = Duration::from_millis(200);

/// A provider that is up or down and notes the moment of each call.
struct Switch {
    up: AtomicBool,
    begun: Instant,
    calls: Mutex<Vec<Duration>>,
}

#[async_trait]
impl Model for Switch {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.calls.lock().unwrap().push(self.begun.elapsed());
        sleep(LATENCY).await;
        let answer = self
            .up
            .load(Ordering::SeqCst)
            .then(|| samples::answer("Paris"));
        answer.ok_or_else(|| ModelError::new(request.model().clone(), DOWN))
    }
}

/// A clock that goes wrong by some seconds.
struct Skewed(TokioClock, Duration);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now().plus(self.1)
    }
}

struct Simulation {
    provider: Arc<Switch>,
    circuits: MemoryCircuits,
    workers: JoinSet<()>,
}

impl Simulation {
    /// Each executor keeps `at_once` tasks going, which ask five times a second as long as they get
    /// an answer or an error. Their clocks are spread evenly over `skew`.
    fn start(at_once: usize, skew: Duration) -> Self {
        let provider = Switch {
            up: AtomicBool::new(true),
            begun: Instant::now(),
            calls: Mutex::default(),
        };
        let (provider, circuits) = (Arc::new(provider), MemoryCircuits::default());
        let (mut workers, tokio_clock) = (JoinSet::new(), TokioClock::default());
        for executor in 0..EXECUTORS {
            let ahead =
                skew * u32::try_from(executor).unwrap() / u32::try_from(EXECUTORS - 1).unwrap();
            let clock: Arc<dyn Clock> = Arc::new(Skewed(tokio_clock, ahead));
            let (model, shared) = (Arc::clone(&provider), Arc::new(circuits.clone()));
            let breaker = Breaker::new(
                model,
                shared,
                BreakerSettings::default(),
                Arc::clone(&clock),
            );
            let breaker = Arc::new(breaker);
            for _ in 0..at_once {
                let (breaker, clock) = (Arc::clone(&breaker), Arc::clone(&clock));
                workers.spawn(async move {
                    loop {
                        let deadline = Deadline::at(clock.now().plus(60 * SECOND));
                        drop(
                            breaker
                                .call(&ModelRequest {
                                    deadline,
                                    ..samples::model_request("hello")
                                })
                                .await,
                        );
                        sleep(LATENCY).await;
                    }
                });
            }
        }
        Self {
            provider,
            circuits,
            workers,
        }
    }

    /// The calls that reach the provider in the next `seconds`, by their moments from now.
    async fn calls_in(&self, seconds: u32) -> Vec<Duration> {
        let (before, now) = (
            self.provider.calls.lock().unwrap().len(),
            self.provider.begun.elapsed(),
        );
        sleep(seconds * SECOND).await;
        let calls = self.provider.calls.lock().unwrap();
        calls[before..]
            .iter()
            .map(|at| at.saturating_sub(now))
            .collect()
    }

    fn set_up(&self, up: bool) {
        self.provider.up.store(up, Ordering::SeqCst);
    }
}

/// The times between the calls.
fn gaps(calls: &[Duration]) -> impl Iterator<Item = Duration> {
    calls.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))
}

async fn check_outage(at_once: usize, skew: Duration) {
    let mut simulation = Simulation::start(at_once, skew);
    let healthy = simulation.calls_in(60).await.len();
    assert!(healthy > 100 * EXECUTORS * at_once, "{healthy}");
    assert_eq!(simulation.circuits.writes(), 0);
    let reads = usize::try_from(simulation.circuits.reads()).unwrap();
    assert!(
        reads <= EXECUTORS * 13,
        "{reads}: one per view and executor"
    );

    simulation.set_up(false);
    // Each counts to five on its own at worst, while its other calls are under way, and those begun
    // before fail as well.
    let noticed = simulation.calls_in(20).await.len();
    assert!(
        (5..=EXECUTORS * (5 + at_once)).contains(&noticed),
        "{noticed}"
    );
    let trips = simulation.circuits.writes();
    assert!((1..=10).contains(&trips), "{trips}");

    // Windows of 30, 60 and 120 s, each ended by one probe.
    let probes = simulation.calls_in(280).await;
    assert_eq!(probes.len(), 3, "{probes:?}");
    let windows: Vec<Duration> = gaps(&probes).collect();
    for (window, expected) in windows.iter().zip([60, 120]) {
        assert!(
            *window + skew >= expected * SECOND && *window <= (expected + 10) * SECOND,
            "{windows:?}"
        );
    }
    let elections = simulation.circuits.writes() - trips;
    assert!(
        elections <= 3 * (10 + 1),
        "{elections}: a few candidates and one outcome for each probe"
    );

    simulation.set_up(true);
    simulation.calls_in(70).await;
    let writes = simulation.circuits.writes();
    let healthy_again = simulation.calls_in(60).await.len();
    assert!(healthy_again > 100 * EXECUTORS * at_once, "{healthy_again}");
    assert_eq!(simulation.circuits.writes(), writes);
    simulation.workers.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn ten_executors_leave_a_dead_provider_alone_but_for_one_probe_per_window() {
    check_outage(1, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn so_do_ten_executors_with_five_tasks_each() {
    check_outage(5, Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_by_some_seconds_only_shorten_a_window_by_as_much() {
    check_outage(2, 4 * SECOND).await;
}
