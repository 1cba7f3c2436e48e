//! The limits of a task: an agent sets them for all of its tasks, and a task may have its own.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, within};

/// How many blocked calls end a task whose agent does not say.
const DEFAULT_BLOCKED_CALLS: u32 = 5;

/// The limits of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    max_output_tokens: u32,
    timeout_seconds: u32,
    max_cost_micro_usd: Option<u64>,
    max_steps: u32,
    max_tool_calls: u32,
    // Each task's record has its limits, and most records just fit into one write unit.
    #[serde(skip_serializing_if = "is_default")]
    max_blocked_calls: u32,
    max_tokens: Option<u64>,
    input_timeout_seconds: u32,
    /// What happens to a task that reaches a limit.
    pub on_limit: OnLimit,
}

/// What happens to a task that reaches a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It pauses, and can be resumed with higher limits.
    #[default]
    Pause,
    /// It fails.
    Fail,
}

/// A limit that a task can reach, other than its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// The cost of its model calls.
    Budget,
    /// Its steps.
    MaxSteps,
    /// Its tool calls.
    MaxToolCalls,
    /// Its tokens.
    MaxTokens,
}

impl LimitKind {
    /// Every limit.
    pub const ALL: [Self; 4] = [
        Self::Budget,
        Self::MaxSteps,
        Self::MaxToolCalls,
        Self::MaxTokens,
    ];

    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::MaxSteps => "max_steps",
            Self::MaxToolCalls => "max_tool_calls",
            Self::MaxTokens => "max_tokens",
        }
    }

    /// The setting that raises it.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Budget => "max_cost_micro_usd",
            Self::MaxSteps => "max_steps",
            Self::MaxToolCalls => "max_tool_calls",
            Self::MaxTokens => "max_tokens",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a cap on cost covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// The cost of a task.
    Task,
    /// The cost of the tasks that were submitted with one key, in a day or a month.
    Key,
    /// The cost of a tenant in a day or a month.
    Tenant,
    /// The cost of the deployment in a day.
    Deployment,
}

impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Key => "key",
            Self::Tenant => "tenant",
            Self::Deployment => "deployment",
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_default(blocked_calls: &u32) -> bool {
    *blocked_calls == DEFAULT_BLOCKED_CALLS
}

impl Default for Limits {
    /// 4,096 tokens an answer, half an hour, 100 steps, 200 tool calls, 5 blocked ones, any cost, any
    /// tokens, and a day for a client to answer. A task that reaches one of them pauses.
    fn default() -> Self {
        Self {
            max_output_tokens: 4_096,
            timeout_seconds: 1_800,
            max_cost_micro_usd: None,
            max_steps: 100,
            max_tool_calls: 200,
            max_blocked_calls: DEFAULT_BLOCKED_CALLS,
            max_tokens: None,
            input_timeout_seconds: 86_400,
            on_limit: OnLimit::Pause,
        }
    }
}

impl Limits {
    /// The limit of this kind; `None` if it is not set.
    pub fn bound(self, limit: LimitKind) -> Option<u64> {
        match limit {
            LimitKind::Budget => self.max_cost_micro_usd,
            LimitKind::MaxSteps => Some(self.max_steps.into()),
            LimitKind::MaxToolCalls => Some(self.max_tool_calls.into()),
            LimitKind::MaxTokens => self.max_tokens,
        }
    }

