//! Running a task: claim it, do the steps that its journal lacks, end it.
//!
//! Nothing here trusts that it runs once. The claim is exclusive, a recorded step is never done again, and every change of
//! the task is conditional on it being as this worker left it, so that one that was given up for dead and comes back
//! changes nothing. What a worker leaves undone, the next delivery or the watchdog picks up.

use std::sync::Arc;
use std::time::Duration;

use super::outcome::{Aftermath, aftermath, outcome_of, too_large};
use crate::domain::task::{LONGEST_MESSAGE_DELAY, TaskSpec};
use crate::domain::{
    Agent, AgentConfig, CacheRules, Caller, Causes, ClaimRefused, Deadline, Failure, FailureCode, Lease, Message,
    ModelRequest, Outage, Output, Prompt, Spend, Spent, Step, StepKind, Task, TaskState, TaskStatus, Timestamp, Wait,
    WorkerId, whole_millis,
};
use crate::ports::{
    AgentStore, Claimed, Clock, Journal, Model, ModelError, StoreError, TaskMessage, TaskQueue, TaskStore,
};

/// Kept free at the end of an invocation for recording what the model answered.
const RESERVE: Duration = Duration::from_secs(10);

/// How much longer than its invocation a lease lasts, for clocks that differ.
const SKEW: Duration = Duration::from_secs(2);

/// The single step of a task, as long as an agent asks its model once.
const ONLY_STEP: u32 = 1;

/// What came of a message; all of these are done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// The task has ended, just now.
    Ended(TaskStatus),
    /// The task had ended before: the message is a duplicate.
    EndedBefore(TaskStatus),
    /// Another worker took the task over meanwhile; it is no longer this one's business.
    LeaseLost,
    /// The task waits without a worker; a message brings it back, or the watchdog does.
    Parked(Wait),
    /// The tenant has no such task.
    Unknown,
}

/// The message must come back.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another worker holds the task; if it is dead, the task can be had at `until`.
    #[error("another worker holds the task")]
    Leased {
        /// When the other worker's lease ends.
        until: Timestamp,
    },
    /// The task is parked, and the message is early.
    #[error("the task is parked")]
    Waiting {
        /// When the wait is over.
        until: Timestamp,
    },
    /// The store failed at a moment that leaves the task to be taken up again.
    #[error("the task's state could not be kept")]
    Store(#[from] StoreError),
}

/// The ports that running a task takes.
pub struct Runner {
    /// Where agents are kept.
    pub agents: Arc<dyn AgentStore>,
    /// Where tasks are kept.
    pub tasks: Arc<dyn TaskStore>,
    /// Where steps are kept.
    pub journal: Arc<dyn Journal>,
    /// Where messages for parked tasks go.
    pub queue: Arc<dyn TaskQueue>,
    /// The models.
    pub model: Arc<dyn Model>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether and how long answers are kept, for agents that don't say.
    pub cache: CacheRules,
}

/// Why a task's work ended without an answer.
enum Stopped {
    /// For good; the task has failed.
    Failed(Failure),
    /// No model answered, and this is what the agent wants then.
    Model(ModelError, Outage),
    /// For now, with this spent; the message must come back.
    Store(StoreError, Spent),
}

impl From<StoreError> for Stopped {
    /// For a store that failed before a model was asked.
    fn from(error: StoreError) -> Self {
        Self::Store(error, Spent::Nothing)
    }
}

impl Runner {
    /// Works on the message's task until it has ended. `until` is when this invocation is killed; the lease ends with it,
    /// so that no living worker is ever replaced.
    pub async fn run(&self, message: &TaskMessage, until: Timestamp) -> Result<Ran, RunError> {
        let now = self.clock.now();
        let lease = Lease { worker: WorkerId::new(now), expires_at: until.plus(SKEW) };
        match self.tasks.claim(&message.tenant, message.task, lease, now).await? {
            Claimed::Granted(task) => {
                tracing::Span::current().record("agent_id", task.spec().agent.id.to_string());
                self.work(*task, until).await
            }
            Claimed::Refused(_, ClaimRefused::Finished(status)) => Ok(Ran::EndedBefore(status)),
            Claimed::Refused(_, ClaimRefused::Leased { until }) => Err(RunError::Leased { until }),
            Claimed::Refused(_, ClaimRefused::Waiting { until }) => Err(RunError::Waiting { until }),
            Claimed::Refused(task, ClaimRefused::Overdue) => self.settle(*task).await,
            Claimed::Unknown => Ok(Ran::Unknown),
        }
    }

