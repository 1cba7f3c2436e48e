//! The model calls that this process makes now. A caller with an equal request waits for the
//! outcome, without the store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::{AnswerKey, RetryRules};
use crate::ports::{CachedAnswer, ModelError};

/// What those who waited get.
#[derive(Debug, Clone)]
pub(super) enum FlightResult {
    /// The answer.
    Cached(Arc<CachedAnswer>),
    /// Each makes its own call: the answer must not serve others.
    Alone,
    /// The failure: a call of theirs would fail in the same way.
    Shared(Arc<SharedFailure>),
    /// Nothing: one of them is next.
    Failed,
}

/// A failure that every caller with an equal request would get.
#[derive(Debug)]
pub(super) struct SharedFailure {
    /// It, for one who waited.
    pub(super) error: ModelError,
    /// How hard it was tried.
    pub(super) retry: RetryRules,
}

impl SharedFailure {
    /// The failure of a call that was made by these rules.
    pub(super) fn new(error: &ModelError, retry: RetryRules) -> Self {
        Self {
            error: error.shared(),
            retry,
        }
    }
}

type Open = HashMap<AnswerKey, watch::Receiver<Option<FlightResult>>>;

#[derive(Default)]
pub(super) struct Flights {
    open: Arc<Mutex<Open>>,
}

/// Whether a caller makes the call or waits for it.
pub(super) enum Role {
    /// It makes the call.
    Leader(Leader),
    /// It waits.
    Follower(Follower),
}

impl Flights {
    /// Makes the caller the leader of the call for this key, unless there is one.
    pub(super) fn join(&self, key: AnswerKey) -> Role {
        match lock(&self.open).entry(key) {
            Entry::Occupied(entry) => Role::Follower(Follower {
                result: entry.get().clone(),
            }),
            Entry::Vacant(entry) => {
                let (result, receiver) = watch::channel(None);
                entry.insert(receiver);
                Role::Leader(Leader {
                    open: Arc::clone(&self.open),
                    key,
                    result,
                    outcome: None,
                })
            }
        }
    }
}

/// The caller that makes the call. If it is dropped without a result, one of the followers is next.
pub(super) struct Leader {
    open: Arc<Mutex<Open>>,
    key: AnswerKey,
    result: watch::Sender<Option<FlightResult>>,
    outcome: Option<FlightResult>,
}

impl Leader {
    pub(super) fn complete(mut self, result: FlightResult) {
        self.outcome = Some(result);
    }
}

impl Drop for Leader {
    /// Closes the call before its followers wake up, so that no follower joins it again.
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
        self.result.send_replace(self.outcome.take());
    }
}

/// A caller that waits.
pub(super) struct Follower {
    result: watch::Receiver<Option<FlightResult>>,
}

impl Follower {
    /// The result of the call.
    pub(super) async fn result(mut self) -> FlightResult {
        match self.result.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(FlightResult::Failed),
            // The leader is gone.
            Err(_) => FlightResult::Failed,
        }
    }
}

/// Locks although another task panicked under the lock: nothing in this layer is left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: AnswerKey = AnswerKey::new([7; 32]);

    fn leader(flights: &Flights) -> Leader {
        match flights.join(KEY) {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("somebody leads already"),
        }
    }

    fn follower(flights: &Flights) -> Follower {
        match flights.join(KEY) {
            Role::Leader(_) => panic!("nobody leads"),
            Role::Follower(follower) => follower,
        }
    }

    #[tokio::test]
    async fn all_who_wait_get_the_landing() {
        let flights = Flights::default();
        let leader = leader(&flights);
        let followers = [follower(&flights), follower(&flights)];
        assert!(matches!(
            flights.join(AnswerKey::new([8; 32])),
            Role::Leader(_)
        ));
        leader.complete(FlightResult::Alone);
        for follower in followers {
            assert!(matches!(follower.result().await, FlightResult::Alone));
        }
        assert!(lock(&flights.open).is_empty());
    }

    #[tokio::test]
    async fn a_leader_that_disappears_leaves_the_lead_to_others() {
        let flights = Flights::default();
        let (gone, waiting) = (leader(&flights), follower(&flights));
        drop(gone);
        assert!(matches!(waiting.result().await, FlightResult::Failed));
        leader(&flights).complete(FlightResult::Failed);
    }
}
