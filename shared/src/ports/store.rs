//! The stores of agents, tasks and journals.

use std::error::Error;
use std::ops::Range;

use async_trait::async_trait;

use crate::domain::{
    Agent, AgentHead, AgentId, AgentVersion, Change, ClaimRefused, FailureCode, KeyId, Lease,
    Metadata, MetadataPair, Spend, Step, StepPlace, StepSummary, Switch, Task, TaskId, TaskInput,
    TaskStatus, TenantId, TenantStatus, Timestamp, WaitReason,
};

/// Why a store's operation failed, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer changed the record first: read it again before another try.
    #[error("the record changed in the meantime")]
    Conflict,
    /// The store asks to slow down; worth another try later.
    #[error("the store asks to slow down")]
    Throttled(#[source] Box<dyn Error + Send + Sync>),
    /// The store doesn't answer; worth another try later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The record is larger than the store takes; never worth another try.
    #[error("the record is too large for the store")]
    TooLarge,
    /// The store refuses the operation, for example because a table or a permission is missing: a
    /// mistake in the deployment.
    #[error("the store refuses the operation")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The list did not return this cursor.
    #[error("the cursor is not one of this list")]
    Cursor,
    /// This version can't read a record.
    #[error("the record {key} can't be read: {reason}")]
    Corrupt {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The most entries wanted.
    pub limit: u32,
    /// Where the page before ended, as [`Page::next`] said; opaque.
    pub after: Option<String>,
}

/// A part of a list. It may be short, even empty, and still not be the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<String>,
}

/// An agent whose record this version can't read: a newer version wrote it, or it is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableAgent {
    /// Its id.
    pub id: AgentId,
    /// What is wrong with its record, for the log.
    pub reason: String,
}

/// The result of adding what a tenant may have a limited number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// It is stored.
    Added,
    /// The tenant has this many, at least as many as it may have; nothing is stored.
    Full(u32),
}

/// The agent version that a task runs, and whether it may work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOfTask {
    /// The version.
    pub agent: Agent,
    /// Whether the agent is enabled.
    pub switch: Switch,
    /// The agent's [`AgentHead::cache_generation`].
    pub cache_generation: u64,
    /// Whether its tenant is active. A store of agents takes every tenant for active.
    pub tenant: TenantStatus,
}

impl AgentOfTask {
    /// Why the agent's tasks must wait, if they must.
    pub const fn wait(&self) -> Option<WaitReason> {
        match (self.tenant, self.switch) {
            // The watchdog ends and deletes the tasks of a tenant that is gone.
            (TenantStatus::Suspended | TenantStatus::Deleting | TenantStatus::Deleted, _) => {
                Some(WaitReason::TenantSuspended)
            }
            (TenantStatus::Active, Switch::Disabled) => Some(WaitReason::AgentDisabled),
            (TenantStatus::Active, Switch::Enabled) => None,
        }
    }
}

/// Reads the agents of tasks for those who work on them.
#[async_trait]
pub trait TaskAgents: Send + Sync {
    /// One version of an agent for a task, and whether it may work now. One read if it is the
    /// newest version. `None` if the tenant has no such version.
    async fn of_task(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<AgentOfTask>, StoreError>;
}

/// A use of an inline agent by a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineUse {
    /// When it is.
    pub now: Timestamp,
    /// Since which moment a noted use is recent enough, so that this one need not be noted.
    pub recent_since: Timestamp,
    /// From when on the agent may be removed, if this use is noted and no task names the agent.
    pub due_at: Timestamp,
}

/// The result of [keeping](AgentStore::keep) an inline agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was new, and is stored now.
    New,
    /// It was stored before.
    Known,
}

/// Stores agents. An archived agent is in no list and has no head, but its versions are there for
/// its tasks.
#[async_trait]
pub trait AgentStore: TaskAgents {
    /// Adds an agent with its first version, unless its tenant has `most` agents that are not
    /// archived; fails with [`StoreError::Conflict`] if its id is taken. Adding the very same agent
    /// twice succeeds, because a store's answer can get lost after its write.
    async fn add(&self, agent: &AgentHead, most: u32) -> Result<Addition, StoreError>;

    /// [Adds](Self::add) an agent that is enabled and has no alias, however many there are.
    async fn create(&self, agent: &Agent) -> Result<(), StoreError> {
        let agent = AgentHead::of(agent.clone());
        self.add(&agent, u32::MAX).await.map(drop)
    }

    /// How many agents of the tenant are not archived, without inline agents.
    async fn count(&self, tenant: &TenantId, now: Timestamp) -> Result<u32, StoreError>;

