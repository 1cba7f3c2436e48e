//! What the checks of [`TaskStore`] have in common: stored tasks, and their transitions.

use std::sync::Arc;

use super::Outcome;
use crate::domain::{
    Agent, Failure, Lease, LimitKind, Output, PendingCall, ReopenFrom, Spent, Task, Timestamp, Wait,
};
use crate::ports::{StoreError, TaskStore};
use crate::testing::samples;

pub(super) type Store = Arc<dyn TaskStore>;

/// A new agent of a fresh tenant. Agents live elsewhere: tasks only name them.
pub(super) fn agent() -> Agent {
    samples::agent(&samples::fresh_tenant())
}

/// A new task that is stored.
pub(super) async fn stored(
    store: &Store,
    agent: &Agent,
    now: Timestamp,
) -> Result<Task, StoreError> {
    let task = samples::task(agent, now);
    store.create(&task).await.map(|_| task)
}

/// The task as it is stored, with its input.
pub(super) async fn read(store: &Store, task: &Task) -> Result<Option<Task>, StoreError> {
    match store.task(&task.spec().tenant, task.id()).await? {
        Some(task) => store.with_input(task).await,
        None => Ok(None),
    }
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
    /// See [`Task::hand_over`]; under the present fence.
    HandOver(Timestamp),
    /// See [`Task::renew`]; under the present fence, until the first moment.
    Renew(Timestamp, Timestamp),
    /// See [`Task::require_input`]; under the present fence.
    RequireInput(Vec<PendingCall>, Timestamp),
    /// See [`Task::pause`]; under the present fence.
    Pause(LimitKind, Timestamp),
    /// See [`Task::answered`].
    Answer(Timestamp),
    /// See [`Task::resume`]; with one step more than before.
    Resume(Timestamp),
    /// See [`Task::cancel`].
    Cancel(Timestamp),
    /// See [`Task::end_canceled`]; under the present fence.
    EndCanceled(Timestamp),
    /// See [`Task::reopen`]; under the same limits.
    Reopen(ReopenFrom, Timestamp),
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
            Self::HandOver(now) => task.hand_over(fence, now)?,
            Self::Renew(until, now) => task.renew(fence, until, now)?,
            Self::RequireInput(calls, now) => task.require_input(fence, calls, now)?,
            Self::Pause(limit, now) => task.pause(fence, limit, now)?,
            Self::Answer(now) => task.answered(9, now)?,
            Self::Resume(now) => task.resume(
                task.limits()
                    .with_max_steps(task.limits().max_steps() + 1)?,
                now,
            )?,
            Self::Cancel(now) => {
                return task
                    .cancel(now)?
                    .map(|_| ())
                    .ok_or_else(|| "it is canceled already".into());
            }
            Self::EndCanceled(now) => task.end_canceled(fence, now)?,
            Self::Reopen(from, now) => task.reopen(from, task.limits(), now)?,
            Self::Settle(now) => {
                return task
                    .settle_overdue(now)
                    .map(|_| ())
                    .ok_or_else(|| "nothing is due".into());
            }
        }
        Ok(())
    }
}

/// The calls of tools that a client must answer.
pub(super) fn calls(arguments: &str) -> Vec<PendingCall> {
    let call = |number| PendingCall {
        number,
        call: samples::tool_call(&format!("call_{number}"), "ask", arguments),
    };
    (2..4).map(call).collect()
}

/// Makes these changes of the task, one after the other, and stores each.
pub(super) async fn advance_all(
    store: &Store,
    task: &mut Task,
    transitions: impl IntoIterator<Item = Move, IntoIter: Send> + Send,
) -> Outcome {
    for transition in transitions {
        advance(store, task, transition).await?;
    }
    Ok(())
}

/// Changes the task and stores the change.
pub(super) async fn advance(store: &Store, task: &mut Task, transition: Move) -> Outcome {
    transition.apply(task)?;
    Ok(store.update(task).await?)
}
