//! Cached answers in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::{AnswerKey, Timestamp, WorkerId};
use crate::ports::{
    AnswerCache, AnswerClaim, AnswerClaimed, AnswerSeen, CachedAnswer, ClaimState, StoreError,
};

/// The most bytes that an answer may have.
const MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// Cached answers in memory, with the conditional writes of the real store. Clones share the
/// content.
///
/// Each call yields to the runtime before its effect, so that concurrent callers interleave in
/// tests as well.
#[derive(Debug, Clone, Default)]
pub struct MemoryAnswers {
    records: Arc<Mutex<BTreeMap<AnswerKey, Record>>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Record {
    claim: Option<(WorkerId, Timestamp)>,
    alone_until: Option<Timestamp>,
    cached: Option<CachedAnswer>,
}

impl MemoryAnswers {
    /// The same store, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// Deletes the answer and the claim.
    pub(super) fn forget(&self, key: &AnswerKey) {
        lock(&self.records).remove(key);
    }

    async fn run<T>(
        &self,
        key: &AnswerKey,
        effect: impl FnOnce(&mut Record) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let failure = |fault| StoreError::Unavailable(Box::new(fault));
        self.faults.around(Call::Other, failure, || {
            effect(lock(&self.records).entry(*key).or_default())
        })
    }
}

impl Record {
    fn claim_state(&self, now: Timestamp) -> ClaimState {
        match self.claim {
            _ if self.alone_until.is_some_and(|until| until > now) => ClaimState::Alone,
            Some((_, until)) if until > now => ClaimState::Held { until },
            Some(_) | None => ClaimState::Free,
        }
    }

    fn is_owned_by(&self, owner: WorkerId) -> bool {
        self.claim.is_some_and(|(holder, _)| holder == owner)
    }

    fn take(&mut self, cached: &CachedAnswer) {
        (self.cached, self.alone_until) = (Some(cached.clone()), None);
    }
}

#[async_trait]
impl AnswerCache for MemoryAnswers {
    async fn claim(
        &self,
        key: &AnswerKey,
        claim: &AnswerClaim,
    ) -> Result<AnswerClaimed, StoreError> {
        self.run(key, |record| {
            let good = |cached: &&CachedAnswer| {
                cached.fresh_until > claim.now && cached.made_at >= claim.not_before
            };
            if let Some(cached) = record.cached.as_ref().filter(good) {
                return Ok(AnswerClaimed::Cached(Box::new(cached.clone())));
            }
            match record.claim_state(claim.now) {
                ClaimState::Alone => Ok(AnswerClaimed::Alone),
                ClaimState::Held { until } if !record.is_owned_by(claim.owner) => {
                    Ok(AnswerClaimed::Busy { until })
                }
                ClaimState::Held { .. } | ClaimState::Free => {
                    (record.claim, record.alone_until) = (Some((claim.owner, claim.until)), None);
                    Ok(AnswerClaimed::Granted)
                }
            }
        })
        .await
    }

    async fn read(
        &self,
        key: &AnswerKey,
        now: Timestamp,
        not_before: Timestamp,
    ) -> Result<AnswerSeen, StoreError> {
        self.run(key, |record| {
            let good =
                |cached: &&CachedAnswer| cached.ends_at > now && cached.made_at >= not_before;
            let cached = record.cached.as_ref().filter(good).cloned().map(Box::new);
            Ok(AnswerSeen {
                cached,
                claim: record.claim_state(now),
            })
        })
        .await
    }

    async fn store(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        cached: &CachedAnswer,
    ) -> Result<(), StoreError> {
        fits(cached)?;
        self.run(key, |record| {
            if record.is_owned_by(owner) {
                record.claim = None;
                record.take(cached);
            }
            if record.cached.as_ref() == Some(cached) {
                Ok(())
            } else {
                Err(StoreError::Conflict)
            }
        })
        .await
    }

    async fn replace(&self, key: &AnswerKey, cached: &CachedAnswer) -> Result<(), StoreError> {
        fits(cached)?;
        self.run(key, |record| {
            if record
                .cached
                .as_ref()
                .is_none_or(|old| old.made_at < cached.made_at)
            {
                record.take(cached);
            }
            if record.cached.as_ref() == Some(cached) {
                Ok(())
            } else {
                Err(StoreError::Conflict)
            }
        })
        .await
    }

    async fn release(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        alone_until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.run(key, |record| {
            if record.is_owned_by(owner) {
                (record.claim, record.alone_until) = (None, alone_until.or(record.alone_until));
            }
            Ok(())
        })
        .await
    }
}

fn fits(cached: &CachedAnswer) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(&cached.answer.content).map_or(0, |json| json.len());
    if bytes <= MAX_BYTES {
        Ok(())
    } else {
        Err(StoreError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contract;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_the_answer_cache() {
        contract::answers(Arc::new(MemoryAnswers::default())).await;
    }
}
