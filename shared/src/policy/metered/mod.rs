//! Computes the cost of every attempt and enforces the caps on cost.
//!
//! This is the innermost layer, next to the providers. So an answer from the cache reserves
//! nothing, and every attempt is under the caps, also the tenth retry. Under a cap, the highest
//! possible cost of the attempt is reserved before the call. After it, the real cost replaces the
//! reservation. If only the reservations of open calls leave no room, the call is made later. If
//! the cost that is spent leaves no room, the call is refused. Without a cap nothing is stored.
//!
//! A task's own cap needs a price. Under a cap of a day or a month, a model without a price counts as
//! the most expensive model of its provider: caps of a day exist by default, and an agent may name
//! new models. A provider without any price, such as the deployment's own server, is under no such
//! cap.
//!
//! In doubt, this layer counts too much, never too little:
//!
//! - After a timeout or a broken stream, the provider may bill more than it reported. So the
//!   highest possible output counts, and the highest possible input, if the input is unknown.
//! - A complete answer that does not report its input counts with the highest possible cost.
//! - A refusal (a status other than 2xx) costs nothing.
//! - If a call is dropped or its process dies, its reservation stays. When it expires, it counts as
//!   spent.
//!
//! So a provider that often cuts its answers uses up a cap for few answers. The cost in
//! answers and errors contains only what providers reported.

mod cap;
mod size;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::Instant;

use self::cap::Cap;
use self::size::token_bound;
use super::price::PriceTable;
use crate::domain::{
    BudgetScope, Caller, Causes, Cost, ModelAnswer, ModelRef, ModelRequest, ProviderError,
    ReservationId, Timestamp, Usage, Wait, WaitReason,
};
use crate::metric;
use crate::ports::{
    Budgets, Clock, Model, ModelError, ModelErrorKind, Recovery, Reservation, Reserved, Settled,
    TaskCaps,
};
use crate::runtime::computed;

/// How long after a call's deadline its reservation expires: for the settlement, and for clocks
/// that differ.
const EXPIRES_AFTER_DEADLINE: Duration = Duration::from_secs(30);

/// The least wait of a call that lacks only what open calls have reserved, or whose caps can't be
/// checked now. The wait is up to twice as long, so that not all waiting tasks continue at one
/// moment.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The layer that computes the cost of every attempt and enforces the caps on cost.
pub struct Metered {
    inner: Arc<dyn Model>,
    prices: &'static PriceTable,
    budgets: Arc<dyn Budgets>,
    daily_caps: DailyCaps,
    own_caps: Arc<dyn TaskCaps>,
    clock: Arc<dyn Clock>,
    /// The models whose missing price was logged.
    reported: Mutex<HashSet<ModelRef>>,
}

/// What may be spent in a day (in UTC), in micro-USD; `None` is any amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DailyCaps {
    /// By each tenant that has no such cap of its own.
    pub tenant: Option<u64>,
    /// By all tenants of the deployment together.
    pub deployment: Option<u64>,
}

/// The caps on cost that calls are under, and their budgets.
#[derive(Clone)]
pub struct CostCaps {
    /// The store of budgets.
    pub budgets: Arc<dyn Budgets>,
    /// The deployment's caps.
    pub daily: DailyCaps,
    /// The caps that tenants and keys have of their own.
    pub own: Arc<dyn TaskCaps>,
}

impl Metered {
    /// Meters `inner`, under `caps` and the cap in each request.
    pub fn new(
        inner: Arc<dyn Model>,
        prices: &'static PriceTable,
        caps: CostCaps,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let CostCaps {
            budgets,
            daily: daily_caps,
            own: own_caps,
        } = caps;
        Self {
            inner,
            prices,
            budgets,
            daily_caps,
            own_caps,
            clock,
            reported: Mutex::default(),
        }
    }

    /// The caps that the request is under, the narrowest first.
    async fn caps(&self, request: &ModelRequest, now: Timestamp) -> Result<Vec<Cap>, ModelError> {
        let Caller { tenant, key, .. } = &request.caller;
        let own = self.own_caps.of_task(tenant, *key).await.map_err(|error| {
            tracing::warn!(error = %Causes(&error), "caps on cost of the tenant and the key can't be read");
            self.no_room_now(request.model())
        })?;
        Ok(cap::all(request, own, self.daily_caps, now))
    }