    /// Stores an inline agent unless it is stored, and notes its use unless a recent one is noted.
    /// It has a [head](Self::head), and is in no list. It is
    /// [due](super::AgentRetention::due_agents) from [`InlineUse::due_at`] on. Several callers may
    /// keep the same agent at the same time, and while it is removed.
    async fn keep(&self, agent: &Agent, used: InlineUse) -> Result<Kept, StoreError>;

    /// The agent as a whole; `None` if the tenant has no such agent, or it is archived.
    async fn head(&self, tenant: &TenantId, id: AgentId) -> Result<Option<AgentHead>, StoreError>;

    /// The newest version of the agent, if it has a [head](Self::head).
    async fn newest(&self, tenant: &TenantId, id: AgentId) -> Result<Option<Agent>, StoreError> {
        Ok(self.head(tenant, id).await?.map(|head| head.newest))
    }

    /// Stores `after` if the agent still has the revision of `before`, and with it the new version
    /// if it has one: all or nothing. Else fails with [`StoreError::Conflict`], also if the agent
    /// is archived. Storing the same change twice succeeds.
    async fn replace(&self, before: &AgentHead, after: &AgentHead) -> Result<(), StoreError>;

    /// One version of an agent; `None` if the tenant has no such version.
    async fn version(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<Agent>, StoreError>;

    /// The tenant's agents, oldest agent first. An unreadable agent has its place among them.
    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<AgentHead, UnreadableAgent>>, StoreError>;

    /// The versions of an agent, newest first. An unreadable version has its place among them.
    async fn versions(
        &self,
        tenant: &TenantId,
        id: AgentId,
        page: &PageRequest,
    ) -> Result<Page<Result<Agent, StoreError>>, StoreError>;
}

/// Which tasks are wanted, and in which order; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only those in one of these states; empty for all states.
    pub statuses: Vec<TaskStatus>,
    /// Only those of this agent.
    pub agent: Option<AgentId>,
    /// Only those whose metadata have this pair.
    pub metadata: Option<MetadataPair>,
    /// Only those accepted at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Only those accepted before this moment.
    pub created_before: Option<Timestamp>,
    /// Which come first.
    pub order: TaskOrder,
}

/// The order of a list of tasks, by the moment when they were accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskOrder {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

impl TaskFilter {
    /// Whether a task that was accepted at this moment may be wanted.
    pub fn covers(&self, created: Timestamp) -> bool {
        self.created_from.is_none_or(|from| created >= from)
            && self.created_before.is_none_or(|before| created < before)
    }
}

/// A task in a list: only its short fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSummary {
    /// Its id.
    pub id: TaskId,
    /// The agent version that it runs.
    pub agent: AgentVersion,
    /// Its state.
    pub status: TaskStatus,
    /// Why it failed, if it has.
    pub failure: Option<FailureCode>,
    /// The attempts that count.
    pub attempts: u64,
    /// What its model calls have cost so far, as far as workers recorded it.
    pub spend: Spend,
    /// What its client noted about it.
    pub metadata: Metadata,
    /// The API key that submitted it; `None` for the deployment's own key, and in old records.
    pub submitted_by: Option<KeyId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The result of adding a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The task was new, and is stored now.
    New,
    /// A task with this id is stored already. It is returned with its input; nothing changed.
    Existing(Box<Task>),
    /// A task with this id was deleted, but some of its records are left: the id is not free yet.
    Deleted,
}

/// The result of a client's request to delete a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The task no longer exists for readers; [`Retention`](super::Retention) deletes its records.
    /// A second request has the same result.
    Begun,
    /// The task has not ended, and nothing changed.
    NotEnded(TaskStatus),
    /// The tenant has no such task.
    Unknown,
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The worker has the task, which is returned as it is now.
    Granted(Box<Task>),
    /// The task can't be claimed, for this reason. It is returned as it is now.
    Refused(Box<Task>, ClaimRefused),
    /// The tenant has no such task.
    Unknown,
}

/// The most bytes of an input in a task's own record.
pub const INPUT_IN_RECORD: usize = 8 * 1_024;

/// Reads the details of a task that have records of their own, so that a change of the task does
/// not write them again.
#[async_trait]
pub trait TaskDetails: Send + Sync {
    /// The input of a task whose record does not have it; `None` if there is no such task, or its
    /// record has the input.
    async fn input(&self, id: TaskId) -> Result<Option<TaskInput>, StoreError>;