    async fn work(&self, mut task: Task, until: Timestamp) -> Result<Ran, RunError> {
        // What a recorded answer came to is in the journal: it is the task's only once the task ends with it.
        let mut recorded_spend = Spend::default();
        let result = match self.answer(&mut task, until).await {
            Ok(recorded) => {
                recorded_spend = spend_of(&recorded);
                outcome_of(recorded)
            }
            Err(Stopped::Failed(_) | Stopped::Model(..)) if self.clock.now() >= task.spec().deadline => {
                return self.settle(task).await;
            }
            Err(Stopped::Failed(failure)) => Err(failure),
            Err(Stopped::Model(error, outage)) => match aftermath(&task, outage, &error, self.clock.now()) {
                Aftermath::Park(wait, spent) => return self.park(task, wait, spent).await,
                Aftermath::Fail(failure) => Err(failure),
            },
            Err(Stopped::Store(error, spent)) => return self.give_back(task, error, spent).await,
        };
        let mut paid = task.clone();
        paid.add_spend(recorded_spend);
        let ended = match self.end(paid.clone(), result).await {
            Err(StoreError::TooLarge) => self.end(paid, Err(too_large())).await,
            ended => ended,
        };
        match ended {
            Ok(ran) => Ok(ran),
            Err(error) => self.give_back(task, error, Spent::Nothing).await,
        }
    }

    /// Gives the task up for the next delivery of its message after the store failed with `error`, so that a hiccup
    /// doesn't cost the rest of the lease. If that fails as well, the lease's end still frees the task.
    async fn give_back(&self, mut task: Task, error: StoreError, spent: Spent) -> Result<Ran, RunError> {
        if task.release(task.fence(), spent, self.clock.now()).is_err() {
            return Err(error.into());
        }
        match self.tasks.update(&task).await {
            Ok(()) if task.status().is_terminal() => {
                tracing::error!(error = %Causes(&error), "the last attempt came to nothing");
                Ok(ended(&task))
            }
            Ok(()) => Err(error.into()),
            Err(second) => {
                tracing::debug!(error = %Causes(&second), "the task is left to the end of its lease");
                Err(error.into())
            }
        }
    }