    /// Makes the call if it cannot pass one of the caps.
    async fn call_under_caps(
        &self,
        caps: &[Cap],
        request: &ModelRequest,
        now: Timestamp,
    ) -> Result<ModelAnswer, ModelError> {
        let model = request.model();
        let prompt = &request.prompt;
        let (input, output) = (
            computed(prompt.conversation_bytes(), || token_bound(prompt)),
            prompt.max_output_tokens,
        );
        if !self.prices.has_price(model, now)
            && caps.iter().any(|cap| cap.scope == BudgetScope::Task)
        {
            self.report_unpriced(model);
            return Err(ModelError::new(model.clone(), ModelErrorKind::Unpriced));
        }
        let Some(bound) = self.prices.assumed_bound(model, input, output, now) else {
            return self.priced_call(request, now).await;
        };
        let reservation = Reservation {
            id: ReservationId::new(now),
            amount_micro_usd: bound,
            expires_at: request.deadline.moment().plus(EXPIRES_AFTER_DEADLINE),
        };
        self.reserve_all(caps, &reservation, model, now).await?;
        let result = self.priced_call(request, now).await;
        let actual = self.actual(request, &result, bound, now);
        self.settle_all(caps, &reservation, actual).await;
        result
    }

    /// Reserves under every cap, or under none. The reservations run concurrently, because each
    /// would add its time to the call.
    async fn reserve_all(
        &self,
        caps: &[Cap],
        reservation: &Reservation,
        model: &ModelRef,
        now: Timestamp,
    ) -> Result<(), ModelError> {
        let reserving = join_all(caps.iter().map(|cap| {
            self.budgets
                .reserve(&cap.budget, reservation, cap.allowance, now)
        }));
        let (mut placed, mut end, mut failure) = (Vec::new(), None, None);
        let mut has_room_later = false;
        for (cap, reserved) in caps.iter().zip(reserving.await) {
            match reserved {
                Ok(Reserved::Granted) => placed.push(cap),
                Ok(Reserved::Refused {
                    committed_micro_usd: committed,
                    held_micro_usd: held,
                }) => {
                    let bound = reservation.amount_micro_usd;
                    tracing::warn!(
                        scope = %cap.scope,
                        limit = cap.name,
                        cap_micro_usd = cap.allowance.cap_micro_usd,
                        committed_micro_usd = committed,
                        held_micro_usd = held,
                        bound_micro_usd = bound,
                        provider = %model.provider(),
                        model = model.name(),
                        "model call is refused by a cap on cost"
                    );
                    metric::BUDGET_REFUSALS.add([], 1);
                    if cap.is_used_up(committed.saturating_sub(held), bound) {
                        let is_later = |(end, _): &(&Cap, u64)| cap.outlasts(end);
                        if end.as_ref().is_none_or(is_later) {
                            end = Some((cap, committed));
                        }
                    } else {
                        has_room_later = true;
                    }
                }
                Err(error) => {
                    // The store may have stored the reservation before it failed.
                    placed.push(cap);
                    failure = failure.or(Some((cap.scope, error)));
                }
            }
        }
        if let Some((scope, error)) = failure {
            tracing::warn!(error = %Causes(&error), %scope, "cap on cost can't be checked");
            has_room_later = true;
        }
        // A cap that is used up decides over one that may have room later.
        let refusal = match end {
            Some((cap, committed)) => ModelError {
                said: Some(Box::new(ProviderError {
                    message: Some(cap.refusal(committed, reservation.amount_micro_usd)),
                    ..ProviderError::default()
                })),
                ..ModelError::new(model.clone(), ModelErrorKind::BudgetExhausted(cap.scope))
            },
            None if has_room_later => self.no_room_now(model),
            None => return Ok(()),
        };
        self.withdraw(&placed, reservation).await;
        Err(refusal)
    }

    /// The refusal of a call that may find room later: the calls that are open now mostly cost less
    /// than they reserved.
    fn no_room_now(&self, model: &ModelRef) -> ModelError {
        let wait = TRY_AGAIN_AFTER.mul_f64(1.0 + fastrand::f64());
        let wait = Wait {
            until: self.clock.now().plus(wait),
            reason: WaitReason::Budget,
        };
        ModelError::new(model.clone(), ModelErrorKind::BudgetReserved)
            .with_recovery(Recovery::at(wait))
    }

    /// Releases the reservations of a call that is not made. A reservation that can't be released
    /// expires. The reason why there is no call is logged already.
    async fn withdraw(&self, caps: &[&Cap], reservation: &Reservation) {
        let now = self.clock.now();
        let settling = caps
            .iter()
            .map(|cap| self.budgets.settle(&cap.budget, reservation, 0, now));
        for (cap, settled) in caps.iter().zip(join_all(settling).await) {
            if let Err(error) = settled {
                tracing::debug!(error = %Causes(&error), scope = %cap.scope, "reservation not released; it expires");
            }
        }
    }

    /// Settles under every cap. A reservation that can't be settled expires, and counts in full.
    async fn settle_all(&self, caps: &[Cap], reservation: &Reservation, actual: u64) {
        let now = self.clock.now();
        let settling = caps
            .iter()
            .map(|cap| self.budgets.settle(&cap.budget, reservation, actual, now));
        for (cap, settled) in caps.iter().zip(join_all(settling).await) {
            match settled {
                Ok(Settled::Done) => {}
                Ok(Settled::Gone) => {
                    tracing::info!(scope = %cap.scope, "reservation expired before its settlement");
                }
                Err(error) => tracing::warn!(
                    error = %Causes(&error),
                    scope = %cap.scope,
                    bound_micro_usd = reservation.amount_micro_usd,
                    "settlement failed; the call counts at its maximum cost"
                ),
            }
        }
    }

