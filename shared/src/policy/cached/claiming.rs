//! Makes one process at a time call the model for a request: it claims the request's key and holds
//! the claim during the call. The others wait for the answer.
//!
//! A claim is short and renewed for as long as the call takes, so it outlives its holder by seconds
//! only. Between renewals two thirds of it are left, which is also by how much the clocks of two
//! machines may differ. The owner is the process: within it the flights see to it that one caller
//! at a time leads, and the successor of one that was cancelled is granted the claim at once.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::entry::{longest_usable, usable_since};
use crate::domain::{AnswerKey, CacheTerms, Causes, ModelRequest, Timestamp, WorkerId};
use crate::metric;
use crate::ports::{
    AnswerCache, AnswerClaim, AnswerClaimed, CachedAnswer, ClaimState, Clock, StoreError,
};

/// The first delay between polls for another process's answer. It doubles each time.
const FIRST_POLL_DELAY: Duration = Duration::from_millis(100);
/// The longest delay between polls.
const LONGEST_POLL_DELAY: Duration = Duration::from_secs(1);
/// The least time for the store after a call. A call that used up its deadline takes it from the
/// invocation's reserve.
const GRACE: Duration = Duration::from_secs(1);

/// A request whose answer may be cached.
pub(super) struct CacheLookup<'a> {
    pub(super) request: &'a ModelRequest,
    pub(super) key: AnswerKey,
    pub(super) terms: CacheTerms,
    pub(super) requested_at: Timestamp,
    /// An answer made before this is not good enough.
    pub(super) fresh_since: Timestamp,
}

/// What a caller does next.
pub(super) enum Turn {
    /// Make the call, then store the answer or release the claim.
    Call,
    /// Serve this answer, which was cached already.
    Cached(Box<CachedAnswer>),
    /// Serve this answer, which another process stored meanwhile.
    Shared(Box<CachedAnswer>),
    /// Make the call for this caller only.
    Alone,
    /// Make the call without the store, which fails.
    Unstored,
    /// Park: another process makes the call, and it takes long.
    Park { until: Timestamp },
}

/// The claims of this process.
pub(super) struct Claims {
    pub(super) answers: Arc<dyn AnswerCache>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) owner: WorkerId,
    pub(super) lease: Duration,
    pub(super) patience: Duration,
}

impl Claims {
    /// Waits for the cached answer, or for the claim to make the call.
    pub(super) async fn turn(&self, lookup: &CacheLookup<'_>) -> Turn {
        loop {
            let waited = match self.claim(lookup).await {
                Ok(AnswerClaimed::Granted) => return Turn::Call,
                Ok(AnswerClaimed::Cached(cached)) => return Turn::Cached(cached),
                Ok(AnswerClaimed::Alone) => return Turn::Alone,
                Ok(AnswerClaimed::Busy { until }) => self.wait(lookup, until).await,
                Err(error) => Err(error),
            };
            match waited {
                Ok(Some(turn)) => return turn,
                Ok(None) => {}
                Err(error) => {
                    warn(Causes(&error));
                    return Turn::Unstored;
                }
            }
        }
    }

    async fn claim(&self, lookup: &CacheLookup<'_>) -> Result<AnswerClaimed, StoreError> {
        let now = self.clock.now();
        let until = now.plus(self.lease).min(lookup.request.deadline.moment());
        let claim = AnswerClaim {
            owner: self.owner,
            now,
            until,
            not_before: lookup.fresh_since,
            forget_at: now.plus(self.lease).plus(longest_usable(lookup.terms)),
        };
        self.answers.claim(&lookup.key, &claim).await
    }

