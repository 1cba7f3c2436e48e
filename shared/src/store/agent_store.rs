//! Agents on DynamoDB: a full copy of the newest version for reading and listing, and one immutable
//! record per version.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::CancellationReason;

use super::agent_item;
use super::error::{failure, reasons_of_transaction};
use super::items::{Fields, Item};
use super::keys::{self, AGENT_PREFIX, Key, SK};
use super::table::{self, Table};
use crate::domain::{Agent, AgentId, AgentVersion, TenantId};
use crate::ports::{AgentStore, Page, PageRequest, StoreError, UnreadableAgent};

/// Agents in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoAgentStore {
    pub(super) table: Table,
}

impl DynamoAgentStore {
    /// Keeps agents in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    async fn read(&self, key: Key) -> Result<Option<Agent>, StoreError> {
        let found = self
            .table
            .read(key)
            .await?
            .filter(|item| !agent_item::is_deleted(item));
        found.as_ref().map(agent_item::read).transpose()
    }
}

#[async_trait]
impl AgentStore for DynamoAgentStore {
    async fn create(&self, agent: &Agent) -> Result<(), StoreError> {
        let put = |key| self.table.transact_put_new(agent_item::write(key, agent));
        let newest = put(keys::agent(&agent.tenant, agent.id))?;
        let version = put(keys::agent_version(&agent.tenant, agent.version_ref()))?;
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(newest)
            .transact_items(version);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => check_same_version(&reasons_of_transaction(error)?, agent),
        }
    }

    async fn newest(&self, tenant: &TenantId, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.read(keys::agent(tenant, id)).await
    }

    async fn version(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<Agent>, StoreError> {
        self.read(keys::agent_version(tenant, version)).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<Agent, UnreadableAgent>>, StoreError> {
        let after = page
            .after
            .as_deref()
            .map(|cursor| keys::parse_id_cursor(cursor).ok_or(StoreError::Cursor));
        let mut start = after
            .transpose()?
            .map(|id| table::attributes(keys::agent(tenant, id)));
        let limit = page.limit.clamp(1, 100);
        let mut entries = Vec::new();
        // One more than wanted tells whether a next page exists. An answer may be short of it,
        // because it ends at 1 MB.
        loop {
            let query = self
                .table
                .query_prefix(keys::tenant(tenant), AGENT_PREFIX)
                .set_exclusive_start_key(start);
            let answer = query
                .limit(limit.cast_signed() + 1)
                .send()
                .await
                .map_err(failure)?;
            for item in answer
                .items()
                .iter()
                .filter(|item| !agent_item::is_deleted(item))
            {
                entries.push(listed(item)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || entries.len() > limit as usize {
                break;
            }
        }
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries
            .last()
            .filter(|_| more)
            .map(|(id, _)| keys::id_cursor(*id));
        Ok(Page {
            entries: entries.into_iter().map(|(_, agent)| agent).collect(),
            next,
        })
    }
}

/// The entry of a list that a record is, under the id that its key says.
fn listed(item: &Item) -> Result<(AgentId, Result<Agent, UnreadableAgent>), StoreError> {
    let key = Fields::of_index(item);
    let id =
        keys::parse_agent(key.text(SK)?).ok_or_else(|| key.corrupt("its key is not an agent's"))?;
    Ok((
        id,
        agent_item::read(item).map_err(|error| UnreadableAgent {
            id,
            reason: error.to_string(),
        }),
    ))
}

/// Succeeds if the version's record, the second of the transaction, is the agent's already.
fn check_same_version(reasons: &[CancellationReason], agent: &Agent) -> Result<(), StoreError> {
    let stored: Option<&Item> = reasons.get(1).and_then(CancellationReason::item);
    match stored.map(agent_item::read).transpose()? {
        Some(stored) if stored == *agent => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::{V, number};
    use super::*;
    use crate::testing::samples;

    #[test]
    fn an_agent_that_can_not_be_read_is_listed_by_its_id_and_what_is_wrong() {
        let agent = samples::agent(&samples::tenant("acme"));
        let mut item = agent_item::write(keys::agent(&agent.tenant, agent.id), &agent);
        assert_eq!(listed(&item).unwrap(), (agent.id, Ok(agent.clone())));
        let mut newer = item.clone();
        newer.insert(V.to_owned(), number(99));
        item.remove("instructions");
        for (damaged, word) in [(newer, "version 99"), (item, "instructions")] {
            let (id, refused) = listed(&damaged).unwrap();
            let UnreadableAgent { id: named, reason } = refused.unwrap_err();
            assert_eq!([id, named], [agent.id; 2]);
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn only_the_very_same_version_counts_as_added() {
        let agent = samples::agent(&samples::tenant("acme"));
        let other = Agent {
            config: samples::agent_config("other", ""),
            ..agent.clone()
        };
        let taken = |by: &Agent| {
            let item = agent_item::write(keys::agent_version(&by.tenant, by.version_ref()), by);
            CancellationReason::builder()
                .code("ConditionalCheckFailed")
                .set_item(Some(item))
                .build()
        };
        assert!(check_same_version(&[taken(&agent), taken(&agent)], &agent).is_ok());
        let newest_only = [
            taken(&agent),
            CancellationReason::builder().code("None").build(),
        ];
        for refused in [[taken(&other), taken(&other)], newest_only] {
            let refused = check_same_version(&refused, &agent);
            assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        }
    }
}
