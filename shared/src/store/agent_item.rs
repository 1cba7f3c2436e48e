//! The form of an agent's record: the same for the newest version and for each version. The record
//! of the newest version also has what holds for the agent as a whole.
//!
//! Records that were written before agents had chains of models name their one model in separate
//! attributes. An agent whose tools have rules that readers of version 1 would overlook has a record
//! of version 2: they report it rather than work without the rules.

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::{self, Attributes, Fields, Item, moment, name, number, text};
use super::keys::{self, Key};
use crate::domain::{
    Agent, AgentConfig, AgentHead, AgentName, AgentTool, BuiltinTool, CacheRules, CacheTerms,
    Instructions, Limits, ModelChain, RetryRules, Switch, ToolDefinition,
};
use crate::ports::StoreError;

/// The newest form's version.
const VERSION: u32 = 2;

const TENANT_ID: &str = "tenant";
const AGENT_ID: &str = "agent_id";
const AGENT_VERSION: &str = "version";
const NAME: &str = "name";
const INSTRUCTIONS: &str = "instructions";
const MODELS: &str = "models";
const TOOLS: &str = "tools";
const BUILTIN_TOOLS: &str = "builtin_tools";
/// The tools of an agent whose record has a version that knows tools of all kinds as one list.
const ALL_TOOLS: &str = "all_tools";
const OUTPUT_SCHEMA: &str = "output_schema";
const RETRY_ATTEMPTS: &str = "retry_attempts";
const RETRY_SECONDS: &str = "retry_seconds";
const OUTAGE: &str = "outage";
/// `off`, `on`, or absent where the deployment decides.
const CACHE: &str = "cache";
const CACHE_TTL_SECONDS: &str = "cache_ttl_seconds";
const CACHE_STALE_SECONDS: &str = "cache_stale_seconds";
const LIMITS: &str = "limits";
const MAX_OUTPUT_TOKENS: &str = "max_output_tokens";
const TIMEOUT_SECONDS: &str = "timeout_seconds";
const MAX_COST_MICRO_USD: &str = "max_cost_micro_usd";
pub(super) const CREATED_AT: &str = "created_at";
/// Absent in records of the first version, and then 1.
pub(super) const REVISION: &str = "revision";
/// Set while the agent is disabled.
const DISABLED: &str = "disabled";
const ALIASES: &str = "aliases";
/// Absent while it is 0.
const CACHE_GENERATION: &str = "cache_generation";
/// When the client archived the agent. Readers find no agent, and tasks still find its versions.
pub(super) const ARCHIVED_AT: &str = "deleted_at";
/// The last noted use of an inline agent, in the record of its only version.
pub(super) const USED_AT: &str = "used_at";
/// Set once the agent is being removed with its versions.
pub(super) const REMOVING: &str = "removing";
/// Before which place no task of its tenant names the archived agent.
pub(super) const SCANNED_TO: &str = "scanned_to";
/// The attributes whose text a client wrote.
pub(super) const CLIENT_TEXTS: [&str; 8] = [
    NAME,
    INSTRUCTIONS,
    MODELS,
    TOOLS,
    BUILTIN_TOOLS,
    ALL_TOOLS,
    OUTPUT_SCHEMA,
    ALIASES,
];

const OFF: &str = "off";
const ON: &str = "on";

/// The agent as the record at `key`.
pub(super) fn write(key: Key, agent: &Agent) -> Item {
    let Agent {
        id,
        tenant,
        version,
        config,
        created_at,
    } = agent;
    let AgentConfig {
        name: called,
        instructions,
        models,
        tools,
        output_schema,
        retry,
        cache,
        limits,
    } = config;
    let mut attributes = vec![
        (TENANT_ID, text(tenant.as_str())),
        (AGENT_ID, text(id.to_string())),
        (AGENT_VERSION, number(version)),
        (NAME, text(called.as_str())),
        (INSTRUCTIONS, text(instructions.as_str())),
        items::json(MODELS, &models.iter().collect::<Vec<_>>()),
        (RETRY_ATTEMPTS, number(retry.max_attempts())),
        (RETRY_SECONDS, number(retry.max_elapsed().as_secs())),
        (OUTAGE, name(&retry.outage)),
        items::json(LIMITS, limits),
        (MAX_OUTPUT_TOKENS, number(limits.max_output_tokens())),
        (TIMEOUT_SECONDS, number(limits.timeout_seconds())),
        (CREATED_AT, moment(*created_at)),
    ];
    let (version, of_tools) = write_tools(tools);
    attributes.extend(of_tools);
    attributes.extend(
        output_schema
            .as_ref()
            .map(|schema| items::json(OUTPUT_SCHEMA, schema)),
    );
    attributes.extend(
        limits
            .max_cost_micro_usd()
            .map(|most| (MAX_COST_MICRO_USD, number(most))),
    );
    match cache {
        None => {}
        Some(CacheRules::Off) => attributes.push((CACHE, text(OFF))),
        Some(CacheRules::On(terms)) => attributes.extend([
            (CACHE, text(ON)),
            (CACHE_TTL_SECONDS, number(terms.ttl().as_secs())),
            (CACHE_STALE_SECONDS, number(terms.stale().as_secs())),
        ]),
    }
    items::versioned(version, key, attributes)
}

