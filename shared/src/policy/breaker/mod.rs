//! The circuit breaker: while a model's provider is down, no function calls the model, except for
//! one probe at a time.
//!
//! Each process counts failures in a row by itself, and shares only the changes of the circuit. So
//! a healthy model costs one read every few seconds and no write. A failure is an unreachable,
//! failing or silent provider. Unreadable and empty responses are failures too, with a cause of
//! their own; several in a row to one task count once, because the task's prompt may cause them.
//!
//! A refusal (a 429 or another 4xx) is no failure, because it is no outage. It is no success
//! either, because a gateway also refuses requests in front of dead servers. A prober that gets a
//! refusal gives its lease back at once. If the store fails, calls are made, and each process
//! refuses calls by its own count.
//!
//! A 429 that names a wait over [`BreakerSettings::longest_cooldown`] is different. One such
//! response is not trusted: it only makes the circuit suspected, and an answer to any call clears
//! it. If a second call of any function gets such a response before that, the circuit opens. Then
//! one probe of all functions checks after each `longest_cooldown` whether the limit is over.

mod settings;
mod shared;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::{Instrument, field};

pub use self::settings::BreakerSettings;
use self::shared::SharedCircuits;
use self::view::{CallSignal, Decision, ProbeClaim};
use crate::domain::{
    Circuit, CircuitCause, CircuitState, ModelAnswer, ModelRef, ModelRequest, ProviderError,
    Timestamp, Wait, WaitReason, whole_millis,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{
    Circuits, Clock, Model, ModelError, ModelErrorKind, OpenCircuit, Recovery, Replaced,
};

/// How many times a change is tried if other processes change the circuit first.
const ROUNDS: u32 = 4;

/// Rejects calls to a model whose provider is down, except one probe at a time, and the last tries
/// of tasks whose time ends: the provider may have recovered since the last probe.
///
/// A call that is not made fails with [`ModelErrorKind::CircuitOpen`], or with
/// [`ModelErrorKind::RateLimited`] if that is the cause, and with the end of the wait. A probe
/// whose caller goes away leaves its lease, which ends soon after the caller's deadline, and within
/// 65 s.
pub struct Breaker {
    inner: Arc<dyn Model>,
    circuits: Arc<SharedCircuits>,
}

/// Permission to call the model.
enum Permit {
    Call,
    /// The circuit rejects calls, but the task has no time for another try.
    LastTry,
    Probe(ProbeClaim),
}

impl Breaker {
    /// Protects `inner`. All functions share the circuits in `circuits`.
    pub fn new(
        inner: Arc<dyn Model>,
        circuits: Arc<dyn Circuits>,
        settings: BreakerSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner,
            circuits: Arc::new(SharedCircuits::new(circuits, settings, clock)),
        }
    }

    async fn permit(&self, request: &ModelRequest) -> Result<Permit, ModelError> {
        let model = request.model();
        self.circuits.refresh(model).await;
        for _ in 0..ROUNDS {
            match self.circuits.decide(model, request.deadline) {
                Decision::Pass => return Ok(Permit::Call),
                Decision::Refuse { .. } if request.is_last_try => return Ok(Permit::LastTry),
                Decision::Refuse { until, cause } => return Err(refusal(model, until, cause)),
                Decision::Claim(claim) => {
                    match self.circuits.replace(model, &claim.wanted).await {
                        Some(Replaced::Done) => {
                            tracing::info!(provider = %model.provider(), model = model.name(), "circuit is probed");
                            return Ok(Permit::Probe(claim));
                        }
                        Some(Replaced::Otherwise(_)) => {}
                        // The store may have stored the claim before it failed. Then the lease is
                        // given back after the call.
                        None => {
                            self.circuits.withdraw(model, claim.clone());
                            return Ok(Permit::Probe(claim));
                        }
                    }
                }
            }
        }
        Err(refusal(model, self.circuits.now(), CircuitCause::Outage))
    }

    /// Counts the signal of a call, and stores the change of the circuit, if there is one.
    async fn count(&self, request: &ModelRequest, signal: CallSignal) {
        let model = request.model();
        let Some(mut changed) = self.circuits.count(model, request.caller.task, signal) else {
            return;
        };
        let cooldown = self.circuits.settings().longest_cooldown();
        for _ in 0..ROUNDS {
            match self.circuits.replace(model, &changed).await {
                Some(Replaced::Done) => return self.log(model, &changed, signal),
                // Another function met such a limit first, or an answer has cleared the circuit.
                Some(Replaced::Otherwise(other)) if matches!(signal, CallSignal::Limited(_)) => {
                    let Some(next) = other.limit(self.circuits.now().plus(cooldown)) else {
                        return;
                    };
                    changed = next;
                }
                Some(Replaced::Otherwise(_)) => return,
                None => {
                    if changed.cause == CircuitCause::RateLimit && !changed.is_closed() {
                        self.circuits.hold(model, changed.cause, cooldown);
                    }
                    return self.log(model, &changed, signal);
                }
            }
        }
    }

    /// Records the outcome of a probe.
    async fn settle(&self, model: &ModelRef, probe: ProbeClaim, signal: CallSignal) {
        metric::CIRCUIT_OPEN.add(
            PriceTable::current().labels(model),
            u64::from(matches!(signal, CallSignal::Down(_))),
        );
        let mut circuit = probe.wanted;
        for _ in 0..ROUNDS {
            let (worker, settings) = (probe.lease.worker, self.circuits.settings());
            let cooldown = settings.longest_cooldown();
            let next = match signal {
                CallSignal::Up => circuit.probe_succeeded(worker, settings.successes()),
                CallSignal::Down(_) => {
                    circuit.probe_failed(settings.open_for(), self.circuits.now())
                }
                CallSignal::Limited(wait) if is_confirmed(wait, &circuit, settings) => {
                    let wait = wait.unwrap_or_else(|| settings.open_for()).min(cooldown);
                    circuit.probe_was_limited(self.circuits.now().plus(wait))
                }
                CallSignal::Limited(_) | CallSignal::Unclear => circuit.probe_was_unclear(worker),
            };
            let Some(next) = next else { return };
            match self.circuits.replace(model, &next).await {
                Some(Replaced::Done) => return self.log(model, &next, signal),
                Some(Replaced::Otherwise(other)) => circuit = other,
                None => return,
            }
        }
    }
    /// Logs a changed circuit, with the signal that changed it.
    fn log(&self, model: &ModelRef, circuit: &Circuit, signal: CallSignal) {
        let labels = PriceTable::current().labels(model);
        let (provider, name) = (model.provider(), model.name());
        let cause = circuit.cause.as_str();
        let retry_after_ms = match signal {
            CallSignal::Limited(wait) => wait.map(whole_millis),
            CallSignal::Up | CallSignal::Down(_) | CallSignal::Unclear => None,
        };
        match circuit.state {
            CircuitState::Open { until } => {
                let is_counted = matches!(signal, CallSignal::Down(_));
                tracing::warn!(
                    %provider,
                    model = name,
                    cause,
                    failures = is_counted.then(|| self.circuits.failures(model)),
                    threshold = is_counted.then(|| self.circuits.settings().failures()),
                    failed_probes = circuit.failed_probes,
                    retry_after_ms,
                    open_seconds = rounded_seconds(until.since(self.circuits.now())),
                    until_ms = until.as_millis(),
                    "circuit is open"
                );
                metric::CIRCUITS_OPENED.add(labels, 1);
            }
            CircuitState::HalfOpen { .. } if circuit.is_suspected() => {
                tracing::warn!(
                    %provider,
                    model = name,
                    cause,
                    retry_after_ms,
                    "provider named a very long wait; the next calls check it"
                );
            }
            CircuitState::HalfOpen { successes, .. } => {
                tracing::info!(%provider, model = name, successes, "circuit is half open");
            }
            CircuitState::Closed => {
                tracing::info!(%provider, model = name, "circuit is closed again");
            }
        }
    }
}

