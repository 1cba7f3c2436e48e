//! The caps that a task is under because of its tenant and its key.

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::{Caps, KeyId, TenantId};

/// The caps that a task's tenant and its key have of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapsOfTask {
    /// The tenant's.
    pub tenant: Caps,
    /// Those of the key that the task was submitted with.
    pub key: Caps,
}

/// Reads the caps of tasks for those who work on them.
#[async_trait]
pub trait TaskCaps: Send + Sync {
    /// The caps of this tenant's tasks that were submitted with this key. Without a key, and for a
    /// tenant or key without a record, there are none.
    async fn of_task(
        &self,
        tenant: &TenantId,
        key: Option<KeyId>,
    ) -> Result<CapsOfTask, StoreError>;
}
