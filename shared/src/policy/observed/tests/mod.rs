//! What is noted of calls, on paused time.

use tokio::time::advance;

use super::*;
use crate::domain::{FailureCode, ModelChain, ModelHealth, Provider, Spend};
use crate::ports::ModelErrorKind;
use crate::testing::samples::{self, after};
use crate::testing::{Faults, MemoryCircuits, Reply, ScriptedModel, TokioClock, When};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    model: Arc<ScriptedModel>,
    circuits: MemoryCircuits,
    faults: Faults,
    observed: Observed,
}

/// A model whose answers take the time that a test lets pass.
struct Slow(Arc<ScriptedModel>, Arc<Mutex<Duration>>);

#[async_trait]
impl Model for Slow {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let takes = *self.1.lock().unwrap();
        tokio::time::sleep(takes).await;
        self.0.call(request).await
    }
}

fn world(script: impl IntoIterator<Item = Reply>) -> (World, Arc<Mutex<Duration>>) {
    let (circuits, faults, takes) = (
        MemoryCircuits::default(),
        Faults::default(),
        Arc::new(Mutex::new(Duration::ZERO)),
    );
    let model = Arc::new(ScriptedModel::new(script));
    let observed = Observed::new(
        Arc::new(Slow(Arc::clone(&model), Arc::clone(&takes))),
        PriceTable::current(),
        Arc::new(circuits.with_faults(faults.clone())),
        Arc::new(TokioClock::default()),
    );
    let world = World {
        model,
        circuits,
        faults,
        observed,
    };
    (world, takes)
}

fn failing(kind: ModelErrorKind, retry_after: Option<Duration>) -> Reply {
    Reply::FailWith {
        kind,
        status: Some(429),
        should_retry: None,
        retry_after,
        spend: Spend::default(),
    }
}

impl World {
    async fn call(&self) -> Result<ModelAnswer, ModelError> {
        self.observed.call(&samples::model_request("hello")).await
    }

    async fn health(&self, key: HealthKey) -> ModelHealth {
        let now = samples::START;
        let states = self.circuits.states(&[key], now).await.unwrap();
        states[0].health.clone().unwrap()
    }

    async fn own_health(&self) -> ModelHealth {
        self.health(HealthKey::Model(samples::model())).await
    }
}

#[tokio::test(start_paused = true)]
async fn answers_of_a_minute_are_one_note_with_their_mean_and_the_slowest() {
    let (world, takes) = world([]);
    for (milliseconds, notes) in [(400, 1), (200, 1), (700, 1)] {
        *takes.lock().unwrap() = Duration::from_millis(milliseconds);
        world.call().await.unwrap();
        assert_eq!(world.circuits.notes(), notes);
    }
    let first = world.own_health().await.latency.unwrap();
    assert_eq!((first.mean_ms, first.longest_ms), (400, 400));
    advance(ANSWERS_EVERY).await;
    *takes.lock().unwrap() = Duration::from_millis(300);
    world.call().await.unwrap();
    let expected = Latency {
        at: samples::START.plus(ANSWERS_EVERY + Duration::from_millis(1_600)),
        mean_ms: 400,
        longest_ms: 700,
    };
    assert_eq!(world.own_health().await.latency, Some(expected));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_long_ago_is_in_no_later_note() {
    let (world, takes) = world([]);
    world.call().await.unwrap();
    *takes.lock().unwrap() = 10 * SECOND;
    world.call().await.unwrap();
    advance(RECENT).await;
    *takes.lock().unwrap() = SECOND;
    world.call().await.unwrap();
    let latency = world.own_health().await.latency.unwrap();
    assert_eq!((latency.mean_ms, latency.longest_ms), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn only_failures_that_say_something_about_the_provider_are_noted() {
    use ModelErrorKind as Kind;
    for (kind, is_noted) in [
        (Kind::Unavailable, true),
        (Kind::Timeout, true),
        (Kind::RateLimited, true),
        (Kind::QuotaExhausted, true),
        (Kind::Authentication, true),
        (Kind::KeyMissing, true),
        (Kind::KeyUnavailable, true),
        (Kind::BadAnswer, true),
        (Kind::OutOfTime, false),
        (Kind::BudgetReserved, false),
        (Kind::Unpriced, false),
        (Kind::Rejected, false),
        (Kind::ContextTooLong, false),
        (Kind::Refused, false),
    ] {
        let (world, _) = world([failing(kind.clone(), None)]);
        assert_eq!(world.call().await.unwrap_err().kind, kind);
        let expected = is_noted.then(|| LastFailure {
            at: samples::START,
            code: kind.code(),
            status: Some(429),
        });
        assert_eq!(world.own_health().await.last_failure, expected, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_noted_every_ten_seconds_and_long_waits_at_once() {
    let busy = |seconds| failing(ModelErrorKind::RateLimited, seconds);
    let (world, _) = world([
        busy(None),
        busy(Some(9 * SECOND)),
        busy(Some(30 * SECOND)),
        busy(Some(40 * SECOND)),
        busy(None),
    ]);
    let mut noted = Vec::new();
    for wait in [1, 1, 1, 10, 0] {
        world.call().await.unwrap_err();
        let health = world.own_health().await;
        noted.push((health.last_failure.unwrap().at, health.cooldown_until));
        advance(wait * SECOND).await;
    }
    let thirty = Some(after(32));
    let expected = [
        (after(0), None),
        (after(0), None),
        (after(2), thirty),
        (after(2), thirty),
        (after(13), thirty),
    ];
    assert_eq!(noted, expected);
}

#[tokio::test(start_paused = true)]
async fn models_without_a_row_share_the_health_of_their_provider() {
    let (world, _) = world([Reply::Fail(ModelErrorKind::Unavailable)]);
    for name in ["claude-sonnet-5-5-20260901", "invented"] {
        let model = ModelRef::new(Provider::Anthropic, name).unwrap();
        let request = ModelRequest {
            chain: ModelChain::only(model.into()),
            ..samples::model_request("hello")
        };
        drop(world.observed.call(&request).await);
    }
    let others = HealthKey::OtherModels(Provider::Anthropic);
    let health = world.health(others).await;
    assert_eq!(
        health.last_failure.unwrap().code,
        FailureCode::ModelUnavailable
    );
    assert!(health.latency.is_some());
    assert_eq!(world.own_health().await, ModelHealth::default());
}

#[tokio::test(start_paused = true)]
async fn a_call_succeeds_without_the_store_and_the_store_is_not_called_for_each_call() {
    let (world, _) = world([]);
    world.faults.fail_next(When::Before);
    world.call().await.unwrap();
    world.call().await.unwrap();
    assert_eq!(
        (world.circuits.notes(), world.model.requests().len()),
        (1, 2)
    );
    assert_eq!(world.own_health().await, ModelHealth::default());
}
