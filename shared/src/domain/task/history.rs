//! A task's audit trail: each change of its state, and when. The write that makes the change also
//! stores it in the task's record.
//!
//! A change has a number, counted from 0, and never changes. The record has the most recent
//! changes. The oldest are moved out in blocks, which have records of their own. Only changes that
//! are stored already are moved, so that every writer moves the same block.

use std::ops::Not;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TaskStatus;
use crate::domain::failure_code::FailureCode;
use crate::domain::id::WorkerId;
use crate::domain::limits::LimitKind;
use crate::domain::time::Timestamp;
use crate::domain::wait::WaitReason;

/// The most changes that a task's record has.
pub const MAX_HISTORY: usize = 25;

/// How many changes are moved out of the record as one block.
pub const HISTORY_BLOCK: u32 = 15;
const BLOCK: usize = HISTORY_BLOCK as usize;

/// A record with at least this number of changes loses a block at the next transition. A claim
/// moves no block; at most [`MAX_ATTEMPTS`](super::MAX_ATTEMPTS) claims follow each other.
const FULL: usize = 20;

/// The most changes in a record that an earlier version wrote. That version removed older changes
/// and did not count them.
const UNCOUNTED: usize = 100;

/// The part of a task's history that its record has, and the blocks that a transition moves out.
///
/// Two histories are equal if their records have the same changes. Blocks that are moved out do not
/// matter: they belong to one write.
#[derive(Debug, Clone, Eq)]
pub struct History {
    first: u32,
    recent: Vec<Change>,
    leaving: Vec<Change>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        (self.first, &self.recent) == (other.first, &other.recent)
    }
}

impl History {
    /// A history that begins with this change.
    pub(super) fn beginning(change: Change) -> Self {
        Self {
            first: 0,
            recent: vec![change],
            leaving: Vec::new(),
        }
    }

    /// Reads the history from a task's record of this `revision`. If the record has `UNCOUNTED`
    /// changes, an earlier version may have removed older ones, and their number is unknown. Then
    /// the numbers continue at `first` plus the revision: each change took a revision, so no number
    /// is used twice.
    pub fn restore(first: u32, recent: Vec<Change>, revision: u64) -> Self {
        let is_whole = recent.len() < UNCOUNTED
            || matches!(recent.first(), Some(change) if change.event == Event::Submitted);
        let given = if is_whole {
            0
        } else {
            u32::try_from(revision).unwrap_or(u32::MAX)
        };
        Self {
            first: first.saturating_add(given),
            recent,
            leaving: Vec::new(),
        }
    }

    /// The number of the first change that the record has.
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// The changes that the record has, oldest first; at most [`MAX_HISTORY`], but for a record
    /// that an earlier version wrote.
    pub fn recent(&self) -> &[Change] {
        &self.recent
    }

    /// The changes that the record has, each with its number.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &Change)> {
        (self.first..).zip(&self.recent)
    }

    /// The blocks of [`HISTORY_BLOCK`] changes that the last transition took out, each with the
    /// number of its first change. They must be stored with the transition.
    pub fn leaving(&self) -> impl Iterator<Item = (u32, &[Change])> {
        let moved = u32::try_from(self.leaving.len()).unwrap_or(u32::MAX);
        let blocks = self.leaving.chunks(BLOCK);
        (self.first.saturating_sub(moved)..)
            .step_by(BLOCK)
            .zip(blocks)
    }

    /// Moves blocks out if there are enough changes. Must be called before a change is added, so
    /// that only stored changes are moved.
    pub(super) fn make_room(&mut self) {
        let blocks = (self.recent.len() + BLOCK).saturating_sub(FULL) / BLOCK;
        self.leaving = self.recent.drain(..blocks * BLOCK).collect();
        self.first = self
            .first
            .saturating_add(u32::try_from(self.leaving.len()).unwrap_or(u32::MAX));
    }

    /// Adds a change.
    pub(super) fn push(&mut self, change: Change) {
        self.recent.push(change);
    }

    /// Adds a claim. The store makes it with one write to the record, which moves no block.
    pub(super) fn push_claim(&mut self, change: Change) {
        self.leaving.clear();
        self.recent.push(change);
    }

    /// Marks the last change: it ended the work of a lost worker.
    pub(super) fn note_lost(&mut self) {
        if let Some(last) = self.recent.last_mut() {
            last.lost = true;
        }
    }

    /// The state that the last change ended, and how long the state had lasted. `None` if the
    /// change ended no state, or if the state began before the record's first change.
    pub(super) fn last_stay(&self) -> Option<(TaskStatus, Duration)> {
        let (last, before) = self.recent.split_last()?;
        last.event.state()?;
        let began = before
            .iter()
            .rev()
            .find_map(|change| Some((change.event.state()?, change.at)));
        began.map(|(state, since)| (state, last.at.since(since)))
    }
}

