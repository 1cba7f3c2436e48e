//! The form of an agent's record: the same for the newest version and for each version.

use super::items::{self, Fields, Item, moment, number, text};
use super::keys::Key;
use crate::domain::{Agent, AgentConfig, AgentName, Instructions, Limits};
use crate::ports::StoreError;

const TENANT_ID: &str = "tenant";
const AGENT_ID: &str = "agent_id";
const AGENT_VERSION: &str = "version";
const NAME: &str = "name";
const INSTRUCTIONS: &str = "instructions";
const MAX_OUTPUT_TOKENS: &str = "max_output_tokens";
const TIMEOUT_SECONDS: &str = "timeout_seconds";
const CREATED_AT: &str = "created_at";

/// The agent as the record at `key`.
pub(super) fn write(key: Key, agent: &Agent) -> Item {
    let Agent { id, tenant, version, config, created_at } = agent;
    let mut attributes = vec![
        (TENANT_ID, text(tenant.as_str())),
        (AGENT_ID, text(id.to_string())),
        (AGENT_VERSION, number(version)),
        (NAME, text(config.name.as_str())),
        (INSTRUCTIONS, text(config.instructions.as_str())),
        (MAX_OUTPUT_TOKENS, number(config.limits.max_output_tokens())),
        (TIMEOUT_SECONDS, number(config.limits.timeout_seconds())),
        (CREATED_AT, moment(*created_at)),
    ];
    attributes.extend(items::model(&config.model));
    items::item(key, attributes)
}

/// The agent in a record.
pub(super) fn read(item: &Item) -> Result<Agent, StoreError> {
    let fields = Fields::of(item)?;
    let (tokens, seconds) = (fields.number(MAX_OUTPUT_TOKENS)?, fields.number(TIMEOUT_SECONDS)?);
    let limits =
        Limits::default().with_max_output_tokens(tokens).and_then(|limits| limits.with_timeout_seconds(seconds));
    Ok(Agent {
        id: fields.parsed(AGENT_ID)?,
        tenant: fields.parsed(TENANT_ID)?,
        version: fields.number(AGENT_VERSION)?,
        config: AgentConfig {
            name: fields.valid(AgentName::new(fields.text(NAME)?.to_owned()))?,
            instructions: fields.valid(Instructions::new(fields.text(INSTRUCTIONS)?.to_owned()))?,
            model: fields.model()?,
            limits: fields.valid(limits)?,
        },
        created_at: fields.moment(CREATED_AT)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{items, keys};
    use super::*;
    use crate::testing::samples;

    #[test]
    fn an_agent_survives_its_record() {
        let agent = samples::agent(&samples::tenant("acme"));
        let item = write(keys::agent_version(&agent.tenant, agent.version_ref()), &agent);
        assert_eq!(read(&item).unwrap(), agent);
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let agent = samples::agent(&samples::tenant("acme"));
        let item = write(keys::agent(&agent.tenant, agent.id), &agent);
        let required = [
            "v",
            "tenant",
            "agent_id",
            "version",
            "name",
            "instructions",
            "provider",
            "model",
            "max_output_tokens",
            "timeout_seconds",
            "created_at",
        ];
        items::checks::check_robustness(&item, &required, read);
    }
}
