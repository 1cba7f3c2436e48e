//! What is reported of providers after the calls that executors made.

use std::sync::Arc;
use std::time::Duration;

use shared::app::{ProviderReports, ProvidersReport};
use shared::domain::{CircuitState, FailureCode, ModelHealth, Provider};
use shared::policy::{Breaker, BreakerSettings, Observed, PriceTable};
use shared::ports::{Clock, Model, ModelErrorKind, ModelState};
use shared::testing::{MemoryCircuits, Reply, ScriptedModel, TokioClock, samples};
use tokio::time::advance;

/// The layers of one executor that use the circuits, over a script.
fn executor(circuits: &MemoryCircuits, clock: TokioClock, script: Vec<Reply>) -> Breaker {
    let observed = Observed::new(
        Arc::new(ScriptedModel::new(script)),
        PriceTable::current(),
        Arc::new(circuits.clone()),
        Arc::new(clock),
    );
    let settings = BreakerSettings::default();
    Breaker::new(
        Arc::new(observed),
        Arc::new(circuits.clone()),
        settings,
        Arc::new(clock),
    )
}

/// What the report has of the model that the executors call.
fn state(report: &ProvidersReport) -> &ModelState {
    let models = report.providers.iter().flat_map(|report| &report.models);
    let mut found = models.filter(|(model, _)| *model == samples::model());
    &found.next().unwrap().1
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_with_its_last_failure_and_ends_with_the_probes() {
    let (circuits, clock) = (MemoryCircuits::default(), TokioClock::default());
    let providers = ProviderReports::new(
        Arc::new(circuits.clone()),
        vec![Provider::Anthropic],
        Arc::new(clock),
    );
    let down = vec![Reply::Fail(ModelErrorKind::Unavailable); 5];
    let executor = executor(&circuits, clock, down);
    let request = || samples::model_request("hello");
    for _ in 0..6 {
        executor.call(&request()).await.unwrap_err();
    }
    let report = providers.report().await.unwrap();
    let available = report.providers.iter().map(|report| report.is_available);
    assert_eq!(available.collect::<Vec<_>>(), [true, false, false]);
    let open_until = clock.now().plus(Duration::from_secs(30));
    let shown = state(&report);
    assert_eq!(
        shown.circuit.as_ref().unwrap().state,
        CircuitState::Open { until: open_until }
    );
    let failure = shown.health.as_ref().unwrap().last_failure.unwrap();
    assert_eq!(failure.code, FailureCode::ModelUnavailable);
    advance(Duration::from_secs(31)).await;
    for _ in 0..2 {
        let mut probe = request();
        probe.deadline = shared::domain::Deadline::at(clock.now().plus(Duration::from_mins(1)));
        executor.call(&probe).await.unwrap();
    }
    let report = providers.report().await.unwrap();
    let shown = state(&report);
    assert!(shown.circuit.as_ref().unwrap().is_closed());
    let ModelHealth {
        latency,
        last_failure,
        ..
    } = shown.health.clone().unwrap();
    assert_eq!(last_failure, Some(failure));
    assert!(latency.unwrap().at > failure.at);
}
