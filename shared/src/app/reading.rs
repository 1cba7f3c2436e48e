//! Reads parts of a task's journal. The journal may be larger than this process's memory, so no
//! more is in memory than one response has.

use super::{AppError, Tasks};
use crate::domain::{
    Step, StepPlace, StepSummary, StepSummaryKind, Task, TaskId, TenantId, journal_summaries,
    may_count,
};
use crate::ports::{StepsRequest, StoreError};

/// The most bytes of steps that a part of a journal holds, unless a single step has more.
const MAX_PART_BYTES: u64 = 4 * 1_024 * 1_024;

/// How many more steps are read than are wanted: some may not count.
const SPARE_STEPS: u32 = 2;

/// A part of a task's journal, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepsPart {
    /// The steps; at least one, unless none is left.
    pub steps: Vec<Step>,
    /// Whether more steps follow.
    pub more: bool,
}

impl Tasks {
    /// The steps of the task's journal with higher numbers than `after`: up to `limit` of them, and
    /// up to some MB.
    pub async fn list_steps(
        &self,
        tenant: &TenantId,
        id: TaskId,
        after: u32,
        limit: u32,
    ) -> Result<StepsPart, AppError> {
        let task = self.find_task(tenant, id).await?;
        Ok(self.steps_after(&task, after, limit).await?)
    }

    /// The step of this number in the task's journal.
    pub(super) async fn step_at(
        &self,
        task: &Task,
        number: u32,
    ) -> Result<Option<Step>, StoreError> {
        let Some(before) = number.checked_sub(1) else {
            return Ok(None);
        };
        let part = self.steps_after(task, before, 1).await?;
        Ok(part.steps.into_iter().find(|step| step.number == number))
    }

    /// The last answer of a model in the task's journal before the step of this number.
    pub(super) async fn answer_before(
        &self,
        task: &Task,
        number: u32,
    ) -> Result<Option<Step>, StoreError> {
        let summaries = journal_summaries(
            task.progress().base,
            self.journal.step_summaries(task.id()).await?,
        );
        let is_earlier_answer = |summary: &&StepSummary| {
            summary.number < number && summary.kind == StepSummaryKind::ModelCall
        };
        let Some(answer) = summaries.iter().rev().find(is_earlier_answer) else {
            return Ok(None);
        };
        self.journal.step(task.id(), answer.place()).await
    }

    async fn steps_after(
        &self,
        task: &Task,
        after: u32,
        limit: u32,
    ) -> Result<StepsPart, StoreError> {
        let (base, most) = (task.progress().base, limit as usize);
        let limit = limit.saturating_add(SPARE_STEPS);
        let mut wanted = StepsRequest {
            after: StepPlace::after(after),
            limit,
            max_bytes: MAX_PART_BYTES,
        };
        let (mut steps, mut bytes) = (Vec::<Step>::new(), 0);
        loop {
            let page = self.journal.page(task.id(), &wanted).await?;
            for step in page
                .steps
                .into_iter()
                .filter(|step| may_count(base, step.place()))
            {
                bytes += step.kind.content_bytes();
                match steps.last_mut() {
                    Some(last) if last.number == step.number => *last = step,
                    Some(_) | None => steps.push(step),
                }
            }
            // The next page decides whether the last step counts: it may have a step of a later run
            // with the same number.
            let is_full = steps.len() > most || (steps.len() > 1 && bytes > MAX_PART_BYTES);
            match page.next {
                _ if is_full => {
                    steps.truncate(most.min(steps.len() - 1));
                    return Ok(StepsPart { steps, more: true });
                }
                Some(next) => {
                    wanted = StepsRequest {
                        after: next,
                        max_bytes: MAX_PART_BYTES.saturating_sub(bytes),
                        ..wanted
                    };
                }
                None => return Ok(StepsPart { steps, more: false }),
            }
        }
    }
}