/// A change of a task's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
    /// Whether it ended the work of a lost worker. A claim does not say so: a claim that follows a
    /// claim always does.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub lost: bool,
}

impl Change {
    /// A change that ended no lost worker's work.
    pub const fn new(at: Timestamp, event: Event) -> Self {
        Self {
            at,
            event,
            lost: false,
        }
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
    /// Its worker ran out of time after some steps: another worker continues.
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
    /// The state after it; `None` if it does not change the state.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(count: u32) -> Vec<Change> {
        let change = |number| Change::new(Timestamp::from_millis(number), Event::Requeued);
        (0..u64::from(count)).map(change).collect()
    }

    /// How many changes a history of `count` has after a transition, and where its blocks begin.
    #[track_caller]
    fn check_room(count: u32, left: usize, blocks: &[u32]) {
        let mut history = History::restore(30, changes(count), 1_000);
        history.make_room();
        let leaving: Vec<(u32, &[Change])> = history.leaving().collect();
        let all: Vec<Change> = leaving
            .iter()
            .flat_map(|(_, block)| block.iter())
            .chain(history.recent())
            .cloned()
            .collect();
        assert_eq!(all, changes(count));
        assert!(leaving.iter().all(|(_, block)| block.len() == BLOCK));
        assert_eq!(
            leaving.iter().map(|(first, _)| *first).collect::<Vec<_>>(),
            blocks,
            "{count}"
        );
        assert_eq!(
            (
                history.recent().len(),
                history.numbered().next().map(|(number, _)| number)
            ),
            (left, Some(history.first))
        );
    }

    #[test]
    fn a_full_history_is_moved_in_blocks_and_recent_changes_stay() {
        check_room(1, 1, &[]);
        check_room(19, 19, &[]);
        check_room(20, 5, &[30]);
        check_room(25, 10, &[30]);
        check_room(99, 9, &[30, 45, 60, 75, 90, 105]);
    }

    #[test]
    fn what_leaves_is_of_one_transition() {
        let mut history = History::restore(0, changes(25), 25);
        history.make_room();
        assert_eq!(history.leaving().count(), 1);
        history.push_claim(Change::new(Timestamp::from_millis(99), Event::Resent));
        assert_eq!(
            (
                history.leaving().count(),
                history.first(),
                history.recent().len()
            ),
            (0, 15, 11)
        );
        history.make_room();
        assert_eq!((history.leaving().count(), history.first()), (0, 15));
    }

    /// A version that had at most a hundred changes did not count the changes that it removed.
    #[test]
    fn no_number_is_given_twice_after_a_version_that_removed_changes() {
        let first = |first, recent: Vec<Change>, revision| {
            History::restore(first, recent, revision).first()
        };
        assert_eq!(first(0, changes(99), 500), 0, "it has removed none");
        assert_eq!(first(0, changes(100), 500), 500);
        assert_eq!(first(450, changes(105), 500), 950);
        let submitted = vec![Change::new(Timestamp::from_millis(0), Event::Submitted)];
        assert_eq!(
            first(0, [submitted, changes(99)].concat(), 500),
            0,
            "it begins with the first change"
        );
    }
}