    /// Makes the call, and sets the cost of the answer or the error.
    async fn priced_call(
        &self,
        request: &ModelRequest,
        now: Timestamp,
    ) -> Result<ModelAnswer, ModelError> {
        let begun = Instant::now();
        let mut result = self.inner.call(request).await;
        match &mut result {
            Ok(answer) => {
                answer.spend.cost = self.answer_cost(request.model(), answer.spend.usage, now);
            }
            Err(error) if has_whole_cost(error) => {
                error.spend.cost = self.cost(request.model(), error.spend.usage, now);
            }
            Err(error) => {
                error.spend.cost = self.answer_cost(request.model(), error.spend.usage, now);
            }
        }
        count(request.model(), &result, begun.elapsed());
        result
    }

    /// The cost of an answer, or of its beginning. No answer is free: without a reported input, it
    /// counts as an unpriced call.
    fn answer_cost(&self, model: &ModelRef, usage: Usage, now: Timestamp) -> Cost {
        let cost = self.cost(model, usage, now);
        if usage.input_tokens > 0 {
            cost
        } else {
            Cost {
                unpriced_calls: 1,
                ..cost
            }
        }
    }

    /// The cost of the usage that the provider reported.
    fn cost(&self, model: &ModelRef, usage: Usage, now: Timestamp) -> Cost {
        if usage == Usage::default() {
            return Cost::default();
        }
        if let Some(micro_usd) = self.prices.cost(model, &usage, now) {
            return Cost {
                micro_usd,
                unpriced_calls: 0,
            };
        }
        self.report_unpriced(model);
        Cost {
            micro_usd: 0,
            unpriced_calls: 1,
        }
    }

    /// The amount that the call counts under its caps: its cost, or the highest possible cost if
    /// the cost is unknown.
    fn actual(
        &self,
        request: &ModelRequest,
        result: &Result<ModelAnswer, ModelError>,
        bound: u64,
        now: Timestamp,
    ) -> u64 {
        let cost = |usage: Usage| {
            self.prices
                .assumed_cost(request.model(), &usage, now)
                .unwrap_or(bound)
        };
        let usage = match result {
            Ok(answer) if answer.spend.usage.input_tokens > 0 => return cost(answer.spend.usage),
            Err(error) if has_whole_cost(error) => return cost(error.spend.usage),
            Ok(answer) => answer.spend.usage,
            Err(error) => error.spend.usage,
        };
        if usage.input_tokens == 0 {
            return bound.max(cost(usage));
        }
        let output_tokens = usage
            .output_tokens
            .max(request.prompt.max_output_tokens.into());
        cost(Usage {
            output_tokens,
            ..usage
        })
    }

    /// Logs once per process that a model has no price.
    fn report_unpriced(&self, model: &ModelRef) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(model.clone()) {
            tracing::warn!(provider = %model.provider(), model = model.name(), "model has no price");
        }
    }
}

#[async_trait]
impl Model for Metered {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        // One moment for the bound and for the cost: prices may change while the call is open.
        let now = self.clock.now();
        let caps = self.caps(request, now).await?;
        if caps.is_empty() {
            self.priced_call(request, now).await
        } else {
            self.call_under_caps(&caps, request, now).await
        }
    }
}

/// Whether a failed call cost no more than the provider reported: the provider was not called, or
/// refused the request.
fn has_whole_cost(error: &ModelError) -> bool {
    error.spend.attempts == 0
        || error
            .status
            .is_some_and(|status| !(200..300).contains(&status))
}

/// Counts an attempt in the metrics.
fn count(model: &ModelRef, result: &Result<ModelAnswer, ModelError>, took: Duration) {
    let labels = PriceTable::current().labels(model);
    let spend = match result {
        Ok(answer) => answer.spend,
        Err(error) => {
            metric::MODEL_ERRORS.add([model.provider().as_str(), error.kind.code().as_str()], 1);
            metric::MODEL_ACCESS_ERRORS.add([], u64::from(error.kind.is_of_access()));
            error.spend
        }
    };
    metric::MODEL_CALLS.add(labels, 1);
    metric::MODEL_LATENCY.note(labels, took);
    metric::INPUT_TOKENS.add(labels, spend.usage.input_tokens);
    metric::OUTPUT_TOKENS.add(labels, spend.usage.output_tokens);
    metric::CACHE_READ_TOKENS.add(labels, spend.usage.cache_read_tokens);
    metric::CACHE_WRITE_TOKENS.add(labels, spend.usage.cache_write_tokens);
    metric::MODEL_COST_MICRO_USD.add(labels, spend.cost.micro_usd);
    metric::UNPRICED_CALLS.add(labels, spend.cost.unpriced_calls.into());
}
