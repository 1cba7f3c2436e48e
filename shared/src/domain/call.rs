//! One exchange with a model, free of any provider's format.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer_key::AnswerKey;
use super::api_key::KeyId;
use super::chain::{ModelChain, ModelChoice, ModelRef};
use super::deadline::Deadline;
use super::failure_code::FailureCode;
use super::hidden::Hidden;
use super::id::TaskId;
use super::rules::{CacheRules, CacheUse, RetryRules};
use super::spend::Spend;
use super::tenant::TenantId;
use super::transcript::{
    AssistantContent, AssistantPart, Message, OutputSchema, ToolCall, ToolDefinition,
};
use super::usage::Usage;

/// A request to the models of a chain, and the rules for the call. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRequest {
    /// The models that may answer. A layer that deals with one model deals with the first.
    pub chain: ModelChain,
    /// What the model gets.
    pub prompt: Arc<Prompt>,
    /// On whose behalf.
    pub caller: Caller,
    /// How failed attempts are repeated.
    pub retry: RetryRules,
    /// Whether and how long answers are cached, by the agent's setting, or else the deployment's.
    pub cache: CacheRules,
    /// How this task uses the response cache.
    pub cache_use: CacheUse,
    /// The agent's [`AgentHead::cache_generation`](super::AgentHead::cache_generation).
    pub cache_generation: u64,
    /// The most that the whole task may cost, in micro-USD.
    pub task_cap: Option<u64>,
    /// What it has cost so far as its record knows, in micro-USD: what a cap begins with that was
    /// set later.
    pub task_spent: u64,
    /// When the answer must be there.
    pub deadline: Deadline,
    /// Whether the task's time ends with this call: it is made even if other calls had no success
    /// before.
    pub is_last_try: bool,
}

impl ModelRequest {
    /// The first model of the chain: the one to call, in layers that deal with one model.
    pub const fn model(&self) -> &ModelRef {
        &self.chain.first().model
    }

    /// The same request to one model only.
    #[must_use]
    pub fn to_only(&self, choice: &ModelChoice) -> Self {
        Self {
            chain: ModelChain::only(choice.clone()),
            ..self.clone()
        }
    }
}

/// What a model gets.
#[derive(derive_more::Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// The model's role, in words for the model, before the conversation; may be empty.
    #[debug("{}", Hidden(instructions))]
    pub instructions: String,
    /// The conversation so far; ends with a turn that is not the model's.
    pub messages: Vec<Message>,
    /// The tools that it knows.
    pub tools: Vec<ToolDefinition>,
    /// Whether it may call them.
    pub tool_use: ToolUse,
    /// The form that its answer must have, if it must have one.
    pub output_schema: Option<OutputSchema>,
    /// The most tokens that the answer may have, reasoning included.
    pub max_output_tokens: u32,
}

impl Prompt {
    /// About how many bytes the conversation has. Unlike its JSON, whose length this is about, it
    /// takes no time to tell.
    pub fn conversation_bytes(&self) -> usize {
        self.messages.iter().map(Message::bytes).sum()
    }

    /// Whether there are tools that the model must not call.
    pub fn forbids_tools(&self) -> bool {
        self.tool_use == ToolUse::Forbidden && !self.tools.is_empty()
    }
}

/// Whether a model may call the tools that it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolUse {
    /// As it sees fit.
    #[default]
    Allowed,
    /// It must answer without them.
    Forbidden,
}

/// On whose behalf a model is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskId,
    /// The key that the task was submitted with; `None` for the deployment's own.
    pub key: Option<KeyId>,
}

/// A model's answer, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAnswer {
    /// What the model says.
    pub content: Vec<AssistantPart>,
    /// Why it stopped.
    pub stop_reason: StopReason,
    /// The tokens of this answer, wherever it came from.
    pub usage: Usage,
    /// The model of the chain that answered.
    pub model: ModelRef,
    /// The provider's name for the model that it says it served, often a dated form of the
    /// requested one.
    pub served_model: String,
    /// The provider's id for the exchange, for its support.
    pub request_id: Option<String>,
    /// Where the answer came from.
    pub origin: Origin,
    /// What was spent to get it this time, failed attempts included; nothing for a cached or
    /// shared one.
    pub spend: Spend,
    /// The attempts that failed before it.
    pub failed: Vec<FailedAttempt>,
    /// The key of the answer in the response cache, if it came from there or was stored there.
    pub cache_key: Option<Box<AnswerKey>>,
}

