//! Circuits, and the health of models, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::{Circuit, HealthKey, HealthNote, ModelHealth, ModelRef, Timestamp};
use crate::ports::{Circuits, ModelState, Replaced, StoreError};

/// Circuits in memory with the conditional writes of the real store. Clones share the content and
/// the counts of calls.
///
/// Each call yields to the runtime before its effect, so that concurrent functions interleave in
/// tests as well.
#[derive(Debug, Clone, Default)]
pub struct MemoryCircuits {
    records: Arc<Mutex<Records>>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Records {
    circuits: HashMap<ModelRef, StoredCircuit>,
    health: HashMap<HealthKey, ModelHealth>,
    notes: u32,
    reads: u32,
    writes: u32,
}

#[derive(Debug)]
struct StoredCircuit {
    circuit: Circuit,
    until: Timestamp,
}

impl MemoryCircuits {
    /// The same circuits, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// The reads so far, failed ones included.
    pub fn reads(&self) -> u32 {
        lock(&self.records).reads
    }

    /// The writes so far, failed and refused ones included.
    pub fn writes(&self) -> u32 {
        lock(&self.records).writes
    }

    /// The notes on health so far, failed ones included.
    pub fn notes(&self) -> u32 {
        lock(&self.records).notes
    }

    fn run<T>(&self, effect: impl FnOnce(&mut Records) -> T) -> Result<T, StoreError> {
        let failure = |fault| StoreError::Unavailable(Box::new(fault));
        self.faults.around(Call::Other, failure, || {
            Ok(effect(&mut lock(&self.records)))
        })
    }
}

impl Records {
    fn circuit(&self, model: &ModelRef, now: Timestamp) -> Circuit {
        let live = self.circuits.get(model).filter(|stored| now < stored.until);
        live.map(|stored| stored.circuit.clone())
            .unwrap_or_default()
    }

    fn state(&self, key: &HealthKey, now: Timestamp) -> ModelState {
        let circuit = match key {
            HealthKey::Model(model) => self.circuit(model, now),
            HealthKey::OtherModels(_) => Circuit::default(),
        };
        ModelState {
            circuit: Some(circuit),
            health: Some(self.health.get(key).cloned().unwrap_or_default()),
        }
    }
}

#[async_trait]
impl Circuits for MemoryCircuits {
    async fn load(&self, model: &ModelRef, now: Timestamp) -> Result<Circuit, StoreError> {
        lock(&self.records).reads += 1;
        tokio::task::yield_now().await;
        self.run(|records| records.circuit(model, now))
    }

    async fn replace(
        &self,
        model: &ModelRef,
        next: &Circuit,
        now: Timestamp,
    ) -> Result<Replaced, StoreError> {
        lock(&self.records).writes += 1;
        tokio::task::yield_now().await;
        self.run(|records| {
            let circuit = records.circuit(model, now);
            if circuit == *next {
                return Replaced::Done;
            }
            if circuit.revision + 1 != next.revision {
                return Replaced::Otherwise(circuit);
            }
            let stored = StoredCircuit {
                circuit: next.clone(),
                until: now.plus(Circuit::RETENTION),
            };
            records.circuits.insert(model.clone(), stored);
            Replaced::Done
        })
    }

    async fn note(
        &self,
        key: &HealthKey,
        note: HealthNote,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        lock(&self.records).notes += 1;
        tokio::task::yield_now().await;
        self.run(|records| records.health.entry(key.clone()).or_default().add(note))
    }

    async fn states(
        &self,
        keys: &[HealthKey],
        now: Timestamp,
    ) -> Result<Vec<ModelState>, StoreError> {
        tokio::task::yield_now().await;
        self.run(|records| keys.iter().map(|key| records.state(key, now)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CircuitCause;
    use crate::testing::{When, contract, samples};

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_the_circuits() {
        contract::circuits(Arc::new(MemoryCircuits::default())).await;
    }

    #[tokio::test]
    async fn an_answer_that_gets_lost_leaves_its_effect() {
        let (circuits, faults) = (MemoryCircuits::default(), Faults::default());
        let unlucky = circuits.with_faults(faults.clone());
        faults.fail_next(When::After);
        let open = Circuit::default()
            .trip(CircuitCause::Outage, Circuit::RETENTION / 2, samples::START)
            .unwrap();
        assert!(
            unlucky
                .replace(&samples::model(), &open, samples::START)
                .await
                .is_err()
        );
        assert_eq!(
            circuits
                .load(&samples::model(), samples::START)
                .await
                .unwrap(),
            open
        );
        assert_eq!((circuits.reads(), circuits.writes()), (1, 1));
    }
}
