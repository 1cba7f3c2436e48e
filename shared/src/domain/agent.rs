//! Agents: named configurations of tasks, in versions.

use super::agent_tool::AgentTool;
use super::chain::ModelChain;
use super::hidden::Hidden;
use super::id::AgentId;
use super::invalid::{self, Invalid, text};
use super::limits::Limits;
use super::rules::{CacheRules, RetryRules};
use super::tenant::TenantId;
use super::time::Timestamp;
use super::transcript::OutputSchema;

const MAX_INSTRUCTIONS_BYTES: usize = 32 * 1_024;

/// One immutable version of an agent. A change makes the next version; running tasks keep their
/// version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Identifies the agent across its versions.
    pub id: AgentId,
    /// The tenant that owns the agent.
    pub tenant: TenantId,
    /// The number of the version, from 1.
    pub version: u32,
    /// What the agent does, and its limits.
    pub config: AgentConfig,
    /// When this version was created. The id says when the agent was.
    pub created_at: Timestamp,
}

impl Agent {
    /// The first version of a new agent.
    pub fn create(tenant: TenantId, config: AgentConfig, now: Timestamp) -> Self {
        Self {
            id: AgentId::new(now),
            tenant,
            version: 1,
            config,
            created_at: now,
        }
    }

    /// An agent that only the tasks name that were submitted with it. It has this version only.
    pub const fn inline(
        id: AgentId,
        tenant: TenantId,
        config: AgentConfig,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            version: 1,
            config,
            created_at: now,
        }
    }

    /// The agent's id and this version's number.
    pub const fn version_ref(&self) -> AgentVersion {
        AgentVersion {
            id: self.id,
            version: self.version,
        }
    }
}

/// The name of one version of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentVersion {
    /// The agent.
    pub id: AgentId,
    /// Its version.
    pub version: u32,
}

impl AgentVersion {
    /// The only version of an inline agent.
    pub const fn inline(id: AgentId) -> Self {
        Self { id, version: 1 }
    }
}

/// What an agent does, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// A name for people; need not be unique.
    pub name: AgentName,
    /// The text that tells the model its role.
    pub instructions: Instructions,
    /// The models that it calls, the preferred one first.
    pub models: ModelChain,
    /// The tools, each name once.
    pub tools: Vec<AgentTool>,
    /// The JSON schema of the final answer, if it must follow one.
    pub output_schema: Option<OutputSchema>,
    /// How failed model calls are retried.
    pub retry: RetryRules,
    /// Whether and for how long answers are cached; `None` takes the deployment's setting.
    pub cache: Option<CacheRules>,
    /// The limits of each task.
    pub limits: Limits,
}

/// A name for people: 1 to 64 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentName(String);

impl AgentName {
    /// Checks the name at `/name`.
    pub fn new(name: String) -> Result<Self, Invalid> {
        invalid::name("/name", name).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text that tells the model its role: at most 32 KiB; may be empty.
#[derive(derive_more::Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions(#[debug("{}", Hidden(_0))] String);

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
