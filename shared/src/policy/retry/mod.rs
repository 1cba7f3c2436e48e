//! The one layer that retries a failed call to a model.
//!
//! It waits for the time that the provider named last, or else by [`Backoff`], and only while that
//! is worth the compute. A wait over [`MAX_WAIT`], or one that leaves too little time before the
//! deadline, ends the call with a [`Recovery`]. If only the deadline prevents the wait, the reason
//! is the lack of time.
//!
//! The layer remembers a wait that a provider named. When no attempt is left, the error has the
//! wait, so that no task returns too early. It is also a cooldown: the process's other calls to the
//! same model wait for it. No cooldown is longer than the breaker's
//! [`longest_cooldown`](super::BreakerSettings::longest_cooldown). After that, the model is called
//! again; the breaker handles a rate limit with a longer wait for all functions together. This
//! layer does not select another model.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::Instrument;

use super::attempt_log::AttemptLog;
use super::backoff::Backoff;
use super::breaker::BreakerSettings;
use super::cooldowns::{Cooldown, Cooldowns};
use super::retry_budget::RetryBudget;
use crate::domain::{
    Causes, ModelAnswer, ModelRequest, ProviderError, Timestamp, Wait, WaitReason, whole_millis,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{Clock, Model, ModelError, ModelErrorKind, Recovery};

/// The longest wait that is slept through: sleeping is billed, parking is not.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

/// How many unreadable responses one call puts up with: what is broken is rarely mended within
/// seconds, and may be billed.
const MAX_BAD_ANSWERS: usize = 2;

/// Repeats failed calls to the request's model by the request's rules.
pub struct Retry {
    inner: Arc<dyn Model>,
    budget: RetryBudget,
    cooldowns: Cooldowns,
    backoff: Backoff,
    longest_cooldown: Duration,
    clock: Arc<dyn Clock>,
}

/// What happens to a failed attempt.
enum Next {
    /// Another one follows after the wait.
    Again(Duration),
    /// The call fails; another one may succeed at the end of this wait.
    Later(Wait),
    /// The call fails.
    Fail,
}

impl Retry {
    /// Repeats calls to `inner`. All calls that go through this one share the budget.
    pub fn new(
        inner: Arc<dyn Model>,
        budget: RetryBudget,
        backoff: Backoff,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let longest_cooldown = BreakerSettings::default().longest_cooldown();
        Self {
            inner,
            budget,
            cooldowns: Cooldowns::default(),
            backoff,
            longest_cooldown,
            clock,
        }
    }

    /// The same layer, whose cooldowns end after `longest_cooldown` even if the provider names a
    /// longer wait.
    #[must_use]
    pub fn with_longest_cooldown(self, longest_cooldown: Duration) -> Self {
        Self {
            longest_cooldown,
            ..self
        }
    }

    /// Decides after the `attempts`-th attempt failed with `error`. The first attempt began at
    /// `begun`.
    fn next(
        &self,
        request: &ModelRequest,
        error: &ModelError,
        attempts: u32,
        begun: Timestamp,
    ) -> Next {
        let (rules, now) = (request.retry, self.clock.now());
        let hint = error
            .retry_after
            .map(|hint| hint.min(self.longest_cooldown));
        let wait = hint.map_or_else(
            || self.backoff.guess(attempts),
            |hint| self.backoff.from_hint(hint),
        );
        let (short, in_time) = (wait <= MAX_WAIT, leaves_time(request, wait, now));
        let elapsed = now.since(begun).saturating_add(wait);
        let allowed = error.is_retryable()
            && attempts < rules.max_attempts()
            && elapsed <= rules.max_elapsed();
        let until = now.plus(wait);
        if allowed && short && !in_time {
            Next::Later(Wait {
                until,
                reason: WaitReason::OutOfTime,
            })
        } else if allowed && short && self.withdraw(request) {
            Next::Again(wait)
        } else if hint.is_some() || (allowed && !short) {
            Next::Later(Wait {
                until,
                reason: reason_to_wait(&error.kind),
            })
        } else {
            Next::Fail
        }
    }

    /// Waits for the end of a short cooldown, or fails with the end of a long one. So the chain's
    /// next model is called during a long cooldown, and this model after a short one. Unless the
    /// provider named the wait to this very call, until `named`, the model may recover sooner:
    /// another process may have no cooldown. A last try ignores a wait that the provider named to
    /// another call.
    async fn wait_for_cooldown(
        &self,
        request: &ModelRequest,
        named: Option<Timestamp>,
        begun: Timestamp,
    ) -> Result<(), ModelError> {
        loop {
            let now = self.clock.now();
            let Some(Cooldown { until, kind }) = self.cooldowns.of(request.model(), now) else {
                return Ok(());
            };
            if request.is_last_try && named.is_none() {
                return Ok(());
            }
            let wait = self.backoff.from_hint(until.since(now));
            let elapsed = now.since(begun).saturating_add(wait);
            let reason = if wait > MAX_WAIT || elapsed > request.retry.max_elapsed() {
                reason_to_wait(&kind)
            } else if !leaves_time(request, wait, now) {
                WaitReason::OutOfTime
            } else {
                let trace = tracing::info_span!("retry wait");
                tokio::time::sleep(wait).instrument(trace).await;
                continue;
            };
            let wait = Wait {
                until: now.plus(wait),
                reason,
            };
            let is_own = named.is_some_and(|named| until <= named) || reason.is_platforms_own();
            let recovery = if is_own {
                Recovery::at(wait)
            } else {
                Recovery::by(wait)
            };
            return Err(ModelError::new(request.model().clone(), kind).with_recovery(recovery));
        }
    }

    /// Makes all calls of this process keep the wait that a failure names. A rate limit with a
    /// longer wait than a cooldown may be is the breaker's to check; any other failure with such a
    /// wait is believed for the longest cooldown. Returns the end of the wait.
    fn add_cooldown(&self, error: &ModelError) -> Option<Timestamp> {
        let retry_after = error.retry_after?;
        if retry_after > self.longest_cooldown && error.kind == ModelErrorKind::RateLimited {
            return None;
        }
        let now = self.clock.now();
        let until = now.plus(retry_after.min(self.longest_cooldown));
        self.cooldowns.add(
            &error.model,
            Cooldown {
                until,
                kind: error.kind.clone(),
            },
            now,
        );
        Some(until)
    }

    fn withdraw(&self, request: &ModelRequest) -> bool {
        let provider = request.model().provider();
        let granted = self.budget.withdraw(provider);
        if !granted {
            // The call's own failure has the line.
            tracing::debug!(provider = provider.as_str(), "the retry budget is used up");
        }
        granted
    }
}

#[async_trait]
impl Model for Retry {
    async fn call(&self, request: &ModelRequest) -> Result<ModelAnswer, ModelError> {
        let begun = self.clock.now();
        let mut tried = AttemptLog::default();
        let (mut attempts, mut bad_answers, mut named) = (0, 0, None);
        loop {
            if let Err(paused) = self.wait_for_cooldown(request, named, begun).await {
                return Err(tried.before_error(paused));
            }
            if attempts == 0 {
                self.budget.deposit(request.model().provider());
            }
            let error = match self.inner.call(request).await {
                Ok(answer) => return Ok(tried.before_answer(answer)),
                Err(error) => error,
            };
            attempts += 1;
            bad_answers += usize::from(error.kind == ModelErrorKind::BadAnswer);
            named = named.max(self.add_cooldown(&error));
            if bad_answers >= MAX_BAD_ANSWERS {
                return Err(tried.before_error(error));
            }
            match self.next(request, &error, attempts, begun) {
                Next::Again(wait) => {
                    log_retry(&error, attempts, wait);
                    tried.add(&error);
                    let trace = tracing::info_span!(
                        "retry wait",
                        attempt = attempts,
                        status_code = error.status
                    );
                    tokio::time::sleep(wait).instrument(trace).await;
                }
                Next::Later(wait) => {
                    return Err(tried.before_error(error.with_recovery(Recovery::at(wait))));
                }
                Next::Fail => return Err(tried.before_error(error)),
            }
        }
    }
}

/// Whether a wait leaves time for the next attempt: at least as much as the wait. Otherwise, an
/// attempt after a long wait could be cut shortly before its end, and billed.
fn leaves_time(request: &ModelRequest, wait: Duration, now: Timestamp) -> bool {
    request.deadline.allows(wait.saturating_mul(2), now)
}

const fn reason_to_wait(kind: &ModelErrorKind) -> WaitReason {
    match kind {
        ModelErrorKind::RateLimited => WaitReason::RateLimit,
        ModelErrorKind::Unavailable
        | ModelErrorKind::Timeout
        | ModelErrorKind::CircuitOpen
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
        | ModelErrorKind::BadAnswer
        | ModelErrorKind::BudgetExhausted(_)
        | ModelErrorKind::Unpriced => WaitReason::RetryAfter,
    }
}

fn log_retry(error: &ModelError, attempt: u32, wait: Duration) {
    let said = ProviderError::or_nothing(error.said.as_deref());
    tracing::info!(
        provider = error.model.provider().as_str(),
        model = error.model.name(),
        attempt,
        after_ms = whole_millis(wait),
        retry_after_ms = error.retry_after.map(whole_millis),
        provider_status = error.status,
        provider_request_id = error.request_id,
        provider_code = said.code,
        provider_param = said.param,
        provider_message = said.message,
        error = %Causes(error),
        "model call retried"
    );
    metric::MODEL_RETRIES.add(PriceTable::current().labels(&error.model), 1);
}

#[cfg(test)]
mod tests;
