//! Submitting and reading tasks.
//!
//! A task is durable before its message is sent, and accepted even if the message could not be
//! sent: the watchdog finds every task that no worker claimed.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::send::send_outgoing;
use super::span::record;
use super::{AgentDraft, AppError};
use crate::domain::{
    Agent, AgentHead, AgentId, AgentVersion, AliasName, CacheUse, Invalid, KeyId, LimitBound,
    LimitChanges, Limits, Metadata, ModelChoice, Provider, Scope, Switch, Task, TaskId, TaskInput,
    TenantId, Timestamp, TraceHeader, Usage, whole_millis,
};
use crate::metric;
use crate::policy::PriceTable;
use crate::ports::{
    AgentStore, Clock, Created, Journal, Outgoing, Page, PageRequest, TaskFilter, TaskQueue,
    TaskStore, TaskSummary,
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

/// Which version of its agent a new task runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum VersionChoice {
    /// The newest version.
    #[default]
    Newest,
    /// The version with this number.
    Number(u32),
    /// The version that this alias names at the submission.
    Alias(AliasName),
}

/// What a client submits.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The agent that works on it.
    pub agent: AgentId,
    /// The version of the agent that it runs.
    pub version: VersionChoice,
    /// What the agent does, if the submission defines it: see [`NewTask::inline`].
    pub definition: Option<Box<AgentDraft>>,
    /// What to work on.
    pub input: TaskInput,
    /// How it uses the response cache.
    pub cache_use: CacheUse,
    /// Its own limits, where they differ from the agent's.
    pub limits: LimitChanges,
    /// What its client notes about it.
    pub metadata: Metadata,
    /// When it begins at the earliest; at once if absent.
    pub not_before: Option<Timestamp>,
    /// The API key that submits it; `None` for the deployment's own key.
    pub key: Option<KeyId>,
    /// The client's name for the submission, if it gave one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The trace that the submission belongs to.
    pub trace: Option<TraceHeader>,
}

impl NewTask {
    /// A task for the newest version of the agent, with the agent's limits, that begins at once.
    pub fn of(agent: AgentId, input: TaskInput) -> Self {
        Self {
            agent,
            version: VersionChoice::Newest,
            definition: None,
            input,
            cache_use: CacheUse::default(),
            limits: LimitChanges::default(),
            metadata: Metadata::default(),
            not_before: None,
            key: None,
            idempotency_key: None,
            trace: None,
        }
    }
}

/// A task that was accepted, now or before.
pub(super) struct Accepted {
    /// The task.
    pub(super) task: Task,
    /// Whether it was accepted now, so that its message is to be sent.
    pub(super) is_new: bool,
}

