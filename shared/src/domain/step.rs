//! Steps: what a task's journal is made of.

use serde::{Deserialize, Serialize};

use super::call::ModelAnswer;
use super::chain::ModelRef;
use super::hidden::Hidden;
use super::id::TaskId;
use super::spend::Spend;
use super::time::Timestamp;
use super::transcript::{ToolCall, ToolResult};

/// One durable unit of work inside a task. A recorded step is never done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The task it belongs to.
    pub task: TaskId,
    /// The run that it is of: a task that begins afresh begins another run. A run is told by the number of the last step
    /// before it, 0 for the first.
    pub base: u32,
    /// Its place in the journal, from 1 without gaps. The results of tools that a model calls together have the numbers
    /// after the model's answer, in the order of the calls; which of them is recorded first is left to the tools.
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

/// What is known of a step without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepHead {
    /// Its run.
    pub base: u32,
    /// Its number.
    pub number: u32,
    /// What it cost.
    pub spend: Spend,
}

impl Step {
    /// The step without its content.
    pub fn head(&self) -> StepHead {
        StepHead { base: self.base, number: self.number, spend: self.kind.spend() }
    }
}

/// What a step did.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// Asked a model.
    ModelCall {
        /// The model asked for.
        requested: ModelRef,
        /// What it answered.
        answer: ModelAnswer,
    },
    /// Answered a model's call of a tool.
    ToolCall {
        /// What the model wanted.
        call: ToolCall,
        /// Who answered.
        by: ToolRunner,
        /// The answer.
        #[debug("{}", Hidden(text))]
        text: String,
        /// Whether it is an error, for the model to react to.
        is_error: bool,
    },
}

/// Who answers a model's call of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolRunner {
    /// A tool of the platform's own.
    Platform,
    /// The task's client.
    Client,
    /// Nobody: the call could not be made, and the answer says why.
    Nobody,
}

impl StepKind {
    /// What the step cost.
    pub fn spend(&self) -> Spend {
        match self {
            Self::ModelCall { answer, .. } => answer.spend,
            Self::ToolCall { .. } => Spend::default(),
        }
    }

    /// The name in records, responses and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ModelCall { .. } => "model_call",
            Self::ToolCall { .. } => "tool_call",
        }
    }

    /// The result of a tool call, as a model gets it.
    pub(super) fn tool_result(&self) -> Option<ToolResult> {
        match self {
            Self::ModelCall { .. } => None,
            Self::ToolCall { call, text, is_error, by: _ } => {
                Some(ToolResult { call_id: call.id.clone(), text: text.clone(), is_error: *is_error })
            }
        }
    }
}
