//! The executor's configuration.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use shared::app::WorkTimes;
use shared::config::{ConfigError, Environment};
use shared::domain::{CacheRules, CacheTerms, Invalid};
use shared::llm::{Access, ApiKey, BaseUrl, Providers, Timeouts};
use shared::policy::{BreakerSettings, DailyCaps};
use shared::ports::Secrets;

/// The most tasks that an executor works on at once: the template's `BatchSize`.
pub const BATCH_SIZE: u32 = 10;

/// The variable in which Lambda itself names the function's memory.
pub const MEMORY_SIZE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";

/// The executor's settings in its deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `STATE_TABLE`: the table of agents, tasks, steps and budgets.
    pub state_table: String,
    /// `EPHEMERAL_TABLE`: the table of cached answers, circuits and slots.
    pub ephemeral_table: String,
    /// `TASK_QUEUE_URL`: the queue that this function reads.
    pub task_queue_url: String,
    /// The model providers.
    pub upstreams: Upstreams,
    /// `TOOL_SECRET_PREFIX`: what the names of the secrets with tools' credentials begin with, before
    /// `/<tenant>/<name>`; `None` if tools have no credentials.
    pub tool_secret_prefix: Option<String>,
    /// `MODEL_CACHE_SECONDS`: how long answers are cached for agents that don't say; 0 for not at
    /// all.
    pub cache: CacheRules,
    /// `BREAKER_FAILURES` and `BREAKER_OPEN_SECONDS`: after how many failures in a row a model's
    /// circuit opens, and for how long.
    pub breaker: BreakerSettings,
    /// `LEASE_SECONDS`: how long a lease lasts without a renewal. The task of a killed worker waits
    /// that long. `STEP_RESERVE_SECONDS`: the time that a step should have. With less time left, an
    /// invocation begins no further step.
    pub times: WorkTimes,
    /// `TENANT_DAILY_BUDGET_MICRO_USD` and `DEPLOYMENT_DAILY_BUDGET_MICRO_USD`: the most that the
    /// model calls of each tenant, and of all tenants together, may cost in a day (UTC); 0 for any
    /// amount.
    pub daily_caps: DailyCaps,
    /// `TENANT_MAX_RUNNING_TASKS`: the most tasks of a tenant without a cap of its own that run at
    /// once; 0 for any number.
    pub tenant_max_running_tasks: Option<NonZeroU32>,
    /// The most tasks that all executors together (`EXECUTOR_MAX_CONCURRENCY`) run at once.
    pub max_running_tasks: Option<NonZeroU32>,
    /// [`MEMORY_SIZE`]: the function's memory in MB. Conversations get a share of it.
    pub memory_mb: u64,
}

/// How the model providers are reached, and how long they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstreams {
    /// `ANTHROPIC_*`: the Anthropic API.
    pub anthropic: Upstream,
    /// `OPENAI_*`: the OpenAI API.
    pub openai: Upstream,
    /// `OPENAI_COMPATIBLE_*`: a server with OpenAI's Chat Completions API; without a base URL there
    /// is none.
    pub openai_compatible: Option<Upstream>,
    /// `MODEL_TIMEOUT_SECONDS`: the longest that one attempt at a model call may take;
    /// `MODEL_FIRST_BYTE_SECONDS`: the longest before the first byte of its answer;
    /// `MODEL_IDLE_SECONDS`: the longest silence after that, see [`Timeouts`].
    pub timeouts: Timeouts,
}

/// How a model provider is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `…_BASE_URL`: the part of the URL before the API's own paths.
    pub base_url: BaseUrl,
    /// `…_KEY_SECRET`: name or ARN of the secret that holds the key; without one, no key is sent.
    pub key_secret: Option<String>,
}

impl Config {
    /// Reads all variables.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let executors: u32 = environment.parsed("EXECUTOR_MAX_CONCURRENCY")?;
        Ok(Self {
            state_table: environment.required("STATE_TABLE")?,
            ephemeral_table: environment.required("EPHEMERAL_TABLE")?,
            task_queue_url: environment.required("TASK_QUEUE_URL")?,
            upstreams: Upstreams::read(environment)?,
            tool_secret_prefix: environment.optional("TOOL_SECRET_PREFIX"),
            cache: cache(environment)?,
            breaker: breaker(environment)?,
            times: WorkTimes {
                lease: Duration::from_secs(environment.parsed("LEASE_SECONDS")?),
                step_reserve: Duration::from_secs(environment.parsed("STEP_RESERVE_SECONDS")?),
            },
            daily_caps: daily_caps(environment)?,
            tenant_max_running_tasks: NonZeroU32::new(
                environment.parsed("TENANT_MAX_RUNNING_TASKS")?,
            ),
            max_running_tasks: NonZeroU32::new(BATCH_SIZE.saturating_mul(executors)),
            memory_mb: environment.parsed(MEMORY_SIZE)?,
        })
    }
}