#[async_trait]
impl Model for Breaker {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let model = request.model();
        let trace = tracing::info_span!("circuit breaker", decision = field::Empty);
        let permit = self.permit(request).instrument(trace.clone()).await;
        trace.record("decision", decision(&permit));
        drop(trace);
        let permit = permit?;
        let outcome = self.inner.call(request).await;
        let signal = outcome.as_ref().map_or_else(signal, |_| CallSignal::Up);
        self.count(request, signal).await;
        if let Permit::Probe(probe) = permit {
            self.settle(model, probe, signal).await;
        }
        outcome
    }
}

/// The decision about a call, for its trace.
const fn decision(permit: &Result<Permit, ModelError>) -> &'static str {
    match permit {
        Ok(Permit::Call) => "call",
        Ok(Permit::LastTry) => "last try",
        Ok(Permit::Probe(_)) => "probe",
        Err(_) => "refuse",
    }
}

/// Counts a call that is not made, and returns its failure.
fn refusal(model: &ModelRef, until: Timestamp, cause: CircuitCause) -> ModelError {
    metric::CIRCUIT_OPEN.add(PriceTable::current().labels(model), 1);
    let (kind, reason) = match cause {
        CircuitCause::Outage | CircuitCause::BadAnswer => {
            (ModelErrorKind::CircuitOpen, WaitReason::Breaker)
        }
        CircuitCause::RateLimit => (ModelErrorKind::RateLimited, WaitReason::RateLimit),
    };
    let said = (cause == CircuitCause::BadAnswer).then(|| {
        let words = "its last responses, to several tasks, were unreadable or empty";
        Box::new(ProviderError {
            message: Some(words.to_owned()),
            ..ProviderError::default()
        })
    });
    let circuit = Box::new(OpenCircuit {
        model: model.clone(),
        cause,
        until,
    });
    ModelError {
        said,
        circuit: Some(circuit),
        ..ModelError::new(model.clone(), kind)
    }
    .with_recovery(Recovery::at(Wait { until, reason }))
}

