//! The API's configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use shared::config::{ConfigError, Environment};
use shared::domain::Provider;
use shared::jwt::JwtSettings;

use crate::Origins;

/// The settings of the API function, from its environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `STATE_TABLE`: the table of agents, tasks and steps.
    pub state_table: String,
    /// `EPHEMERAL_TABLE`: the table in which waits are counted, and which has the circuits.
    pub ephemeral_table: String,
    /// `TASK_QUEUE_URL`: the queue that workers read.
    pub task_queue_url: String,
    /// `API_KEY_SECRET`: name or ARN of the secret that holds the API key.
    pub api_key_secret: String,
    /// `API_KEY_PEPPER_SECRET`: name or ARN of the secret that seals the records of API keys.
    pub api_key_pepper_secret: String,
    /// `API_KEY_GRACE_SECONDS`: for how long after a new API key the previous key is still
    /// accepted.
    pub api_key_grace: Duration,
    /// `RUNBOOK_URL`: the URL of the runbook.
    pub runbook_url: String,
    /// `ANTHROPIC_AVAILABLE`, `OPENAI_AVAILABLE` and `OPENAI_COMPATIBLE_BASE_URL`: the providers
    /// that the executor can call; of the last variable only whether it is set.
    pub providers: Vec<Provider>,
    /// `TENANT_MAX_WAITS`: the most requests of one tenant that wait for tasks at once; 0 for any
    /// number.
    pub tenant_max_waits: Option<NonZeroU32>,
    /// `CORS_ORIGINS`: the origins of the web pages that may use the API, with commas between them.
    pub origins: Origins,
    /// `JWT_ISSUER`, `JWT_AUDIENCE`, `JWT_TENANT_CLAIM`, `JWT_SCOPES_CLAIM` and `JWT_SCOPE_PREFIX`: the
    /// JWTs that are accepted; none if the first is not set.
    pub jwt: Option<JwtSettings>,
}

impl Config {
    /// Reads all variables.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            state_table: environment.required("STATE_TABLE")?,
            ephemeral_table: environment.required("EPHEMERAL_TABLE")?,
            task_queue_url: environment.required("TASK_QUEUE_URL")?,
            api_key_secret: environment.required("API_KEY_SECRET")?,
            api_key_pepper_secret: environment.required("API_KEY_PEPPER_SECRET")?,
            api_key_grace: Duration::from_secs(environment.parsed("API_KEY_GRACE_SECONDS")?),
            runbook_url: environment.required("RUNBOOK_URL")?,
            providers: providers(environment)?,
            tenant_max_waits: NonZeroU32::new(environment.parsed("TENANT_MAX_WAITS")?),
            origins: match environment.optional("CORS_ORIGINS") {
                Some(_) => environment.parsed("CORS_ORIGINS")?,
                None => Origins::default(),
            },
            jwt: jwt(environment)?,
        })
    }
}

fn jwt(environment: &Environment) -> Result<Option<JwtSettings>, ConfigError> {
    let tenant_claim = environment.required("JWT_TENANT_CLAIM")?;
    let scopes_claim = environment.required("JWT_SCOPES_CLAIM")?;
    let Some(issuer) = environment.optional("JWT_ISSUER") else {
        return Ok(None);
    };
    Ok(Some(JwtSettings {
        issuer,
        audience: environment.required("JWT_AUDIENCE")?,
        tenant_claim,
        scopes_claim,
        scope_prefix: environment.optional("JWT_SCOPE_PREFIX").unwrap_or_default(),
    }))
}

fn providers(environment: &Environment) -> Result<Vec<Provider>, ConfigError> {
    let available = [
        (
            Provider::Anthropic,
            environment.parsed("ANTHROPIC_AVAILABLE")?,
        ),
        (Provider::OpenAi, environment.parsed("OPENAI_AVAILABLE")?),
        (
            Provider::OpenAiCompatible,
            environment.optional("OPENAI_COMPATIBLE_BASE_URL").is_some(),
        ),
    ];
    let available = available
        .into_iter()
        .filter(|(_, is_available)| *is_available);
    Ok(available.map(|(provider, _)| provider).collect())
}
