//! What clients do with their tasks once they are submitted: cancel, retry, resume and answer them, and read their journal.
//!
//! Each reads the task, makes one transition and stores it if nobody changed the task in between, or else tries again. A
//! task that goes on is written before its message is sent; the watchdog sends one that got lost.

use std::time::Duration;

use tracing::Span;

use super::answers::{ToolAnswer, paired};
use super::change::note_change;
use super::lost::note_steps;
use super::outcome::outcome_of;
use super::send::send;
use super::submit::in_limits;
use super::{AppError, Tasks};
use crate::domain::{
    Cancellation, Conversation, LimitChanges, Limits, Next, ReopenFrom, Step, Task, TaskId, TaskState, TaskStatus,
    TenantId, journal,
};
use crate::ports::StoreError;

/// How often a transition is tried; each time somebody else changed the task in between.
const MOST_TRIES: usize = 8;

impl Tasks {
    /// Cancels a task: at once, or within seconds if a worker has it. Doing so twice is no error.
    pub async fn cancel_task(&self, tenant: &TenantId, id: TaskId) -> Result<Task, AppError> {
        let cancel = |mut task: Task| async move {
            note_steps(self.journal.as_ref(), &mut task).await?;
            let done = task.cancel(self.clock.now())?;
            Ok((Draft::of(task), done))
        };
        let (task, done) = self.change(tenant, id, cancel).await?;
        if done == Some(Cancellation::Requested) {
            tracing::info!("task is to be canceled by its worker");
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
        let reopen = |mut task: Task| async move {
            if !task.is_reopenable() {
                return Err(AppError::WrongState(task.status()));
            }
            let limits = self.changed_limits(&task, limits).await?;
            let conversation = Conversation::new(task.progress().base, self.journal.steps(id).await?);
            task.note_steps(conversation.steps().map(Step::head));
            // A recorded answer that was the failure itself would only fail the task again.
            let is_failed = match conversation.next() {
                Next::Finish(answer) => outcome_of(*answer, conversation.tool_calls()).is_err(),
                Next::Ask { .. } | Next::Tools(_) => false,
            };
            let from = match from {
                RetryFrom::Checkpoint if !is_failed => ReopenFrom::Checkpoint,
                RetryFrom::Checkpoint | RetryFrom::Start => {
                    ReopenFrom::Start { last_step: conversation.complete_until() }
                }
            };
            task.reopen(from, limits, self.clock.now())?;
            Ok((Draft::of(task), ()))
        };
        self.go_on(tenant, id, reopen).await
    }

    /// Goes on with a paused task, with limits that let it.
    pub async fn resume_task(&self, tenant: &TenantId, id: TaskId, limits: LimitChanges) -> Result<Task, AppError> {
        let resume = |mut task: Task| async move {
            let limits = self.changed_limits(&task, limits).await?;
            task.resume(limits, self.clock.now())?;
            Ok((Draft::of(task), ()))
        };
        self.go_on(tenant, id, resume).await
    }

    /// Records the client's answers to the calls that its task waits for, all of them, and goes on. Of several clients that
    /// answer at once one is heard, with all its answers. The very same answers may come twice.
    pub async fn answer_task(&self, tenant: &TenantId, id: TaskId, answers: Vec<ToolAnswer>) -> Result<Task, AppError> {
        let answers = answers.as_slice();
        let answer = |mut task: Task| async move {
            let TaskState::InputRequired { calls, .. } = task.state() else {
                let wrong_state = AppError::WrongState(task.status());
                return self.answered_before(task, answers, wrong_state).await;
            };
            let pairs = match paired(calls, answers) {
                Ok(pairs) => pairs,
                Err(broken) => return self.answered_before(task, answers, broken).await,
            };
            let now = self.clock.now();
            let steps = pairs.into_iter().map(|(call, answer)| answer.step(&task, call, now)).collect();
            task.answered(now)?;
            Ok((Draft { task, steps }, ()))
        };
        self.go_on(tenant, id, answer).await
    }

    /// The task as it is, if its journal has these very answers, at least one; else the `refusal`, or that one of them was
    /// given otherwise.
    async fn answered_before(
        &self,
        task: Task,
        answers: &[ToolAnswer],
        refusal: AppError,
    ) -> Result<(Draft, ()), AppError> {
        let known = self.steps_of(&task).await?;
        let is_known = |answer: &ToolAnswer| known.iter().any(|step| answer.is_in(step));
        if !answers.is_empty() && answers.iter().all(is_known) {
            return Ok((Draft::of(task), ()));
        }
        let otherwise = answers.iter().find_map(|answer| known.iter().find_map(|step| answer.answered_call(step)));
        match (refusal, otherwise) {
            (AppError::WrongState(_), Some(call)) => Err(AppError::AnsweredOtherwise(call.id.clone())),
            (refusal, _) => Err(refusal),
        }
    }

    /// The task's journal, in order.
    pub async fn list_steps(&self, tenant: &TenantId, id: TaskId) -> Result<Vec<Step>, AppError> {
        let task = self.find_task(tenant, id).await?;
        Ok(self.steps_of(&task).await?)
    }

    pub(super) async fn steps_of(&self, task: &Task) -> Result<Vec<Step>, StoreError> {
        Ok(journal(task.progress().base, self.journal.steps(task.id()).await?))
    }

    /// The task's limits with these changes.
    async fn changed_limits(&self, task: &Task, changes: LimitChanges) -> Result<Limits, AppError> {
        if changes.max_cost_micro_usd.is_some() {
            let spec = task.spec();
            if let Some(agent) = self.agents.version(&spec.tenant, spec.agent).await? {
                self.check_cap(&agent, changes)?;
            }
        }
        changes.apply(task.limits()).map_err(in_limits)
    }

    /// Makes a transition after which the task goes on, and sends its message.
    async fn go_on<F>(&self, tenant: &TenantId, id: TaskId, transition: impl Fn(Task) -> F) -> Result<Task, AppError>
    where
        F: Future<Output = Result<(Draft, ()), AppError>>,
    {
        let (task, ()) = self.change(tenant, id, transition).await?;
        if task.status() == TaskStatus::Queued {
            tracing::info!(base = task.progress().base, "task goes on");
            send(self.queue.as_ref(), &task, Duration::ZERO).await;
        }
        Ok(task)
    }

    /// Makes a transition of the task as it stands, and stores it if it is one; again and again as long as others change the
    /// task in between.
    async fn change<T, F>(
        &self,
        tenant: &TenantId,
        id: TaskId,
        transition: impl Fn(Task) -> F,
    ) -> Result<(Task, T), AppError>
    where
        F: Future<Output = Result<(Draft, T), AppError>>,
    {
        for _ in 0..MOST_TRIES {
            let task = self.find_task(tenant, id).await?;
            Span::current().record("agent_id", task.spec().agent.id.to_string());
            let before = task.progress().revision;
            let (Draft { task, steps }, outcome) = transition(task).await?;
            if task.progress().revision == before {
                return Ok((task, outcome));
            }
            let stored = match steps.as_slice() {
                [] => self.store.update(&task).await,
                steps => self.store.update_with(&task, steps).await,
            };
            match stored {
                Ok(()) => {
                    note_change(&task);
                    return Ok((task, outcome));
                }
                Err(StoreError::Conflict) => {}
                Err(StoreError::TooLarge) if !steps.is_empty() => {
                    return Err(AppError::invalid("/results", "has a text that is too large"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

/// A changed task that is not stored yet, and the steps to be recorded with it.
struct Draft {
    task: Task,
    steps: Vec<Step>,
}

impl Draft {
    const fn of(task: Task) -> Self {
        Self { task, steps: Vec::new() }
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
