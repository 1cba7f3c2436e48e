//! The form of an agent in bodies: of `POST /v1/agents`, and of what a patch makes of an agent.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::app::AgentDraft;
use shared::domain::chain::MAX_MODELS;
use shared::domain::key_shapes::{check_no_key, check_no_key_within};
use shared::domain::{
    AgentConfig, AgentName, ApiVersion, CacheRules, CacheTerms, Instructions, Invalid, JsonSchema,
    LimitBound, LimitChanges, Limits, ModelChain, ModelChoice, ModelRef, ModelSettings,
    OutputLimitField, OutputSchema, ReasoningEffort, RetryRules, Switch, Thousandths, ToolKind,
    ToolName, Transfer, Unlisted,
};
use utoipa::ToSchema;

use super::tools::{ToolEntry, tools};
use crate::body::{Broken, Object, counted, named, required};
use crate::json::whole;
use crate::openapi::values;
use crate::problem::Problem;

/// An agent as a client wants it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AgentRequest, examples(example))]
pub(crate) struct AgentRequest {
    /// `false` stops the agent.
    #[schema(default = true)]
    enabled: Option<bool>,
    #[schema(value_type = values::Name)]
    name: Option<String>,
    /// The system prompt, up to 32 KiB.
    #[schema(max_length = 32_768)]
    instructions: Option<String>,
    /// The model chain. A model after the first one is used while those before it are unavailable.
    #[schema(value_type = Vec<ModelEntry>, min_items = 1, max_items = 5)]
    models: Option<Vec<Object<ModelEntry>>>,
    /// At most 64 of the client, with 128 KiB together.
    #[schema(value_type = Option<Vec<ToolEntry>>, max_items = 67)]
    tools: Option<Vec<Object<ToolEntry>>>,
    /// The platform's tools, from clients of earlier versions.
    #[schema(value_type = Option<Vec<values::BuiltinTool>>, max_items = 8, deprecated)]
    builtin_tools: Option<Vec<Object<ToolEntry>>>,
    /// The JSON that answers must have.
    #[schema(value_type = Option<OutputSchemaEntry>)]
    output_schema: Option<Object<OutputSchemaEntry>>,
    #[schema(value_type = Option<RetryEntry>)]
    retry: Option<Object<RetryEntry>>,
    /// Without it, the deployment decides.
    #[schema(value_type = Option<CacheEntry>)]
    cache: Option<Object<CacheEntry>>,
    /// At most what each model of the chain can write.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 128_000, default = 4_096)]
    max_output_tokens: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 10, maximum = 86_400, default = 1_800)]
    timeout_seconds: Option<u32>,
    /// The most that the model calls of a task may cost. Every model must then have a price.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_cost_micro_usd: Option<u64>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000, default = 100)]
    max_steps: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 1_000, default = 200)]
    max_tool_calls: Option<u32>,
    /// A task fails after so many calls that the rules of its tools forbid.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000, default = 5)]
    max_blocked_calls: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    max_tokens: Option<u64>,
    /// How long a task waits for its client before it fails.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 60, maximum = 2_592_000, default = 86_400)]
    input_timeout_seconds: Option<u32>,
    #[schema(value_type = Option<values::OnLimit>)]
    on_limit: Option<String>,
}

/// One model of an agent, and its settings.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelRequest)]
struct ModelEntry {
    #[schema(value_type = values::Provider)]
    provider: Option<String>,
    #[schema(value_type = values::ModelName)]
    model: Option<String>,
    /// With at most three decimals. Refused where the provider refuses it.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// With at most three decimals. Refused where the provider refuses it.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    #[schema(value_type = Option<values::ReasoningEffort>)]
    reasoning_effort: Option<String>,
    #[schema(value_type = Option<values::ApiVersion>)]
    api_version: Option<String>,
    /// `false` for servers that cannot stream.
    #[schema(default = true)]
    stream: Option<bool>,
    #[schema(value_type = Option<values::OutputLimitField>)]
    output_limit_field: Option<String>,
    /// Accepts a model that is not in the price table.
    #[schema(default = false)]
    allow_unlisted: Option<bool>,
}