fn daily_caps(environment: &Environment) -> Result<DailyCaps, ConfigError> {
    let cap = |variable| {
        environment
            .parsed::<u64>(variable)
            .map(|cap| Some(cap).filter(|cap| *cap > 0))
    };
    Ok(DailyCaps {
        tenant: cap("TENANT_DAILY_BUDGET_MICRO_USD")?,
        deployment: cap("DEPLOYMENT_DAILY_BUDGET_MICRO_USD")?,
    })
}

impl Upstreams {
    fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let seconds = |variable| environment.parsed(variable).map(Duration::from_secs);
        let anthropic = Upstream::read(environment, "ANTHROPIC_BASE_URL", "ANTHROPIC_KEY_SECRET")?;
        let openai = Upstream::read(environment, "OPENAI_BASE_URL", "OPENAI_KEY_SECRET")?;
        let timeouts = Timeouts {
            first_byte: seconds("MODEL_FIRST_BYTE_SECONDS")?,
            idle: seconds("MODEL_IDLE_SECONDS")?,
            overall: seconds("MODEL_TIMEOUT_SECONDS")?,
        };
        Ok(Self {
            anthropic,
            openai,
            openai_compatible: openai_compatible(environment)?,
            timeouts,
        })
    }

    /// The providers, with keys from `store`.
    pub fn providers(self, store: &Arc<dyn Secrets>) -> Providers {
        Providers {
            anthropic: self.anthropic.access(store),
            openai: self.openai.access(store),
            openai_compatible: self
                .openai_compatible
                .map(|upstream| upstream.access(store)),
            timeouts: self.timeouts,
        }
    }
}

impl Upstream {
    /// Reads one provider's variables. Refuses a key for a URL to which it would be sent in plain
    /// text.
    fn read(
        environment: &Environment,
        base_url: &'static str,
        key_secret: &'static str,
    ) -> Result<Self, ConfigError> {
        let upstream = Self {
            base_url: environment.parsed(base_url)?,
            key_secret: environment.optional(key_secret),
        };
        if upstream.key_secret.is_some() && !upstream.base_url.is_private() {
            let reason = format!(
                "must start with https://, because {key_secret} names a key that would be sent to it; http:// is only for \
                 servers that take no key, and for this machine"
            );
            return Err(ConfigError {
                variable: base_url,
                reason,
            });
        }
        Ok(upstream)
    }

    fn access(self, store: &Arc<dyn Secrets>) -> Access {
        let key = self
            .key_secret
            .map_or(ApiKey::Absent, |name| ApiKey::Secret {
                store: Arc::clone(store),
                name,
            });
        Access {
            base_url: self.base_url,
            key,
        }
    }
}

fn openai_compatible(environment: &Environment) -> Result<Option<Upstream>, ConfigError> {
    let (base_url, key_secret) = ("OPENAI_COMPATIBLE_BASE_URL", "OPENAI_COMPATIBLE_KEY_SECRET");
    // Read even if it is not used: a test compares the variables that are read with the template.
    environment.optional(key_secret);
    let Some(_) = environment.optional(base_url) else {
        return Ok(None);
    };
    Upstream::read(environment, base_url, key_secret).map(Some)
}

fn cache(environment: &Environment) -> Result<CacheRules, ConfigError> {
    let variable = "MODEL_CACHE_SECONDS";
    let seconds = environment.parsed(variable)?;
    if seconds == 0 {
        return Ok(CacheRules::Off);
    }
    CacheTerms::default()
        .with_ttl_seconds(seconds)
        .map(CacheRules::On)
        .map_err(|invalid| refused(variable, invalid))
}

