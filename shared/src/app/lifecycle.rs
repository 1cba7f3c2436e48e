//! What clients do with their tasks once they are submitted: cancel, retry, resume and answer them, and read their journal.
//!
//! Each reads the task, makes one transition and stores it if nobody changed the task in between, or else tries again. A
//! task that goes on is written before its message is sent; the watchdog sends one that got lost.

use std::time::Duration;

use super::send::send;
use super::submit::in_limits;
use super::{AppError, Tasks};
use crate::domain::task::Cancellation;
use crate::domain::{
    Conversation, Invalid, LimitChanges, Limits, Next, PendingCall, ReopenFrom, Step, StepKind, Task, TaskId,
    TaskState, TenantId, ToolRunner, WrongState,
};
use crate::ports::StoreError;

/// How often a transition is tried; each time somebody else changed the task in between.
const MOST_TRIES: usize = 8;

/// A client's answer to a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// The call's id.
    pub call_id: String,
    /// What the tool says.
    pub text: String,
    /// Whether it is an error, for the model to react to.
    pub is_error: bool,
}

impl Tasks {
    /// Cancels a task: at once, or within seconds if a worker has it. Doing so twice is no error.
    pub async fn cancel_task(&self, tenant: &TenantId, id: TaskId) -> Result<Task, AppError> {
        let (task, done) = self.change(tenant, id, |task| task.cancel(self.clock.now())).await?;
        match done {
            Some(Cancellation::Done) => tracing::info!(task_id = %id, "task canceled"),
            Some(Cancellation::Requested) => tracing::info!(task_id = %id, "task is to be canceled by its worker"),
            None => {}
        }
        Ok(task)
    }

