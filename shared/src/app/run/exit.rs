//! How a worker's work on a task ends, and what that makes of the task.

use crate::domain::task::LeaseLost;
use crate::domain::{Failure, LimitKind, Output, PendingCall, Spent, Task, Timestamp, Wait};
use crate::ports::{OpenCircuit, StoreError};

/// How a worker's work on a task ends.
#[derive(Debug)]
pub(super) enum Exit {
    /// The task completed with this output.
    Completed(Output),
    /// The task failed.
    Failed(Failure),
    /// The client requested a cancel.
    Canceled,
    /// The task's deadline has passed.
    TimedOut,
    /// The task is parked. The failed model call used this much; this circuit refused it, if one
    /// did.
    Parked(Wait, Spent, Option<Box<OpenCircuit>>),
    /// The invocation's time is over, and another invocation continues.
    HandedOver,
    /// The task has calls of client tools.
    InputRequired(Vec<PendingCall>),
    /// The task reached a limit, and pauses.
    Paused(LimitKind),
    /// The store failed after this usage was lost: the message must be delivered again.
    GivenBack(StoreError, Spent),
    /// Another worker has the task.
    LeaseLost,
}

impl From<StoreError> for Exit {
    /// For a store that failed before anything was spent. A record that can't be read now can't be
    /// read later either, so it counts as an attempt.
    fn from(error: StoreError) -> Self {
        let spent = if matches!(error, StoreError::Corrupt { .. }) {
            Spent::Attempt
        } else {
            Spent::Nothing
        };
        Self::GivenBack(error, spent)
    }
}

impl Exit {
    /// Whether a cancel that was accepted by now takes precedence.
    pub(super) const fn yields_to_cancel(&self) -> bool {
        match self {
            Self::Completed(_)
            | Self::Failed(_)
            | Self::Parked(..)
            | Self::HandedOver
            | Self::InputRequired(_)
            | Self::Paused(_) => true,
            Self::Canceled | Self::TimedOut | Self::GivenBack(..) | Self::LeaseLost => false,
        }
    }

    /// Makes the transition of the task that belongs to this exit.
    pub(super) fn apply(&self, task: &mut Task, now: Timestamp) -> Result<(), LeaseLost> {
        let fence = task.fence();
        match self {
            Self::Completed(output) => task.complete(fence, output.clone(), now),
            Self::Failed(failure) => task.fail(fence, failure.clone(), now),
            Self::Canceled => task.end_canceled(fence, now),
            Self::TimedOut => task.settle_overdue(now).map(|_| ()).ok_or(LeaseLost),
            Self::Parked(wait, spent, _) => task.park(fence, *wait, *spent, now),
            Self::HandedOver => task.hand_over(fence, now),
            Self::InputRequired(calls) => task.require_input(fence, calls.clone(), now),
            Self::Paused(limit) => task.pause(fence, *limit, now),
            Self::GivenBack(_, spent) => task.release(fence, *spent, now),
            Self::LeaseLost => Err(LeaseLost),
        }
    }
}
