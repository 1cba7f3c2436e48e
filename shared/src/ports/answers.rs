//! Answers of models that are kept for the same request, and the claim to be the one who asks it.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{AnswerKey, ModelAnswer, Timestamp, WorkerId};

/// A cached answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The answer as the provider gave it. What was spent and what failed on the way to it is not
    /// kept.
    pub answer: ModelAnswer,
    /// When the provider gave it.
    pub made_at: Timestamp,
    /// Until when it counts as fresh.
    pub fresh_until: Timestamp,
    /// Until when it may serve if no model does. From then on it counts as absent, whether it still
    /// lies there or not.
    pub ends_at: Timestamp,
}

/// The wish to be the one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerClaim {
    /// Who wants to ask.
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
    Kept(Box<CachedAnswer>),
    /// Another owner makes the request.
    Busy {
        /// When that claim ends by itself.
        until: Timestamp,
    },
    /// The answers to this request can't be cached: each caller makes its own request, without a
    /// claim.
    Alone,
}

/// What there is for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSeen {
    /// The answer that is good enough, fresh or not.
    pub kept: Option<Box<CachedAnswer>>,
    /// Who asks just now.
    pub asking: Asking,
}

/// Who asks a request just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Nobody who said so.
    Nobody,
    /// The holder of a claim.
    Holder {
        /// When the claim ends by itself.
        until: Timestamp,
    },
    /// Each for itself, because answers to it can't be kept.
    EachAlone,
}

/// Keeps answers. An answer that can't be read, or is past its end, counts as absent.
#[async_trait]
pub trait AnswerCache: Send + Sync {
    /// Claims the request unless there is a fresh answer that is good enough or another's claim,
    /// in one write that returns what there is. The holder is granted its claim again, with the new
    /// end.
    async fn claim(
        &self,
        key: &AnswerKey,
        claim: &AnswerClaim,
    ) -> Result<AnswerClaimed, StoreError>;

    /// What there is at `now`; an answer that was made before `not_before` is not good enough.
    async fn look(
        &self,
        key: &AnswerKey,
        now: Timestamp,
        not_before: Timestamp,
    ) -> Result<AnswerSeen, StoreError>;

    /// Keeps the answer in place of any other and ends the owner's claim; fails with
    /// [`StoreError::Conflict`] if the owner holds it no more. Keeping the very same answer twice
    /// succeeds, because a store's answer can get lost after its write.
    async fn keep(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        kept: &CachedAnswer,
    ) -> Result<(), StoreError>;

    /// Keeps the answer without a claim, and leaves others' alone; fails with
    /// [`StoreError::Conflict`] if a newer one is there. Keeping the very same answer twice
    /// succeeds.
    async fn replace(&self, key: &AnswerKey, kept: &CachedAnswer) -> Result<(), StoreError>;

    /// Ends the owner's claim, if it is still held, without an answer. Until `alone_until`, if
    /// given, nobody is granted one.
    async fn give_up(
        &self,
        key: &AnswerKey,
        owner: WorkerId,
        alone_until: Option<Timestamp>,
    ) -> Result<(), StoreError>;
}
