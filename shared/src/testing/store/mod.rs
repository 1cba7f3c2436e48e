//! Agents, tasks and journals in memory.

mod agents;
mod journal;
mod task_store;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;

use super::answers::MemoryAnswers;
use super::budgets::MemoryBudgets;
use super::faults::{Call, Faults};
use super::lock;
use super::retention::Marked;
use crate::domain::{AgentId, Change, Step, Task, TaskId, TaskInput, TaskState, Timestamp};
use crate::ports::{
    Dependency, INPUT_IN_RECORD, NoAnswer, Page, PageRequest, StoreError, TaskDetails, TaskSummary,
};
pub(super) use agents::{Agents, Archived};

/// The most bytes that a step's content or a task's result may have, as in the real store.
const MAX_CONTENT_BYTES: usize = 16 * 1_024 * 1_024;

/// A store in memory with the conditional writes of the real one. Clones share the content.
///
/// Each call yields to the runtime before its effect, so that concurrent use cases interleave in
/// tests as well.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    records: Arc<Mutex<Records>>,
    /// In the real store, a task's budget lies with the task.
    pub(super) budgets: MemoryBudgets,
    /// The cached answers that go with the tasks that used them.
    pub(super) answers: MemoryAnswers,
    faults: Faults,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) agents: Agents,
    /// Those with large inputs without them.
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) inputs: BTreeMap<TaskId, TaskInput>,
    /// What has left the histories, by task and number.
    pub(super) history: BTreeMap<(TaskId, u32), Change>,
    /// The empty records of deleted tasks.
    pub(super) marked: BTreeMap<TaskId, Marked>,
    /// By task, number and run.
    pub(super) steps: BTreeMap<(TaskId, u32, u32), Step>,
}

impl MemoryStore {
    /// The same store, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// The same store, in which the tasks have these budgets.
    #[must_use]
    pub fn with_budgets(&self, budgets: MemoryBudgets) -> Self {
        Self {
            budgets,
            ..self.clone()
        }
    }

    /// The same store, whose tasks use these cached answers.
    #[must_use]
    pub fn with_answers(&self, answers: MemoryAnswers) -> Self {
        Self {
            answers,
            ..self.clone()
        }
    }

    /// The task as it stands and its recorded steps, at once: for tests that must not let others go
    /// first.
    pub fn peek(&self, task: TaskId) -> (Option<Task>, Vec<Step>) {
        let records = lock(&self.records);
        let steps = records
            .steps
            .range((task, 0, 0)..=(task, u32::MAX, u32::MAX))
            .map(|(_, step)| step.clone());
        (records.tasks.get(&task).cloned(), steps.collect())
    }

    /// All agents and tasks as texts, to see whether something changed.
    pub fn content(&self) -> (String, String) {
        let records = lock(&self.records);
        (
            format!("{:?}", records.agents),
            format!("{:?}", records.tasks),
        )
    }

    /// From now on, the agent's record can't be read.
    pub fn damage_agent(&self, agent: AgentId) {
        lock(&self.records).agents.damage(agent);
    }

    /// Deletes the records of the task's steps with this number, as someone with access to the table
    /// could.
    pub fn delete_step(&self, task: TaskId, number: u32) {
        let mut records = lock(&self.records);
        records
            .steps
            .retain(|(of, step, _), _| (*of, *step) != (task, number));
    }

    pub(super) async fn run<T>(
        &self,
        effect: impl FnOnce(&mut Records) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_as(Call::Other, effect).await
    }

    /// A call that a plan of failure can name.
    pub(super) async fn run_as<T>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Records) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        self.faults.around(
            call,
            |fault| StoreError::Unavailable(Box::new(fault)),
            || effect(&mut lock(&self.records)),
        )
    }
}

#[async_trait]
impl TaskDetails for MemoryStore {
    async fn input(&self, id: TaskId) -> Result<Option<TaskInput>, StoreError> {
        self.run(|records| Ok(records.inputs.get(&id).cloned()))
            .await
    }

    async fn earlier_history(
        &self,
        id: TaskId,
        numbers: Range<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, Change)>, StoreError> {
        self.run(|records| {
            let all = records
                .history
                .range((id, 0)..=(id, u32::MAX))
                .map(|((_, number), change)| (*number, change));
            let wanted = all
                .filter(|(number, _)| numbers.contains(number))
                .take(limit as usize);
            Ok(wanted
                .map(|(number, change)| (number, change.clone()))
                .collect())
        })
        .await
    }
}

#[async_trait]
impl Dependency for MemoryStore {
    async fn answer(&self) -> Result<(), NoAnswer> {
        Ok(self.run(|_| Ok(())).await?)
    }
}

impl Records {
    /// The task with its input.
    fn whole(&self, id: TaskId) -> Option<Task> {
        let task = self.tasks.get(&id)?.clone();
        Some(match self.inputs.get(&id) {
            Some(input) => task.with_input(Some(input.clone())),
            None => task,
        })
    }

    fn add(&mut self, task: &Task) {
        let large = task
            .spec()
            .input
            .as_ref()
            .filter(|input| input.as_str().len() > INPUT_IN_RECORD);
        let stored = if large.is_some() {
            task.clone().with_input(None)
        } else {
            task.clone()
        };
        self.inputs
            .extend(large.map(|input| (task.id(), input.clone())));
        self.tasks.insert(task.id(), stored);
    }

    /// Makes the task's last transition.
    fn change(&mut self, task: &Task) {
        let Some(stored) = self.tasks.get_mut(&task.id()) else {
            return;
        };
        *stored = Task::restore(stored.spec().clone(), task.progress().clone());
        for (first, block) in task.progress().history.leaving() {
            self.history.extend(
                (first..)
                    .zip(block)
                    .map(|(number, change)| ((task.id(), number), change.clone())),
            );
        }
    }
}

fn position(task: &TaskSummary) -> (Timestamp, TaskId) {
    (task.created_at, task.id)
}

fn parse_position(cursor: &str) -> Option<(Timestamp, TaskId)> {
    let (millis, id) = cursor.split_once('/')?;
    Some((
        Timestamp::from_millis(millis.parse().ok()?),
        id.parse().ok()?,
    ))
}

pub(super) fn cursor<T>(
    page: &PageRequest,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    page.after
        .as_deref()
        .map(|text| parse(text).ok_or(StoreError::Cursor))
        .transpose()
}

pub(super) fn cut<T>(
    rest: impl Iterator<Item = T>,
    page: &PageRequest,
    cursor: impl FnOnce(&T) -> String,
) -> Page<T> {
    let limit = usize::try_from(page.limit.clamp(1, 100)).unwrap_or(1);
    let mut entries: Vec<T> = rest.take(limit + 1).collect();
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = if more {
        entries.last().map(cursor)
    } else {
        None
    };
    Page { entries, next }
}

fn fits(bytes: usize) -> Result<(), StoreError> {
    if bytes > MAX_CONTENT_BYTES {
        Err(StoreError::TooLarge)
    } else {
        Ok(())
    }
}

fn content_of_task(task: &Task) -> String {
    match task.state() {
        TaskState::Completed(output) => output.text.clone(),
        TaskState::Failed(failure) => {
            json!({ "message": failure.message, "attempts": failure.attempts }).to_string()
        }
        TaskState::InputRequired { calls, .. } => json!(calls).to_string(),
        TaskState::Queued { .. }
        | TaskState::Running(_)
        | TaskState::Waiting { .. }
        | TaskState::Paused { .. }
        | TaskState::Canceled
        | TaskState::TimedOut => String::new(),
    }
}

#[cfg(test)]
mod tests;
