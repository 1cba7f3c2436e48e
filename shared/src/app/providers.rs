//! Which providers and models work now, for the people who run or use a deployment.

use std::sync::Arc;

use super::AppError;
use crate::domain::{HealthKey, ModelHealth, ModelRef, Provider, Timestamp};
use crate::policy::catalog::Catalog;
use crate::ports::{Circuits, Clock, ModelState};

/// Reports on the providers of a deployment.
#[derive(Clone)]
pub struct ProviderReports {
    circuits: Arc<dyn Circuits>,
    available: Vec<Provider>,
    clock: Arc<dyn Clock>,
}

/// All providers, at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvidersReport {
    /// The moment.
    pub at: Timestamp,
    /// The providers.
    pub providers: Vec<ProviderReport>,
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    /// The provider.
    pub provider: Provider,
    /// Whether the deployment can call it.
    pub is_available: bool,
    /// Its models that have a price, with what is known of each.
    pub models: Vec<(ModelRef, ModelState)>,
    /// The health of all its other models together; `None` if its record can't be read.
    pub other_models: Option<ModelHealth>,
}

impl ProviderReports {
    /// Reports on what is stored in `circuits`. The deployment can call the providers `available`.
    pub fn new(
        circuits: Arc<dyn Circuits>,
        available: Vec<Provider>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            circuits,
            available,
            clock,
        }
    }

    /// All providers, with the models that have a price now.
    pub async fn report(&self) -> Result<ProvidersReport, AppError> {
        let at = self.clock.now();
        let listed = Catalog::at(at).models.into_iter();
        let models: Vec<ModelRef> = listed.map(|listed| listed.model).collect();
        let others = Provider::ALL.map(HealthKey::OtherModels);
        let keys: Vec<HealthKey> = models
            .iter()
            .cloned()
            .map(HealthKey::Model)
            .chain(others)
            .collect();
        let states = self.circuits.states(&keys, at).await;
        let mut states = states.map_err(AppError::CircuitsUnavailable)?.into_iter();
        let models: Vec<(ModelRef, ModelState)> = models.into_iter().zip(&mut states).collect();
        let reports = Provider::ALL.into_iter().zip(states);
        let reports = reports.map(|(provider, others)| ProviderReport {
            provider,
            is_available: self.available.contains(&provider),
            models: models
                .iter()
                .filter(|(model, _)| model.provider() == provider)
                .cloned()
                .collect(),
            other_models: others.health,
        });
        Ok(ProvidersReport {
            at,
            providers: reports.collect(),
        })
    }
}