/// The JSON that an answer must have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OutputSchema)]
pub(super) struct OutputSchemaEntry {
    #[schema(value_type = values::ToolName)]
    name: Option<String>,
    #[schema(value_type = values::JsonSchema)]
    schema: Option<Value>,
}

/// How failed model calls are retried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RetryRequest)]
pub(super) struct RetryEntry {
    /// For each model.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 10, default = 3)]
    max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 600, default = 60)]
    max_seconds: Option<u32>,
    #[schema(value_type = Option<values::Outage>)]
    outage: Option<String>,
}

/// Whether and for how long answers are cached.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CacheRequest)]
pub(super) struct CacheEntry {
    #[schema(value_type = values::CacheSwitch)]
    mode: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 2_592_000, default = 3_600)]
    ttl_seconds: Option<u32>,
    /// For how long a cached answer is used after that, when no model answers.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 2_592_000, default = 0)]
    stale_seconds: Option<u32>,
}

fn example() -> Value {
    json!({
        "name": "clerk",
        "instructions": "Answer in one sentence.",
        "models": [
            { "provider": "anthropic", "model": "claude-sonnet-5-5" },
            { "provider": "openai", "model": "gpt-6.1-terra", "reasoning_effort": "low" },
        ],
        "tools": [
            {
                "kind": "client",
                "name": "look_up",
                "description": "Looks a word up in the glossary.",
                "input_schema": {
                    "type": "object",
                    "properties": { "word": { "type": "string" } },
                    "required": ["word"],
                },
            },
            { "kind": "builtin", "name": "current_time" },
            { "kind": "builtin", "name": "http_request", "hosts": ["api.example.com"] },
        ],
        "retry": { "max_attempts": 3, "max_seconds": 60, "outage": "wait" },
        "cache": { "mode": "on", "ttl_seconds": 3_600, "stale_seconds": 86_400 },
        "max_output_tokens": 1_024,
        "timeout_seconds": 600,
        "max_cost_micro_usd": 50_000,
        "max_steps": 40,
        "on_limit": "pause",
    })
}

impl AgentRequest {
    /// The agent, or every rule that the form breaks. If it breaks none, the members that `is_new`
    /// names are searched for keys.
    pub(super) fn draft(self, is_new: impl Fn(&str) -> bool) -> Result<AgentDraft, Problem> {
        let mut broken = Broken::default();
        let draft = self.read(&mut broken);
        if let Some(draft) = &draft {
            check_no_keys(&draft.config, is_new, &mut broken);
        }
        broken.finish(draft)
    }

    /// The definition of an inline agent; notes every rule that the form breaks.
    pub(crate) fn definition(self, broken: &mut Broken) -> Option<AgentDraft> {
        let draft = self.read(broken)?;
        check_no_keys(&draft.config, |_| true, broken);
        broken.keep(match draft.switch {
            Switch::Enabled => Ok(draft),
            Switch::Disabled => Err(Invalid::new("/enabled", "must not be false")),
        })
    }

    fn read(self, broken: &mut Broken) -> Option<AgentDraft> {
        let name = broken.keep(required("/name", self.name).and_then(AgentName::new));
        let instructions = broken.keep(Instructions::new(self.instructions.unwrap_or_default()));
        let models = broken.keep(required("/models", self.models));
        let models = models.and_then(|entries| chain(entries, broken));
        let (models, unlisted) = models.unzip();
        let builtin_tools = self.builtin_tools.unwrap_or_default();
        let tools = tools(self.tools.unwrap_or_default(), builtin_tools, broken);
        let output_schema = self
            .output_schema
            .map(|Object(entry)| broken.below("/output_schema", |b| entry.schema(b)));
        let retry = self
            .retry
            .map(|Object(entry)| entry.rules(broken))
            .unwrap_or_default();
        let cache = self.cache.and_then(|Object(entry)| entry.rules(broken));
        let limits = LimitsEntry {
            changes: LimitChanges {
                timeout_seconds: self.timeout_seconds,
                max_cost_micro_usd: self.max_cost_micro_usd,
                max_steps: self.max_steps,
                max_tool_calls: self.max_tool_calls,
                max_tokens: self.max_tokens,
                bound: LimitBound::Platform,
            },
            max_output_tokens: self.max_output_tokens,
            max_blocked_calls: self.max_blocked_calls,
            input_timeout_seconds: self.input_timeout_seconds,
            on_limit: self.on_limit,
        }
        .limits(broken);
        match (name, instructions, models, tools) {
            (Some(name), Some(instructions), Some(models), Some(tools)) => {
                let config = AgentConfig {
                    name,
                    instructions,
                    models,
                    tools,
                    output_schema: output_schema.flatten(),
                    retry,
                    cache,
                    limits,
                };
                Some(AgentDraft {
                    config,
                    unlisted: unlisted.unwrap_or_default(),
                    switch: switch(self.enabled),
                })
            }
            _ => None,
        }
    }
}

