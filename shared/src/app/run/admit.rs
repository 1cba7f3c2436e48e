//! Which claimed tasks are worked on now: those with room in memory and a slot under each cap.

use super::agent_loop::run;
use super::lease::HeldTask;
use super::room::Place;
use super::runner::{RunError, RunOutcome, Runner, SKEW};
use super::work::{Work, crowded_out};
use crate::domain::{StepSummary, Task, Timestamp, WaitReason};
use crate::ports::StoreError;

impl Runner {
    /// Works on a task that was just claimed, if there is room for its conversation.
    pub(super) async fn run_in_room(
        &self,
        task: Task,
        until: Timestamp,
    ) -> Result<RunOutcome, RunError> {
        let bytes = self.conversation_bytes(&task).await;
        let held = HeldTask::new(self, task, until);
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return held.finish(error.into()).await,
        };
        let Some(place) = self.room.take(bytes) else {
            let exit = crowded_out(&held, bytes);
            return held.finish(exit).await;
        };
        self.run_in_turn(held, until, place).await
    }

    /// Works on a task that has room, if there is a slot for it.
    async fn run_in_turn(
        &self,
        held: HeldTask<'_>,
        until: Timestamp,
        place: Place<'_>,
    ) -> Result<RunOutcome, RunError> {
        let Some(slots) = &self.slots else {
            return run(Work::new(held, place)).await;
        };
        let now = self.clock.now();
        let Some(taken) = slots.take(&held.task, until.plus(SKEW), now).await else {
            let (_, exit) = held.back_off(WaitReason::Concurrency);
            return held.finish(exit).await;
        };
        let outcome = run(Work::new(held, place)).await;
        slots.give_back(taken).await;
        outcome
    }

    /// How large the task's conversation is. What its record does not tell is read from the
    /// journal, without the content.
    async fn conversation_bytes(&self, task: &Task) -> Result<u64, StoreError> {
        match task.progress().conversation_bytes {
            Some(bytes) => Ok(bytes),
            None if task.fence() <= 1 => Ok(0),
            None => {
                let base = task.progress().base;
                let is_of_run = |head: &StepSummary| head.base == base && head.number > base;
                let heads = self.journal.step_summaries(task.id()).await?;
                Ok(heads
                    .into_iter()
                    .filter(is_of_run)
                    .map(|head| head.bytes)
                    .sum())
            }
        }
    }
}
