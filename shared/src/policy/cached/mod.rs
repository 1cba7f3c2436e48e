//! The response cache with single flight: the same question of a tenant is asked once, however many
//! ask it.
//!
//! Nearest first: a copy in this process, a question that this process is asking just now, the kept
//! answer, a question that another process is asking. Only then it is asked, by the one who holds
//! the claim. If the store fails, the call is made: only the saving is lost. Failures are never
//! kept; those who wait in the same process share one that each of them would meet, and elsewhere
//! the next one asks, whose turn is short in an outage because the breakers below are open.

mod claiming;
mod flight;
mod kept;
mod nearby;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use self::claiming::{Claims, Question, Turn};
use self::flight::{Flights, Follower, Landing, Leader, Seat, SharedFailure};
use self::kept::{fresh_since, is_keepable, kept, noted};
use self::nearby::Nearby;
use super::cache_key;
use crate::domain::{
    CacheMode, CacheRules, CacheTerms, ModelAnswer, ModelRequest, Origin, Timestamp, Wait,
    WaitReason, WorkerId,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{AnswerCache, Clock, KeptAnswer, Model, ModelError, ModelErrorKind, Recovery};
use crate::runtime::computed;

/// How the cache behaves, whosever answers it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a claim to ask outlives its holder; renewed at a third of it.
    pub lease: Duration,
    /// The longest wait for an answer that another process has asked for, before the task is
    /// parked.
    pub patience: Duration,
    /// How long a copy of an answer serves this process without a look at the store; zero for
    /// never.
    pub nearby_for: Duration,
    /// The most bytes that these copies take, roughly.
    pub nearby_bytes: usize,
}

impl Default for CacheSettings {
    /// 30 s, 10 s, and 30 s in 8 MiB.
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            nearby_for: Duration::from_secs(30),
            nearby_bytes: 8 * 1_024 * 1_024,
        }
    }
}

