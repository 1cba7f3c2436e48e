//! The ids of inline agents.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::agent::AgentConfig;
use super::agent_tool::AgentTool;
use super::chain::ModelChoice;
use super::id::AgentId;
use super::limits::Limits;
use super::rules::{CacheRules, Outage};
use super::tenant::TenantId;
use super::tool::BuiltinTool;
use super::transcript::{OutputSchema, ToolDefinition};

/// The fields that decide the id of an inline agent: two definitions that differ in one of them are two
/// agents. A field that a later version adds is left
/// out while it has its default, so that ids stay.
#[derive(Serialize)]
struct Definition<'a> {
    tenant: &'a str,
    name: &'a str,
    instructions: &'a str,
    models: Vec<&'a ModelChoice>,
    tools: Vec<&'a ToolDefinition>,
    builtin_tools: Vec<&'a BuiltinTool>,
    /// All tools, if the two lists can't hold them.
    #[serde(skip_serializing_if = "Option::is_none")]
    all_tools: Option<&'a [AgentTool]>,
    output_schema: Option<&'a OutputSchema>,
    retry: (u32, u64, Outage),
    cache: Option<CacheDefinition>,
    limits: Limits,
}

/// A setting of the cache: its times in seconds, if it is on.
#[derive(Serialize)]
enum CacheDefinition {
    Off,
    On(u64, u64),
}

impl AgentId {
    /// The id of the tenant's inline agent that does this.
    pub(crate) fn inline(tenant: &TenantId, config: &AgentConfig) -> Self {
        let AgentConfig {
            name,
            instructions,
            models,
            tools,
            output_schema,
            retry,
            cache,
            limits,
        } = config;
        let in_two_lists = AgentTool::in_two_lists(tools);
        let all_tools = in_two_lists.is_none().then_some(tools.as_slice());
        let (tools, builtin_tools) = in_two_lists.unwrap_or_default();
        let definition = Definition {
            tenant: tenant.as_str(),
            name: name.as_str(),
            instructions: instructions.as_str(),
            models: models.iter().collect(),
            tools,
            builtin_tools,
            all_tools,
            output_schema: output_schema.as_ref(),
            retry: (
                retry.max_attempts(),
                retry.max_elapsed().as_secs(),
                retry.outage,
            ),
            cache: cache.as_ref().map(|rules| match rules {
                CacheRules::Off => CacheDefinition::Off,
                CacheRules::On(terms) => {
                    CacheDefinition::On(terms.ttl().as_secs(), terms.stale().as_secs())
                }
            }),
            limits: *limits,
        };
        #[expect(clippy::expect_used, reason = "all names of fields are texts")]
        let json = serde_json::to_vec(&definition).expect("a definition can be written as JSON");
        Self::of_digest(Sha256::new().chain_update(json))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::domain::{
        CacheTerms, CallRules, JsonSchema, ModelChain, ModelRef, Provider, ToolName,
    };
    use crate::testing::samples;

    fn id(change: impl FnOnce(&mut AgentConfig)) -> AgentId {
        let mut config = samples::agent_config("clerk", "Be brief.");
        change(&mut config);
        AgentId::inline(&samples::tenant("acme"), &config)
    }

    fn other_model() -> ModelRef {
        ModelRef::new(Provider::OpenAi, "gpt-6.1-terra").unwrap()
    }

    fn tool(name: &str) -> ToolDefinition {
        let schema = JsonSchema::new(json!({ "type": "object" })).unwrap();
        let name = ToolName::new(name.to_owned()).unwrap();
        ToolDefinition::new(name, "Looks up.".to_owned(), schema).unwrap()
    }

    fn limited(calls: u32) -> AgentTool {
        samples::calculator(CallRules::default().with_max_calls(calls))
    }

    #[test]
    fn a_definition_has_the_same_id_in_every_process_and_version() {
        let id = id(|config| {
            config.tools = vec![tool("look_up").into(), BuiltinTool::Calculator.into()];
            config.output_schema = Some(OutputSchema {
                name: ToolName::new("answer".to_owned()).unwrap(),
                schema: tool("answer").input_schema,
            });
            config.cache = Some(CacheRules::On(CacheTerms::default()));
        });
        assert_eq!(id.to_string(), "agt_62bc48cd-1e1d-80e4-ada5-efb5816ce449");
    }

    #[test]
    fn whatever_differs_makes_another_agent() {
        let clerk = || samples::agent_config("clerk", "Be brief.");
        let ids = [
            id(|_| {}),
            id(|config| config.name = samples::agent_config("poet", "").name),
            id(|config| config.instructions = samples::agent_config("x", "Be long.").instructions),
            id(|config| config.models = ModelChain::only(other_model().into())),
            id(|config| config.tools = vec![tool("a").into()]),
            id(|config| config.tools = vec![tool("a").into(), tool("b").into()]),
            id(|config| config.tools = vec![tool("b").into(), tool("a").into()]),
            id(|config| config.tools = vec![BuiltinTool::Calculator.into()]),
            id(|config| config.tools = vec![limited(1)]),
            id(|config| config.tools = vec![limited(2)]),
            id(|config| config.tools = vec![BuiltinTool::Calculator.into(), tool("a").into()]),
            id(|config| config.tools = vec![tool("a").into(), BuiltinTool::Calculator.into()]),
            id(|config| {
                config.output_schema = Some(OutputSchema {
                    name: tool("a").name,
                    schema: tool("a").input_schema,
                });
            }),
            id(|config| config.retry = config.retry.with_max_attempts(9).unwrap()),
            id(|config| config.retry = config.retry.with_max_seconds(9).unwrap()),
            id(|config| config.retry.outage = Outage::Fail),
            id(|config| config.cache = Some(CacheRules::Off)),
            id(|config| config.cache = Some(CacheRules::On(CacheTerms::default()))),
            id(|config| config.limits = config.limits.with_max_steps(9).unwrap()),
            AgentId::inline(&samples::tenant("other"), &clerk()),
        ];
        let different: BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        assert!(ids.iter().all(AgentId::is_inline));
    }
}