/// Whether a probe that met a rate limit keeps the circuit open: the wait is long, or the circuit
/// is open because of a rate limit.
fn is_confirmed(wait: Option<Duration>, circuit: &Circuit, settings: &BreakerSettings) -> bool {
    circuit.cause == CircuitCause::RateLimit
        || wait.is_some_and(|wait| wait > settings.longest_cooldown())
}

/// The signal of a failed call. [`ModelErrorKind::Timeout`] is the provider's own; a
/// call that our deadline cut is [`ModelErrorKind::OutOfTime`]. A provider that refuses a request
/// (a status of 4xx), or has begun an answer that does not end in time, is not down.
fn signal(error: &ModelError) -> CallSignal {
    let refuses = error
        .status
        .is_some_and(|status| (400..500).contains(&status));
    let answers = error.spend.usage.output_tokens > 0;
    match error.kind {
        ModelErrorKind::Unavailable | ModelErrorKind::BadAnswer if refuses => CallSignal::Unclear,
        ModelErrorKind::Timeout if refuses || answers => CallSignal::Unclear,
        ModelErrorKind::Unavailable | ModelErrorKind::Timeout => {
            CallSignal::Down(CircuitCause::Outage)
        }
        ModelErrorKind::BadAnswer => CallSignal::Down(CircuitCause::BadAnswer),
        ModelErrorKind::RateLimited => CallSignal::Limited(error.retry_after),
        ModelErrorKind::CircuitOpen
        | ModelErrorKind::OutOfTime
        | ModelErrorKind::InFlight
        | ModelErrorKind::BudgetReserved
        | ModelErrorKind::QuotaExhausted
        | ModelErrorKind::Authentication
        | ModelErrorKind::KeyMissing
        | ModelErrorKind::KeyUnavailable
        | ModelErrorKind::Rejected
        | ModelErrorKind::ContextTooLong
        | ModelErrorKind::Refused
        | ModelErrorKind::BudgetExhausted(_)
        | ModelErrorKind::Unpriced => CallSignal::Unclear,
    }
}

/// Storing the circuit takes some of the time for which it opens.
const fn rounded_seconds(left: Duration) -> u64 {
    left.saturating_add(Duration::from_millis(500)).as_secs()
}

#[cfg(test)]
mod tests;