    /// Polls until the other process's claim, which ends at `until`, is over. `None` if it ended
    /// without an answer.
    async fn wait(
        &self,
        lookup: &CacheLookup<'_>,
        until: Timestamp,
    ) -> Result<Option<Turn>, StoreError> {
        let (mut until, mut delay) = (until, FIRST_POLL_DELAY);
        let patience_ends = lookup
            .requested_at
            .plus(self.patience)
            .min(lookup.request.deadline.moment());
        loop {
            let now = self.clock.now();
            if until <= now {
                return Ok(None);
            }
            if patience_ends <= now {
                // Spread at random: not all waiting tasks should continue at one moment.
                return Ok(Some(Turn::Park {
                    until: until.plus(LONGEST_POLL_DELAY.mul_f64(fastrand::f64())),
                }));
            }
            let jittered = delay.mul_f64(0.5 + fastrand::f64() / 2.0);
            sleep(jittered.min(patience_ends.min(until).since(now))).await;
            delay = (delay * 2).min(LONGEST_POLL_DELAY);
            let now = self.clock.now();
            let seen = self
                .answers
                .read(&lookup.key, now, lookup.fresh_since)
                .await?;
            if let Some(cached) = seen.cached.filter(|cached| cached.fresh_until > now) {
                return Ok(Some(Turn::Shared(cached)));
            }
            match seen.claim {
                ClaimState::Free => return Ok(None),
                ClaimState::Alone => return Ok(Some(Turn::Alone)),
                ClaimState::Held { until: renewed } => until = renewed,
            }
        }
    }

    /// Makes the call, and renews the claim until it is done.
    pub(super) async fn while_held<T>(
        &self,
        lookup: &CacheLookup<'_>,
        call: impl Future<Output = T>,
    ) -> T {
        tokio::select! {
            biased;
            outcome = call => outcome,
            never = self.renewals(lookup) => match never {},
        }
    }

    async fn renewals(&self, lookup: &CacheLookup<'_>) -> Infallible {
        loop {
            sleep(self.lease / 3).await;
            if let Err(error) = self.claim(lookup).await {
                warn(&error);
            }
        }
    }

    /// Stores the answer, and ends the claim in any case.
    pub(super) async fn store(&self, lookup: &CacheLookup<'_>, cached: &CachedAnswer) {
        let writes = async {
            match self.answers.store(&lookup.key, self.owner, cached).await {
                // In a conflict another has the claim by now, so the answer will be the other's.
                Ok(()) | Err(StoreError::Conflict) => Ok(()),
                Err(error) => {
                    warn(Causes(&error));
                    self.answers.release(&lookup.key, self.owner, None).await
                }
            }
        };
        self.afterwards(lookup.request, writes).await;
    }

    /// Stores the answer without a claim.
    pub(super) async fn replace(&self, lookup: &CacheLookup<'_>, cached: &CachedAnswer) {
        let write = async {
            match self.answers.replace(&lookup.key, cached).await {
                // In a conflict a newer one is there.
                Ok(()) | Err(StoreError::Conflict) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.afterwards(lookup.request, write).await;
    }

    /// Ends the claim, so that another process may make the call.
    pub(super) async fn release(&self, lookup: &CacheLookup<'_>) {
        self.afterwards(
            lookup.request,
            self.answers.release(&lookup.key, self.owner, None),
        )
        .await;
    }

    /// Ends the claim. For a while, everyone makes the call without one: to wait for an answer that
    /// cannot be cached is useless.
    pub(super) async fn leave_alone(&self, lookup: &CacheLookup<'_>) {
        let until = self.clock.now().plus(self.lease);
        self.afterwards(
            lookup.request,
            self.answers.release(&lookup.key, self.owner, Some(until)),
        )
        .await;
    }

    /// An answer that may serve although it is no longer fresh.
    pub(super) async fn stale(&self, lookup: &CacheLookup<'_>) -> Option<Box<CachedAnswer>> {
        let now = self.clock.now();
        let not_before = usable_since(lookup.terms, lookup.request.cache_use.max_age, now);
        self.afterwards(
            lookup.request,
            self.answers.read(&lookup.key, now, not_before),
        )
        .await?
        .cached
    }

    /// What the store does once the call is over: for as long as the call had, and a moment at
    /// least.
    async fn afterwards<T>(
        &self,
        request: &ModelRequest,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        let left = request.deadline.left(self.clock.now());
        match timeout(left.max(GRACE), call).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                warn(Causes(&error));
                None
            }
            Err(_) => {
                warn("timeout");
                None
            }
        }
    }
}

fn warn(error: impl Display) {
    metric::EPHEMERAL_FAILURES.add([], 1);
    tracing::warn!(%error, "response cache unavailable");
}
