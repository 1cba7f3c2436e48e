//! Where the circuits of models are kept, for all functions together.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{Circuit, ModelRef, Timestamp};

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The circuit stands as wanted.
    Done,
    /// Another change came first: the circuit stands as given.
    Otherwise(Circuit),
}

/// Keeps circuits, each for [`Circuit::KEPT_FOR`] after its last change; past that, nothing is kept
/// of it.
#[async_trait]
pub trait Circuits: Send + Sync {
    /// The circuit of the model, the default if nothing is kept of it; may lag behind changes for a
    /// moment.
    async fn load(&self, model: &ModelRef, now: Timestamp) -> Result<Circuit, StoreError>;

    /// Stores a change if the circuit still has the revision before it. Storing the same change
    /// twice succeeds, because a store's answer can get lost after its write.
    async fn replace(
        &self,
        model: &ModelRef,
        next: &Circuit,
        now: Timestamp,
    ) -> Result<Replaced, StoreError>;
}
