//! How many agents a tenant has, in the record of its counts. Agents are created and archived in a
//! transaction that changes this number too.
//!
//! A record of an earlier version has no number. Then the agents are counted, and the number is set
//! if there is still none. No agent is created or archived meanwhile, because both need the number.
//! An earlier version changes agents without the number, during a deployment or after a rollback. So
//! a number that refuses an agent is counted again if it is older than a day.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{CancellationReason, Select};

use super::agent_item::{self, ARCHIVED_AT};
use super::agent_store::{DynamoAgentStore, check_same_version};
use super::error::{failure, reasons_of_transaction, record_that_failed_update};
use super::items::{Fields, Item, V, VERSION, moment, number};
use super::keys::{self, AGENT_PREFIX};
use super::table::wait_before;
use crate::domain::{AgentHead, TenantId, Timestamp};
use crate::ports::{Addition, StoreError};

const AGENTS: &str = "agents";
const COUNTED_AT: &str = "agents_counted_at";

/// How long a number is not counted again.
const TRUSTED_FOR: Duration = Duration::from_hours(24);

/// How often a transaction is tried that others of the same tenant hinder.
const TRIES: u32 = 12;

/// The longest wait before the second try. Each later one is longer by as much.
const LONGEST_WAIT: Duration = Duration::from_millis(25);

/// How many agents a tenant has, and when they were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    agents: u32,
    counted_at: Timestamp,
}

impl DynamoAgentStore {
    /// See [`AgentStore::add`](crate::ports::AgentStore::add).
    pub(super) async fn add_counted(
        &self,
        agent: &AgentHead,
        most: u32,
    ) -> Result<Addition, StoreError> {
        let first = &agent.newest;
        let (tenant, now) = (&first.tenant, first.created_at);
        let key = keys::agent_version(tenant, first.version_ref());
        let newest = self.table.transact_put_new(agent_item::write_head(agent))?;
        let version = self.table.transact_put_new(agent_item::write(key, first))?;
        let count = self
            .change_count(tenant, 1)
            .condition_expression("#agents < :most")
            .expression_attribute_values(":most", number(most));
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(newest)
            .transact_items(version)
            .transact_items(self.table.transact_update(&count)?);
        for attempt in 0..TRIES {
            wait_before(attempt, LONGEST_WAIT).await;
            let Err(error) = request.clone().send().await else {
                return Ok(Addition::Added);
            };
            let reasons = match reasons_of_transaction(error) {
                Err(StoreError::Conflict) => continue,
                reasons => reasons?,
            };
            let [newest, version, ..] = reasons.as_slice() else {
                return Err(StoreError::Conflict);
            };
            if has_failed(newest) || has_failed(version) {
                return check_same_version(&reasons, first).map(|()| Addition::Added);
            }
            match read(reasons.get(2).and_then(CancellationReason::item))? {
                Some(count) if now.since(count.counted_at) < TRUSTED_FOR => {
                    return Ok(Addition::Full(count.agents));
                }
                outdated => self.count_again(tenant, outdated, now).await?,
            }
        }
        Err(StoreError::Conflict)
    }

