//! The usage of tenants in memory.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::{Spend, SpendKey, SpendRow, TenantId};
use crate::ports::{StoreError, UsageCheck, UsageStore};

/// The usage of tenants in memory. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct MemoryUsage {
    rows: Arc<Mutex<BTreeMap<(TenantId, SpendKey), Spend>>>,
    check: Arc<Mutex<Option<UsageCheck>>>,
    faults: Faults,
}

impl MemoryUsage {
    /// The same usage, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    async fn run<T>(
        &self,
        effect: impl FnOnce(&mut BTreeMap<(TenantId, SpendKey), Spend>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            Call::Other,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || effect(&mut lock(&self.rows)),
        )
    }
}

#[async_trait]
impl UsageStore for MemoryUsage {
    async fn add(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError> {
        self.run(|rows| {
            let spend = rows.entry((tenant.clone(), row.key.clone())).or_default();
            *spend = spend.plus(row.spend);
            Ok(())
        })
        .await
    }

    async fn rows(
        &self,
        tenant: &TenantId,
        days: RangeInclusive<u64>,
        most: usize,
    ) -> Result<Vec<SpendRow>, StoreError> {
        self.run(|rows| {
            let wanted = |((owner, key), _): &(&(TenantId, SpendKey), _)| {
                owner == tenant && days.contains(&key.day)
            };
            let found: Vec<SpendRow> = rows
                .iter()
                .filter(wanted)
                .map(|((_, key), spend)| SpendRow {
                    key: key.clone(),
                    spend: *spend,
                })
                .collect();
            if found.len() > most {
                return Err(StoreError::TooLarge);
            }
            Ok(found)
        })
        .await
    }

    async fn replace(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError> {
        self.run(|rows| {
            rows.insert((tenant.clone(), row.key.clone()), row.spend);
            Ok(())
        })
        .await
    }

    async fn check(&self) -> Result<Option<UsageCheck>, StoreError> {
        self.run(|_| Ok(lock(&self.check).clone())).await
    }

    async fn store_check(&self, check: &UsageCheck) -> Result<(), StoreError> {
        self.run(|_| {
            *lock(&self.check) = Some(check.clone());
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn usage_in_memory_keeps_the_contract() {
        contract::usage(Arc::new(MemoryUsage::default())).await;
    }
}
