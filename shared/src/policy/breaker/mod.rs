//! The circuit breaker: a model whose provider is down is left alone, by all functions together.
//!
//! Each execution environment counts failures in a row by itself and shares only what follows from
//! them, so that a healthy model costs one read every few seconds and no write. An unreachable,
//! failing or silent provider counts, and one whose responses are unreadable or empty, with a cause
//! of its own. A response that refuses — a 429, any other 4xx — counts neither way: a gateway gives
//! it as well before dead servers, so it heals nothing, and it is no outage, so it trips nothing.
//! Nor do unreadable responses to one task count twice in a row: its own prompt may cause them. A
//! prober that gets one gives its lease back at once. If the store fails, calls go through, and an
//! environment protects itself by its own count.
//!
//! A 429 that names a wait over [`BreakerSettings::longest_cooldown`] is different. Nobody waits
//! that long on the word of one response, which only makes the circuit suspected. An answer to any
//! call clears it. If a second call of any function is limited like that first, the circuit opens,
//! and one probe of all functions together finds out each `longest_cooldown` whether the limit is
//! over.

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
    Timestamp, Wait, WaitReason,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{Circuits, Clock, Model, ModelError, ModelErrorKind, Recovery, Replaced};

/// How often a change is tried against others that come first.
const ROUNDS: u32 = 4;

/// Lets no call through to a model whose provider is down, but for one probe at a time and the last
/// tries of tasks whose time ends: the provider may have recovered since the last probe.
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
    /// Although the circuit lets no call through.
    LastTry,
    Probe(ProbeClaim),
}

impl Breaker {
    /// Protects `inner`, sharing what it knows through `circuits`.
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
                Decision::Elect(claim) => {
                    match self.circuits.replace(model, &claim.wanted).await {
                        Some(Replaced::Done) => {
                            tracing::info!(provider = %model.provider(), model = model.name(), "circuit is probed");
                            return Ok(Permit::Probe(claim));
                        }
                        Some(Replaced::Otherwise(_)) => {}
                        // Its answer may be all that is lost: should the lease be held, it is given
                        // back after the call.
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

    /// Counts what a call said, and changes the circuit for all if that is due.
    async fn count(&self, request: &ModelRequest, signal: CallSignal) {
        let model = request.model();
        let Some(mut changed) = self.circuits.count(model, request.caller.task, signal) else {
            return;
        };
        let cooldown = self.circuits.settings().longest_cooldown();
        for _ in 0..ROUNDS {
            match self.circuits.replace(model, &changed).await {
                Some(Replaced::Done) => return log(model, &changed),
                // Another function met such a limit first, or the circuit is suspected no more.
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
                    return log(model, &changed);
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
        let mut stands = probe.wanted;
        for _ in 0..ROUNDS {
            let (worker, settings) = (probe.lease.worker, self.circuits.settings());
            let cooldown = settings.longest_cooldown();
            let next = match signal {
                CallSignal::Up => stands.probe_succeeded(worker, settings.successes()),
                CallSignal::Down(_) => {
                    stands.probe_failed(settings.open_for(), self.circuits.now())
                }
                CallSignal::Limited(wait) if is_confirmed(wait, &stands, settings) => {
                    let wait = wait.unwrap_or_else(|| settings.open_for()).min(cooldown);
                    stands.probe_was_limited(self.circuits.now().plus(wait))
                }
                CallSignal::Limited(_) | CallSignal::Unclear => stands.probe_was_unclear(worker),
            };
            let Some(next) = next else { return };
            match self.circuits.replace(model, &next).await {
                Some(Replaced::Done) => return log(model, &next),
                Some(Replaced::Otherwise(other)) => stands = other,
                None => return,
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

/// What was decided on a call, for its trace.
const fn decision(permit: &Result<Permit, ModelError>) -> &'static str {
    match permit {
        Ok(Permit::Call) => "call",
        Ok(Permit::LastTry) => "last try",
        Ok(Permit::Probe(_)) => "probe",
        Err(_) => "refuse",
    }
}

/// The failure of a call that was not made, and counts it.
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
    ModelError {
        said,
        ..ModelError::new(model.clone(), kind)
    }
    .with_recovery(Recovery::at(Wait { until, reason }))
}

/// Whether a probe that met a rate limit keeps the circuit open: it met a long wait, or the limit
/// that it was to check.
fn is_confirmed(wait: Option<Duration>, stands: &Circuit, settings: &BreakerSettings) -> bool {
    stands.cause == CircuitCause::RateLimit
        || wait.is_some_and(|wait| wait > settings.longest_cooldown())
}

/// What a failure says about the provider. [`ModelErrorKind::Timeout`] is the provider's own; a
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

fn log(model: &ModelRef, circuit: &Circuit) {
    let labels = PriceTable::current().labels(model);
    let (provider, model, failed_probes) = (model.provider(), model.name(), circuit.failed_probes);
    let cause = circuit.cause.as_str();
    match circuit.state {
        CircuitState::Open { until } => {
            let until_ms = until.as_millis();
            tracing::warn!(%provider, model, cause, failed_probes, until_ms, "circuit is open");
            metric::CIRCUITS_OPENED.add(labels, 1);
        }
        CircuitState::HalfOpen { .. } if circuit.is_suspected() => {
            tracing::warn!(%provider, model, cause, "provider named a very long wait; the next calls check it");
        }
        CircuitState::HalfOpen { successes, .. } => {
            tracing::info!(%provider, model, successes, "circuit is half open");
        }
        CircuitState::Closed => tracing::info!(%provider, model, "circuit is closed again"),
    }
}

#[cfg(test)]
mod tests;
