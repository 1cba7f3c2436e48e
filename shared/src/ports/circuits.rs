//! The store of the models' circuits and health, which all functions share.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{Circuit, HealthKey, HealthNote, ModelHealth, ModelRef, Timestamp};

/// The result of a change of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// The change is stored.
    Done,
    /// Another change came first. The circuit is returned as it is now.
    Otherwise(Circuit),
}

/// What is stored of a model; `None` for a record that this version can't read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelState {
    /// Its circuit, or the default if none is stored. [`HealthKey::OtherModels`] have none.
    pub circuit: Option<Circuit>,
    /// Its health, or the default if none is stored.
    pub health: Option<ModelHealth>,
}

/// Stores circuits, each for [`Circuit::RETENTION`] after its last change, and the health of models.
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

    /// Adds a note to a model's health, as [`ModelHealth::add`] does. Health is stored for
    /// [`ModelHealth::RETENTION`] after its last note, or longer.
    async fn note(
        &self,
        key: &HealthKey,
        note: HealthNote,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// What is stored of all these, in their order; may lag behind changes for a moment.
    async fn states(
        &self,
        keys: &[HealthKey],
        now: Timestamp,
    ) -> Result<Vec<ModelState>, StoreError>;
}