fn breaker(environment: &Environment) -> Result<BreakerSettings, ConfigError> {
    let (failures, open_seconds) = ("BREAKER_FAILURES", "BREAKER_OPEN_SECONDS");
    let settings = BreakerSettings::default().with_failures(environment.parsed(failures)?);
    let settings = settings.map_err(|invalid| refused(failures, invalid))?;
    settings
        .with_open_seconds(environment.parsed(open_seconds)?)
        .map_err(|invalid| refused(open_seconds, invalid))
}

fn refused(variable: &'static str, invalid: Invalid) -> ConfigError {
    ConfigError {
        variable,
        reason: invalid.reason.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deployment's values, with this cap on a tenant's running tasks.
    fn read(most: &str) -> Result<Config, ConfigError> {
        read_from(most, ["https://api.anthropic.com", "", "", ""])
    }

    /// The same, with Anthropic's and the compatible server's base URLs and keys.
    fn read_from(most: &str, upstreams: [&str; 4]) -> Result<Config, ConfigError> {
        let [anthropic, anthropic_key, compatible, compatible_key] = upstreams;
        Config::read(&Environment::of([
            ("ANTHROPIC_KEY_SECRET", anthropic_key),
            ("OPENAI_COMPATIBLE_BASE_URL", compatible),
            ("OPENAI_COMPATIBLE_KEY_SECRET", compatible_key),
            ("STATE_TABLE", "state"),
            ("EPHEMERAL_TABLE", "ephemeral"),
            ("TASK_QUEUE_URL", "https://queue"),
            ("ANTHROPIC_BASE_URL", anthropic),
            ("OPENAI_BASE_URL", "https://api.openai.com"),
            ("MODEL_TIMEOUT_SECONDS", "120"),
            ("MODEL_FIRST_BYTE_SECONDS", "60"),
            ("MODEL_IDLE_SECONDS", "60"),
            ("MODEL_CACHE_SECONDS", "0"),
            ("BREAKER_FAILURES", "5"),
            ("BREAKER_OPEN_SECONDS", "30"),
            ("LEASE_SECONDS", "60"),
            ("STEP_RESERVE_SECONDS", "60"),
            ("TENANT_DAILY_BUDGET_MICRO_USD", "0"),
            ("DEPLOYMENT_DAILY_BUDGET_MICRO_USD", "7"),
            ("TENANT_MAX_RUNNING_TASKS", most),
            ("EXECUTOR_MAX_CONCURRENCY", "10"),
            (MEMORY_SIZE, "512"),
        ]))
    }

    #[test]
    fn tenant_has_no_task_cap_unless_configured() {
        assert_eq!(read("0").unwrap().tenant_max_running_tasks, None);
        assert_eq!(
            read("50").unwrap().tenant_max_running_tasks,
            NonZeroU32::new(50)
        );
    }

    #[test]
    fn all_executors_together_run_as_many_tasks_as_their_batches_hold() {
        assert_eq!(read("0").unwrap().max_running_tasks, NonZeroU32::new(100));
    }

    #[test]
    fn a_key_is_never_sent_in_the_clear() {
        let anthropic = "https://api.anthropic.com";
        for taken in [
            [anthropic, "key", "http://vllm.internal:8000", ""],
            [
                "http://api.anthropic.com",
                "",
                "https://gateway.example",
                "key",
            ],
            [
                "http://127.0.0.1:4010",
                "key",
                "http://localhost:8000",
                "key",
            ],
        ] {
            assert!(read_from("0", taken).is_ok(), "{taken:?}");
        }
        for (refused, upstreams) in [
            (
                "ANTHROPIC_BASE_URL",
                ["http://api.anthropic.com", "key", "", ""],
            ),
            (
                "OPENAI_COMPATIBLE_BASE_URL",
                [anthropic, "key", "http://vllm.internal:8000", "key"],
            ),
        ] {
            let error = read_from("0", upstreams).unwrap_err();
            assert_eq!(error.variable, refused);
            assert!(
                error.reason.contains("must start with https://"),
                "{}",
                error.reason
            );
        }
    }

    #[test]
    fn a_number_of_running_tasks_that_is_none_is_refused_by_its_variable() {
        for refused in ["", "-1", "1.5", "many", "4294967296"] {
            assert_eq!(
                read(refused).unwrap_err().variable,
                "TENANT_MAX_RUNNING_TASKS",
                "{refused}"
            );
        }
    }
}
