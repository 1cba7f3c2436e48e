//! Reading the long texts of a task, which a response may have to cut.

use super::{AppError, Tasks};
use crate::domain::{PendingCall, Step, StepKind, TaskId, TaskState, TenantId};

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

    /// What the model or the tool said in the step of this number.
    pub async fn step_text(&self, tenant: &TenantId, id: TaskId, number: u32) -> Result<String, AppError> {
        let steps = self.list_steps(tenant, id).await?;
        let step = steps.into_iter().find(|step| step.number == number);
        match step.map(|step| step.kind) {
            Some(StepKind::ModelCall { answer, .. }) => Ok(answer.text()),
            Some(StepKind::ToolCall { text, .. }) => Ok(text),
            None => Err(AppError::NotFound(format!("step {number}"))),
        }
    }

    /// The arguments of the tool call whose result is, or will be, the step of this number.
    pub async fn call_arguments(&self, tenant: &TenantId, id: TaskId, number: u32) -> Result<String, AppError> {
        let task = self.find_task(tenant, id).await?;
        if let TaskState::InputRequired { calls, .. } = task.state()
            && let Some(PendingCall { call, .. }) = calls.iter().find(|call| call.number == number)
        {
            return Ok(call.arguments.clone());
        }
        let steps = self.steps_of(&task).await?;
        arguments_of(&steps, number).ok_or_else(|| AppError::NotFound(format!("tool call of step {number}")))
    }
}

/// The arguments of the call of this number. The calls of a model's answer have the numbers after that of the answer.
fn arguments_of(steps: &[Step], number: u32) -> Option<String> {
    let step = steps.iter().rev().find(|step| match &step.kind {
        StepKind::ModelCall { .. } => step.number <= number,
        StepKind::ToolCall { .. } => step.number == number,
    })?;
    match &step.kind {
        StepKind::ToolCall { call, .. } => Some(call.arguments.clone()),
        StepKind::ModelCall { answer, .. } => {
            let place = usize::try_from(number - step.number).ok()?.checked_sub(1)?;
            answer.tool_calls().nth(place).map(|call| call.arguments.clone())
        }
    }
}
