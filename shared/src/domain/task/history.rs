//! A task's audit trail: what happened to it and when, kept in its own record by the very write that makes it happen.

use std::ops::Not;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TaskStatus;
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
    /// Whether it ended the work of a worker that was lost. A claim doesn't say so: one that follows another always does.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub lost: bool,
}

impl Change {
    /// That it happened, and to no lost worker.
    pub const fn new(at: Timestamp, event: Event) -> Self {
        Self { at, event, lost: false }
    }
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

impl Event {
    /// The state that it brings the task into; none if the task stays where it is.
    const fn state(&self) -> Option<TaskStatus> {
        match self {
            Self::Submitted
            | Self::HandedOver { .. }
            | Self::Requeued
            | Self::Awakened
            | Self::Answered
            | Self::Resumed
            | Self::Reopened { .. } => Some(TaskStatus::Queued),
            Self::Claimed { .. } => Some(TaskStatus::Running),
            Self::Parked { .. } => Some(TaskStatus::Waiting),
            Self::InputRequired => Some(TaskStatus::InputRequired),
            Self::Paused { .. } => Some(TaskStatus::Paused),
            Self::Canceled => Some(TaskStatus::Canceled),
            Self::Completed => Some(TaskStatus::Completed),
            Self::Failed { .. } => Some(TaskStatus::Failed),
            Self::TimedOut => Some(TaskStatus::TimedOut),
            Self::Resent | Self::CancelRequested => None,
        }
    }
}

/// The state that the last change ended, and how long it had lasted; none if it ended none, or it is forgotten when it began.
pub(super) fn last_stay(history: &[Change]) -> Option<(TaskStatus, Duration)> {
    let (last, before) = history.split_last()?;
    last.event.state()?;
    let began = before.iter().rev().find_map(|change| Some((change.event.state()?, change.at)));
    began.map(|(state, since)| (state, last.at.since(since)))
}

/// Adds a change, and forgets the oldest if there are too many.
pub(super) fn note(history: &mut Vec<Change>, at: Timestamp, event: Event) {
    history.push(Change::new(at, event));
    let surplus = history.len().saturating_sub(MAX_HISTORY);
    history.drain(..surplus);
}

/// Says of the last change that it ended the work of a lost worker.
pub(super) fn note_lost(history: &mut [Change]) {
    if let Some(last) = history.last_mut() {
        last.lost = true;
    }
}
