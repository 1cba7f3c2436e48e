//! Submitting and reading tasks.
//!
//! A task is durable before its message is sent, and accepted even if the message could not be
//! sent: the watchdog finds every task that no worker claimed.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::AppError;
use super::send::try_send;
use super::span::record;
use crate::domain::{
    Agent, AgentId, CacheUse, Causes, Invalid, LimitBound, LimitChanges, ModelChoice, Scope, Task,
    TaskId, TaskInput, TenantId, TraceHeader, Usage,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{
    AgentStore, Clock, Created, Journal, Page, PageRequest, TaskFilter, TaskQueue, TaskStore,
    TaskSummary,
};

/// A client's name for one submission, so that sending it twice makes one task (the
/// `Idempotency-Key` header of draft-ietf-httpapi-idempotency-key-header): 1 to 255 printable ASCII
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl FromStr for IdempotencyKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "Idempotency-Key",
            "must have 1 to 255 printable ASCII characters",
        ))
    }
}

/// What a client submits.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The agent that works on it, in its newest version.
    pub agent: AgentId,
    /// What to work on.
    pub input: TaskInput,
    /// How it uses the response cache.
    pub cache_use: CacheUse,
    /// Its own limits, where they differ from the agent's.
    pub limits: LimitChanges,
    /// The client's name for the submission, if it gave one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The trace that the submission belongs to.
    pub trace: Option<TraceHeader>,
}

/// The use cases on tasks.
#[derive(Clone)]
pub struct Tasks {
    /// The store of agents.
    pub agents: Arc<dyn AgentStore>,
    /// The store of tasks.
    pub store: Arc<dyn TaskStore>,
    /// The store of steps.
    pub journal: Arc<dyn Journal>,
    /// The queue for the tasks' messages.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Tasks {
    /// Accepts a task. The same submission with the same idempotency key returns the first task.
    pub async fn submit_task(&self, tenant: &TenantId, new: NewTask) -> Result<Task, AppError> {
        let Some(agent) = self.agents.newest(tenant, new.agent).await? else {
            return Err(AppError::invalid(
                "/agent_id",
                format!("agent {} not found", new.agent),
            ));
        };
        let now = self.clock.now();
        let id = match &new.idempotency_key {
            Some(key) => derived_id(tenant, key),
            None => TaskId::new(now),
        };
        record("task_id", id.to_string());
        record("agent_id", agent.id.to_string());
        check_bound(new.limits, Some(&agent))?;
        let limits = new.limits.apply(agent.config.limits).map_err(in_limits)?;
        self.check_cap(&agent, new.limits)?;
        let task = Task::submit(id, &agent, new.input, new.cache_use, now)
            .within(limits)
            .traced(new.trace);
        match self.store.create(&task).await? {
            Created::New => {}
            Created::Existing(existing) => {
                let existing = same_submission(*existing, &task)?;
                metric::IDEMPOTENT_REPLAYS.add([], 1);
                return Ok(existing);
            }
            Created::Deleted => return Err(AppError::TaskDeleted),
        }
        metric::TASKS_SUBMITTED.add([], 1);
        let idempotency_key = new.idempotency_key.is_some();
        match try_send(self.queue.as_ref(), &task, Duration::ZERO).await {
            Ok(()) => tracing::info!(idempotency_key, "task accepted"),
            Err(error) => {
                tracing::warn!(idempotency_key, error = %Causes(&error), "task accepted; message send failed, watchdog will resend");
            }
        }
        Ok(task)
    }

    /// Refuses a cap on cost if one of the agent's models has no price.
    pub(super) fn check_cap(&self, agent: &Agent, changes: LimitChanges) -> Result<(), AppError> {
        let now = self.clock.now();
        let Some(most) = changes.max_cost_micro_usd else {
            return Ok(());
        };
        let is_unpriced = |choice: &&ModelChoice| {
            PriceTable::current()
                .cost(&choice.model, &Usage::default(), now)
                .is_none()
        };
        match agent.config.models.iter().find(is_unpriced) {
            Some(choice) => {
                let reason = format!(
                    "can't be {most}: {} has no price, so that no cap can be stored",
                    choice.model
                );
                Err(AppError::invalid("/limits/max_cost_micro_usd", reason))
            }
            None => Ok(()),
        }
    }

    /// The task as it is, perhaps without its input.
    pub async fn find_task(&self, tenant: &TenantId, id: TaskId) -> Result<Task, AppError> {
        self.store
            .task(tenant, id)
            .await?
            .ok_or_else(|| unknown(id))
    }

    /// The task with its input.
    pub(super) async fn with_input(&self, task: Task) -> Result<Task, AppError> {
        let id = task.id();
        self.store
            .with_input(task)
            .await?
            .ok_or_else(|| unknown(id))
    }

    /// The tenant's tasks, newest first.
    pub async fn list_tasks(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, AppError> {
        Ok(self.store.list(tenant, filter, page).await?)
    }
}

fn unknown(id: TaskId) -> AppError {
    AppError::NotFound(format!("task {id}"))
}

/// Refuses limits above those of the agent, if the client may not set such limits.
pub(super) fn check_bound(changes: LimitChanges, agent: Option<&Agent>) -> Result<(), AppError> {
    let exceed = agent.is_none_or(|agent| changes.exceed(&agent.config.limits));
    if changes.bound == LimitBound::Agent && exceed {
        return Err(AppError::MissingScope(Scope::TasksLimits));
    }
    Ok(())
}

/// Broken rules of limits, with their place in a request.
pub(super) fn in_limits(broken: Vec<Invalid>) -> AppError {
    let placed = |invalid: Invalid| Invalid {
        field: format!("/limits{}", invalid.field),
        ..invalid
    };
    AppError::Invalid(broken.into_iter().map(placed).collect())
}

/// The task id that is derived from the tenant's `key`. So the key needs no record of its own.
fn derived_id(tenant: &TenantId, key: &IdempotencyKey) -> TaskId {
    let digest = Sha256::new()
        .chain_update(tenant.as_str())
        .chain_update([0])
        .chain_update(&key.0)
        .finalize();
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(digest)
        .for_each(|(byte, from)| *byte = from);
    TaskId::derived(bytes)
}

fn same_submission(existing: Task, wanted: &Task) -> Result<Task, AppError> {
    let (stored, new) = (existing.spec(), wanted.spec());
    if stored.agent.id == new.agent.id && stored.input == new.input {
        return Ok(existing);
    }
    Err(AppError::IdempotencyKeyReused)
}
