//! Questions that this process is asking just now: whoever asks the same waits for the outcome
//! instead, without any store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::{AnswerKey, RetryRules};
use crate::ports::{KeptAnswer, ModelError};

/// What those who waited get.
#[derive(Debug, Clone)]
pub(super) enum Landing {
    /// The answer.
    Kept(Arc<KeptAnswer>),
    /// Leave to ask, each for itself: the answer is none that others may be served with.
    Alone,
    /// The failure, which would be theirs as well if they asked.
    Shared(Arc<SharedFailure>),
    /// Nothing: one of them is next.
    Failed,
}

/// A failure that whoever asks the same meets as well.
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

type Open = HashMap<AnswerKey, watch::Receiver<Option<Landing>>>;

#[derive(Default)]
pub(super) struct Flights {
    open: Arc<Mutex<Open>>,
}

/// The part of a caller in a question.
pub(super) enum Seat {
    /// It asks.
    Leader(Leader),
    /// It waits.
    Follower(Follower),
}

impl Flights {
    /// Makes the caller the leader of the question's flight, unless there is one.
    pub(super) fn join(&self, key: AnswerKey) -> Seat {
        match lock(&self.open).entry(key) {
            Entry::Occupied(entry) => Seat::Follower(Follower {
                landing: entry.get().clone(),
            }),
            Entry::Vacant(entry) => {
                let (landing, receiver) = watch::channel(None);
                entry.insert(receiver);
                Seat::Leader(Leader {
                    open: Arc::clone(&self.open),
                    key,
                    landing,
                    outcome: None,
                })
            }
        }
    }
}

/// Whoever asks. If it is dropped without a landing, one of the followers is next.
pub(super) struct Leader {
    open: Arc<Mutex<Open>>,
    key: AnswerKey,
    landing: watch::Sender<Option<Landing>>,
    outcome: Option<Landing>,
}

impl Leader {
    pub(super) fn land(mut self, landing: Landing) {
        self.outcome = Some(landing);
    }
}

impl Drop for Leader {
    /// Closes the flight before those who wait wake up, so that none of them joins it again.
    fn drop(&mut self) {
        lock(&self.open).remove(&self.key);
        self.landing.send_replace(self.outcome.take());
    }
}

/// Whoever waits.
pub(super) struct Follower {
    landing: watch::Receiver<Option<Landing>>,
}

impl Follower {
    /// What came of it.
    pub(super) async fn landing(mut self) -> Landing {
        match self.landing.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or(Landing::Failed),
            // The leader is gone.
            Err(_) => Landing::Failed,
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
            Seat::Leader(leader) => leader,
            Seat::Follower(_) => panic!("somebody leads already"),
        }
    }

    fn follower(flights: &Flights) -> Follower {
        match flights.join(KEY) {
            Seat::Leader(_) => panic!("nobody leads"),
            Seat::Follower(follower) => follower,
        }
    }

    #[tokio::test]
    async fn all_who_wait_get_the_landing() {
        let flights = Flights::default();
        let leader = leader(&flights);
        let followers = [follower(&flights), follower(&flights)];
        assert!(matches!(
            flights.join(AnswerKey::new([8; 32])),
            Seat::Leader(_)
        ));
        leader.land(Landing::Alone);
        for follower in followers {
            assert!(matches!(follower.landing().await, Landing::Alone));
        }
        assert!(lock(&flights.open).is_empty());
    }

    #[tokio::test]
    async fn a_leader_that_disappears_leaves_the_lead_to_others() {
        let flights = Flights::default();
        let (gone, waiting) = (leader(&flights), follower(&flights));
        drop(gone);
        assert!(matches!(waiting.landing().await, Landing::Failed));
        leader(&flights).land(Landing::Failed);
    }
}
