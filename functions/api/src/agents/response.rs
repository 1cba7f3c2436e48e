//! Agents and their versions in responses.

use serde::Serialize;
use shared::domain::{
    Agent, AgentConfig, AgentHead, AgentTool, ApiVersion, CacheRules, ModelChoice, Outage,
    OutputLimitField, OutputSchema, ReasoningEffort, RetryRules, Switch, Thousandths, Transfer,
};
use shared::ports::{Page, UnreadableAgent};
use utoipa::ToSchema;

use super::request::OutputSchemaEntry;
use super::tools::ToolEntry;
use crate::delivery::{LongText, LongTexts};
use crate::limits::LimitsResponse;
use crate::openapi::{long_texts, values};
use crate::query::ListResponse;
use crate::time::rfc3339;

/// An agent in its newest version.
#[derive(Serialize, ToSchema)]
#[schema(as = Agent)]
pub(crate) struct AgentResponse {
    #[serde(flatten)]
    newest: VersionResponse,
    enabled: bool,
}

/// One version of an agent.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentVersion)]
pub(crate) struct VersionResponse {
    #[serde(flatten)]
    version: ListedVersionResponse,
    #[schema(value_type = Vec<ToolEntry>)]
    tools: Vec<AgentTool>,
    #[schema(value_type = Option<OutputSchemaEntry>)]
    output_schema: Option<OutputSchema>,
}

/// A page of agents.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentList)]
pub(crate) struct AgentListResponse {
    #[serde(flatten)]
    list: ListResponse<ListedAgentResponse>,
    /// The ids of the page's agents whose records can't be read. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<values::AgentId>)]
    unreadable: Vec<String>,
}

/// An agent in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedAgent)]
pub(crate) struct ListedAgentResponse {
    #[serde(flatten)]
    newest: ListedVersionResponse,
    enabled: bool,
}

/// A version in a list: everything but its tools and its schema, which would leave room for fewer
/// entries in a page.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedAgentVersion)]
pub(crate) struct ListedVersionResponse {
    #[schema(value_type = values::AgentId)]
    id: String,
    version: u32,
    name: String,
    #[serde(flatten)]
    #[schema(schema_with = long_texts::instructions)]
    instructions: LongText,
    models: Vec<ModelResponse>,
    retry: RetryResponse,
    cache: Option<CacheResponse>,
    #[serde(flatten)]
    limits: LimitsResponse,
    /// When this version was created.
    #[schema(value_type = values::Time)]
    created_at: String,
}

/// A model and its settings; null is the provider's default.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
struct ModelResponse {
    #[schema(value_type = values::Provider)]
    provider: &'static str,
    model: String,
    temperature: Option<f64>,
    top_p: Option<f64>,
    #[schema(value_type = Option<values::ReasoningEffort>)]
    reasoning_effort: Option<ReasoningEffort>,
    #[schema(value_type = Option<values::ApiVersion>)]
    api_version: Option<ApiVersion>,
    stream: bool,
    #[schema(value_type = Option<values::OutputLimitField>)]
    output_limit_field: Option<OutputLimitField>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Retry)]
struct RetryResponse {
    max_attempts: u32,
    max_seconds: u64,
    #[schema(value_type = values::Outage)]
    outage: Outage,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "mode", rename_all = "snake_case")]
#[schema(as = Cache)]
enum CacheResponse {
    On {
        ttl_seconds: u64,
        stale_seconds: u64,
    },
    Off,
}

impl From<&AgentHead> for AgentResponse {
    fn from(agent: &AgentHead) -> Self {
        Self {
            newest: VersionResponse::from(&agent.newest),
            enabled: agent.switch == Switch::Enabled,
        }
    }
}

impl From<&AgentHead> for ListedAgentResponse {
    fn from(agent: &AgentHead) -> Self {
        Self {
            newest: ListedVersionResponse::from(&agent.newest),
            enabled: agent.switch == Switch::Enabled,
        }
    }
}

impl From<&Agent> for VersionResponse {
    fn from(agent: &Agent) -> Self {
        let AgentConfig {
            tools,
            output_schema,
            ..
        } = &agent.config;
        let (tools, output_schema) = (tools.clone(), output_schema.clone());
        Self {
            version: agent.into(),
            tools,
            output_schema,
        }
    }
}

impl From<&Agent> for ListedVersionResponse {
    fn from(agent: &Agent) -> Self {
        let AgentConfig {
            name,
            instructions,
            models,
            retry,
            cache,
            limits,
            ..
        } = &agent.config;
        Self {
            id: agent.id.to_string(),
            version: agent.version,
            name: name.as_str().to_owned(),
            instructions: LongText::new("instructions", instructions.as_str()),
            models: models.iter().map(ModelResponse::from).collect(),
            retry: retry.into(),
            cache: cache.as_ref().map(CacheResponse::from),
            limits: LimitsResponse::from(*limits),
            created_at: rfc3339(agent.created_at),
        }
    }
}

impl From<Page<Result<AgentHead, UnreadableAgent>>> for AgentListResponse {
    fn from(page: Page<Result<AgentHead, UnreadableAgent>>) -> Self {
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        for entry in page.entries {
            match entry {
                Ok(agent) => entries.push(agent),
                Err(UnreadableAgent { id, .. }) => unreadable.push(id.to_string()),
            }
        }
        Self {
            list: Page {
                entries,
                next: page.next,
            }
            .into(),
            unreadable,
        }
    }
}

impl LongTexts for AgentListResponse {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        self.list.long_texts()
    }
}

impl LongTexts for ListedAgentResponse {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        self.newest.long_texts()
    }
}

impl LongTexts for ListedVersionResponse {
    fn long_texts(&mut self) -> Vec<&mut LongText> {
        vec![&mut self.instructions]
    }
}

impl From<&ModelChoice> for ModelResponse {
    fn from(choice: &ModelChoice) -> Self {
        let ModelChoice { model, settings } = choice;
        Self {
            provider: model.provider().as_str(),
            model: model.name().to_owned(),
            temperature: settings.temperature.map(Thousandths::as_f64),
            top_p: settings.top_p.map(Thousandths::as_f64),
            reasoning_effort: settings.reasoning_effort,
            api_version: Some(settings.api_version)
                .filter(|version| *version != ApiVersion::Current),
            stream: settings.transfer == Transfer::Stream,
            output_limit_field: Some(settings.output_limit_field)
                .filter(|field| !field.is_by_model()),
        }
    }
}

impl From<&RetryRules> for RetryResponse {
    fn from(rules: &RetryRules) -> Self {
        let (max_attempts, max_seconds) = (rules.max_attempts(), rules.max_elapsed().as_secs());
        Self {
            max_attempts,
            max_seconds,
            outage: rules.outage,
        }
    }
}

impl From<&CacheRules> for CacheResponse {
    fn from(rules: &CacheRules) -> Self {
        match rules {
            CacheRules::Off => Self::Off,
            CacheRules::On(terms) => Self::On {
                ttl_seconds: terms.ttl().as_secs(),
                stale_seconds: terms.stale().as_secs(),
            },
        }
    }
}
