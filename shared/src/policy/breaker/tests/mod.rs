//! One breaker, and two that share their circuits, against every kind of failure of the model and
//! of the store.

mod damage;
mod limits;
mod signs;
mod simulation;
mod store_failures;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::advance;

use super::{Breaker, BreakerSettings};
use crate::domain::{
    BudgetScope, Caller, Circuit, CircuitCause, CircuitState, Deadline, HealthKey, HealthNote,
    ModelAnswer, ModelRef, ModelRequest, Spend, TaskId, Timestamp, Wait, WaitReason,
};
use crate::ports::{
    Circuits, Clock, Model, ModelError, ModelErrorKind, ModelState, OpenCircuit, Recovery,
    Replaced, StoreError,
};
use crate::testing::{
    Failed, MemoryCircuits, Reply, ScriptedModel, TokioClock, failed_of, samples,
};

const DOWN: ModelErrorKind = ModelErrorKind::Unavailable;
const BUSY: ModelErrorKind = ModelErrorKind::RateLimited;
const SECOND: Duration = Duration::from_secs(1);

/// A model, the shared circuits, and the time; a breaker of it is one execution environment.
#[derive(Clone)]
struct World {
    model: Arc<ScriptedModel>,
    circuits: MemoryCircuits,
    clock: TokioClock,
}

impl World {
    fn new(script: impl IntoIterator<Item = ModelErrorKind>) -> Self {
        let model = ScriptedModel::new(script.into_iter().map(Reply::Fail));
        Self {
            model: Arc::new(model),
            circuits: MemoryCircuits::default(),
            clock: TokioClock::default(),
        }
    }

    fn breaker(&self) -> Arc<Breaker> {
        self.breaker_with(self.circuits.clone())
    }

    fn breaker_with(&self, circuits: impl Circuits + 'static) -> Arc<Breaker> {
        let model = Arc::clone(&self.model) as Arc<dyn Model>;
        Arc::new(Breaker::new(
            model,
            Arc::new(circuits),
            BreakerSettings::default(),
            Arc::new(self.clock),
        ))
    }

    /// A request of another task each time, to be answered within a minute from now.
    fn request(&self) -> ModelRequest {
        let request = samples::model_request("hello");
        let caller = Caller {
            task: TaskId::new(self.clock.now()),
            ..request.caller
        };
        ModelRequest {
            deadline: Deadline::at(self.clock.now().plus(60 * SECOND)),
            caller,
            ..request
        }
    }

    async fn call(&self, breaker: &Breaker) -> Result<(), Failed> {
        self.call_with(breaker, self.request()).await
    }

    async fn call_with(&self, breaker: &Breaker, request: ModelRequest) -> Result<(), Failed> {
        breaker
            .call(&request)
            .await
            .map(|_| ())
            .map_err(|error| failed_of(&error))
    }

    async fn call_times(&self, breaker: &Breaker, times: usize) {
        for _ in 0..times {
            drop(self.call(breaker).await);
        }
    }

    fn calls(&self) -> usize {
        self.model.requests().len()
    }

    async fn circuit(&self) -> Circuit {
        self.circuits
            .load(&samples::model(), self.clock.now())
            .await
            .unwrap()
    }
}

/// Circuits whose store takes its time.
struct Slow(MemoryCircuits, Duration);

#[async_trait]
impl Circuits for Slow {
    async fn load(&self, model: &ModelRef, now: Timestamp) -> Result<Circuit, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.load(model, now).await
    }

    async fn replace(
        &self,
        model: &ModelRef,
        next: &Circuit,
        now: Timestamp,
    ) -> Result<Replaced, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.replace(model, next, now).await
    }

    async fn note(
        &self,
        key: &HealthKey,
        note: HealthNote,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.note(key, note, now).await
    }

    async fn states(
        &self,
        keys: &[HealthKey],
        now: Timestamp,
    ) -> Result<Vec<ModelState>, StoreError> {
        self.0.states(keys, now).await
    }
}

