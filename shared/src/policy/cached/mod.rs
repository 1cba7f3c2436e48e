//! The response cache with single flight: one tenant's equal requests make one model call, even if
//! many tasks make them at once.
//!
//! The nearest answer is taken: a copy in this process, an equal call of this process, the cached
//! answer in the store, an equal call of another process. Only then the holder of the claim calls
//! the model. If the store fails, the call is made: only the saving is lost. Failures are never
//! cached. Callers that wait in the same process share a failure that each of them would get. In
//! other processes the next waiting caller makes the call; in an outage that ends soon, because the
//! breakers below are open.

mod claiming;
mod entry;
mod flight;
mod local;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use self::claiming::{CacheLookup, Claims, Turn};
use self::entry::{entry, fresh_since, is_cacheable, with_key};
use self::flight::{FlightResult, Flights, Follower, Leader, Role, SharedFailure};
use self::local::LocalCache;
use super::cache_key;
use crate::domain::{
    CacheMode, CacheRules, CacheTerms, ModelAnswer, ModelRequest, Origin, Timestamp, Wait,
    WaitReason, WorkerId,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{AnswerCache, CachedAnswer, Clock, Model, ModelError, ModelErrorKind, Recovery};
use crate::runtime::computed;

/// The cache's settings, the same for all tenants and agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a claim to make a request lasts without renewal. Its holder renews it when a third
    /// of this has passed.
    pub lease: Duration,
    /// How long a call waits for the answer to another process's equal request, before its task is
    /// parked.
    pub patience: Duration,
    /// How long this process uses its own copy of an answer without a read of the store; zero for
    /// never.
    pub local_for: Duration,
    /// The most bytes that these copies take, roughly.
    pub local_bytes: usize,
}

impl Default for CacheSettings {
    /// 30 s, 10 s, and 30 s in 8 MiB.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            local_for: Duration::from_secs(30),
            local_bytes: 8 * 1_024 * 1_024,
        }
    }
}

/// Keeps the answers of the model within, as each request's rules say.
pub struct Cached {
    inner: Arc<dyn Model>,
    claims: Claims,
    clock: Arc<dyn Clock>,
    local: LocalCache,
    flights: Flights,
}

impl Cached {
    /// One per process, in front of everything that costs money.
    pub fn new(
        inner: Arc<dyn Model>,
        answers: Arc<dyn AnswerCache>,
        settings: CacheSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let CacheSettings {
            lease,
            patience,
            local_for,
            local_bytes,
        } = settings;
        let owner = WorkerId::new(clock.now());
        let claims = Claims {
            answers,
            clock: Arc::clone(&clock),
            owner,
            lease,
            patience,
        };
        Self {
            inner,
            claims,
            clock,
            local: LocalCache::new(local_for, local_bytes),
            flights: Flights::default(),
        }
    }