/// The tools, and the first version whose readers understand them.
fn write_tools(tools: &[AgentTool]) -> (u32, Attributes) {
    let is_new = |tool: &&BuiltinTool| match tool {
        BuiltinTool::HttpRequest(rules) => {
            !rules.paths().is_empty() || !rules.credentials().is_empty()
        }
        BuiltinTool::CurrentTime | BuiltinTool::Calculator => false,
    };
    match AgentTool::in_two_lists(tools) {
        Some((client, builtin)) if !builtin.iter().any(is_new) => {
            let client = (!client.is_empty()).then(|| items::json(TOOLS, &client));
            let builtin = (!builtin.is_empty()).then(|| items::json(BUILTIN_TOOLS, &builtin));
            (1, client.into_iter().chain(builtin).collect())
        }
        _ => (VERSION, vec![items::json(ALL_TOOLS, &tools)]),
    }
}

/// The record of an agent as a whole.
pub(super) fn write_head(head: &AgentHead) -> Item {
    let AgentHead {
        newest,
        switch,
        aliases,
        cache_generation,
        revision,
    } = head;
    let mut attributes = vec![(REVISION, number(revision))];
    if *switch == Switch::Disabled {
        attributes.push((DISABLED, AttributeValue::Bool(true)));
    }
    if !aliases.is_empty() {
        attributes.push(items::json(ALIASES, aliases));
    }
    if *cache_generation > 0 {
        attributes.push((CACHE_GENERATION, number(cache_generation)));
    }
    let mut item = write(keys::agent(&newest.tenant, newest.id), newest);
    let named = attributes.into_iter();
    item.extend(named.map(|(name, value)| (name.to_owned(), value)));
    item
}

/// Whether the record belongs to an archived agent.
pub(super) fn is_archived(item: &Item) -> bool {
    item.contains_key(ARCHIVED_AT)
}

/// Whether the agent whose newest record this is works, also if this version can't read the rest.
pub(super) fn switch(item: &Item) -> Switch {
    if item.contains_key(DISABLED) {
        Switch::Disabled
    } else {
        Switch::Enabled
    }
}

/// The cache generation of the agent whose newest record this is, also if this version can't read the
/// rest.
pub(super) fn cache_generation(item: &Item) -> Result<u64, StoreError> {
    let generation = Fields::of_index(item).optional(CACHE_GENERATION, Fields::number)?;
    Ok(generation.unwrap_or_default())
}

/// The agent as a whole in a record.
pub(super) fn read_head(item: &Item) -> Result<AgentHead, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    Ok(AgentHead {
        newest: read(item)?,
        switch: switch(item),
        aliases: fields.optional(ALIASES, Fields::json)?.unwrap_or_default(),
        cache_generation: cache_generation(item)?,
        revision: fields.optional(REVISION, Fields::number)?.unwrap_or(1),
    })
}

/// The agent in a record.
pub(super) fn read(item: &Item) -> Result<Agent, StoreError> {
    let fields = Fields::up_to(VERSION, item)?;
    Ok(Agent {
        id: fields.parsed(AGENT_ID)?,
        tenant: fields.parsed(TENANT_ID)?,
        version: fields.number(AGENT_VERSION)?,
        config: AgentConfig {
            name: fields.valid(AgentName::new(fields.text(NAME)?.to_owned()))?,
            instructions: fields.valid(Instructions::new(fields.text(INSTRUCTIONS)?.to_owned()))?,
            models: models(&fields)?,
            tools: tools(&fields)?,
            output_schema: fields.optional(OUTPUT_SCHEMA, Fields::json)?,
            retry: retry(&fields)?,
            cache: fields.optional(CACHE, cache)?,
            limits: limits(&fields)?,
        },
        created_at: fields.moment(CREATED_AT)?,
    })
}

fn tools(fields: &Fields<'_>) -> Result<Vec<AgentTool>, StoreError> {
    if let Some(tools) = fields.optional(ALL_TOOLS, Fields::json)? {
        return Ok(tools);
    }
    let client: Option<Vec<ToolDefinition>> = fields.optional(TOOLS, Fields::json)?;
    let builtin: Option<Vec<BuiltinTool>> = fields.optional(BUILTIN_TOOLS, Fields::json)?;
    let client = client.into_iter().flatten().map(AgentTool::from);
    Ok(client
        .chain(builtin.into_iter().flatten().map(AgentTool::from))
        .collect())
}

