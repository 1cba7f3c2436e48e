//! The use cases on a submitted task: a client cancels, retries, resumes, answers or deletes it.
//!
//! Each use case reads the task, makes one transition and stores it. If another writer changed the
//! task in between, it tries again. It also reads the input, because the client gets it back. A
//! task that resumes is written before its message is sent; the watchdog resends a lost message.

use std::time::Duration;

use super::answers::{ToolAnswer, paired};
use super::change::record_transition;
use super::lost::{check_complete, note_steps};
use super::outcome::outcome_of;
use super::send::send;
use super::span::record;
use super::submit::{check_bound, in_limits};
use super::{AppError, Tasks};
use crate::domain::{
    Cancellation, Causes, LimitBound, LimitChanges, Limits, Outline, ReopenFrom, Step, StepKind,
    StepSummaryKind, Task, TaskId, TaskState, TaskStatus, TenantId, ToolRunner, is_final,
    journal_summaries,
};
use crate::metric;
use crate::ports::{Deletion, StoreError};

/// How often a transition is tried. Each failure means that another writer changed the task.
const MOST_TRIES: usize = 8;

impl Tasks {
    /// Cancels a task: at once, or within seconds if a worker holds its lease. A second cancel is
    /// no error.
    pub async fn cancel_task(&self, tenant: &TenantId, id: TaskId) -> Result<Task, AppError> {
        let cancel = |mut task: Task| async move {
            note_steps(self.journal.as_ref(), &mut task).await?;
            let done = task.cancel(self.clock.now())?;
            Ok((Draft::of(task), done))
        };
        let (task, done) = self.change(tenant, id, cancel).await?;
        if done == Some(Cancellation::Requested) {
            tracing::info!("cancel requested; the worker will cancel the task");
        }
        Ok(task)
    }