/// Notes each text of the agent that has a well-known key in it.
fn check_no_keys(config: &AgentConfig, is_new: impl Fn(&str) -> bool, broken: &mut Broken) {
    if is_new("instructions") {
        broken.keep(check_no_key("/instructions", config.instructions.as_str()));
    }
    for (place, tool) in config.tools.iter().enumerate() {
        if let ToolKind::Client(tool) = &tool.kind
            && is_new("tools")
        {
            let place = format!("/tools/{place}");
            let description = format!("{place}/description");
            broken.keep(check_no_key(&description, &tool.description));
            let schema = tool.input_schema.as_value();
            broken.keep(check_no_key_within(
                &format!("{place}/input_schema"),
                schema,
            ));
        }
    }
    if let Some(output) = &config.output_schema
        && is_new("output_schema")
    {
        let schema = output.schema.as_value();
        broken.keep(check_no_key_within("/output_schema/schema", schema));
    }
}

/// Whether an agent works whose `enabled` is this.
pub(super) const fn switch(enabled: Option<bool>) -> Switch {
    match enabled {
        Some(false) => Switch::Disabled,
        Some(true) | None => Switch::Enabled,
    }
}

/// The fields of the body that set limits.
struct LimitsEntry {
    changes: LimitChanges,
    max_output_tokens: Option<u32>,
    max_blocked_calls: Option<u32>,
    input_timeout_seconds: Option<u32>,
    on_limit: Option<String>,
}

impl LimitsEntry {
    fn limits(self, broken: &mut Broken) -> Limits {
        let mut limits = broken
            .keep_all(self.changes.apply(Limits::default()))
            .unwrap_or_default();
        if let Some(tokens) = self.max_output_tokens {
            limits = broken
                .keep(limits.with_max_output_tokens(tokens))
                .unwrap_or(limits);
        }
        if let Some(calls) = self.max_blocked_calls {
            limits = broken
                .keep(limits.with_max_blocked_calls(calls))
                .unwrap_or(limits);
        }
        if let Some(seconds) = self.input_timeout_seconds {
            limits = broken
                .keep(limits.with_input_timeout_seconds(seconds))
                .unwrap_or(limits);
        }
        if let Some(name) = self.on_limit {
            limits.on_limit = broken
                .keep(named("/on_limit", &name, "pause or fail"))
                .unwrap_or_default();
        }
        limits
    }
}

/// The chain, and for each of its models whether it may be unknown.
fn chain(
    entries: Vec<Object<ModelEntry>>,
    broken: &mut Broken,
) -> Option<(ModelChain, Vec<Unlisted>)> {
    let entries = broken.keep(counted("/models", entries, 1..=MAX_MODELS))?;
    let (mut choices, mut unlisted) = (Vec::new(), Vec::new());
    for (place, Object(entry)) in entries.into_iter().enumerate() {
        unlisted.push(match entry.allow_unlisted {
            Some(true) => Unlisted::Allowed,
            Some(false) | None => Unlisted::Refused,
        });
        choices.push(broken.below(&format!("/models/{place}"), |broken| entry.choice(broken)));
    }
    let choices: Option<Vec<ModelChoice>> = choices.into_iter().collect();
    Some((broken.keep(ModelChain::new(choices?))?, unlisted))
}

