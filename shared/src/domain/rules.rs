//! An agent's rules for its model calls: retries and the response cache.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, within};

/// How failed model calls are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    max_attempts: u32,
    max_seconds: u32,
    /// What happens to a task whose models are all out of service.
    pub outage: Outage,
}

/// What happens to a task whose models are all out of service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// It is parked and tried again, until its deadline.
    #[default]
    Wait,
    /// It fails.
    Fail,
}

impl Default for RetryRules {
    /// Three attempts within a minute, as in the providers' own clients; then the task waits.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            max_seconds: 60,
            outage: Outage::Wait,
        }
    }
}

impl RetryRules {
    /// These rules with 1 to 10 attempts at each model.
    pub fn with_max_attempts(self, attempts: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_attempts: within("/retry/max_attempts", attempts, 1..=10)?,
            ..self
        })
    }

    /// These rules with 1 to 600 seconds from a model's first attempt to the start of its last.
    pub fn with_max_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_seconds: within("/retry/max_seconds", seconds, 1..=600)?,
            ..self
        })
    }

    /// The most attempts at each model.
    pub const fn max_attempts(self) -> u32 {
        self.max_attempts
    }

    /// The longest from a model's first attempt to the start of its last.
    pub const fn max_elapsed(self) -> Duration {
        Duration::from_secs(self.max_seconds as u64)
    }
}

/// Whether and how long an agent's answers are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheRules {
    /// Answers are not cached.
    Off,
    /// Answers are cached on these terms.
    On(CacheTerms),
}

/// How long an answer is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheTerms {
    ttl_seconds: u32,
    stale_seconds: u32,
}

impl Default for CacheTerms {
    /// An hour, and never stale.
    fn default() -> Self {
        Self {
            ttl_seconds: 3_600,
            stale_seconds: 0,
        }
    }
}

impl CacheTerms {
    /// These terms with 1 second to 30 days for which an answer counts as fresh.
    pub fn with_ttl_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            ttl_seconds: within("/cache/ttl_seconds", seconds, 1..=2_592_000)?,
            ..self
        })
    }

    /// These terms with up to 30 days for which a stale answer may be used, marked as degraded, if
    /// no model answers; 0 for never.
    pub fn with_stale_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            stale_seconds: within("/cache/stale_seconds", seconds, 0..=2_592_000)?,
            ..self
        })
    }

    /// How long an answer counts as fresh.
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(self.ttl_seconds as u64)
    }

    /// How long a stale answer may be used if no model answers.
    pub const fn stale(self) -> Duration {
        Duration::from_secs(self.stale_seconds as u64)
    }
}

/// How one task uses the response cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// What the cache does for a call.
    pub mode: CacheMode,
    /// The age of the oldest cached answer that the task accepts.
    pub max_age: Option<Duration>,
}

impl CacheUse {
    /// This use of answers that are at most so many seconds old: 0 to 30 days.
    pub fn with_max_age_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        let seconds = within("/max_age_seconds", seconds, 0..=2_592_000)?;
        Ok(Self {
            max_age: Some(Duration::from_secs(seconds.into())),
            ..self
        })
    }
}

/// What the response cache does for a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Reads the cache, shares the call with identical concurrent requests, and writes the cache.
    #[default]
    Default,
    /// Does not read the cache, share the call or write the cache. If no model answers, a stale
    /// answer is read.
    Bypass,
    /// Does not read the cache or share the call, but writes the cache: a fresh answer for
    /// everyone. If no model answers, a stale answer is read.
    Refresh,
    /// Does not use the cache at all.
    Off,
}
