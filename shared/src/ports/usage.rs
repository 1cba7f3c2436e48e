//! The usage of tenants: what their tasks cost, in rows that workers add to.

use std::ops::RangeInclusive;

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{SpendRow, TenantId};

/// How far the daily check of all tenants' usage has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCheck {
    /// The day on which the check began, in UTC, as days since the Unix epoch.
    pub day: u64,
    /// Who is next.
    pub place: CheckPlace,
}

/// Whose usage the daily check has to check next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckPlace {
    /// The deployment's own tenant.
    Home,
    /// The tenants on the page that begins there, and those after it.
    Tenants(Option<String>),
    /// Nobody: the check of this day has ended.
    End,
}

/// Stores the usage of tenants.
///
/// A worker adds what a task cost after it has stored the task. If it dies between the two, the
/// usage lacks this cost until the daily check.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Adds the row's cost to the tenant's row with the same key. It is not repeated if the response
    /// is lost: rather too little is counted, which the daily check mends.
    async fn add(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError>;

    /// The tenant's rows of these days, in the order of days. With more than `most` rows, it fails
    /// with [`StoreError::TooLarge`].
    async fn rows(
        &self,
        tenant: &TenantId,
        days: RangeInclusive<u64>,
        most: usize,
    ) -> Result<Vec<SpendRow>, StoreError>;

    /// Replaces the tenant's row with the same key.
    async fn replace(&self, tenant: &TenantId, row: &SpendRow) -> Result<(), StoreError>;

    /// How far the daily check has come; `None` before the first one.
    async fn check(&self) -> Result<Option<UsageCheck>, StoreError>;

    /// Stores how far the daily check has come.
    async fn store_check(&self, check: &UsageCheck) -> Result<(), StoreError>;
}
