//! Agents: named, versioned configurations.

use super::chain::ModelChain;
use super::id::AgentId;
use super::invalid::{Invalid, text, within};
use super::rules::{CacheRules, RetryRules};
use super::tenant::TenantId;
use super::time::Timestamp;
use super::tool::BuiltinTool;
use super::transcript::{OutputSchema, ToolDefinition};

const MAX_NAME_CHARS: usize = 64;
const MAX_INSTRUCTIONS_BYTES: usize = 32 * 1_024;

/// One immutable version of an agent. A change makes the next version; running tasks keep theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Identifies the agent across its versions.
    pub id: AgentId,
    /// Whose agent it is.
    pub tenant: TenantId,
    /// Counts from 1.
    pub version: u32,
    /// What it does and within which bounds.
    pub config: AgentConfig,
    /// When this version was made.
    pub created_at: Timestamp,
}

impl Agent {
    /// The first version of a new agent.
    pub fn create(tenant: TenantId, config: AgentConfig, now: Timestamp) -> Self {
        Self { id: AgentId::new(now), tenant, version: 1, config, created_at: now }
    }

    /// Names this version.
    pub const fn version_ref(&self) -> AgentVersion {
        AgentVersion { id: self.id, version: self.version }
    }
}

/// Names one version of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentVersion {
    /// The agent.
    pub id: AgentId,
    /// Its version.
    pub version: u32,
}

/// What an agent does and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// A name for people; need not be unique.
    pub name: AgentName,
    /// What the model is told about its role.
    pub instructions: Instructions,
    /// The models that it asks.
    pub models: ModelChain,
    /// The tools that its models may ask its user to run.
    pub tools: Vec<ToolDefinition>,
    /// The tools that the platform runs for its models.
    pub builtin_tools: Vec<BuiltinTool>,
    /// The form that its answers must have, if they must have one.
    pub output_schema: Option<OutputSchema>,
    /// How failed model calls are repeated.
    pub retry: RetryRules,
    /// Whether and how long answers are kept; `None` leaves it to the deployment.
    pub cache: Option<CacheRules>,
    /// Its bounds.
    pub limits: Limits,
}

/// A name for people: 1 to 64 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName(String);

impl AgentName {
    /// Checks the name at `/name`.
    pub fn new(name: String) -> Result<Self, Invalid> {
        let length = name.chars().count();
        if name.trim().is_empty() || length > MAX_NAME_CHARS {
            return Err(Invalid::new("/name", format!("must have 1 to {MAX_NAME_CHARS} characters, has {length}")));
        }
        if name.chars().any(char::is_control) {
            return Err(Invalid::new("/name", "must not contain control characters"));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the model is told about its role: at most 32 KiB; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions(String);

impl Instructions {
    /// Checks the text at `/instructions`.
    pub fn new(instructions: String) -> Result<Self, Invalid> {
        if instructions.is_empty() {
            return Ok(Self::default());
        }
        text("/instructions", instructions, MAX_INSTRUCTIONS_BYTES).map(Self)
    }

    /// The instructions as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An agent's bounds for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    max_output_tokens: u32,
    timeout_seconds: u32,
    max_cost_micro_usd: Option<u64>,
}

impl Default for Limits {
    /// 4,096 tokens, half an hour, and any cost.
    fn default() -> Self {
        Self { max_output_tokens: 4_096, timeout_seconds: 1_800, max_cost_micro_usd: None }
    }
}

impl Limits {
    /// These limits with 1 to 32,000 tokens for an answer.
    pub fn with_max_output_tokens(self, tokens: u32) -> Result<Self, Invalid> {
        Ok(Self { max_output_tokens: within("/max_output_tokens", tokens, 1..=32_000)?, ..self })
    }

    /// These limits with 10 to 86,400 seconds from submission to the end.
    pub fn with_timeout_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self { timeout_seconds: within("/timeout_seconds", seconds, 10..=86_400)?, ..self })
    }

    /// These limits with a cap on what a task's model calls cost, in micro-USD: 1 to 1,000,000,000 (1,000 USD).
    pub fn with_max_cost_micro_usd(self, micro_usd: u64) -> Result<Self, Invalid> {
        if (1..=1_000_000_000).contains(&micro_usd) {
            return Ok(Self { max_cost_micro_usd: Some(micro_usd), ..self });
        }
        Err(Invalid::new("/max_cost_micro_usd", format!("must be 1 to 1000000000, is {micro_usd}")))
    }

    /// The most tokens that one answer may have.
    pub const fn max_output_tokens(self) -> u32 {
        self.max_output_tokens
    }

    /// The seconds from a task's submission after which it times out.
    pub const fn timeout_seconds(self) -> u32 {
        self.timeout_seconds
    }

    /// The most that a task's model calls may cost, in micro-USD.
    pub const fn max_cost_micro_usd(self) -> Option<u64> {
        self.max_cost_micro_usd
    }
}