fn models(fields: &Fields<'_>) -> Result<ModelChain, StoreError> {
    match fields.optional(MODELS, Fields::json)? {
        Some(models) => fields.valid(ModelChain::new(models)),
        None => Ok(ModelChain::only(fields.model()?.into())),
    }
}

fn retry(fields: &Fields<'_>) -> Result<RetryRules, StoreError> {
    let mut rules = RetryRules::default();
    if let Some(attempts) = fields.optional(RETRY_ATTEMPTS, Fields::number)? {
        rules = fields.valid(rules.with_max_attempts(attempts))?;
    }
    if let Some(seconds) = fields.optional(RETRY_SECONDS, Fields::number)? {
        rules = fields.valid(rules.with_max_seconds(seconds))?;
    }
    rules.outage = fields.optional(OUTAGE, Fields::name)?.unwrap_or_default();
    Ok(rules)
}

fn cache(fields: &Fields<'_>, mode: &str) -> Result<CacheRules, StoreError> {
    match fields.text(mode)? {
        OFF => Ok(CacheRules::Off),
        ON => {
            let terms = CacheTerms::default().with_ttl_seconds(fields.number(CACHE_TTL_SECONDS)?);
            let terms = fields
                .valid(terms)?
                .with_stale_seconds(fields.number(CACHE_STALE_SECONDS)?);
            fields.valid(terms).map(CacheRules::On)
        }
        other => Err(fields.corrupt(format!("{mode} can't be used: {other}"))),
    }
}