    /// These limits with 1 to 128,000 tokens for an answer. No listed model writes more.
    pub fn with_max_output_tokens(self, tokens: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_output_tokens: within("/max_output_tokens", tokens, 1..=128_000)?,
            ..self
        })
    }

    /// These limits with 10 to 86,400 seconds from submission to the end, without waits for the
    /// client.
    pub fn with_timeout_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            timeout_seconds: within("/timeout_seconds", seconds, 10..=86_400)?,
            ..self
        })
    }

    /// These limits with a cap on what a task's model calls cost, in micro-USD: 1 to 1,000,000,000
    /// (1,000 USD).
    pub fn with_max_cost_micro_usd(self, micro_usd: u64) -> Result<Self, Invalid> {
        let most = within("/max_cost_micro_usd", micro_usd, 1..=1_000_000_000)?;
        Ok(Self {
            max_cost_micro_usd: Some(most),
            ..self
        })
    }

    /// These limits with 1 to 1,000 steps, each a model call or a tool call.
    pub fn with_max_steps(self, steps: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_steps: within("/max_steps", steps, 1..=1_000)?,
            ..self
        })
    }

    /// These limits with 0 to 1,000 tool calls.
    pub fn with_max_tool_calls(self, calls: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_tool_calls: within("/max_tool_calls", calls, 0..=1_000)?,
            ..self
        })
    }

    /// These limits with 1 to 1,000 tool calls that the rules of the tools forbid.
    pub fn with_max_blocked_calls(self, calls: u32) -> Result<Self, Invalid> {
        Ok(Self {
            max_blocked_calls: within("/max_blocked_calls", calls, 1..=1_000)?,
            ..self
        })
    }

    /// These limits with 1 to 1,000,000,000 tokens of all model calls, input and output.
    pub fn with_max_tokens(self, tokens: u64) -> Result<Self, Invalid> {
        Ok(Self {
            max_tokens: Some(within("/max_tokens", tokens, 1..=1_000_000_000)?),
            ..self
        })
    }

    /// These limits with 60 seconds to 30 days for which a task waits for its client to answer or
    /// resume it.
    pub fn with_input_timeout_seconds(self, seconds: u32) -> Result<Self, Invalid> {
        Ok(Self {
            input_timeout_seconds: within("/input_timeout_seconds", seconds, 60..=2_592_000)?,
            ..self
        })
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

    /// The most steps that a task may have.
    pub const fn max_steps(self) -> u32 {
        self.max_steps
    }

    /// The most tool calls that a task may make.
    pub const fn max_tool_calls(self) -> u32 {
        self.max_tool_calls
    }

    /// How many calls that the rules of its tools forbid end a task.
    pub const fn max_blocked_calls(self) -> u32 {
        self.max_blocked_calls
    }

    /// The most tokens that a task's model calls may use.
    pub const fn max_tokens(self) -> Option<u64> {
        self.max_tokens
    }

    /// The seconds for which a task waits for its client.
    pub const fn input_timeout_seconds(self) -> u32 {
        self.input_timeout_seconds
    }

    /// How long a task may take, waits for its client excluded.
    pub const fn timeout(self) -> Duration {
        Duration::from_secs(self.timeout_seconds as u64)
    }

    /// How long a task waits for its client.
    pub const fn input_timeout(self) -> Duration {
        Duration::from_secs(self.input_timeout_seconds as u64)
    }
}

/// New values for a task's limits; `None` keeps the present value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitChanges {
    /// See [`Limits::with_timeout_seconds`].
    pub timeout_seconds: Option<u32>,
    /// See [`Limits::with_max_cost_micro_usd`].
    pub max_cost_micro_usd: Option<u64>,
    /// See [`Limits::with_max_steps`].
    pub max_steps: Option<u32>,
    /// See [`Limits::with_max_tool_calls`].
    pub max_tool_calls: Option<u32>,
    /// See [`Limits::with_max_tokens`].
    pub max_tokens: Option<u64>,
    /// What the new values may not exceed.
    pub bound: LimitBound,
}

/// What the limits that a client sets for a task may not exceed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitBound {
    /// What the platform allows.
    #[default]
    Platform,
    /// The limits of the task's agent.
    Agent,
}

impl LimitChanges {
    /// Whether no limit changes.
    pub fn are_none(&self) -> bool {
        let none = Self {
            bound: self.bound,
            ..Self::default()
        };
        *self == none
    }

