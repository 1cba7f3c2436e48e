//! Cached answers of models, and the claim to make the call for a request.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{AnswerKey, ModelAnswer, Timestamp, WorkerId};

/// A cached answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The answer as the provider gave it. Its spend and its failed attempts are not
    /// stored.
    pub answer: ModelAnswer,
    /// When the provider gave it.
    pub made_at: Timestamp,
    /// Until when it counts as fresh.
    pub fresh_until: Timestamp,
    /// Until when it may serve if no model does. From then on it counts as absent, even if
    /// its record still exists.
    pub ends_at: Timestamp,
}

/// A claim to make the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerClaim {
    /// Who wants to make the call.
    pub owner: WorkerId,
    /// The present moment.
    pub now: Timestamp,
    /// When the claim ends by itself.
    pub until: Timestamp,
    /// An answer that was made before this moment is not good enough.
    pub not_before: Timestamp,
    /// When the record of the key may be deleted, if nothing else is written to it.
    pub forget_at: Timestamp,
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerClaimed {
    /// The owner makes the request.
    Granted,
    /// No request is needed: there is a fresh answer that is young enough.
    Cached(Box<CachedAnswer>),
    /// Another owner makes the request.
    Busy {
        /// When that claim ends by itself.
        until: Timestamp,
    },
    /// The answers to this request can't be cached: each caller makes its own request, without a
    /// claim.
    Alone,
}

/// What the cache has for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSeen {
    /// The answer that is good enough, fresh or not.
    pub cached: Option<Box<CachedAnswer>>,
    /// Whether someone makes the call now.
    pub claim: ClaimState,
}

/// Whether a claim to make the call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// Nobody holds a claim.
    Free,
    /// Somebody holds the claim.
    Held {
        /// When the claim ends by itself.
        until: Timestamp,
    },
    /// No claim is granted: answers to this request can't be cached, so each caller makes its own
    /// call.
    Alone,
}

/// Stores answers. An answer that can't be read, or is past its end, counts as absent.
#[async_trait]
pub trait AnswerCache: Send + Sync {
    /// Grants the claim, unless there is a fresh answer that is young enough or another owner's
    /// claim. One conditional write does it, and returns the record that prevents it. The holder is
    /// granted its claim again, with the new end.
    async fn claim(
        &self,
        key: &AnswerKey,
        claim: &AnswerClaim,
    ) -> Result<AnswerClaimed, StoreError>;

    /// What the cache has at `now`. An answer that was made before `not_before` is left out.
    async fn read(
        &self,
        key: &AnswerKey,
        now: Timestamp,
        not_before: Timestamp,
    ) -> Result<AnswerSeen, StoreError>;

    /// Stores the answer in place of any other and ends the owner's claim. Fails with
    /// [`StoreError::Conflict`] if the owner no longer holds the claim. To store the same answer
    /// twice succeeds, because the response to the first write may be lost.
    async fn store(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        cached: &CachedAnswer,
    ) -> Result<(), StoreError>;

    /// Stores the answer without a claim, and changes no claim. Fails with [`StoreError::Conflict`]
    /// if a newer answer is there. To store the same answer twice succeeds.
    async fn replace(&self, key: &AnswerKey, cached: &CachedAnswer) -> Result<(), StoreError>;

    /// Ends the owner's claim, if the owner still holds it, without an answer. Until `alone_until`,
    /// if given, no claim is granted.
    async fn release(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        alone_until: Option<Timestamp>,
    ) -> Result<(), StoreError>;
}
