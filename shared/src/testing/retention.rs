//! Deleting tasks in memory.

use async_trait::async_trait;

use super::faults::Call;
use super::store::{MemoryStore, Records};
use crate::domain::{ModelAnswer, StepKind, Task, TaskId, TenantId, Timestamp};
use crate::ports::{Horizon, Purged, Retention, StoreError};

/// The empty record of a task that was deleted.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) tenant: TenantId,
    ended_at: Timestamp,
    is_emptied: bool,
}

impl Records {
    pub(super) fn mark(&mut self, id: TaskId, ended_at: Timestamp) {
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        self.marked.insert(
            id,
            Marked {
                tenant: task.spec().tenant.clone(),
                ended_at,
                is_emptied: false,
            },
        );
    }
}

#[async_trait]
impl Retention for MemoryStore {
    async fn due(&self, horizon: Horizon, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.run(|records| {
            let is_old =
                |ended: &Timestamp| horizon.ended_before.is_some_and(|before| *ended < before);
            let ended = |task: &Task| Some((task.finished_at().filter(is_old)?, task.id()));
            let mut ended: Vec<(Timestamp, TaskId)> =
                records.tasks.values().filter_map(ended).collect();
            ended.sort_unstable();
            let is_due =
                |marked: &Marked| !marked.is_emptied || marked.ended_at < horizon.quiet_before;
            let marked = records
                .marked
                .iter()
                .filter(|(_, marked)| is_due(marked))
                .map(|(id, _)| *id);
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(marked
                .chain(ended.into_iter().map(|(_, id)| id))
                .take(most)
                .collect())
        })
        .await
    }

    async fn purge(&self, id: TaskId, horizon: Horizon) -> Result<Purged, StoreError> {
        self.run_as(Call::Purge, |records| {
            if let Some(task) = records.tasks.get(&id) {
                let old = task
                    .finished_at()
                    .filter(|ended| horizon.ended_before.is_some_and(|before| *ended < before));
                let Some(ended_at) = old else {
                    return Ok(Purged::Unchanged);
                };
                records.mark(id, ended_at);
            }
            let Some(marked) = records.marked.get_mut(&id) else {
                return Ok(Purged::Gone);
            };
            marked.is_emptied = true;
            let is_quiet = marked.ended_at < horizon.quiet_before;
            for step in records
                .steps
                .extract_if((id, 0, 0)..=(id, u32::MAX, u32::MAX), |_, _| true)
            {
                if let StepKind::ModelCall {
                    answer:
                        ModelAnswer {
                            cache_key: Some(key),
                            ..
                        },
                    ..
                } = step.1.kind
                {
                    self.answers.forget(&key);
                }
            }
            records.inputs.remove(&id);
            records.history.retain(|(task, _), _| *task != id);
            self.budgets.forget(id);
            if is_quiet {
                records.marked.remove(&id);
            }
            Ok(if is_quiet {
                Purged::Gone
            } else {
                Purged::Emptied
            })
        })
        .await
    }
}