/// Keeps the answers of the model within, as each request's rules say.
pub struct Cached {
    inner: Arc<dyn Model>,
    claims: Claims,
    clock: Arc<dyn Clock>,
    nearby: Nearby,
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
            nearby_for,
            nearby_bytes,
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
            nearby: Nearby::new(nearby_for, nearby_bytes),
            flights: Flights::default(),
        }
    }

    fn question<'a>(&self, request: &'a ModelRequest, terms: CacheTerms) -> Question<'a> {
        let asked_at = self.clock.now();
        let fresh_since = fresh_since(terms, request.cache_use.max_age, asked_at);
        let key = computed(request.prompt.conversation_bytes(), || {
            cache_key::of(request)
        });
        Question {
            request,
            key,
            terms,
            asked_at,
            fresh_since,
        }
    }

    /// Takes an answer from the nearest place that has one, and calls the model if no other caller
    /// does.
    async fn shared(&self, question: &Question<'_>) -> Result<ModelAnswer, ModelError> {
        loop {
            if let Some(kept) =
                self.nearby
                    .get(question.key, self.clock.now(), question.fresh_since)
            {
                return Ok(self.cached(&kept));
            }
            let outcome = match self.flights.join(question.key) {
                Seat::Leader(leader) => Some(self.lead(question, leader).await),
                Seat::Follower(follower) => self.follow(question, follower).await,
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Asks for all of this process, if no other process does.
    async fn lead(
        &self,
        question: &Question<'_>,
        leader: Leader,
    ) -> Result<ModelAnswer, ModelError> {
        let call = self.inner.ask(question.request);
        let outcome = match self.claims.turn(question).await {
            Turn::Ask => {
                metric::CACHE_MISSES.add([], 1);
                let outcome = self.claims.while_held(question, call).await;
                let landing = self.landing(question, &outcome);
                // The claim ends before the flight does: who leads next in this process claims
                // under the same name.
                match &landing {
                    Landing::Kept(kept) => self.claims.keep(question, kept).await,
                    Landing::Alone => self.claims.leave_alone(question).await,
                    Landing::Shared(_) | Landing::Failed => self.claims.give_up(question).await,
                }
                leader.land(landing);
                outcome
            }
            Turn::Unstored => {
                let outcome = call.await;
                leader.land(self.landing(question, &outcome));
                outcome
            }
            Turn::Alone => {
                leader.land(Landing::Alone);
                call.await
            }
            Turn::Kept(kept) => return Ok(self.cached(&self.land(question, leader, *kept))),
            Turn::Shared(kept) => {
                return Ok(self.coalesced(question, &self.land(question, leader, *kept)));
            }
            Turn::Park { until } => return Err(park(question, until)),
        };
        self.or_stale(question, outcome).await
    }

    fn land(&self, question: &Question<'_>, leader: Leader, kept: KeptAnswer) -> Arc<KeptAnswer> {
        let kept = Arc::new(kept);
        self.nearby.put(question.key, &kept, self.clock.now());
        leader.land(Landing::Kept(Arc::clone(&kept)));
        kept
    }

    /// What the outcome of a call means to those who wait for it.
    fn landing(
        &self,
        question: &Question<'_>,
        outcome: &Result<ModelAnswer, ModelError>,
    ) -> Landing {
        match outcome {
            Ok(answer) if is_keepable(answer) => Landing::Kept(self.take(question, answer)),
            Ok(_) => Landing::Alone,
            Err(error) if self.is_everyones(question, error) => {
                Landing::Shared(Arc::new(SharedFailure::new(error, question.request.retry)))
            }
            Err(_) => Landing::Failed,
        }
    }

    /// True if every caller with the same request and retry rules would get this failure. A failure
    /// by the caller's own cap or deadline is not such a one, nor is any failure after the
    /// deadline: it may be due to lack of time.
    fn is_everyones(&self, question: &Question<'_>, error: &ModelError) -> bool {
        let in_time = question
            .request
            .deadline
            .allows(Duration::ZERO, self.clock.now());
        if let Some(recovery) = error.recovery {
            return in_time && !recovery.wait.reason.is_our_own();
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

    /// The answer as it is kept, with a copy at hand.
    fn take(&self, question: &Question<'_>, answer: &ModelAnswer) -> Arc<KeptAnswer> {
        let now = self.clock.now();
        let kept = Arc::new(kept(answer, question.terms, now));
        self.nearby.put(question.key, &kept, now);
        kept
    }

    /// Waits for what this process is asking already; `None` if nothing came of it.
    async fn follow(
        &self,
        question: &Question<'_>,
        follower: Follower,
    ) -> Option<Result<ModelAnswer, ModelError>> {
        let left = question.request.deadline.left(self.clock.now());
        match timeout(left, follower.landing()).await {
            Ok(Landing::Kept(kept)) if kept.made_at >= question.fresh_since => {
                Some(Ok(self.coalesced(question, &kept)))
            }
            Ok(Landing::Shared(failure)) if failure.retry == question.request.retry => {
                Some(self.or_stale(question, Err(failure.error.shared())).await)
            }
            Ok(Landing::Alone) => {
                let outcome = self.inner.ask(question.request).await;
                Some(self.or_stale(question, outcome).await)
            }
            Ok(Landing::Kept(_) | Landing::Shared(_) | Landing::Failed) => None,
            Err(_) => Some(Err(park(question, self.clock.now()))),
        }
    }

    /// Asks anyway, and keeps the answer for the others.
    async fn refreshed(&self, question: &Question<'_>) -> Result<ModelAnswer, ModelError> {
        let outcome = self.inner.ask(question.request).await;
        if let Ok(answer) = &outcome
            && is_keepable(answer)
        {
            self.claims
                .replace(question, &self.take(question, answer))
                .await;
        }
        self.or_stale(question, outcome).await
    }

    /// Serves a stale cached answer during an outage, if the agent allows it and there is one.
    async fn or_stale(
        &self,
        question: &Question<'_>,
        outcome: Result<ModelAnswer, ModelError>,
    ) -> Result<ModelAnswer, ModelError> {
        let error = match outcome {
            Err(error) if is_outage(&error) && !question.terms.stale().is_zero() => error,
            other => return other,
        };
        let Some(kept) = self.claims.stale(question).await else {
            return Err(error);
        };
        let age_seconds = self.clock.now().since(kept.made_at).as_secs();
        let model = &kept.answer.model;
        tracing::warn!(
            provider = model.provider().as_str(),
            model = model.name(),
            age_seconds,
            "an old answer is served, because no model answers"
        );
        metric::CACHE_STALE.add([], 1);
        let (spend, failed) = (error.spend, error.attempts());
        Ok(ModelAnswer {
            origin: Origin::Stale { age_seconds },
            spend,
            failed,
            ..kept.answer
        })
    }

    /// The answer to one who came later than it.
    fn cached(&self, kept: &KeptAnswer) -> ModelAnswer {
        let age_seconds = self.clock.now().since(kept.made_at).as_secs();
        serve(kept, Origin::Cache { age_seconds })
    }

    /// The answer to one who waited, most likely for this very one.
    fn coalesced(&self, question: &Question<'_>, kept: &KeptAnswer) -> ModelAnswer {
        if kept.made_at >= question.asked_at {
            serve(kept, Origin::SingleFlight)
        } else {
            self.cached(kept)
        }
    }
}

#[async_trait]
impl Model for Cached {
    async fn ask(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let CacheRules::On(terms) = request.cache else {
            return self.inner.ask(request).await;
        };
        match request.cache_use.mode {
            CacheMode::Default => {
                let question = self.question(request, terms);
                self.shared(&question)
                    .await
                    .map(|answer| noted(answer, question.key))
            }
            CacheMode::Refresh => {
                let question = self.question(request, terms);
                self.refreshed(&question)
                    .await
                    .map(|answer| noted(answer, question.key))
            }
            CacheMode::Bypass => match self.inner.ask(request).await {
                Ok(answer) => Ok(answer),
                failed => {
                    let question = self.question(request, terms);
                    self.or_stale(&question, failed)
                        .await
                        .map(|answer| noted(answer, question.key))
                }
            },
            CacheMode::Off => self.inner.ask(request).await,
        }
    }
}

fn serve(kept: &KeptAnswer, origin: Origin) -> ModelAnswer {
    let model = &kept.answer.model;
    tracing::info!(
        provider = model.provider().as_str(),
        model = model.name(),
        origin = origin.as_str(),
        age_seconds = origin.age().map(|age| age.as_secs()),
        "a kept answer is served"
    );
    let count = if origin == Origin::SingleFlight {
        metric::CACHE_COALESCED
    } else {
        metric::CACHE_HITS
    };
    count.add([], 1);
    count_saving(kept);
    ModelAnswer {
        origin,
        ..kept.answer.clone()
    }
}

/// What the answer would have cost.
fn count_saving(kept: &KeptAnswer) {
    let saved = PriceTable::current().cost(&kept.answer.model, &kept.answer.usage, kept.made_at);
    metric::SAVED_MICRO_USD.add([], saved.unwrap_or_default());
}

/// Whether the models are out of service. A wait that the platform caused says nothing about the
/// models, unless they failed before the time was up.
fn is_outage(error: &ModelError) -> bool {
    let is_own_wait = error
        .recovery
        .is_some_and(|recovery| recovery.wait.reason.is_our_own());
    error.is_outage() && (!is_own_wait || !error.attempts().is_empty())
}

fn park(question: &Question<'_>, until: Timestamp) -> ModelError {
    let model = question.request.model();
    tracing::info!(
        provider = model.provider().as_str(),
        model = model.name(),
        "a model call waits for another's answer to the same question"
    );
    let wait = Wait {
        until,
        reason: WaitReason::SingleFlight,
    };
    ModelError::new(model.clone(), ModelErrorKind::InFlight).with_recovery(Recovery::at(wait))
}