    /// Parks the task and sends the message that brings it back. If that gets lost, the watchdog brings it back.
    async fn park(&self, mut task: Task, wait: Wait, spent: Spent) -> Result<Ran, RunError> {
        let (now, before) = (self.clock.now(), task.clone());
        if task.park(task.fence(), wait, spent, now).is_err() {
            return Ok(Ran::LeaseLost);
        }
        match self.tasks.update(&task).await {
            Ok(()) if task.status().is_terminal() => return Ok(ended(&task)),
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Ran::LeaseLost),
            Err(error) => return self.give_back(before, error, spent).await,
        }
        let delay = wait.until.since(now);
        tracing::info!(
            reason = wait.reason.as_str(),
            after_ms = whole_millis(delay),
            parkings = task.progress().parkings,
            "task parked"
        );
        if delay <= LONGEST_MESSAGE_DELAY {
            let message = TaskMessage { tenant: task.spec().tenant.clone(), task: task.id() };
            if let Err(error) = self.queue.send(&message, delay).await {
                tracing::warn!(error = %Causes(&error), "parked task's message is left to cleanup");
            }
        }
        Ok(Ran::Parked(wait))
    }

    /// What the model answered: as recorded, if it is. What came of calls that the journal doesn't have is added to the task;
    /// if it can't be told whether a step was recorded, rather once too often than not at all.
    async fn answer(&self, task: &mut Task, until: Timestamp) -> Result<StepKind, Stopped> {
        if task.fence() > 1
            && let Some(recorded) = self.recorded(task).await?
        {
            tracing::info!("the recorded answer is used");
            return Ok(recorded);
        }
        let Some(agent) = self.agents.version(&task.spec().tenant, task.spec().agent).await? else {
            return Err(Stopped::Failed(Failure {
                code: FailureCode::AgentMissing,
                message: format!("agent {} has no version {}", task.spec().agent.id, task.spec().agent.version),
                attempts: Vec::new(),
            }));
        };
        let step = self.call_model(task, &agent, until).await?;
        let appended = self.journal.append(&step).await;
        if appended.is_err() {
            task.add_spend(spend_of(&step.kind));
        }
        match appended {
            Ok(()) => {}
            // A worker whose lease had ended recorded its answer after all. The journal decides, whoever wrote it.
            Err(StoreError::Conflict) => {
                return self.recorded(task).await?.ok_or(Stopped::Store(StoreError::Conflict, Spent::ModelCall));
            }
            Err(StoreError::TooLarge) => return Err(Stopped::Failed(too_large())),
            Err(error) => return Err(Stopped::Store(error, Spent::ModelCall)),
        }
        Ok(step.kind)
    }

    async fn recorded(&self, task: &Task) -> Result<Option<StepKind>, StoreError> {
        let steps = self.journal.steps(task.id()).await?;
        Ok(steps.into_iter().find(|step| step.number == ONLY_STEP).map(|step| step.kind))
    }

    fn request(&self, task: &Task, agent: &Agent, until: Timestamp) -> ModelRequest {
        let AgentConfig { instructions, models, tools, output_schema, retry, cache, limits, .. } = &agent.config;
        let TaskSpec { id, tenant, input, cache_use, deadline, .. } = task.spec();
        let prompt = Prompt {
            instructions: instructions.as_str().to_owned(),
            messages: vec![Message::user(input.as_str())],
            tools: tools.clone(),
            output_schema: output_schema.clone(),
            max_output_tokens: limits.max_output_tokens(),
        };
        ModelRequest {
            chain: models.clone(),
            prompt: Arc::new(prompt),
            caller: Caller { tenant: tenant.clone(), task: *id },
            retry: *retry,
            cache: cache.unwrap_or(self.cache),
            cache_use: *cache_use,
            task_cap: limits.max_cost_micro_usd(),
            deadline: Deadline::at(until).less(RESERVE).or_earlier(Deadline::at(*deadline)),
        }
    }

    async fn call_model(&self, task: &mut Task, agent: &Agent, until: Timestamp) -> Result<Step, Stopped> {
        let started_at = self.clock.now();
        let request = self.request(task, agent, until);
        let asked = self.model.ask(&request).await;
        let finished_at = self.clock.now();
        let duration_ms = whole_millis(finished_at.since(started_at));
        let (provider, model) = (request.model().provider().as_str(), request.model().name());
        match asked {
            Ok(answer) => {
                tracing::info!(
                    step = ONLY_STEP,
                    provider,
                    model,
                    served_model = answer.served_model,
                    provider_request_id = answer.request_id,
                    stop_reason = answer.stop_reason.as_str(),
                    input_tokens = answer.usage.input_tokens,
                    output_tokens = answer.usage.output_tokens,
                    cost_micro_usd = answer.spend.cost.micro_usd,
                    unpriced_calls = answer.spend.cost.unpriced_calls,
                    model_attempts = answer.spend.attempts,
                    origin = answer.origin.as_str(),
                    duration_ms,
                    "model answered"
                );
                let kind = StepKind::ModelCall { requested: request.model().clone(), answer };
                Ok(Step { task: task.id(), number: ONLY_STEP, fence: task.fence(), kind, started_at, finished_at })
            }
            Err(error) => {
                tracing::warn!(
                    step = ONLY_STEP,
                    provider,
                    model,
                    provider_status = error.status,
                    provider_request_id = error.request_id,
                    duration_ms,
                    error = %Causes(&error),
                    "model call failed"
                );
                task.add_spend(error.spend);
                Err(Stopped::Model(error, agent.config.retry.outage))
            }
        }
    }

    async fn end(&self, mut task: Task, result: Result<Output, Failure>) -> Result<Ran, StoreError> {
        let now = self.clock.now();
        let fence = task.fence();
        let changed = match result {
            Ok(output) => task.complete(fence, output, now),
            Err(failure) => task.fail(fence, failure, now),
        };
        if changed.is_err() {
            return Ok(Ran::LeaseLost);
        }
        match self.tasks.update(&task).await {
            Ok(()) => Ok(ended(&task)),
            Err(StoreError::Conflict) => Ok(Ran::LeaseLost),
            Err(error) => Err(error),
        }
    }

    /// Ends a task whose time or attempts are used up.
    async fn settle(&self, mut task: Task) -> Result<Ran, RunError> {
        if task.settle_overdue(self.clock.now()).is_none() {
            return Err(StoreError::Conflict.into());
        }
        match self.tasks.update(&task).await {
            Ok(()) => Ok(ended(&task)),
            Err(StoreError::Conflict) => Ok(Ran::LeaseLost),
            Err(error) => Err(error.into()),
        }
    }
}

fn spend_of(recorded: &StepKind) -> Spend {
    let StepKind::ModelCall { answer, .. } = recorded;
    answer.spend
}

fn ended(task: &Task) -> Ran {
    let duration_ms = task.finished_at().map(|at| whole_millis(at.since(task.spec().created_at)));
    let failure = match task.state() {
        TaskState::Failed(failure) => Some(failure),
        TaskState::Queued { .. }
        | TaskState::Running(_)
        | TaskState::Waiting { .. }
        | TaskState::Completed(_)
        | TaskState::TimedOut => None,
    };
    tracing::info!(
        status = task.status().as_str(),
        failure = failure.map(|failure| failure.code.as_str()),
        reason = failure.map(|failure| failure.message.as_str()),
        attempts = task.attempts(),
        parkings = task.progress().parkings,
        cost_micro_usd = task.progress().spend.cost.micro_usd,
        unpriced_calls = task.progress().spend.cost.unpriced_calls,
        duration_ms,
        "task ended"
    );
    Ran::Ended(task.status())
}
