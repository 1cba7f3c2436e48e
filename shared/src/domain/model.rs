//! Models, and one exchange with a model, free of any vendor's format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::invalid::Invalid;
use super::usage::Usage;

/// A vendor's API that serves models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Anthropic's Messages API.
    Anthropic,
    /// OpenAI's Responses API.
    OpenAi,
}

impl Provider {
    /// The name in requests, records and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }
}

impl FromStr for Provider {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "anthropic" => Ok(Self::Anthropic),
            "openai" => Ok(Self::OpenAi),
            _ => Err(Invalid::new("/provider", "must be anthropic or openai")),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One model of one provider, such as `anthropic` and `claude-sonnet-5-5`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    provider: Provider,
    name: String,
}

impl ModelRef {
    /// Accepts names of 1 to 128 printable ASCII characters without spaces. Whether the provider serves the model is the
    /// provider's to say: its list changes by the week.
    pub fn new(provider: Provider, name: impl Into<String>) -> Result<Self, Invalid> {
        let name = name.into();
        if (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self { provider, name });
        }
        Err(Invalid::new("/model", "must have 1 to 128 printable ASCII characters without spaces"))
    }

    /// The provider that serves the model.
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// The provider's name for the model.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One text question to one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRequest {
    /// The model asked.
    pub model: ModelRef,
    /// What the model is told about its role, before the input.
    pub instructions: String,
    /// The user's text.
    pub input: String,
    /// The most tokens that the answer may have, reasoning included.
    pub max_output_tokens: u32,
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAnswer {
    /// The answer's text; may be empty when the model refused.
    pub text: String,
    /// Why the model stopped.
    pub stop_reason: StopReason,
    /// The tokens that the call used.
    pub usage: Usage,
    /// The model that the provider says it served, often a dated name of the one asked for.
    pub served_model: String,
    /// The provider's id for the exchange, which its support asks for.
    pub request_id: Option<String>,
}

/// Why a model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// It reached `max_output_tokens`; the text is cut.
    MaxTokens,
    /// It filled its context window; the text is cut.
    ContextWindow,
    /// It, or the vendor's filter, declined to answer.
    Refusal,
    /// A reason that this version doesn't know; the text is kept.
    Other,
}

impl StopReason {
    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::ContextWindow => "context_window",
            Self::Refusal => "refusal",
            Self::Other => "other",
        }
    }
}