    /// Whether a new value is above the limit of the agent. An agent without a limit on cost or
    /// tokens allows any.
    pub fn exceed(&self, agent: &Limits) -> bool {
        fn is_above<T: PartialOrd>(new: Option<T>, limit: Option<T>) -> bool {
            new.zip(limit).is_some_and(|(new, limit)| new > limit)
        }
        is_above(self.timeout_seconds, Some(agent.timeout_seconds))
            || is_above(self.max_cost_micro_usd, agent.max_cost_micro_usd)
            || is_above(self.max_steps, Some(agent.max_steps))
            || is_above(self.max_tool_calls, Some(agent.max_tool_calls))
            || is_above(self.max_tokens, agent.max_tokens)
    }

    /// `limits` with these changes, or every change that is out of bounds.
    pub fn apply(self, limits: Limits) -> Result<Limits, Vec<Invalid>> {
        let (mut changed, mut broken) = (limits, Vec::new());
        let mut take =
            |outcome: Option<Result<Limits, Invalid>>, changed: &mut Limits| match outcome {
                Some(Ok(limits)) => *changed = limits,
                Some(Err(invalid)) => broken.push(invalid),
                None => {}
            };
        take(
            self.timeout_seconds
                .map(|seconds| changed.with_timeout_seconds(seconds)),
            &mut changed,
        );
        take(
            self.max_cost_micro_usd
                .map(|most| changed.with_max_cost_micro_usd(most)),
            &mut changed,
        );
        take(
            self.max_steps.map(|steps| changed.with_max_steps(steps)),
            &mut changed,
        );
        take(
            self.max_tool_calls
                .map(|calls| changed.with_max_tool_calls(calls)),
            &mut changed,
        );
        take(
            self.max_tokens
                .map(|tokens| changed.with_max_tokens(tokens)),
            &mut changed,
        );
        if broken.is_empty() {
            Ok(changed)
        } else {
            Err(broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_replace_limits_and_every_broken_change_is_named() {
        let limits = Limits::default();
        let changes = LimitChanges {
            max_steps: Some(7),
            max_tokens: Some(9),
            ..LimitChanges::default()
        };
        let expected = limits
            .with_max_steps(7)
            .unwrap()
            .with_max_tokens(9)
            .unwrap();
        assert_eq!(changes.apply(limits), Ok(expected));
        assert_eq!(LimitChanges::default().apply(limits), Ok(limits));
        let broken = LimitChanges {
            timeout_seconds: Some(9),
            max_cost_micro_usd: Some(0),
            max_steps: Some(1_001),
            max_tool_calls: Some(1_001),
            max_tokens: Some(0),
            bound: LimitBound::Platform,
        };
        let fields: Vec<String> = broken
            .apply(limits)
            .unwrap_err()
            .into_iter()
            .map(|broken| broken.field)
            .collect();
        assert_eq!(
            fields,
            [
                "/timeout_seconds",
                "/max_cost_micro_usd",
                "/max_steps",
                "/max_tool_calls",
                "/max_tokens"
            ]
        );
    }

    #[test]
    fn a_change_exceeds_the_agent_if_one_of_its_values_does() {
        let agent = Limits::default().with_max_tokens(1_000).unwrap();
        let steps = |steps| LimitChanges {
            max_steps: Some(steps),
            ..LimitChanges::default()
        };
        assert!(!LimitChanges::default().exceed(&agent));
        assert!(!steps(agent.max_steps()).exceed(&agent));
        assert!(steps(agent.max_steps() + 1).exceed(&agent));
        let tokens = LimitChanges {
            max_tokens: Some(1_001),
            ..steps(1)
        };
        assert!(tokens.exceed(&agent));
        let cost = LimitChanges {
            max_cost_micro_usd: Some(1_000_000),
            ..LimitChanges::default()
        };
        assert!(!cost.exceed(&agent), "the agent has no cap on cost");
    }
}
