//! Reading single steps of a task, and the long texts that a response may have to cut.

use super::{AppError, Tasks};
use crate::domain::{PendingCall, Step, StepKind, TaskId, TaskState, TenantId, ToolCall};

impl Tasks {
    /// The answer of a completed task.
    pub async fn output_text(&self, tenant: &TenantId, id: TaskId) -> Result<String, AppError> {
        let task = self.find_task(tenant, id).await?;
        match task.state() {
            TaskState::Completed(output) => Ok(output.text.clone()),
            TaskState::Queued { .. }
            | TaskState::Running(_)
            | TaskState::Waiting { .. }
            | TaskState::InputRequired { .. }
            | TaskState::Paused { .. }
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => Err(AppError::WrongState(task.status())),
        }
    }

    /// The step of this number.
    pub async fn find_step(
        &self,
        tenant: &TenantId,
        id: TaskId,
        number: u32,
    ) -> Result<Step, AppError> {
        let task = self.find_task(tenant, id).await?;
        let step = self.step_at(&task, number).await?;
        step.ok_or_else(|| AppError::NotFound(format!("step {number}")))
    }

    /// What the model or the tool said in the step of this number.
    pub async fn step_text(
        &self,
        tenant: &TenantId,
        id: TaskId,
        number: u32,
    ) -> Result<String, AppError> {
        match self.find_step(tenant, id, number).await?.kind {
            StepKind::ModelCall { answer, .. } => Ok(answer.text()),
            StepKind::ToolCall { text, .. } => Ok(text),
        }
    }

    /// The arguments of the tool call whose result is, or will be, the step of this number.
    pub async fn call_arguments(
        &self,
        tenant: &TenantId,
        id: TaskId,
        number: u32,
    ) -> Result<String, AppError> {
        let task = self.find_task(tenant, id).await?;
        if let TaskState::InputRequired { calls, .. } = task.state()
            && let Some(PendingCall { call, .. }) = calls.iter().find(|call| call.number == number)
        {
            return Ok(call.arguments.clone());
        }
        let not_found = || AppError::NotFound(format!("tool call of step {number}"));
        match self.step_at(&task, number).await?.map(|step| step.kind) {
            Some(StepKind::ToolCall { call, .. }) => Ok(call.arguments),
            Some(StepKind::ModelCall { .. }) => Err(not_found()),
            None => {
                let asked = self.answer_before(&task, number).await?;
                asked
                    .and_then(|step| call_of(step, number))
                    .map(|call| call.arguments)
                    .ok_or_else(not_found)
            }
        }
    }
}

/// The call of this number among those of an answer, which have the numbers after the answer's.
fn call_of(step: Step, number: u32) -> Option<ToolCall> {
    let place = usize::try_from(number - step.number).ok()?.checked_sub(1)?;
    match step.kind {
        StepKind::ModelCall { answer, .. } => answer.tool_calls().nth(place).cloned(),
        StepKind::ToolCall { .. } => None,
    }
}