    /// Continues a task that failed, was canceled or timed out: after its last recorded step, or
    /// from the start. If its steps can't be read or one is missing, only from the start. A task
    /// that would stop at the same limit again at once needs a higher one.
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
            let from = self.reopened_from(&mut task, from).await?;
            task.reopen(from, limits, self.clock.now())?;
            Ok((Draft::of(task), ()))
        };
        let log = |task: &Task| {
            let (from, base) = (from.as_str(), task.progress().base);
            tracing::info!(from, base, "task retried");
            metric::TASKS_RETRIED.add([], 1);
        };
        self.change_and_send(tenant, id, reopen, log).await
    }

    /// Deletes a task that has ended. It no longer exists for readers; its records, and the cached
    /// answers that it used, are deleted within minutes. Until then, a second deletion is no error.
    pub async fn delete_task(&self, tenant: &TenantId, id: TaskId) -> Result<(), AppError> {
        record("task_id", id.to_string());
        match self.store.delete(tenant, id).await? {
            Deletion::Begun => {
                tracing::info!("task deleted");
                metric::TASKS_DELETED.add([], 1);
                Ok(())
            }
            Deletion::NotEnded(status) => Err(AppError::WrongState(status)),
            Deletion::Unknown => Err(AppError::NotFound(format!("task {id}"))),
        }
    }

    /// Resumes a paused task, with higher limits.
    pub async fn resume_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        limits: LimitChanges,
    ) -> Result<Task, AppError> {
        let resume = |mut task: Task| async move {
            let limits = self.changed_limits(&task, limits).await?;
            task.resume(limits, self.clock.now())?;
            Ok((Draft::of(task), ()))
        };
        let log = |_: &Task| tracing::info!("task resumed");
        self.change_and_send(tenant, id, resume, log).await
    }

    /// Records the client's answers to all calls that its task waits for, and resumes the task. If
    /// several clients answer at once, the answers of one client count, all of them. Sending the
    /// very same answers twice succeeds.
    pub async fn answer_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        answers: Vec<ToolAnswer>,
    ) -> Result<Task, AppError> {
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
            let steps: Vec<Step> = pairs
                .into_iter()
                .map(|(call, answer)| answer.step(&task, call, now))
                .collect();
            task.answered(
                steps.iter().map(|step| step.kind.content_bytes()).sum(),
                now,
            )?;
            Ok((Draft { task, steps }, ()))
        };
        let log = |_: &Task| tracing::info!("task answered");
        self.change_and_send(tenant, id, answer, log).await
    }

    /// Where a retried task starts. Counts the recorded steps on the task first.
    async fn reopened_from(
        &self,
        task: &mut Task,
        from: RetryFrom,
    ) -> Result<ReopenFrom, StoreError> {
        let summaries = match self.journal.step_summaries(task.id()).await {
            Err(error @ StoreError::Corrupt { .. }) if from == RetryFrom::Start => {
                tracing::error!(error = %Causes(&error), "steps can't be read; the task restarts from its input");
                // The journal may have more steps than the task's record knows. They belong to the
                // earlier run, so they do not count.
                return Ok(ReopenFrom::Start {
                    last_step: task.progress().steps.max(task.progress().base) + 1,
                });
            }
            summaries => summaries?,
        };
        let outline = Outline::new(task.progress().base, summaries);
        task.note_steps(outline.step_summaries());
        if from == RetryFrom::Checkpoint {
            check_complete(task, &outline)?;
        }
        Ok(match from {
            RetryFrom::Checkpoint if !self.would_fail_again(task.id(), &outline).await? => {
                ReopenFrom::Checkpoint
            }
            RetryFrom::Checkpoint | RetryFrom::Start => ReopenFrom::Start {
                last_step: outline.complete_until(),
            },
        })
    }

    /// Whether the last recorded answer would only fail the task again, because it caused the
    /// failure.
    async fn would_fail_again(&self, task: TaskId, outline: &Outline) -> Result<bool, StoreError> {
        let Some(last) = outline.last_answer() else {
            return Ok(false);
        };
        let step = self.journal.step(task, last.place()).await?;
        Ok(match step.map(|step| step.kind) {
            Some(StepKind::ModelCall { answer, .. }) if is_final(&answer) => {
                outcome_of(answer, outline.tool_calls()).is_err()
            }
            Some(StepKind::ModelCall { .. } | StepKind::ToolCall { .. }) | None => false,
        })
    }

    /// The unchanged task, if its journal has all these answers, and there is at least one: the
    /// client sent them twice. Else fails with `refusal`, or because a call has a different answer
    /// already.
    async fn answered_before(
        &self,
        task: Task,
        answers: &[ToolAnswer],
        refusal: AppError,
    ) -> Result<(Draft, ()), AppError> {
        let mut unknown: Vec<&ToolAnswer> = answers.iter().collect();
        // For each answer, the id of the recorded call that it answers, if there is one.
        let mut answered: Vec<Option<String>> = vec![None; answers.len()];
        let by_client = StepSummaryKind::ToolCall {
            by: ToolRunner::Client,
        };
        let summaries = journal_summaries(
            task.progress().base,
            self.journal.step_summaries(task.id()).await?,
        );
        let may_be = |number| {
            answers
                .iter()
                .any(|answer| answer.step.is_none_or(|step| step == number))
        };
        // One at a time: each may be large.
        for summary in summaries
            .iter()
            .filter(|summary| summary.kind == by_client && may_be(summary.number))
        {
            let Some(step) = self.journal.step(task.id(), summary.place()).await? else {
                continue;
            };
            unknown.retain(|answer| !answer.is_in(&step));
            for (call, answer) in answered
                .iter_mut()
                .zip(answers)
                .filter(|(call, _)| call.is_none())
            {
                *call = answer.answered_call(&step).map(|call| call.id.clone());
            }
        }
        if !answers.is_empty() && unknown.is_empty() {
            return Ok((Draft::of(task), ()));
        }
        match (refusal, answered.into_iter().flatten().next()) {
            (AppError::WrongState(_), Some(call)) => Err(AppError::AnsweredOtherwise(call)),
            (refusal, _) => Err(refusal),
        }
    }

    /// The task's limits with these changes.
    async fn changed_limits(&self, task: &Task, changes: LimitChanges) -> Result<Limits, AppError> {
        if changes.are_none() {
            return Ok(task.limits());
        }
        if changes.bound == LimitBound::Agent || changes.max_cost_micro_usd.is_some() {
            let spec = task.spec();
            let agent = self.agents.version(&spec.tenant, spec.agent).await?;
            check_bound(changes, agent.as_ref())?;
            if let Some(agent) = agent {
                self.check_cap(&agent, changes)?;
            }
        }
        changes.apply(task.limits()).map_err(in_limits)
    }

    /// Makes a transition after which the task continues, logs it, and sends the task's message.
    async fn change_and_send<F>(
        &self,
        tenant: &TenantId,
        id: TaskId,
        transition: impl Fn(Task) -> F,
        log: impl Fn(&Task),
    ) -> Result<Task, AppError>
    where
        F: Future<Output = Result<(Draft, ()), AppError>>,
    {
        let (task, ()) = self.change(tenant, id, transition).await?;
        if task.status() == TaskStatus::Queued {
            log(&task);
            send(self.queue.as_ref(), &task, Duration::ZERO).await;
        }
        Ok(task)
    }

    /// Makes a transition of the present task, and stores it if the task changed. Tries again if
    /// another writer changed the task in between.
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
            let task = self.with_input(self.find_task(tenant, id).await?).await?;
            record("agent_id", task.spec().agent.id.to_string());
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
                    record_transition(&task);
                    return Ok((task, outcome));
                }
                Err(StoreError::Conflict) => {}
                Err(StoreError::TooLarge) if !steps.is_empty() => {
                    return Err(AppError::invalid(
                        "/results",
                        "has a text that is too large",
                    ));
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
        Self {
            task,
            steps: Vec::new(),
        }
    }
}

/// Where a retried task starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryFrom {
    /// After its last recorded step.
    #[default]
    Checkpoint,
    /// From the task's input, in a new run. The numbers of its steps continue.
    Start,
}

impl RetryFrom {
    /// The name in requests and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Start => "start",
        }
    }
}