    fn lookup<'a>(&self, request: &'a ModelRequest, terms: CacheTerms) -> CacheLookup<'a> {
        let requested_at = self.clock.now();
        let fresh_since = fresh_since(terms, request.cache_use.max_age, requested_at);
        let key = computed(request.prompt.conversation_bytes(), || {
            cache_key::of(request)
        });
        CacheLookup {
            request,
            key,
            terms,
            requested_at,
            fresh_since,
        }
    }

    /// Takes an answer from the nearest place that has one, and calls the model if no other caller
    /// does.
    async fn shared(&self, lookup: &CacheLookup<'_>) -> Result<ModelAnswer, ModelError> {
        loop {
            if let Some(cached) = self
                .local
                .get(lookup.key, self.clock.now(), lookup.fresh_since)
            {
                return Ok(self.cached(&cached));
            }
            let outcome = match self.flights.join(lookup.key) {
                Role::Leader(leader) => Some(self.lead(lookup, leader).await),
                Role::Follower(follower) => self.follow(lookup, follower).await,
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Makes the call for all callers of this process, if no other process makes it.
    async fn lead(
        &self,
        lookup: &CacheLookup<'_>,
        leader: Leader,
    ) -> Result<ModelAnswer, ModelError> {
        let call = self.inner.call(lookup.request);
        let outcome = match self.claims.turn(lookup).await {
            Turn::Call => {
                metric::CACHE_MISSES.add([], 1);
                let outcome = self.claims.while_held(lookup, call).await;
                let result = self.result(lookup, &outcome);
                // The claim ends before the flight does: who leads next in this process claims
                // under the same name.
                match &result {
                    FlightResult::Cached(cached) => self.claims.store(lookup, cached).await,
                    FlightResult::Alone => self.claims.leave_alone(lookup).await,
                    FlightResult::Shared(_) | FlightResult::Failed => {
                        self.claims.release(lookup).await;
                    }
                }
                leader.complete(result);
                outcome
            }
            Turn::Unstored => {
                let outcome = call.await;
                leader.complete(self.result(lookup, &outcome));
                outcome
            }
            Turn::Alone => {
                leader.complete(FlightResult::Alone);
                call.await
            }
            Turn::Cached(cached) => return Ok(self.cached(&self.complete(lookup, leader, *cached))),
            Turn::Shared(cached) => {
                return Ok(self.coalesced(lookup, &self.complete(lookup, leader, *cached)));
            }
            Turn::Park { until } => return Err(park(lookup, until)),
        };
        self.or_stale(lookup, outcome).await
    }

    fn complete(
        &self,
        lookup: &CacheLookup<'_>,
        leader: Leader,
        cached: CachedAnswer,
    ) -> Arc<CachedAnswer> {
        let cached = Arc::new(cached);
        self.local.put(lookup.key, &cached, self.clock.now());
        leader.complete(FlightResult::Cached(Arc::clone(&cached)));
        cached
    }

    /// What the outcome of a call means to those who wait for it.
    fn result(
        &self,
        lookup: &CacheLookup<'_>,
        outcome: &Result<ModelAnswer, ModelError>,
    ) -> FlightResult {
        match outcome {
            Ok(answer) if is_cacheable(answer) => FlightResult::Cached(self.take(lookup, answer)),
            Ok(_) => FlightResult::Alone,
            Err(error) if self.is_everyones(lookup, error) => {
                FlightResult::Shared(Arc::new(SharedFailure::new(error, lookup.request.retry)))
            }
            Err(_) => FlightResult::Failed,
        }
    }

    /// True if every caller with the same request and retry rules would get this failure. A failure
    /// by the caller's own cap or deadline is not such a one, nor is any failure after the
    /// deadline: it may be due to lack of time.
    fn is_everyones(&self, lookup: &CacheLookup<'_>, error: &ModelError) -> bool {
        let in_time = lookup
            .request
            .deadline
            .allows(Duration::ZERO, self.clock.now());
        if let Some(recovery) = error.recovery {
            return in_time && !recovery.wait.reason.is_platforms_own();
        }
        match &error.kind {
            ModelErrorKind::Unavailable
            | ModelErrorKind::Timeout
            | ModelErrorKind::RateLimited
            | ModelErrorKind::CircuitOpen
            | ModelErrorKind::KeyUnavailable
            | ModelErrorKind::BadAnswer => in_time,
            ModelErrorKind::QuotaExhausted
            | ModelErrorKind::Authentication
            | ModelErrorKind::KeyMissing
            | ModelErrorKind::Rejected
            | ModelErrorKind::ContextTooLong
            | ModelErrorKind::Refused => true,
            ModelErrorKind::OutOfTime
            | ModelErrorKind::InFlight
            | ModelErrorKind::BudgetReserved
            | ModelErrorKind::BudgetExhausted(_)
            | ModelErrorKind::Unpriced => false,
        }
    }

    /// Makes the cache's entry for the answer, and puts a copy into this process's cache.
    fn take(&self, lookup: &CacheLookup<'_>, answer: &ModelAnswer) -> Arc<CachedAnswer> {
        let now = self.clock.now();
        let cached = Arc::new(entry(answer, lookup.terms, now));
        self.local.put(lookup.key, &cached, now);
        cached
    }

    /// Waits for the call that this process already makes; `None` if it has no result for this
    /// caller.
    async fn follow(
        &self,
        lookup: &CacheLookup<'_>,
        follower: Follower,
    ) -> Option<Result<ModelAnswer, ModelError>> {
        let left = lookup.request.deadline.left(self.clock.now());
        match timeout(left, follower.result()).await {
            Ok(FlightResult::Cached(cached)) if cached.made_at >= lookup.fresh_since => {
                Some(Ok(self.coalesced(lookup, &cached)))
            }
            Ok(FlightResult::Shared(failure)) if failure.retry == lookup.request.retry => {
                Some(self.or_stale(lookup, Err(failure.error.shared())).await)
            }
            Ok(FlightResult::Alone) => {
                let outcome = self.inner.call(lookup.request).await;
                Some(self.or_stale(lookup, outcome).await)
            }
            Ok(FlightResult::Cached(_) | FlightResult::Shared(_) | FlightResult::Failed) => None,
            Err(_) => Some(Err(park(lookup, self.clock.now()))),
        }
    }

    /// Makes the call even if there is a cached answer, and caches the new one.
    async fn refreshed(&self, lookup: &CacheLookup<'_>) -> Result<ModelAnswer, ModelError> {
        let outcome = self.inner.call(lookup.request).await;
        if let Ok(answer) = &outcome
            && is_cacheable(answer)
        {
            self.claims
                .replace(lookup, &self.take(lookup, answer))
                .await;
        }
        self.or_stale(lookup, outcome).await
    }

    /// Serves a stale cached answer during an outage, if the agent allows it and there is one.
    async fn or_stale(
        &self,
        lookup: &CacheLookup<'_>,
        outcome: Result<ModelAnswer, ModelError>,
    ) -> Result<ModelAnswer, ModelError> {
        let error = match outcome {
            Err(error) if is_outage(&error) && !lookup.terms.stale().is_zero() => error,
            other => return other,
        };
        let Some(cached) = self.claims.stale(lookup).await else {
            return Err(error);
        };
        let age_seconds = self.clock.now().since(cached.made_at).as_secs();
        let model = &cached.answer.model;
        tracing::warn!(
            provider = model.provider().as_str(),
            model = model.name(),
            age_seconds,
            "stale answer served; no model answers"
        );
        metric::CACHE_STALE.add([], 1);
        let (spend, failed) = (error.spend, error.attempts());
        Ok(ModelAnswer {
            origin: Origin::Stale { age_seconds },
            spend,
            failed,
            ..cached.answer
        })
    }

    /// Serves a cached answer to a caller that came after it was made.
    fn cached(&self, cached: &CachedAnswer) -> ModelAnswer {
        let age_seconds = self.clock.now().since(cached.made_at).as_secs();
        serve(cached, Origin::Cache { age_seconds })
    }

    /// Serves an answer to a caller that waited for another caller's call. If the answer is older
    /// than the caller, it counts as cached.
    fn coalesced(&self, lookup: &CacheLookup<'_>, cached: &CachedAnswer) -> ModelAnswer {
        if cached.made_at >= lookup.requested_at {
            serve(cached, Origin::SingleFlight)
        } else {
            self.cached(cached)
        }
    }
}

#[async_trait]
impl Model for Cached {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let CacheRules::On(terms) = request.cache else {
            return self.inner.call(request).await;
        };
        match request.cache_use.mode {
            CacheMode::Default => {
                let lookup = self.lookup(request, terms);
                self.shared(&lookup)
                    .await
                    .map(|answer| with_key(answer, lookup.key))
            }
            CacheMode::Refresh => {
                let lookup = self.lookup(request, terms);
                self.refreshed(&lookup)
                    .await
                    .map(|answer| with_key(answer, lookup.key))
            }
            CacheMode::Bypass => match self.inner.call(request).await {
                Ok(answer) => Ok(answer),
                failed => {
                    let lookup = self.lookup(request, terms);
                    self.or_stale(&lookup, failed)
                        .await
                        .map(|answer| with_key(answer, lookup.key))
                }
            },
            CacheMode::Off => self.inner.call(request).await,
        }
    }
}

fn serve(cached: &CachedAnswer, origin: Origin) -> ModelAnswer {
    let model = &cached.answer.model;
    tracing::info!(
        provider = model.provider().as_str(),
        model = model.name(),
        origin = origin.as_str(),
        age_seconds = origin.age().map(|age| age.as_secs()),
        "cached answer served"
    );
    let count = if origin == Origin::SingleFlight {
        metric::CACHE_COALESCED
    } else {
        metric::CACHE_HITS
    };
    count.add([], 1);
    count_saving(cached);
    ModelAnswer {
        origin,
        ..cached.answer.clone()
    }
}

/// Counts what a call for the answer would have cost.
fn count_saving(cached: &CachedAnswer) {
    let saved =
        PriceTable::current().cost(&cached.answer.model, &cached.answer.usage, cached.made_at);
    metric::SAVED_MICRO_USD.add([], saved.unwrap_or_default());
}

/// Whether the models are out of service. A wait that the platform caused says nothing about the
/// models, unless they failed before the time was up.
fn is_outage(error: &ModelError) -> bool {
    let is_own_wait = error
        .recovery
        .is_some_and(|recovery| recovery.wait.reason.is_platforms_own());
    error.is_outage() && (!is_own_wait || !error.attempts().is_empty())
}

fn park(lookup: &CacheLookup<'_>, until: Timestamp) -> ModelError {
    let model = lookup.request.model();
    tracing::info!(
        provider = model.provider().as_str(),
        model = model.name(),
        "model call parked; another process makes the same call"
    );
    let wait = Wait {
        until,
        reason: WaitReason::SingleFlight,
    };
    ModelError::new(model.clone(), ModelErrorKind::InFlight).with_recovery(Recovery::at(wait))
}
