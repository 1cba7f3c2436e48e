//! The store of the models' circuits, which all functions share.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{Circuit, ModelRef, Timestamp};

/// The result of a change of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The change is stored.
    Done,
    /// Another change came first. The circuit is returned as it is now.
    Otherwise(Circuit),
}

/// Stores circuits, each for [`Circuit::RETENTION`] after its last change.
#[async_trait]
pub trait Circuits: Send + Sync {
    /// The circuit of the model, or the default if none is stored; may lag behind changes for a
    /// moment.
    async fn load(&self, model: &ModelRef, now: Timestamp) -> Result<Circuit, StoreError>;

    /// Stores a change if the circuit still has the revision before it. Storing the same change
    /// twice succeeds, because the response to a write can be lost.
    async fn replace(
        &self,
        model: &ModelRef,
        next: &Circuit,
        now: Timestamp,
    ) -> Result<Replaced, StoreError>;
}