impl ModelEntry {
    fn choice(self, broken: &mut Broken) -> Option<ModelChoice> {
        const ONE: Thousandths = Thousandths(1_000);
        const TWO: Thousandths = Thousandths(2_000);
        let provider =
            broken.keep(required("/provider", self.provider).and_then(|name| name.parse()));
        let name = broken.keep(required("/model", self.model));
        let mut number = |field: &str, number: Option<f64>, most| {
            number.and_then(|number| broken.keep(Thousandths::new(field, number, most)))
        };
        let (temperature, top_p) = (
            number("/temperature", self.temperature, TWO),
            number("/top_p", self.top_p, ONE),
        );
        let effort = self
            .reasoning_effort
            .map(|name| named("/reasoning_effort", &name, ReasoningEffort::NAMES));
        let version =
            self.api_version
                .map_or(Ok(ApiVersion::Current), |version| match version.as_str() {
                    "2023-06-01" => Ok(ApiVersion::Anthropic20230601),
                    _ => Err(Invalid::new(
                        "/api_version",
                        "must be 2023-06-01, or left out for the current one",
                    )),
                });
        let field =
            self.output_limit_field
                .map_or(Ok(OutputLimitField::ByModel), |name| match name.as_str() {
                    "max_tokens" => Ok(OutputLimitField::MaxTokens),
                    "max_completion_tokens" => Ok(OutputLimitField::MaxCompletionTokens),
                    _ => Err(Invalid::new(
                        "/output_limit_field",
                        "must be max_tokens or max_completion_tokens",
                    )),
                });
        let settings = ModelSettings {
            temperature,
            top_p,
            reasoning_effort: effort.and_then(|effort| broken.keep(effort)),
            api_version: broken.keep(version).unwrap_or_default(),
            transfer: if self.stream == Some(false) {
                Transfer::Whole
            } else {
                Transfer::Stream
            },
            output_limit_field: broken.keep(field).unwrap_or_default(),
        };
        let model = broken.keep(ModelRef::new(provider?, name?))?;
        Some(ModelChoice { model, settings })
    }
}

impl OutputSchemaEntry {
    fn schema(self, broken: &mut Broken) -> Option<OutputSchema> {
        let name = broken.keep(required("/name", self.name).and_then(ToolName::new));
        let schema = schema("/schema", self.schema, broken);
        Some(OutputSchema {
            name: name?,
            schema: schema?,
        })
    }
}

pub(super) fn schema(
    field: &str,
    schema: Option<Value>,
    broken: &mut Broken,
) -> Option<JsonSchema> {
    let schema = broken.keep(required(field, schema))?;
    broken.below(field, |broken| broken.keep_all(JsonSchema::new(schema)))
}

impl RetryEntry {
    fn rules(self, broken: &mut Broken) -> RetryRules {
        let mut rules = RetryRules::default();
        if let Some(attempts) = self.max_attempts {
            rules = broken
                .keep(rules.with_max_attempts(attempts))
                .unwrap_or(rules);
        }
        if let Some(seconds) = self.max_seconds {
            rules = broken
                .keep(rules.with_max_seconds(seconds))
                .unwrap_or(rules);
        }
        if let Some(outage) = self.outage {
            rules.outage = broken
                .keep(named("/retry/outage", &outage, "wait or fail"))
                .unwrap_or_default();
        }
        rules
    }
}

impl CacheEntry {
    fn rules(self, broken: &mut Broken) -> Option<CacheRules> {
        let mut terms = CacheTerms::default();
        if let Some(seconds) = self.ttl_seconds {
            terms = broken
                .keep(terms.with_ttl_seconds(seconds))
                .unwrap_or(terms);
        }
        if let Some(seconds) = self.stale_seconds {
            terms = broken
                .keep(terms.with_stale_seconds(seconds))
                .unwrap_or(terms);
        }
        let rules = required("/cache/mode", self.mode).and_then(|mode| match mode.as_str() {
            "on" => Ok(CacheRules::On(terms)),
            "off" => Ok(CacheRules::Off),
            _ => Err(Invalid::new("/cache/mode", "must be on or off")),
        });
        broken.keep(rules)
    }
}
