//! The tools that the platform runs itself.

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::{BuiltinTool, Deadline, Hidden, MAX_TOOL_TEXT_BYTES, TenantId};

/// What the end of a text that was cut says.
const CUT: &str = "\n[cut: the result is longer than 524288 bytes]";

/// Runs tools.
#[async_trait]
pub trait Tools: Send + Sync {
    /// Runs the tool and always returns before the deadline. A failure is an output for the
    /// model, as text with `is_error`.
    async fn run(&self, request: &ToolRequest) -> ToolOutput;
}

/// A tool to be run.
#[derive(derive_more::Debug, Clone, PartialEq, Eq)]
pub struct ToolRequest {
    /// Whose task calls it.
    pub tenant: TenantId,
    /// The tool, as the agent configures it.
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
    /// Whether the rules of the tool forbid the call, so that nothing was sent.
    pub is_blocked: bool,
}

impl ToolOutput {
    /// What came out.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: false,
            is_blocked: false,
        }
    }

    /// What went wrong.
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            ..Self::new(text)
        }
    }

    /// Why the rules of the tool forbid the call.
    pub fn blocked(text: impl Into<String>) -> Self {
        Self {
            is_blocked: true,
            ..Self::error(text)
        }
    }

    /// This output with a text of at most [`MAX_TOOL_TEXT_BYTES`]: a longer text keeps its
    /// beginning and says so at its end.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.text.len() > MAX_TOOL_TEXT_BYTES {
            self.text.truncate(
                self.text
                    .floor_char_boundary(MAX_TOOL_TEXT_BYTES - CUT.len()),
            );
            self.text.push_str(CUT);
            self.text.shrink_to_fit();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_bounded() {
        assert!(CUT.contains(&MAX_TOOL_TEXT_BYTES.to_string()));
        let fits = ToolOutput::new("x".repeat(MAX_TOOL_TEXT_BYTES));
        assert_eq!(fits.clone().bounded(), fits);
        for (text, bytes) in [
            ("x", MAX_TOOL_TEXT_BYTES + 1),
            ("\u{1}", 4 * MAX_TOOL_TEXT_BYTES),
            ("é", MAX_TOOL_TEXT_BYTES),
        ] {
            let bounded = ToolOutput::error(text.repeat(bytes)).bounded();
            assert!(
                (MAX_TOOL_TEXT_BYTES - 1..=MAX_TOOL_TEXT_BYTES).contains(&bounded.text.len()),
                "{text:?}"
            );
            assert!(
                bounded.is_error && bounded.text.starts_with(text) && bounded.text.ends_with(CUT)
            );
        }
    }
}
