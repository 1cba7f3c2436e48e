//! Agents on DynamoDB: a full copy of the newest version for reading and listing, and one immutable
//! record per version.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::CancellationReason;

use super::agent_item::{self, ARCHIVED_AT, REVISION};
use super::error::{reasons_of_transaction, record_that_failed_put};
use super::items::{Fields, Item, number};
use super::keys::{self, AGENT_PREFIX, SK};
use super::table::{self, Table};
use crate::domain::{
    Agent, AgentHead, AgentId, AgentVersion, Switch, TenantId, TenantStatus, Timestamp,
};
use crate::ports::{
    Addition, AgentOfTask, AgentStore, InlineUse, Kept, Page, PageRequest, StoreError, TaskAgents,
    UnreadableAgent,
};

/// The condition of a change: the agent has the revision that was read, and is not archived. Records
/// of the first version have no revision.
const UNCHANGED: &str = "#revision = :revision AND attribute_not_exists(#archived_at)";
const UNCHANGED_SINCE_FIRST: &str = "(#revision = :revision OR (attribute_exists(pk) AND \
    attribute_not_exists(#revision))) AND attribute_not_exists(#archived_at)";

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
}

#[async_trait]
impl TaskAgents for DynamoAgentStore {
    /// The record of the newest version has the switch and the cache generation. If it has another version, or can't be
    /// read, the version's own record is read. An inline agent has only that record.
    async fn of_task(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<AgentOfTask>, StoreError> {
        if version.id.is_inline() {
            let agent = self.version(tenant, version).await?;
            return Ok(agent.map(|agent| of_task(agent, Switch::Enabled, 0)));
        }
        let head = self.table.read(keys::agent(tenant, version.id)).await?;
        let switch = head.as_ref().map_or(Switch::Enabled, agent_item::switch);
        let generation = head.as_ref().map(agent_item::cache_generation);
        let generation = generation.transpose()?.unwrap_or_default();
        let newest = head.as_ref().and_then(|item| agent_item::read(item).ok());
        let agent = match newest.filter(|newest| newest.version == version.version) {
            Some(newest) => Some(newest),
            None => self.version(tenant, version).await?,
        };
        Ok(agent.map(|agent| of_task(agent, switch, generation)))
    }
}

#[async_trait]
impl AgentStore for DynamoAgentStore {
    async fn add(&self, agent: &AgentHead, most: u32) -> Result<Addition, StoreError> {
        self.add_counted(agent, most).await
    }

    async fn count(&self, tenant: &TenantId, now: Timestamp) -> Result<u32, StoreError> {
        self.counted(tenant, now).await
    }

    async fn keep(&self, agent: &Agent, used: InlineUse) -> Result<Kept, StoreError> {
        self.keep_inline(agent, used).await
    }

    async fn head(&self, tenant: &TenantId, id: AgentId) -> Result<Option<AgentHead>, StoreError> {
        if id.is_inline() {
            let only = self.version(tenant, AgentVersion::inline(id)).await?;
            return Ok(only.map(AgentHead::of));
        }
        let found = self.table.read(keys::agent(tenant, id)).await?;
        let found = found.filter(is_present);
        found.as_ref().map(agent_item::read_head).transpose()
    }

    async fn replace(&self, before: &AgentHead, after: &AgentHead) -> Result<(), StoreError> {
        let condition = if before.revision == 1 {
            UNCHANGED_SINCE_FIRST
        } else {
            UNCHANGED
        };
        let put = self
            .table
            .put_if(agent_item::write_head(after), condition)
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_names("#archived_at", ARCHIVED_AT)
            .expression_attribute_values(":revision", number(before.revision));
        let newest = &after.newest;
        if newest.version == before.newest.version {
            let Err(error) = put.send().await else {
                return Ok(());
            };
            return check_same_head(record_that_failed_put(error)?.as_ref(), after);
        }
        let key = keys::agent_version(&newest.tenant, newest.version_ref());
        let version = agent_item::write(key, newest);
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(self.table.transacted(&put)?)
            .transact_items(self.table.transact_put_new(version)?);
        let Err(error) = request.send().await else {
            return Ok(());
        };
        let reasons = reasons_of_transaction(error)?;
        check_same_head(reasons.first().and_then(CancellationReason::item), after)
    }