    /// The changes with these numbers that are no longer in the task's record, each with its
    /// number, oldest first; up to `limit`. A caller that wants all changes reads the task first:
    /// all changes that its record then lacks are here, and never change.
    async fn earlier_history(
        &self,
        id: TaskId,
        numbers: Range<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, Change)>, StoreError>;

    /// The task with its input; `None` if the task, and so its input, was deleted.
    async fn with_input(&self, task: Task) -> Result<Option<Task>, StoreError> {
        if task.spec().input.is_some() {
            return Ok(Some(task));
        }
        let input = self.input(task.id()).await?;
        Ok(input.map(|input| task.with_input(Some(input))))
    }
}

/// Stores tasks. Every write is conditional, so that only one of two concurrent writes succeeds.
///
/// A task whose input has more than [`INPUT_IN_RECORD`] comes without it: see
/// [`TaskDetails::with_input`]. No change needs it.
#[async_trait]
pub trait TaskStore: TaskDetails {
    /// Adds a task unless its id is taken. Adding the very same task twice returns
    /// [`Created::New`] twice, because the response to a write can be lost. Fails with
    /// [`StoreError::Conflict`] if the id belongs to another tenant's task, and perhaps if another
    /// caller adds the id at the same time.
    async fn create(&self, task: &Task) -> Result<Created, StoreError>;

    /// The task as it stands; `None` if the tenant has no such task.
    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, StoreError>;

    /// The tenant's tasks; may lag behind writes for a moment. Fails with [`StoreError::Cursor`] also
    /// if the cursor is of a moment that the filter does not cover.
    async fn list(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError>;

    /// Gives the task to a worker by the rules of [`Task::claim`], in one write that also returns
    /// the task. The worker that holds the lease already is granted it again, unchanged.
    async fn claim(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError>;

    /// Stores a transition, and the blocks that it moves out of the task's history, if the task
    /// still has the revision before it. Else fails with [`StoreError::Conflict`]. Storing the same
    /// transition twice succeeds, because the response to a write can be lost.
    async fn update(&self, task: &Task) -> Result<(), StoreError>;

    /// Stores a transition as [`update`](Self::update) does, and records these steps of the task
    /// with it: all or nothing. Fails with [`StoreError::Conflict`] also if one of the steps'
    /// numbers is recorded for its run. There are at most
    /// [`MAX_OPEN_CALLS`](crate::domain::task::MAX_OPEN_CALLS) steps.
    async fn update_with(&self, task: &Task, steps: &[Step]) -> Result<(), StoreError>;

    /// Deletes a task if it has ended, even if its record or steps are unreadable. This is one
    /// write. After it, no caller can read, list, claim or change the task.
    async fn delete(&self, tenant: &TenantId, id: TaskId) -> Result<Deletion, StoreError>;

    /// Up to `limit` readable tasks, of all tenants, whose [`Task::due_at`] is not after `now`; the
    /// most overdue first, as far as the store knows. Unreadable tasks are returned as well, and do
    /// not count.
    async fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError>;
}

/// Which part of a journal is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepsRequest {
    /// The place after which it begins.
    pub after: StepPlace,
    /// The most steps wanted.
    pub limit: u32,
    /// The most bytes that the steps' contents have together, unless a single step has more.
    pub max_bytes: u64,
}

/// A part of a journal: at least one step if any is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepsPage {
    /// The steps.
    pub steps: Vec<Step>,
    /// The place after which the next part begins; `None` on the last.
    pub next: Option<StepPlace>,
}

/// Stores the steps of tasks.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Records a step; fails with [`StoreError::Conflict`] if one with its number is recorded for
    /// its run. Recording the very same step twice succeeds, because the response to a write can be
    /// lost.
    async fn append(&self, step: &Step) -> Result<(), StoreError>;

    /// The recorded step at this place, if there is one.
    async fn step(&self, task: TaskId, place: StepPlace) -> Result<Option<Step>, StoreError>;

    /// A part of the recorded steps of the task, of all its runs, in the order of their places.
    /// [`may_count`](crate::domain::may_count) decides which of them count. No more is loaded
    /// than is returned.
    async fn page(&self, task: TaskId, wanted: &StepsRequest) -> Result<StepsPage, StoreError>;

    /// The summaries of all recorded steps of the task, in the order of their places. The steps'
    /// contents are not loaded.
    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError>;

    /// All recorded steps of the task in the order of their places. Their size is not bounded.
    async fn steps(&self, task: TaskId) -> Result<Vec<Step>, StoreError> {
        let all = StepsRequest {
            after: StepPlace::after(0),
            limit: u32::MAX,
            max_bytes: u64::MAX,
        };
        Ok(self.page(task, &all).await?.steps)
    }
}
