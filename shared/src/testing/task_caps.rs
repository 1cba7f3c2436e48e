//! Caps that are the same for each task.

use async_trait::async_trait;

use crate::domain::{KeyId, TenantId};
use crate::ports::{CapsOfTask, StoreError, TaskCaps};

/// These caps for each tenant and each key; by default there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct SameCaps(pub CapsOfTask);

#[async_trait]
impl TaskCaps for SameCaps {
    async fn of_task(
        &self,
        _tenant: &TenantId,
        _key: Option<KeyId>,
    ) -> Result<CapsOfTask, StoreError> {
        Ok(self.0)
    }
}
