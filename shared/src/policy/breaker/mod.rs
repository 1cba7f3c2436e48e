//! The circuit breaker: a model whose provider is down is left alone, by all functions together.
//!
//! Each execution environment counts failures in a row by itself and shares only what follows from them, so that a healthy
//! model costs one read every few seconds and no write. Only an unreachable or failing provider and one that stays silent
//! count. An answer that refuses — a 429, any other 4xx, a malformed one — counts neither way: a gateway gives it as well
//! before dead servers, so it heals nothing, and it is no outage, so it trips nothing; a prober that gets one gives its
//! lease back at once. If the store fails, calls go through, and an environment protects itself by its own count.

mod settings;
mod shared;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use tracing::{Instrument, field};

pub use self::settings::BreakerSettings;
use self::shared::SharedCircuits;
use self::view::{Candidacy, Decision, Sign};
use crate::domain::{Circuit, CircuitState, ModelAnswer, ModelRef, ModelRequest};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{Circuits, Clock, Model, ModelError, ModelErrorKind, Replaced};

/// How often a change is tried against others that come first.
const ROUNDS: u32 = 4;

/// Lets no call through to a model whose provider is down, but for one probe at a time.
///
/// A call that is not made fails with [`ModelErrorKind::CircuitOpen`]. A probe whose caller goes away leaves its lease,
/// which ends soon after the caller's deadline, and within 65 s.
pub struct Breaker {
    inner: Arc<dyn Model>,
    circuits: Arc<SharedCircuits>,
}

/// Leave to call the model.
enum Leave {
    Call,
    Probe(Candidacy),
}

impl Breaker {
    /// Protects `inner`, sharing what it knows through `circuits`.
    pub fn new(
        inner: Arc<dyn Model>,
        circuits: Arc<dyn Circuits>,
        settings: BreakerSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { inner, circuits: Arc::new(SharedCircuits::new(circuits, settings, clock)) }
    }

    async fn leave(&self, request: &ModelRequest) -> Result<Leave, ModelErrorKind> {
        let model = request.model();
        self.circuits.refresh(model).await;
        for _ in 0..ROUNDS {
            match self.circuits.decide(model, request.deadline) {
                Decision::Pass => return Ok(Leave::Call),
                Decision::Refuse { until } => {
                    metric::CIRCUIT_OPEN.add(PriceTable::current().labels(model), 1);
                    return Err(ModelErrorKind::CircuitOpen { until });
                }
                Decision::Elect(candidacy) => match self.circuits.replace(model, &candidacy.wanted).await {
                    Some(Replaced::Done) => {
                        tracing::info!(provider = %model.provider(), model = model.name(), "circuit is probed");
                        return Ok(Leave::Probe(candidacy));
                    }
                    Some(Replaced::Otherwise(_)) => {}
                    // Its answer may be all that is lost: should the lease be held, it is given back after the call.
                    None => {
                        self.circuits.withdraw(model, candidacy.clone());
                        return Ok(Leave::Probe(candidacy));
                    }
                },
            }
        }
        Err(ModelErrorKind::CircuitOpen { until: self.circuits.now() })
    }

    /// Counts what a call said, and opens the circuit for all if that is due.
    async fn count(&self, model: &ModelRef, sign: Sign) {
        let Some(tripped) = self.circuits.count(model, sign) else { return };
        if let Some(Replaced::Done) | None = self.circuits.replace(model, &tripped).await {
            log(model, &tripped);
        }
    }

    /// Says what came of a probe.
    async fn settle(&self, model: &ModelRef, probe: Candidacy, sign: Sign) {
        metric::CIRCUIT_OPEN.add(PriceTable::current().labels(model), u64::from(matches!(sign, Sign::Down)));
        let mut stands = probe.wanted;
        for _ in 0..ROUNDS {
            let (worker, settings) = (probe.lease.worker, self.circuits.settings());
            let next = match sign {
                Sign::Up => stands.probe_succeeded(worker, settings.successes()),
                Sign::Down => stands.probe_failed(settings.open_for(), self.circuits.now()),
                Sign::Unclear => stands.probe_was_unclear(worker),
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
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let model = request.model();
        let trace = tracing::info_span!(target: "trace", "circuit breaker", decision = field::Empty);
        let leave = self.leave(request).instrument(trace.clone()).await;
        trace.record("decision", decision(&leave));
        drop(trace);
        let leave = leave.map_err(|kind| ModelError::new(model.clone(), kind))?;
        let outcome = self.inner.ask(request).await;
        let sign = outcome.as_ref().map_or_else(sign, |_| Sign::Up);
        self.count(model, sign).await;
        if let Leave::Probe(probe) = leave {
            self.settle(model, probe, sign).await;
        }
        outcome
    }
}

/// What was decided on a call, for its trace.
const fn decision(leave: &Result<Leave, ModelErrorKind>) -> &'static str {
    match leave {
        Ok(Leave::Call) => "call",
        Ok(Leave::Probe(_)) => "probe",
        Err(_) => "refuse",
    }
}

/// What a failure says about the provider. [`ModelErrorKind::Timeout`] is the provider's own; a call that our deadline cut
/// is a [`ModelErrorKind::Park`]. Whoever refuses a request (a status of 4xx), or has begun an answer that is too long for its
/// time, is not down.
fn sign(error: &ModelError) -> Sign {
    let refuses = error.status.is_some_and(|status| (400..500).contains(&status));
    let answers = error.spend.usage.output_tokens > 0;
    match error.kind {
        ModelErrorKind::Unavailable if refuses => Sign::Unclear,
        ModelErrorKind::Timeout if refuses || answers => Sign::Unclear,
        ModelErrorKind::Unavailable | ModelErrorKind::Timeout => Sign::Down,
        ModelErrorKind::RateLimited
        | ModelErrorKind::CircuitOpen { .. }
        | ModelErrorKind::Park(_)
        | ModelErrorKind::ParkAtMost(_)
        | ModelErrorKind::QuotaExhausted
        | ModelErrorKind::Authentication
        | ModelErrorKind::KeyUnavailable
        | ModelErrorKind::Rejected
        | ModelErrorKind::ContextTooLong
        | ModelErrorKind::BadAnswer
        | ModelErrorKind::BudgetExhausted(_)
        | ModelErrorKind::Unpriced => Sign::Unclear,
    }
}

fn log(model: &ModelRef, circuit: &Circuit) {
    let labels = PriceTable::current().labels(model);
    let (provider, model, failed_probes) = (model.provider(), model.name(), circuit.failed_probes);
    match circuit.state {
        CircuitState::Open { until } => {
            let until_ms = until.as_millis();
            tracing::warn!(%provider, model, failed_probes, until_ms, "circuit is open");
            metric::CIRCUITS_OPENED.add(labels, 1);
        }
        CircuitState::HalfOpen { successes, .. } => {
            tracing::info!(%provider, model, successes, "circuit is half open");
        }
        CircuitState::Closed => tracing::info!(%provider, model, "circuit is closed again"),
    }
}

#[cfg(test)]
mod tests;
