//! The tools that the platform runs itself.

use async_trait::async_trait;
use serde_json::Value;

use crate::domain::{BuiltinTool, Deadline, Hidden, TenantId};

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
    /// The most bytes that its text should have. What is longer is cut, wherever that is.
    pub max_result_bytes: usize,
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
    /// The host that sent it, if one did; then the text is JSON.
    pub source: Option<String>,
}

impl ToolOutput {
    /// What came out.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_error: false,
            is_blocked: false,
            source: None,
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

    /// This output with a text of at most so many bytes: a longer text keeps its beginning and says
    /// so at its end.
    #[must_use]
    pub fn bounded(mut self, most: usize) -> Self {
        if self.text.len() > most {
            let end = format!("\n[cut: the result is longer than {most} bytes]");
            let kept = most.saturating_sub(end.len());
            self.text.truncate(self.text.floor_char_boundary(kept));
            self.text.push_str(&end);
            self.text.shrink_to_fit();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::MAX_TOOL_TEXT_BYTES;

    #[test]
    fn a_text_of_any_length_is_bounded() {
        let fits = ToolOutput::new("x".repeat(MAX_TOOL_TEXT_BYTES));
        assert_eq!(fits.clone().bounded(MAX_TOOL_TEXT_BYTES), fits);
        for (text, bytes) in [
            ("x", MAX_TOOL_TEXT_BYTES + 1),
            ("\u{1}", 4 * MAX_TOOL_TEXT_BYTES),
            ("é", MAX_TOOL_TEXT_BYTES),
        ] {
            let bounded = ToolOutput::error(text.repeat(bytes)).bounded(MAX_TOOL_TEXT_BYTES);
            assert!(
                (MAX_TOOL_TEXT_BYTES - 1..=MAX_TOOL_TEXT_BYTES).contains(&bounded.text.len()),
                "{text:?}"
            );
            assert!(
                bounded.is_error
                    && bounded.text.starts_with(text)
                    && bounded.text.ends_with("longer than 524288 bytes]")
            );
        }
    }
}
