//! The API's configuration.

use shared::config::{ConfigError, Environment};
use shared::policy::admission::CompatibleServer;

/// What the deployment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `STATE_TABLE`: the table of agents, tasks and steps.
    pub state_table: String,
    /// `TASK_QUEUE_URL`: the queue that workers read.
    pub task_queue_url: String,
    /// `API_KEY_SECRET`: name or ARN of the secret that holds the API key.
    pub api_key_secret: String,
    /// `OPENAI_COMPATIBLE_BASE_URL`: only whether it is set, which is whether the executor can ask such a server.
    pub compatible_server: CompatibleServer,
}

impl Config {
    /// Reads all variables.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            state_table: environment.required("STATE_TABLE")?,
            task_queue_url: environment.required("TASK_QUEUE_URL")?,
            api_key_secret: environment.required("API_KEY_SECRET")?,
            compatible_server: match environment.optional("OPENAI_COMPATIBLE_BASE_URL") {
                Some(_) => CompatibleServer::Present,
                None => CompatibleServer::Absent,
            },
        })
    }
}
