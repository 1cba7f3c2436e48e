//! Steps: what a task's journal is made of.

use super::call::ModelAnswer;
use super::chain::ModelRef;
use super::id::TaskId;
use super::time::Timestamp;

/// One durable unit of work inside a task. A recorded step is never done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The task it belongs to.
    pub task: TaskId,
    /// Its place in the journal, from 1 without gaps.
    pub number: u32,
    /// The fence of the lease under which it was done.
    pub fence: u64,
    /// What was done.
    pub kind: StepKind,
    /// When the work began.
    pub started_at: Timestamp,
    /// When the work ended.
    pub finished_at: Timestamp,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// Asked a model.
    ModelCall {
        /// The model asked for.
        requested: ModelRef,
        /// What it answered.
        answer: ModelAnswer,
    },
}