    /// Goes on with a task that failed, was canceled or timed out: after its last recorded step, or afresh.
    pub async fn retry_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        from: RetryFrom,
        limits: LimitChanges,
    ) -> Result<Task, AppError> {
        let task = self.find_task(tenant, id, Duration::ZERO).await?;
        if !task.is_reopenable() {
            return Err(AppError::WrongState(task.status()));
        }
        let steps = self.journal.steps(id).await?;
        let last_step = steps.last().map_or(0, |step| step.number);
        let is_answered = matches!(Conversation::new(task.progress().base, steps).next(), Next::Finish(_));
        let from = match from {
            // A recorded answer that was the failure itself would only fail the task again.
            RetryFrom::Checkpoint if !is_answered => ReopenFrom::Checkpoint,
            RetryFrom::Checkpoint | RetryFrom::Start => ReopenFrom::Start { last_step },
        };
        let reopen = |task: &mut Task, limits| task.reopen(from, limits, self.clock.now());
        self.go_on(tenant, id, limits, reopen).await
    }

    /// Goes on with a paused task, with limits that let it.
    pub async fn resume_task(&self, tenant: &TenantId, id: TaskId, limits: LimitChanges) -> Result<Task, AppError> {
        let resume = |task: &mut Task, limits| task.resume(limits, self.clock.now());
        self.go_on(tenant, id, limits, resume).await
    }

    /// Records the client's answers to the calls that its task waits for, all of them, and goes on. The very same answers
    /// may come twice.
    pub async fn answer_task(&self, tenant: &TenantId, id: TaskId, answers: Vec<ToolAnswer>) -> Result<Task, AppError> {
        let task = self.find_task(tenant, id, Duration::ZERO).await?;
        let TaskState::InputRequired { calls, .. } = task.state() else {
            return self.answered_before(task, &answers).await;
        };
        for (call, answer) in paired(calls, answers.clone())? {
            self.record(&task, call, answer).await?;
        }
        let changed = self.change(tenant, id, |task| task.answered(self.clock.now())).await;
        let task = match changed {
            Ok((task, ())) => task,
            // The same answers came at the same time, and were faster.
            Err(AppError::WrongState(_)) => {
                let task = self.find_task(tenant, id, Duration::ZERO).await?;
                return self.answered_before(task, &answers).await;
            }
            Err(error) => return Err(error),
        };
        tracing::info!(task_id = %id, "task is answered");
        send(self.queue.as_ref(), &task, Duration::ZERO).await;
        Ok(task)
    }

    /// The task, if its journal has these very answers, at least one.
    async fn answered_before(&self, task: Task, answers: &[ToolAnswer]) -> Result<Task, AppError> {
        let known = self.journal.steps(task.id()).await?;
        let is_known = |answer: &ToolAnswer| known.iter().any(|step| answers_with(step, answer));
        let repeated = !answers.is_empty() && answers.iter().all(is_known);
        if repeated { Ok(task) } else { Err(AppError::WrongState(task.status())) }
    }

    /// The task's journal, in order.
    pub async fn list_steps(&self, tenant: &TenantId, id: TaskId) -> Result<Vec<Step>, AppError> {
        self.find_task(tenant, id, Duration::ZERO).await?;
        Ok(self.journal.steps(id).await?)
    }

    async fn record(&self, task: &Task, call: &PendingCall, answer: ToolAnswer) -> Result<(), AppError> {
        let now = self.clock.now();
        let PendingCall { number, call } = call.clone();
        let ToolAnswer { text, is_error, .. } = answer.clone();
        let kind = StepKind::ToolCall { call, by: ToolRunner::Client, text, is_error };
        let step = Step { task: task.id(), number, fence: task.fence(), kind, started_at: now, finished_at: now };
        match self.journal.append(&step).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict) => {
                let known = self.journal.steps(task.id()).await?;
                let same = known.iter().any(|step| step.number == number && answers_with(step, &answer));
                if same { Ok(()) } else { Err(AppError::AnsweredOtherwise(answer.call_id)) }
            }
            Err(StoreError::TooLarge) => Err(AppError::invalid("/results", "has a text that is too large")),
            Err(error) => Err(error.into()),
        }
    }

    /// Has a task go on with changed limits.
    async fn go_on(
        &self,
        tenant: &TenantId,
        id: TaskId,
        changes: LimitChanges,
        transition: impl Fn(&mut Task, Limits) -> Result<(), WrongState>,
    ) -> Result<Task, AppError> {
        if changes.max_cost_micro_usd.is_some() {
            let task = self.find_task(tenant, id, Duration::ZERO).await?;
            if let Some(agent) = self.agents.version(tenant, task.spec().agent).await? {
                self.check_cap(&agent, changes)?;
            }
        }
        let transition = |task: &mut Task| {
            let limits = changes.apply(task.limits()).map_err(in_limits)?;
            Ok::<_, AppError>(transition(task, limits)?)
        };
        let (task, ()) = self.change(tenant, id, transition).await?;
        tracing::info!(task_id = %id, base = task.progress().base, "task goes on");
        send(self.queue.as_ref(), &task, Duration::ZERO).await;
        Ok(task)
    }

    /// Makes a transition of the task as it stands, and stores it if it is one.
    async fn change<T, E: Into<AppError>>(
        &self,
        tenant: &TenantId,
        id: TaskId,
        transition: impl Fn(&mut Task) -> Result<T, E>,
    ) -> Result<(Task, T), AppError> {
        for _ in 0..MOST_TRIES {
            let mut task = self.find_task(tenant, id, Duration::ZERO).await?;
            let before = task.progress().revision;
            let outcome = transition(&mut task).map_err(Into::into)?;
            if task.progress().revision == before {
                return Ok((task, outcome));
            }
            match self.store.update(&task).await {
                Ok(()) => return Ok((task, outcome)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// Where a retried task starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryFrom {
    /// After its last recorded step.
    #[default]
    Checkpoint,
    /// Afresh; the journal goes on with the next number.
    Start,
}

/// Each call with its answer, or every rule that the answers break: one for each call, and no other.
fn paired(calls: &[PendingCall], answers: Vec<ToolAnswer>) -> Result<Vec<(&PendingCall, ToolAnswer)>, AppError> {
    let mut broken = Vec::new();
    let mut pairs: Vec<(&PendingCall, ToolAnswer)> = Vec::new();
    for (place, answer) in answers.into_iter().enumerate() {
        let open = |call: &&PendingCall| pairs.iter().all(|(other, _)| other.number != call.number);
        if let Some(call) = calls.iter().filter(open).find(|call| call.call.id == answer.call_id) {
            pairs.push((call, answer));
        } else {
            let reason = "must be the id of a call that the task waits for, each once";
            broken.push(Invalid::new(format!("/results/{place}/call_id"), reason));
        }
    }
    for call in calls.iter().filter(|call| pairs.iter().all(|(other, _)| other.number != call.number)) {
        broken.push(Invalid::new("/results", format!("must have a result for call {}", call.call.id)));
    }
    if broken.is_empty() { Ok(pairs) } else { Err(AppError::Invalid(broken)) }
}

/// Whether the step is this answer of a client.
fn answers_with(step: &Step, answer: &ToolAnswer) -> bool {
    match &step.kind {
        StepKind::ToolCall { call, by: ToolRunner::Client, text, is_error } => {
            (call.id.as_str(), text, is_error) == (answer.call_id.as_str(), &answer.text, &answer.is_error)
        }
        StepKind::ToolCall { by: ToolRunner::Platform | ToolRunner::Nobody, .. } | StepKind::ModelCall { .. } => false,
    }
}