    async fn version(
        &self,
        tenant: &TenantId,
        version: AgentVersion,
    ) -> Result<Option<Agent>, StoreError> {
        let found = self
            .table
            .read(keys::agent_version(tenant, version))
            .await?;
        found.as_ref().map(agent_item::read).transpose()
    }

    async fn list(
        &self,
        tenant: &TenantId,
        page: &PageRequest,
    ) -> Result<Page<Result<AgentHead, UnreadableAgent>>, StoreError> {
        let after = table::after(page, keys::parse_id_cursor)?;
        let after = after.map(|id| keys::agent(tenant, id));
        let query = self.table.query_prefix(keys::tenant(tenant), AGENT_PREFIX);
        let (records, more) = Table::page(query, after, page.limit, is_present).await?;
        let shown = records.iter().map(listed);
        let shown = shown.collect::<Result<Vec<_>, _>>()?;
        let last = shown.last().filter(|_| more);
        let next = last.map(|(id, _)| keys::id_cursor(*id));
        Ok(Page {
            entries: shown.into_iter().map(|(_, agent)| agent).collect(),
            next,
        })
    }

    async fn versions(
        &self,
        tenant: &TenantId,
        id: AgentId,
        page: &PageRequest,
    ) -> Result<Page<Result<Agent, StoreError>>, StoreError> {
        let after = table::after(page, keys::parse_version_cursor)?;
        let after = after.map(|version| keys::agent_version(tenant, AgentVersion { id, version }));
        let query = self
            .table
            .query_prefix(keys::tenant(tenant), &keys::agent_versions(id))
            .scan_index_forward(false);
        let (records, more) = Table::page(query, after, page.limit, is_present).await?;
        let end = records.last().filter(|_| more);
        let next = end.map(|item| {
            let fields = Fields::of_index(item);
            keys::parse_agent_version(fields.text(SK)?)
                .map(keys::version_cursor)
                .ok_or_else(|| fields.corrupt("its key is not a version's"))
        });
        Ok(Page {
            entries: records.iter().map(agent_item::read).collect(),
            next: next.transpose()?,
        })
    }
}

const fn of_task(agent: Agent, switch: Switch, cache_generation: u64) -> AgentOfTask {
    AgentOfTask {
        agent,
        switch,
        cache_generation,
        tenant: TenantStatus::Active,
    }
}

/// Whether the record is not of an archived agent.
fn is_present(item: &Item) -> bool {
    !agent_item::is_archived(item)
}

/// The entry of a list that a record is, under the id that its key says.
fn listed(item: &Item) -> Result<(AgentId, Result<AgentHead, UnreadableAgent>), StoreError> {
    let key = Fields::of_index(item);
    let id =
        keys::parse_agent(key.text(SK)?).ok_or_else(|| key.corrupt("its key is not an agent's"))?;
    Ok((
        id,
        agent_item::read_head(item).map_err(|error| UnreadableAgent {
            id,
            reason: error.to_string(),
        }),
    ))
}

/// Succeeds if the record that made the condition fail is the agent's already: the SDK repeats a
/// request whose response was lost.
fn check_same_head(stored: Option<&Item>, agent: &AgentHead) -> Result<(), StoreError> {
    let stored = stored.filter(|item| is_present(item));
    match stored.map(agent_item::read_head).transpose()? {
        Some(stored) if stored == *agent => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

/// Succeeds if the version's record, the second of the transaction, is the agent's already.
pub(super) fn check_same_version(
    reasons: &[CancellationReason],
    agent: &Agent,
) -> Result<(), StoreError> {
    let stored: Option<&Item> = reasons.get(1).and_then(CancellationReason::item);
    match stored.map(agent_item::read).transpose()? {
        Some(stored) if stored == *agent => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::V;
    use super::*;
    use crate::testing::samples;

    #[test]
    fn an_agent_that_can_not_be_read_is_listed_by_its_id_and_what_is_wrong() {
        let agent = samples::agent(&samples::tenant("acme"));
        let head = AgentHead::of(agent.clone());
        let mut item = agent_item::write_head(&head);
        assert_eq!(listed(&item).unwrap(), (agent.id, Ok(head)));
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
