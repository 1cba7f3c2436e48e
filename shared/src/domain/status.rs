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
    /// See [`TaskState::Completed`](super::TaskState::Completed).
    Completed,
    /// See [`TaskState::Failed`](super::TaskState::Failed).
    Failed,
    /// See [`TaskState::TimedOut`](super::TaskState::TimedOut).
    TimedOut,
}

impl TaskStatus {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::TimedOut];

    /// Whether nothing more will happen.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting => false,
            Self::Completed | Self::Failed | Self::TimedOut => true,
        }
    }

    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}
