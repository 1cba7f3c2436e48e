//! What the checks of [`TaskStore`] have in common: stored tasks, and their transitions.

use std::sync::Arc;

use super::Outcome;
use crate::domain::{Agent, Failure, Lease, Output, Spent, Task, Timestamp, Wait};
use crate::ports::{StoreError, TaskStore};
use crate::testing::samples;

pub(super) type Store = Arc<dyn TaskStore>;

/// A new agent of a fresh tenant. Agents live elsewhere: tasks only name them.
pub(super) fn agent() -> Agent {
    samples::agent(&samples::fresh_tenant())
}

/// A new task that is stored.
pub(super) async fn stored(store: &Store, agent: &Agent, now: Timestamp) -> Result<Task, StoreError> {
    let task = samples::task(agent, now);
    store.create(&task).await.map(|_| task)
}

/// The task as the store has it.
pub(super) async fn read(store: &Store, task: &Task) -> Result<Option<Task>, StoreError> {
    store.task(&task.spec().tenant, task.id()).await
}

/// A transition at a moment.
pub(super) enum Move {
    /// See [`Task::claim`].
    Claim(Lease, Timestamp),
    /// See [`Task::complete`]; under the present fence.
    Complete(Output, Timestamp),
    /// See [`Task::fail`]; under the present fence.
    Fail(Failure, Timestamp),
    /// See [`Task::park`]; under the present fence, with nothing spent.
    Park(Wait, Timestamp),
    /// See [`Task::settle_overdue`].
    Settle(Timestamp),
}

impl Move {
    /// Changes the task, which must allow it.
    pub(super) fn apply(self, task: &mut Task) -> Outcome {
        let fence = task.fence();
        match self {
            Self::Claim(lease, now) => task.claim(lease, now)?,
            Self::Complete(output, now) => task.complete(fence, output, now)?,
            Self::Fail(failure, now) => task.fail(fence, failure, now)?,
            Self::Park(wait, now) => task.park(fence, wait, Spent::Nothing, now)?,
            Self::Settle(now) => return task.settle_overdue(now).map(|_| ()).ok_or_else(|| "nothing is due".into()),
        }
        Ok(())
    }
}

/// Changes the task and stores the change.
pub(super) async fn advance(store: &Store, task: &mut Task, transition: Move) -> Outcome {
    transition.apply(task)?;
    Ok(store.update(task).await?)
}
