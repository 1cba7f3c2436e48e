//! Journals in memory.

use async_trait::async_trait;

use super::{MemoryStore, fits};
use crate::domain::{Step, StepPlace, StepSummary, TaskId};
use crate::ports::{Journal, StepsPage, StepsRequest, StoreError};
use crate::testing::faults::Call;

#[async_trait]
impl Journal for MemoryStore {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        fits(bytes_of(step))?;
        self.run_as(Call::Append, |records| {
            let stored = records
                .steps
                .entry((step.task, step.number, step.base))
                .or_insert_with(|| step.clone());
            if stored == step {
                Ok(())
            } else {
                Err(StoreError::Conflict)
            }
        })
        .await
    }

    async fn step(&self, task: TaskId, place: StepPlace) -> Result<Option<Step>, StoreError> {
        self.run(|records| {
            Ok(records
                .steps
                .get(&(task, place.number, place.base))
                .cloned())
        })
        .await
    }

    async fn page(&self, task: TaskId, wanted: &StepsRequest) -> Result<StepsPage, StoreError> {
        self.run(|records| {
            let (mut page, mut bytes) = (
                StepsPage {
                    steps: Vec::new(),
                    next: None,
                },
                0_u64,
            );
            let after = wanted.after;
            for ((_, number, base), step) in records
                .steps
                .range((task, 0, 0)..=(task, u32::MAX, u32::MAX))
            {
                if (StepPlace {
                    number: *number,
                    base: *base,
                }) <= after
                {
                    continue;
                }
                bytes = bytes.saturating_add(step.kind.content_bytes());
                let is_full = page.steps.len() >= wanted.limit as usize || bytes > wanted.max_bytes;
                if let Some(last) = page.steps.last().filter(|_| is_full) {
                    page.next = Some(last.place());
                    break;
                }
                page.steps.push(step.clone());
            }
            Ok(page)
        })
        .await
    }

    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError> {
        self.run(|records| {
            Ok(records
                .steps
                .range((task, 0, 0)..=(task, u32::MAX, u32::MAX))
                .map(|(_, step)| step.summary())
                .collect())
        })
        .await
    }
}

pub(super) fn bytes_of(step: &Step) -> usize {
    usize::try_from(step.kind.content_bytes()).unwrap_or(usize::MAX)
}