impl ModelAnswer {
    /// All its text in one piece; may be empty.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|part| match &part.content {
            AssistantContent::Text(text) => Some(text.as_str()),
            AssistantContent::ToolCall(_)
            | AssistantContent::Reasoning(_)
            | AssistantContent::Opaque => None,
        });
        texts.collect()
    }

    /// The tools that it wants to be run.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match &part.content {
            AssistantContent::ToolCall(call) => Some(call),
            AssistantContent::Text(_)
            | AssistantContent::Reasoning(_)
            | AssistantContent::Opaque => None,
        })
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The provider gave it to this very call.
    #[default]
    Provider,
    /// The response cache: it is the answer to an earlier call.
    Cache {
        /// How old it is, in seconds.
        age_seconds: u64,
    },
    /// The response cache, although the answer is no longer fresh, because no model answers: the
    /// caller is served worse than usual.
    Stale {
        /// How old it is, in seconds.
        age_seconds: u64,
    },
    /// The provider gave it to another call with the same request at the same time.
    SingleFlight,
}

impl Origin {
    /// The name in responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Cache { .. } => "cache",
            Self::Stale { .. } => "stale",
            Self::SingleFlight => "single_flight",
        }
    }

    /// Whether the caller is served worse than usual.
    pub const fn is_degraded(self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// How old the answer is, if it is not new.
    pub const fn age(self) -> Option<Duration> {
        match self {
            Self::Cache { age_seconds } | Self::Stale { age_seconds } => {
                Some(Duration::from_secs(age_seconds))
            }
            Self::Provider | Self::SingleFlight => None,
        }
    }
}

/// A failed attempt of a model call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The model that was to answer.
    pub model: ModelRef,
    /// What went wrong.
    pub code: FailureCode,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The provider's id for the exchange, if it gave one.
    pub request_id: Option<String>,
    /// What the provider said of it, if it said anything. Old records have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Box<ProviderError>>,
}

/// What a provider said about a failed attempt, as far as it is fit for records, responses and
/// logs.
///
/// Nothing here can quote a prompt, an answer or a key: the code that reads the error leaves such
/// texts out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderError {
    /// What the provider calls the error, such as
    /// `invalid_request_error/invalid_function_parameters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The part of the request that the provider refuses, in its own words, such as
    /// `tools[3].function.parameters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The name of the agent's tool which that part belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Its message, with an ellipsis for each word that could be of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ProviderError {
    /// What was said, or an error that says nothing.
    pub fn or_nothing(said: Option<&Self>) -> &Self {
        static NOTHING: ProviderError = ProviderError {
            code: None,
            param: None,
            tool: None,
            message: None,
        };
        said.unwrap_or(&NOTHING)
    }
}

/// Why a model stopped writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// It wants tools to be run and their results back.
    ToolUse,
    /// The provider paused a long turn: the same conversation with this answer added continues it.
    Paused,
    /// It reached `max_output_tokens`; the text is cut.
    MaxTokens,
    /// It filled its context window; the text is cut.
    ContextWindow,
    /// It, or the provider's filter, declined to answer.
    Refusal,
    /// A reason that this version doesn't know. The answer counts.
    Other,
}

impl StopReason {
    /// The name in records, responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolUse => "tool_use",
            Self::Paused => "paused",
            Self::MaxTokens => "max_tokens",
            Self::ContextWindow => "context_window",
            Self::Refusal => "refusal",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attempt_that_was_recorded_before_providers_were_quoted_is_read() {
        let recorded = json!({
            "model": {"provider": "anthropic", "model": "claude-sonnet-5-5"}, "code": "model_rejected", "status": 400,
            "request_id": "req_1",
        });
        let attempt: FailedAttempt = serde_json::from_value(recorded.clone()).unwrap();
        assert_eq!(attempt.said, None);
        assert_eq!(json!(attempt), recorded);
        let said = json!({"code": "invalid_request_error", "later": "field"});
        let telling = recorded
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        let telling = telling.chain([("said".to_owned(), said)]).collect();
        let attempt: FailedAttempt =
            serde_json::from_value(serde_json::Value::Object(telling)).unwrap();
        assert_eq!(
            attempt.said.unwrap().code.as_deref(),
            Some("invalid_request_error")
        );
    }
}
