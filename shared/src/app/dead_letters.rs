//! Dead letters: tasks that the platform failed for good, and how a client continues them.

use super::{AppError, RetryFrom, Tasks};
use crate::domain::{FailureCode, LimitChanges, Task, TaskId, TaskState, TaskStatus, TenantId};
use crate::ports::{Page, PageRequest, TaskFilter, TaskSummary};

impl Tasks {
    /// The tenant's dead-lettered tasks, newest first. A page may be short, even empty, and not be
    /// the last.
    pub async fn list_dead_letters(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, AppError> {
        let failed = TaskFilter {
            statuses: vec![TaskStatus::Failed],
            ..TaskFilter::default()
        };
        let mut page = self.store.list(tenant, &failed, page).await?;
        page.entries
            .retain(|task| task.failure.is_some_and(FailureCode::is_dead_letter));
        Ok(page)
    }

    /// Continues a dead-lettered task after its last recorded step, or from its start if its steps
    /// can't be read. The task gets its full time again.
    pub async fn redrive(&self, tenant: &TenantId, id: TaskId) -> Result<Task, AppError> {
        let task = self.find_task(tenant, id).await?;
        match task.state() {
            TaskState::Failed(failure) if failure.code.is_dead_letter() => {
                let retry = |from| self.retry_task(tenant, id, from, LimitChanges::default());
                match retry(RetryFrom::Checkpoint).await {
                    Err(AppError::Unreadable(_)) => retry(RetryFrom::Start).await,
                    retried => retried,
                }
            }
            _ => Err(AppError::WrongState(task.status())),
        }
    }
}