/// Limits are written in two forms, because functions of the version before may still read them.
fn limits(fields: &Fields<'_>) -> Result<Limits, StoreError> {
    if let Some(limits) = fields.optional(LIMITS, Fields::json)? {
        return Ok(limits);
    }
    let limits = fields
        .valid(Limits::default().with_max_output_tokens(fields.number(MAX_OUTPUT_TOKENS)?))?;
    let limits = fields.valid(limits.with_timeout_seconds(fields.number(TIMEOUT_SECONDS)?))?;
    match fields.optional(MAX_COST_MICRO_USD, Fields::number)? {
        Some(most) => fields.valid(limits.with_max_cost_micro_usd(most)),
        None => Ok(limits),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        ApiVersion, CallRules, CredentialName, HostPattern, HttpRules, JsonSchema, ModelChoice,
        ModelRef, ModelSettings, Outage, OutputLimitField, OutputSchema, PathPrefix, Provider,
        ReasoningEffort, Thousandths, ToolName, Transfer,
    };
    use crate::testing::samples;

    fn record(agent: &Agent) -> Item {
        write(
            keys::agent_version(&agent.tenant, agent.version_ref()),
            agent,
        )
    }

    /// An agent with everything that one can have.
    fn rich() -> Agent {
        let name = |name: &str| ToolName::new(name.to_owned()).unwrap();
        let schema =
            || JsonSchema::new(json!({ "type": "object", "properties": { "x": true } })).unwrap();
        let settings = ModelSettings {
            temperature: Some(Thousandths(700)),
            top_p: Some(Thousandths(900)),
            reasoning_effort: Some(ReasoningEffort::None),
            api_version: ApiVersion::Anthropic20230601,
            transfer: Transfer::Whole,
            output_limit_field: OutputLimitField::MaxCompletionTokens,
        };
        let other = ModelRef::new(Provider::OpenAiCompatible, "llama").unwrap();
        let terms = CacheTerms::default()
            .with_ttl_seconds(60)
            .and_then(|terms| terms.with_stale_seconds(600))
            .unwrap();
        let retry = RetryRules::default()
            .with_max_attempts(5)
            .and_then(|retry| retry.with_max_seconds(90))
            .unwrap();
        let hosts = vec![
            HostPattern::new("api.example.com").unwrap(),
            HostPattern::new("*.example.org").unwrap(),
        ];
        let http = HttpRules::new(hosts)
            .and_then(|rules| rules.with_timeout_seconds(7))
            .unwrap();
        let mut agent = samples::agent(&samples::tenant("acme"));
        agent.config = AgentConfig {
            models: ModelChain::new(vec![
                samples::model().into(),
                ModelChoice {
                    model: other,
                    settings,
                },
            ])
            .unwrap(),
            tools: vec![
                ToolDefinition::new(name("look_up"), "Looks up.".to_owned(), schema())
                    .unwrap()
                    .into(),
                BuiltinTool::CurrentTime.into(),
                BuiltinTool::HttpRequest(http).into(),
            ],
            output_schema: Some(OutputSchema {
                name: name("answer"),
                schema: schema(),
            }),
            retry,
            cache: Some(CacheRules::On(terms)),
            limits: Limits::default()
                .with_max_cost_micro_usd(5_000_000)
                .unwrap(),
            ..agent.config
        };
        agent.config.retry.outage = Outage::Fail;
        agent
    }

    #[test]
    fn an_agent_survives_its_record() {
        let plain = samples::agent(&samples::tenant("acme"));
        let mut uncached = plain.clone();
        uncached.config.cache = Some(CacheRules::Off);
        for agent in [plain, uncached, rich()] {
            assert_eq!(read(&record(&agent)).unwrap(), agent);
        }
    }

    #[test]
    fn an_agent_as_a_whole_survives_its_record() {
        let mut head = AgentHead::of(rich());
        assert_eq!(read_head(&write_head(&head)).unwrap(), head);
        head.switch = Switch::Disabled;
        head.aliases = [("prod".parse().unwrap(), 3), ("next".parse().unwrap(), 4)].into();
        (head.revision, head.cache_generation) = (7, 1_795_000_000_000);
        let item = write_head(&head);
        assert_eq!(read_head(&item).unwrap(), head);
        assert_eq!(read(&item).unwrap(), head.newest);
        items::checks::check_robustness(&item, &["v", "name", "models"], read_head);
    }

    fn asking(schema: JsonSchema) -> AgentTool {
        let name = ToolName::new("ask".to_owned()).unwrap();
        ToolDefinition::new(name, "Asks.".to_owned(), schema)
            .unwrap()
            .into()
    }

    #[test]
    fn only_an_agent_whose_rules_the_first_version_overlooks_has_a_later_record() {
        let mut agent = rich();
        assert_eq!(record(&agent)["v"], number(1));
        let rules = HttpRules::new(vec![HostPattern::new("api.example.com").unwrap()]).unwrap();
        let paths = vec![PathPrefix::new("/v1".to_owned()).unwrap()];
        let credentials = vec![CredentialName::new("orders".to_owned()).unwrap()];
        for rules in [
            rules.clone().with_paths(paths).unwrap(),
            rules.with_credentials(credentials).unwrap(),
        ] {
            agent.config.tools = vec![BuiltinTool::HttpRequest(rules).into()];
            assert_eq!(record(&agent)["v"], number(2));
            assert_eq!(read(&record(&agent)).unwrap(), agent);
        }
        let limited = samples::calculator(CallRules::default().with_max_calls(3));
        let client = asking(JsonSchema::new(json!({ "type": "object" })).unwrap());
        for tools in [vec![limited], vec![BuiltinTool::Calculator.into(), client]] {
            agent.config.tools = tools;
            assert_eq!(record(&agent)["v"], number(2));
            assert_eq!(read(&record(&agent)).unwrap(), agent);
        }
    }

    #[test]
    fn the_order_of_properties_survives_the_record() {
        let text = r#"{"type":"object","properties":{"reasoning":{"type":"string","enum":["z","a"]},"answer":{}},"required":["reasoning","answer"]}"#;
        let schema = || JsonSchema::new(serde_json::from_str(text).unwrap()).unwrap();
        let mut agent = rich();
        agent.config.tools = vec![asking(schema())];
        agent
            .config
            .output_schema
            .iter_mut()
            .for_each(|output| output.schema = schema());
        let AgentConfig {
            tools,
            output_schema,
            ..
        } = read(&record(&agent)).unwrap().config;
        assert_eq!(tools, [asking(schema())]);
        let read = tools[0].definition();
        assert_eq!(read.input_schema.as_value().to_string(), text);
        assert_eq!(output_schema.unwrap().schema.as_value().to_string(), text);
    }

    #[test]
    fn a_record_whose_schema_a_provider_refuses_is_still_read() {
        let schema = json!({ "type": "object", "properties": { "filter[id]": {} }, "anyOf": [{}] });
        let mut agent = rich();
        agent.config.tools[0] = asking(JsonSchema::new(schema).unwrap());
        assert_eq!(read(&record(&agent)).unwrap(), agent);
    }

    #[test]
    fn a_record_from_before_chains_is_still_read() {
        let agent = samples::agent(&samples::tenant("acme"));
        let mut item = record(&agent);
        for name in [MODELS, RETRY_ATTEMPTS, RETRY_SECONDS, OUTAGE, LIMITS] {
            item.remove(name).unwrap();
        }
        item.extend(
            items::model(&samples::model())
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        assert_eq!(read(&item).unwrap(), agent);
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let required = [
            "v",
            "tenant",
            "agent_id",
            "version",
            "name",
            "instructions",
            "models",
            "created_at",
        ];
        items::checks::check_robustness(
            &record(&samples::agent(&samples::tenant("acme"))),
            &required,
            read,
        );
        let besides = ["cache_ttl_seconds", "cache_stale_seconds"];
        items::checks::check_robustness(
            &record(&rich()),
            &[required.as_slice(), &besides].concat(),
            read,
        );
    }
}
