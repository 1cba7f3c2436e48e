//! The executor's configuration.

use std::time::Duration;

use shared::config::{ConfigError, Environment};
use shared::llm::BaseUrl;

/// What the deployment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `STATE_TABLE`: the table of agents, tasks and steps.
    pub state_table: String,
    /// `TASK_QUEUE_URL`: the queue that this function reads.
    pub task_queue_url: String,
    /// `ANTHROPIC_*`: the Anthropic API.
    pub anthropic: Upstream,
    /// `OPENAI_*`: the OpenAI API.
    pub openai: Upstream,
    /// `MODEL_TIMEOUT_SECONDS`: the longest that one model call may take.
    pub model_timeout: Duration,
}

/// How a model provider is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `…_BASE_URL`: what stands before the API's own paths.
    pub base_url: BaseUrl,
    /// `…_KEY_SECRET`: name or ARN of the secret that holds the key; without one, no key is sent.
    pub key_secret: Option<String>,
}

impl Config {
    /// Reads all variables.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            state_table: environment.required("STATE_TABLE")?,
            task_queue_url: environment.required("TASK_QUEUE_URL")?,
            anthropic: Upstream {
                base_url: environment.parsed("ANTHROPIC_BASE_URL")?,
                key_secret: environment.optional("ANTHROPIC_KEY_SECRET"),
            },
            openai: Upstream {
                base_url: environment.parsed("OPENAI_BASE_URL")?,
                key_secret: environment.optional("OPENAI_KEY_SECRET"),
            },
            model_timeout: Duration::from_secs(environment.parsed("MODEL_TIMEOUT_SECONDS")?),
        })
    }
}