fn refused_until(seconds: u64) -> Result<(), Failed> {
    let wait = Wait {
        until: samples::after(seconds),
        reason: WaitReason::Breaker,
    };
    Err((ModelErrorKind::CircuitOpen, Some(Recovery::at(wait))))
}

#[tokio::test(start_paused = true)]
async fn only_outages_open_the_circuit() {
    let table = [
        (DOWN, true),
        (ModelErrorKind::Timeout, true),
        (BUSY, false),
        (ModelErrorKind::CircuitOpen, false),
        (ModelErrorKind::OutOfTime, false),
        (ModelErrorKind::QuotaExhausted, false),
        (ModelErrorKind::Authentication, false),
        (ModelErrorKind::KeyMissing, false),
        (ModelErrorKind::KeyUnavailable, false),
        (ModelErrorKind::Rejected, false),
        (ModelErrorKind::Refused, false),
        (ModelErrorKind::ContextTooLong, false),
        (ModelErrorKind::BadAnswer, true),
        (ModelErrorKind::BudgetExhausted(BudgetScope::Tenant), false),
        (ModelErrorKind::Unpriced, false),
    ];
    for (kind, opens) in table {
        let world = World::new(vec![kind.clone(); 5]);
        let breaker = world.breaker();
        world.call_times(&breaker, 4).await;
        assert!(world.circuit().await.is_closed(), "{kind:?}");
        assert_eq!(world.call(&breaker).await, Err((kind.clone(), None)));
        assert_eq!(
            world.call(&breaker).await,
            if opens { refused_until(30) } else { Ok(()) },
            "{kind:?}"
        );
        assert_eq!(
            (world.calls(), world.circuits.writes()),
            if opens { (5, 1) } else { (6, 0) },
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unreadable_responses_to_one_task_count_once_and_its_outages_each_time() {
    for (kind, opens) in [(ModelErrorKind::BadAnswer, false), (DOWN, true)] {
        let world = World::new(vec![kind.clone(); 9]);
        let (breaker, request) = (world.breaker(), world.request());
        for _ in 0..5 {
            assert_eq!(
                world.call_with(&breaker, request.clone()).await,
                Err((kind.clone(), None))
            );
        }
        assert_eq!(!world.circuit().await.is_closed(), opens, "{kind:?}");
    }
    let world = World::new(vec![ModelErrorKind::BadAnswer; 8]);
    let breaker = world.breaker();
    for _ in 0..4 {
        let request = world.request();
        drop(world.call_with(&breaker, request.clone()).await);
        drop(world.call_with(&breaker, request).await);
    }
    assert!(world.circuit().await.is_closed());
    world.model.then(Reply::Fail(ModelErrorKind::BadAnswer));
    world.call_times(&breaker, 1).await;
    assert!(!world.circuit().await.is_closed(), "five tasks met one");
}

#[tokio::test(start_paused = true)]
async fn a_last_try_passes_an_open_circuit_and_changes_nothing() {
    let world = World::new(vec![DOWN; 7]);
    let breaker = world.breaker();
    world.call_times(&breaker, 5).await;
    let last_try = || ModelRequest {
        is_last_try: true,
        ..world.request()
    };
    let before = world.circuit().await;
    assert_eq!(
        world.call_with(&breaker, last_try()).await,
        Err((DOWN, None))
    );
    assert_eq!(world.call(&breaker).await, refused_until(30));
    assert_eq!(
        world.call_with(&breaker, last_try()).await,
        Err((DOWN, None))
    );
    assert!(world.call_with(&breaker, last_try()).await.is_ok());
    assert_eq!((world.calls(), world.circuit().await), (8, before));
    assert_eq!(world.call(&breaker).await, refused_until(30));
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_breaks_a_row_of_failures() {
    let world = World::new([vec![DOWN; 4], vec![BUSY; 3], vec![DOWN]].concat());
    world.call_times(&world.breaker(), 8).await;
    assert!(!world.circuit().await.is_closed());
    let world = World::new(vec![DOWN; 4]);
    let breaker = world.breaker();
    world.call_times(&breaker, 5).await;
    for _ in 0..4 {
        world.model.then(Reply::Fail(DOWN));
    }
    world.call_times(&breaker, 4).await;
    assert_eq!((world.calls(), world.circuits.writes()), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn a_healthy_model_costs_one_read_per_view_and_no_write() {
    let world = World::new([]);
    let breaker = world.breaker();
    for views in 1..=3 {
        let (requests, breaker) = (vec![world.request(); 100], &breaker);
        let calls = requests.iter().map(|request| breaker.call(request));
        assert!(
            futures::future::join_all(calls)
                .await
                .iter()
                .all(Result::is_ok)
        );
        assert_eq!(
            (world.circuits.reads(), world.circuits.writes()),
            (views, 0)
        );
        advance(5 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_whose_first_caller_goes_away_serves_the_others() {
    let world = World::new([]);
    let breaker = world.breaker_with(Slow(world.circuits.clone(), SECOND / 10));
    let (first, second) = (world.request(), world.request());
    let (mut first, mut second) = (breaker.call(&first), breaker.call(&second));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    assert!(second.await.is_ok());
    assert_eq!((world.circuits.reads(), world.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_one_environment_learns_the_others_see_with_their_next_view() {
    let world = World::new(vec![DOWN; 5]);
    let (first, second) = (world.breaker(), world.breaker());
    assert!(world.call(&second).await.is_err());
    world.call_times(&first, 4).await;
    world.model.then(Reply::Fail(DOWN));
    assert_eq!(world.call(&first).await, Err((DOWN, None)));
    assert_eq!(world.call(&second).await, Ok(()), "its view is fresh");
    advance(5 * SECOND).await;
    assert_eq!(world.call(&second).await, refused_until(30));
}

#[tokio::test(start_paused = true)]
async fn of_many_calls_one_is_the_probe_and_two_good_ones_close() {
    let world = World::new(vec![DOWN; 5]);
    let (breaker, other) = (world.breaker(), world.breaker());
    world.call_times(&breaker, 5).await;
    advance(30 * SECOND).await;
    world.model.hold();
    let probe = tokio::spawn({
        let (world, breaker) = (world.clone(), Arc::clone(&breaker));
        async move { world.call(&breaker).await }
    });
    world.model.until_called(6).await;
    for refused in [&breaker, &breaker, &other, &other] {
        assert_eq!(world.call(refused).await, refused_until(30 + 5));
    }
    world.model.release();
    assert_eq!(probe.await.unwrap(), Ok(()));
    assert_eq!(
        world.circuit().await.state,
        CircuitState::HalfOpen {
            successes: 1,
            probe: None
        }
    );
    assert_eq!(world.call(&breaker).await, Ok(()));
    assert!(world.circuit().await.is_closed());
    advance(5 * SECOND).await;
    assert_eq!(world.call(&other).await, Ok(()));
    assert_eq!(world.calls(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_for_twice_the_time() {
    let world = World::new(vec![DOWN; 6]);
    let breaker = world.breaker();
    world.call_times(&breaker, 5).await;
    advance(30 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Err((DOWN, None)));
    assert_eq!(world.call(&breaker).await, refused_until(30 + 60));
    assert_eq!(world.call(&world.breaker()).await, refused_until(30 + 60));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_leaves_the_next_to_another() {
    let world = World::new([vec![DOWN; 5], vec![BUSY, ModelErrorKind::KeyUnavailable]].concat());
    let (breaker, other) = (world.breaker(), world.breaker());
    world.call_times(&breaker, 5).await;
    advance(30 * SECOND).await;
    assert_eq!(world.call(&breaker).await, Err((BUSY, None)));
    assert_eq!(
        world.circuit().await.state,
        CircuitState::HalfOpen {
            successes: 0,
            probe: None
        }
    );
    assert_eq!(
        world.call(&other).await,
        Err((ModelErrorKind::KeyUnavailable, None))
    );
    assert_eq!(world.call(&other).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_canceled_prober_loses_its_lease() {
    let world = World::new(vec![DOWN; 5]);
    let (breaker, other) = (world.breaker(), world.breaker());
    world.call_times(&breaker, 5).await;
    advance(30 * SECOND).await;
    world.model.hold();
    let probe = tokio::time::timeout(SECOND, world.call(&breaker)).await;
    assert!(probe.is_err(), "the caller has gone away");
    world.model.release();
    advance(63 * SECOND).await;
    assert_eq!(world.call(&other).await, refused_until(95));
    assert_eq!(world.call(&breaker).await, refused_until(95));
    advance(SECOND).await;
    assert_eq!(world.call(&other).await, Ok(()));
    assert_eq!(world.call(&other).await, Ok(()));
    assert!(world.circuit().await.is_closed());
}

#[tokio::test(start_paused = true)]
async fn failures_under_an_old_view_do_not_open_a_circuit_that_others_closed() {
    let world = World::new(vec![DOWN; 4]);
    let late = world.breaker();
    world.call_times(&late, 4).await;
    let mut circuit = Circuit::default()
        .trip(CircuitCause::Outage, SECOND, samples::START)
        .unwrap();
    world
        .circuits
        .replace(&samples::model(), &circuit, samples::START)
        .await
        .unwrap();
    circuit = Circuit {
        revision: 2,
        state: CircuitState::Closed,
        ..circuit
    };
    world
        .circuits
        .replace(&samples::model(), &circuit, samples::START)
        .await
        .unwrap();
    for _ in 0..5 {
        world.model.then(Reply::Fail(DOWN));
        assert_eq!(world.call(&late).await, Err((DOWN, None)));
        assert_eq!(world.circuit().await, circuit, "the row begins anew");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_under_an_old_view_do_not_open_an_open_circuit_again() {
    let world = World::new(vec![DOWN; 10]);
    let (first, second) = (world.breaker(), world.breaker());
    world.call_times(&second, 4).await;
    advance(SECOND).await;
    world.call_times(&first, 5).await;
    let tripped = world.circuit().await;
    assert_eq!(world.call(&second).await, Err((DOWN, None)));
    assert_eq!(world.circuit().await, tripped);
    assert_eq!(world.call(&second).await, refused_until(31));
}

/// Fails with an error in which every field is set.
struct Detailed;

fn detailed() -> ModelError {
    let earlier = vec![ModelError::new(samples::model(), BUSY).attempt()];
    let spend = Spend {
        attempts: 2,
        usage: samples::usage(),
        ..Spend::default()
    };
    let answered = ModelError {
        status: Some(503),
        request_id: Some("req_1".to_owned()),
        ..down()
    };
    ModelError {
        should_retry: Some(false),
        spend,
        earlier,
        source: Some("broken pipe".into()),
        ..answered
    }
}

fn down() -> ModelError {
    ModelError::new(samples::model(), DOWN)
}

#[async_trait]
impl Model for Detailed {
    async fn call(&self, _request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        Err(detailed())
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_passes_as_it_is_and_a_refused_call_has_spent_nothing() {
    let (world, settings) = (
        World::new([]),
        BreakerSettings::default().with_failures(1).unwrap(),
    );
    let circuits = Arc::new(world.circuits.clone());
    let breaker = Breaker::new(
        Arc::new(Detailed),
        circuits,
        settings,
        Arc::new(world.clock),
    );
    let passed = breaker.call(&world.request()).await.unwrap_err();
    assert_eq!(format!("{passed:?}"), format!("{:?}", detailed()));
    let refused = breaker.call(&world.request()).await.unwrap_err();
    let wait = Wait {
        until: samples::after(30),
        reason: WaitReason::Breaker,
    };
    let circuit = OpenCircuit {
        model: samples::model(),
        cause: CircuitCause::Outage,
        until: wait.until,
    };
    let expected = ModelError {
        circuit: Some(Box::new(circuit)),
        ..ModelError::new(samples::model(), ModelErrorKind::CircuitOpen)
    }
    .with_recovery(Recovery::at(wait));
    assert_eq!(format!("{refused:?}"), format!("{expected:?}"));
}
