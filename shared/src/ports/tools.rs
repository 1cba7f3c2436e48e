//! The tools that the platform runs itself.

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::{BuiltinTool, Deadline, Hidden};

/// Runs tools.
#[async_trait]
pub trait Tools: Send + Sync {
    /// Runs the tool and comes back before the deadline, whatever happens. A failure is told to the model, as text with
    /// `is_error`.
    async fn run(&self, request: &ToolRequest) -> ToolOutput;
}

/// A tool to be run.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct ToolRequest {
    /// The tool, as the agent has it.
    pub tool: BuiltinTool,
    /// What the model wants of it; fits the tool's schema.
    #[debug(skip)]
    pub arguments: Value,
    /// The same whenever the same call is run again, so that others can tell that it is.
    pub idempotency_key: String,
    /// When it must have ended.
    pub deadline: Deadline,
}

/// What a tool says to the model.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// What it says.
    #[debug("{}", Hidden(text))]
    pub text: String,
    /// Whether it is an error, for the model to react to.
    pub is_error: bool,
}

impl ToolOutput {
    /// What came out.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: false }
    }

    /// What went wrong.
    pub fn error(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: true }
    }
}
