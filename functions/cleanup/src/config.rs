//! The watchdog's configuration.

use std::time::Duration;

use shared::config::{ConfigError, Environment};

/// What the deployment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `STATE_TABLE`: the table of agents, tasks and steps.
    pub state_table: String,
    /// `EPHEMERAL_TABLE`: the table of cached answers, which go with the tasks that used them.
    pub ephemeral_table: String,
    /// `TASK_QUEUE_URL`: the queue that workers read.
    pub task_queue_url: String,
    /// `TASK_RETENTION_DAYS`: how long tasks are kept after their end; 0 until their clients delete
    /// them.
    pub task_retention: Option<Duration>,
}

impl Config {
    /// Reads all variables.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            state_table: environment.required("STATE_TABLE")?,
            ephemeral_table: environment.required("EPHEMERAL_TABLE")?,
            task_queue_url: environment.required("TASK_QUEUE_URL")?,
            task_retention: Some(environment.parsed("TASK_RETENTION_DAYS")?)
                .filter(|days| *days > 0)
                .map(days),
        })
    }
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}
