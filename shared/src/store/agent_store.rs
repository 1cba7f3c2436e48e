//! Agents on DynamoDB: a full copy of the newest version for reading and listing, and one immutable record per version.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::agent_item;
use super::error::{failure, is_throttle, is_too_large};
use super::items::Item;
use super::keys::{self, AGENT_PREFIX, Key, NOTHING_THERE};
use super::table::{self, Table};
use crate::domain::{Agent, AgentId, AgentVersion, TenantId};
use crate::ports::{AgentStore, Page, PageRequest, StoreError};

/// Agents in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoAgentStore {
    table: Table,
}

impl DynamoAgentStore {
    /// Keeps agents in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }

    /// Puts the agent at `key`, where nothing may be yet.
    fn put(&self, key: Key, agent: &Agent) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table.name)
            .set_item(Some(agent_item::write(key, agent)))
            .condition_expression(NOTHING_THERE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = put.build().map_err(|error| StoreError::Refused(Box::new(error)))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn read(&self, key: Key) -> Result<Option<Agent>, StoreError> {
        self.table.read(key).await?.as_ref().map(agent_item::read).transpose()
    }
}

#[async_trait]
impl AgentStore for DynamoAgentStore {
    async fn create(&self, agent: &Agent) -> Result<(), StoreError> {
        let newest = self.put(keys::agent(&agent.tenant, agent.id), agent)?;
        let version = self.put(keys::agent_version(&agent.tenant, agent.version_ref()), agent)?;
        let request = self.table.client.transact_write_items().transact_items(newest).transact_items(version);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => canceled(error, agent),
        }
    }

    async fn newest(&self, tenant: &TenantId, id: AgentId) -> Result<Option<Agent>, StoreError> {
        self.read(keys::agent(tenant, id)).await
    }

    async fn version(&self, tenant: &TenantId, version: AgentVersion) -> Result<Option<Agent>, StoreError> {
        self.read(keys::agent_version(tenant, version)).await
    }

    async fn list(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Agent>, StoreError> {
        let after = page.after.as_deref().map(|cursor| keys::parse_agent_cursor(cursor).ok_or(StoreError::Cursor));
        let mut start = after.transpose()?.map(|id| table::attributes(keys::agent(tenant, id)));
        let limit = page.limit.clamp(1, 100);
        let mut entries: Vec<Agent> = Vec::new();
        // One more than wanted tells whether a next page exists. An answer may be short of it, because it ends at 1 MB.
        loop {
            let query = self.table.query_prefix(keys::tenant(tenant), AGENT_PREFIX).set_exclusive_start_key(start);
            let answer = query.limit(limit.cast_signed() + 1).send().await.map_err(failure)?;
            for item in answer.items() {
                entries.push(agent_item::read(item)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || entries.len() > limit as usize {
                break;
            }
        }
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(|last| keys::agent_cursor(last.id));
        Ok(Page { entries, next })
    }
}

/// What it means that the transaction which adds `agent` failed.
fn canceled(error: SdkError<TransactWriteItemsError>, agent: &Agent) -> Result<(), StoreError> {
    let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
        return Err(failure(error));
    };
    let reasons = canceled.cancellation_reasons();
    let because = |is: fn(&CancellationReason) -> bool| reasons.iter().any(is);
    if because(|reason| reason.code() == Some("ConditionalCheckFailed")) {
        return same_version_kept(reasons, agent);
    }
    if because(|reason| is_too_large(reason.message())) {
        return Err(StoreError::TooLarge);
    }
    if because(|reason| reason.code().is_some_and(is_throttle)) {
        return Err(StoreError::Throttled(Box::new(error)));
    }
    if because(|reason| reason.code() == Some("TransactionConflict")) {
        return Err(StoreError::Unavailable(Box::new(error)));
    }
    Err(StoreError::Refused(Box::new(error)))
}

/// Succeeds if the version's record, the second of the transaction, is the agent's already.
fn same_version_kept(reasons: &[CancellationReason], agent: &Agent) -> Result<(), StoreError> {
    let kept: Option<&Item> = reasons.get(1).and_then(CancellationReason::item);
    match kept.map(agent_item::read).transpose()? {
        Some(kept) if kept == *agent => Ok(()),
        Some(_) | None => Err(StoreError::Conflict),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::http::HttpResponse;
    use aws_sdk_dynamodb::types::error::TransactionCanceledException;

    use super::*;
    use crate::testing::samples;

    fn reason(code: &str, message: &str, item: Option<Item>) -> CancellationReason {
        CancellationReason::builder().code(code).message(message).set_item(item).build()
    }

    fn outcome(reasons: [CancellationReason; 2], agent: &Agent) -> Result<(), StoreError> {
        let failed = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.into()));
        let failed = TransactWriteItemsError::TransactionCanceledException(failed.build());
        canceled(SdkError::service_error(failed, HttpResponse::new(400.try_into().unwrap(), "".into())), agent)
    }

    #[test]
    fn a_canceled_transaction_is_told_by_its_reasons() {
        let agent = samples::agent(&samples::tenant("acme"));
        let none = || reason("None", "", None);
        let throttled = outcome([none(), reason("ThrottlingError", "", None)], &agent);
        assert!(matches!(throttled, Err(StoreError::Throttled(_))), "{throttled:?}");
        let crossed = outcome([reason("TransactionConflict", "", None), none()], &agent);
        assert!(matches!(crossed, Err(StoreError::Unavailable(_))), "{crossed:?}");
        let size = "Item size has exceeded the maximum allowed size";
        let large = outcome([reason("ValidationError", size, None), none()], &agent);
        assert!(matches!(large, Err(StoreError::TooLarge)), "{large:?}");
        let invalid = outcome([reason("ValidationError", "no such attribute", None), none()], &agent);
        assert!(matches!(invalid, Err(StoreError::Refused(_))), "{invalid:?}");
    }

    #[test]
    fn only_the_very_same_version_counts_as_added() {
        let agent = samples::agent(&samples::tenant("acme"));
        let other = Agent { config: samples::agent_config("other", ""), ..agent.clone() };
        let taken = |by: &Agent| {
            let key = keys::agent_version(&by.tenant, by.version_ref());
            reason("ConditionalCheckFailed", "", Some(agent_item::write(key, by)))
        };
        assert!(outcome([taken(&agent), taken(&agent)], &agent).is_ok());
        let refused = outcome([taken(&other), taken(&other)], &agent);
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
        let newest_only = outcome([taken(&agent), reason("None", "", None)], &agent);
        assert!(matches!(newest_only, Err(StoreError::Conflict)), "{newest_only:?}");
    }
}
