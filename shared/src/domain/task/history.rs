//! A task's audit trail: what happened to it and when, kept in its own record by the very write that makes it happen.

use serde::{Deserialize, Serialize};

use crate::domain::id::WorkerId;
use crate::domain::limits::LimitKind;
use crate::domain::outcome::FailureCode;
use crate::domain::time::Timestamp;
use crate::domain::wait::WaitReason;

/// The most changes that a record keeps; beyond, the oldest are forgotten.
pub const MAX_HISTORY: usize = 100;

/// A change of a task's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It was accepted.
    Submitted,
    /// A worker took it.
    Claimed {
        /// The worker.
        worker: WorkerId,
    },
    /// Its worker left it waiting.
    Parked {
        /// For what.
        reason: WaitReason,
        /// Until when.
        until: Timestamp,
    },
    /// Its worker ran out of time after some steps: another goes on.
    HandedOver {
        /// How often that happened.
        hop: u32,
    },
    /// Its worker gave it back, or was lost.
    Requeued,
    /// Its message was sent again.
    Resent,
    /// Its wait was over, and the watchdog queued it.
    Awakened,
    /// It waits for its client's answer.
    InputRequired,
    /// Its client answered.
    Answered,
    /// It reached a limit and waits to be resumed.
    Paused {
        /// The limit.
        limit: LimitKind,
    },
    /// It was resumed.
    Resumed,
    /// It is to be canceled by its worker.
    CancelRequested,
    /// It was canceled.
    Canceled,
    /// It ended with an answer.
    Completed,
    /// It ended without one.
    Failed {
        /// Why.
        code: FailureCode,
    },
    /// Its deadline passed.
    TimedOut,
    /// It was opened again after its end.
    Reopened {
        /// The number of the last step that counts no more; 0 if all count.
        base: u32,
    },
}

/// Adds a change, and forgets the oldest if there are too many.
pub(super) fn note(history: &mut Vec<Change>, at: Timestamp, event: Event) {
    history.push(Change { at, event });
    let surplus = history.len().saturating_sub(MAX_HISTORY);
    history.drain(..surplus);
}
