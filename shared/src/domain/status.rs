//! The states of tasks by name.

use serde::{Deserialize, Serialize};

/// A task's state without its content, for lists, logs and indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// See [`TaskState::Queued`](super::TaskState::Queued).
    Queued,
    /// See [`TaskState::Running`](super::TaskState::Running).
    Running,
    /// See [`TaskState::Waiting`](super::TaskState::Waiting).
    Waiting,
    /// See [`TaskState::InputRequired`](super::TaskState::InputRequired).
    InputRequired,
    /// See [`TaskState::Paused`](super::TaskState::Paused).
    Paused,
    /// See [`TaskState::Completed`](super::TaskState::Completed).
    Completed,
    /// See [`TaskState::Failed`](super::TaskState::Failed).
    Failed,
    /// See [`TaskState::Canceled`](super::TaskState::Canceled).
    Canceled,
    /// See [`TaskState::TimedOut`](super::TaskState::TimedOut).
    TimedOut,
}

impl TaskStatus {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::InputRequired,
        Self::Paused,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::TimedOut,
    ];

    /// Whether the task has ended, so that only [`Task::reopen`](super::Task::reopen) continues it.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting | Self::InputRequired | Self::Paused => {
                false
            }
            Self::Completed | Self::Failed | Self::Canceled | Self::TimedOut => true,
        }
    }

    /// Whether the task continues only after its client acts.
    pub const fn awaits_client(self) -> bool {
        match self {
            Self::InputRequired | Self::Paused => true,
            Self::Queued
            | Self::Running
            | Self::Waiting
            | Self::Completed
            | Self::Failed
            | Self::Canceled
            | Self::TimedOut => false,
        }
    }

    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::InputRequired => "input_required",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::TimedOut => "timed_out",
        }
    }
}