impl Accepted {
    const fn before(task: Task) -> Self {
        Self {
            task,
            is_new: false,
        }
    }
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
    /// The providers that this deployment can call.
    pub providers: Vec<Provider>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Tasks {
    /// Accepts a task. The same submission with the same idempotency key returns the first task,
    /// also if the agent has changed since then.
    pub async fn submit_task(&self, tenant: &TenantId, new: NewTask) -> Result<Task, AppError> {
        let Accepted { task, is_new } = self.accept(tenant, new).await?;
        if is_new && let Some(first) = Outgoing::first_of(&task) {
            send_outgoing(self.queue.as_ref(), &first).await;
        }
        Ok(task)
    }

    /// Stores a task, and leaves it to the caller to send its message.
    pub(super) async fn accept(
        &self,
        tenant: &TenantId,
        new: NewTask,
    ) -> Result<Accepted, AppError> {
        let now = self.clock.now();
        let id = match &new.idempotency_key {
            Some(key) => derived_id(tenant, key),
            None => TaskId::new(now),
        };
        record("task_id", id.to_string());
        // What no agent could make valid was never accepted, with this key or another.
        new.limits.apply(Limits::default()).map_err(in_limits)?;
        let (agent, limits) = match self.admit(tenant, &new, now).await {
            Ok(admitted) => admitted,
            Err(refusal @ (AppError::Invalid(_) | AppError::AgentDisabled(_))) => {
                let before = self.submitted_before(tenant, id, &new, refusal).await;
                return before.map(Accepted::before);
            }
            Err(error) => return Err(error),
        };
        let mut task = Task::submit(id, &agent, new.input, new.cache_use, now)
            .within(limits)
            .traced(new.trace)
            .noting(new.metadata)
            .submitted_by(new.key);
        if let Some(moment) = new.not_before.filter(|moment| *moment > now) {
            task = task.not_before(moment);
        }
        match self.store.create(&task).await? {
            Created::New => {}
            Created::Existing(existing) => {
                let input = task.spec().input.as_ref();
                let same = same_submission(*existing, (new.agent, &new.version), input, now);
                return same.map(Accepted::before);
            }
            Created::Deleted => return Err(AppError::TaskDeleted),
        }
        metric::TASKS_SUBMITTED.add([], 1);
        tracing::info!(
            idempotency_key = new.idempotency_key.is_some(),
            after_ms = whole_millis(task.begins_after()),
            "task accepted"
        );
        Ok(Accepted { task, is_new: true })
    }

    /// The agent version that the new task runs, and the limits of the task.
    async fn admit(
        &self,
        tenant: &TenantId,
        new: &NewTask,
        now: Timestamp,
    ) -> Result<(Agent, Limits), AppError> {
        if let Some(moment) = new.not_before {
            check_beginning(moment, now)?;
        }
        let agent = match &new.definition {
            Some(definition) => self.inline_agent(tenant, new.agent, definition)?,
            None => self.stored_agent(tenant, new).await?,
        };
        check_bound(new.limits, Some(&agent))?;
        let limits = new.limits.apply(agent.config.limits).map_err(in_limits)?;
        self.check_cap(&agent, new.limits)?;
        if agent.id.is_inline() {
            self.keep_inline(&agent, now).await?;
        }
        Ok((agent, limits))
    }

    async fn stored_agent(&self, tenant: &TenantId, new: &NewTask) -> Result<Agent, AppError> {
        let Some(head) = self.agents.head(tenant, new.agent).await? else {
            let reason = format!("agent {} not found", new.agent);
            return Err(AppError::invalid("/agent_id", reason));
        };
        record("agent_id", new.agent.to_string());
        if head.switch == Switch::Disabled {
            return Err(AppError::AgentDisabled(new.agent));
        }
        self.chosen(head, &new.version).await
    }

    /// The version of the agent that was chosen; one read more if it is not the newest version.
    async fn chosen(&self, head: AgentHead, choice: &VersionChoice) -> Result<Agent, AppError> {
        let (id, newest) = (head.newest.id, head.newest.version);
        let (field, number) = match choice {
            VersionChoice::Newest => return Ok(head.newest),
            VersionChoice::Number(number) => ("/agent_version", *number),
            VersionChoice::Alias(name) => {
                let unknown = || {
                    let reason = format!("agent {id} has no alias {name}");
                    AppError::invalid("/alias", reason)
                };
                ("/alias", *head.aliases.get(name).ok_or_else(unknown)?)
            }
        };
        if number == newest {
            return Ok(head.newest);
        }
        let version = AgentVersion {
            id,
            version: number,
        };
        let missing = || {
            let reason = format!("agent {id} has no version {number}; its newest is {newest}");
            AppError::invalid(field, reason)
        };
        if !head.has_version(number) {
            return Err(missing());
        }
        let found = self.agents.version(&head.newest.tenant, version).await?;
        found.ok_or_else(missing)
    }

    /// The task that the same submission created before it was refused; else the refusal.
    async fn submitted_before(
        &self,
        tenant: &TenantId,
        id: TaskId,
        new: &NewTask,
        refusal: AppError,
    ) -> Result<Task, AppError> {
        if new.idempotency_key.is_none() {
            return Err(refusal);
        }
        let Some(existing) = self.store.task(tenant, id).await? else {
            return Err(refusal);
        };
        let existing = self.with_input(existing).await?;
        record("agent_id", existing.spec().agent.id.to_string());
        let (chosen, now) = ((new.agent, &new.version), self.clock.now());
        same_submission(existing, chosen, Some(&new.input), now)
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

    /// The tenant's tasks.
    pub async fn list_tasks(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, AppError> {
        Ok(self.store.list(tenant, filter, page).await?)
    }
}

/// By how much a client's clock may be late: a moment that has passed so recently means at once.
const LATE_CLOCK: Duration = Duration::from_mins(1);
/// How late a task may begin.
const LATEST_BEGINNING: Duration = Duration::from_hours(30 * 24);

fn check_beginning(moment: Timestamp, now: Timestamp) -> Result<(), AppError> {
    let reason = if moment.plus(LATE_CLOCK) < now {
        "must not be in the past"
    } else if moment.since(now) > LATEST_BEGINNING {
        "must be at most 30 days from now"
    } else {
        return Ok(());
    };
    Err(AppError::invalid("/not_before", reason))
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
        .chain_update(&key.0);
    TaskId::of_digest(digest)
}

/// The existing task, if it is of the same agent and input. A version must be the same if it was
/// chosen by its number; what an alias or the newest version was may have changed since then.
fn same_submission(
    existing: Task,
    (agent, version): (AgentId, &VersionChoice),
    input: Option<&TaskInput>,
    now: Timestamp,
) -> Result<Task, AppError> {
    let stored = existing.spec();
    let is_version = match version {
        VersionChoice::Number(number) => stored.agent.version == *number,
        VersionChoice::Newest | VersionChoice::Alias(_) => true,
    };
    if stored.agent.id != agent || !is_version || stored.input.as_ref() != input {
        return Err(AppError::IdempotencyKeyReused);
    }
    tracing::info!(
        status = existing.status().as_str(),
        task_age_ms = whole_millis(now.since(stored.created_at)),
        "submission repeated; its first task is returned"
    );
    metric::IDEMPOTENT_REPLAYS.add([], 1);
    Ok(existing)
}