    /// See [`AgentRetention::archive`](crate::ports::AgentRetention::archive). `mark` is the update
    /// of the agent's record, still without its condition.
    pub(super) async fn archive_counted(
        &self,
        tenant: &TenantId,
        mark: UpdateItemFluentBuilder,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let first = mark
            .clone()
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(#archived_at)");
        let count = self
            .change_count(tenant, -1)
            .condition_expression("attribute_exists(#agents)");
        let request = self
            .table
            .client
            .transact_write_items()
            .transact_items(self.table.transact_update(&first)?)
            .transact_items(self.table.transact_update(&count)?);
        for attempt in 0..TRIES {
            wait_before(attempt, LONGEST_WAIT).await;
            let Err(error) = request.clone().send().await else {
                return Ok(true);
            };
            let reasons = match reasons_of_transaction(error) {
                Err(StoreError::Conflict) => continue,
                reasons => reasons?,
            };
            if let Some(agent) = reasons.first().filter(|reason| has_failed(reason)) {
                if agent.item().is_none() {
                    return Ok(false);
                }
                // It was archived before, perhaps by an earlier version.
                let again = mark.condition_expression("attribute_exists(pk)");
                let Err(error) = again.send().await else {
                    return Ok(true);
                };
                return record_that_failed_update(error).map(|_| false);
            }
            self.count_again(tenant, None, now).await?;
        }
        Err(StoreError::Conflict)
    }

    /// See [`AgentStore::count`](crate::ports::AgentStore::count).
    pub(super) async fn counted(
        &self,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        for _ in 0..TRIES {
            let item = self.table.read(keys::tenant_counts(tenant)).await?;
            match read(item.as_ref())? {
                Some(count) => return Ok(count.agents),
                None => self.count_again(tenant, None, now).await?,
            }
        }
        Err(StoreError::Conflict)
    }

    /// A change of the number, still without its condition.
    fn change_count(&self, tenant: &TenantId, change: i8) -> UpdateItemFluentBuilder {
        self.table
            .update(keys::tenant_counts(tenant))
            .update_expression("ADD #agents :change")
            .expression_attribute_names("#agents", AGENTS)
            .expression_attribute_values(":change", number(change))
    }

    /// Removes the number if it is still the `outdated` one, and sets it if there is none.
    async fn count_again(
        &self,
        tenant: &TenantId,
        outdated: Option<Count>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update = || {
            self.table
                .update(keys::tenant_counts(tenant))
                .expression_attribute_names("#agents", AGENTS)
                .expression_attribute_names("#counted_at", COUNTED_AT)
        };
        if let Some(Count { counted_at, .. }) = outdated {
            let request = update()
                .update_expression("REMOVE #agents, #counted_at")
                .condition_expression("#counted_at = :counted_at")
                .expression_attribute_values(":counted_at", moment(counted_at));
            if let Err(error) = request.send().await {
                return by_another(record_that_failed_update(error));
            }
        }
        let agents = self.count_present(tenant).await?;
        let request = update()
            .update_expression(
                "SET #v = if_not_exists(#v, :v), #agents = :agents, #counted_at = :now",
            )
            .condition_expression("attribute_not_exists(#agents)")
            .expression_attribute_names("#v", V)
            .expression_attribute_values(":v", number(VERSION))
            .expression_attribute_values(":agents", number(agents))
            .expression_attribute_values(":now", moment(now));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => by_another(record_that_failed_update(error)),
        }
    }

    /// How many agents are stored that are not archived. It reads the records of all agents.
    async fn count_present(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let query = self
            .table
            .query_prefix(keys::tenant(tenant), AGENT_PREFIX)
            .select(Select::Count)
            .filter_expression("attribute_not_exists(#archived_at)")
            .expression_attribute_names("#archived_at", ARCHIVED_AT);
        let (mut agents, mut start) = (0, None);
        loop {
            let page = query.clone().set_exclusive_start_key(start).send().await;
            let page = page.map_err(failure)?;
            agents += u64::from(page.count().unsigned_abs());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(agents);
            }
        }
    }
}

/// Succeeds if another request changed the record, or is changing it: the caller looks again.
fn by_another(failed: Result<Option<Item>, StoreError>) -> Result<(), StoreError> {
    match failed {
        Ok(_) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The number in the record of the tenant's counts, if it is there. An agent that an earlier version
/// created is archived without having been counted, so the number can be below zero.
fn read(item: Option<&Item>) -> Result<Option<Count>, StoreError> {
    let Some(item) = item else {
        return Ok(None);
    };
    let fields = Fields::of(item)?;
    let Some(agents) = fields.optional(AGENTS, Fields::number::<i64>)? else {
        return Ok(None);
    };
    Ok(Some(Count {
        agents: u32::try_from(agents.max(0)).unwrap_or(u32::MAX),
        counted_at: fields.moment(COUNTED_AT)?,
    }))
}

fn has_failed(write: &CancellationReason) -> bool {
    write.code() == Some("ConditionalCheckFailed")
}

#[cfg(test)]
mod tests {
    use super::super::items;
    use super::*;
    use crate::testing::samples;

    #[test]
    fn a_number_below_zero_is_none_and_no_number_is_unknown() {
        let record =
            |attributes| items::item(keys::tenant_counts(&samples::tenant("acme")), attributes);
        let counted = |agents| {
            let attributes = [
                (AGENTS, number(agents)),
                (COUNTED_AT, moment(samples::START)),
            ];
            let count = read(Some(&record(attributes.to_vec()))).unwrap().unwrap();
            count.agents
        };
        assert_eq!([-2, 0, 7].map(counted), [0, 0, 7]);
        let keys_only = record(vec![("keys", number(3))]);
        assert_eq!(read(Some(&keys_only)).unwrap(), None);
        assert_eq!(read(None).unwrap(), None);
    }
}
