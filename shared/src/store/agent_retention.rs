//! Archives an agent, and removes it in steps: empty its newest record, delete its versions, and
//! delete the record last.
//!
//! The mark of an archived agent puts its record into the index of what is due, where the watchdog
//! finds it.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::agent_item::{ARCHIVED_AT, CLIENT_TEXTS, REMOVING, SCANNED_TO};
use super::agent_store::DynamoAgentStore;
use super::error::{failure, record_that_failed_update};
use super::items::{Fields, Item, moment, text};
use super::keys::{
    self, ARCHIVED_AGENTS, CREATED, DUE, DUE_AT, DUE_SHARD, PK, SK, TASKS, TENANT_ID,
};
use super::table;
use super::task_item::AGENT_ID;
use crate::domain::{AgentId, TenantId, Timestamp};
use crate::ports::{AgentRetention, ArchivedAgent, StoreError, TaskScan};

#[async_trait]
impl AgentRetention for DynamoAgentStore {
    async fn archive(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
        due_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let request = self
            .table
            .update(keys::agent(tenant, agent))
            .update_expression(
                "SET #archived_at = if_not_exists(#archived_at, :now), #shard = :shard, \
                 #due_at = if_not_exists(#due_at, :due_at)",
            )
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#archived_at", ARCHIVED_AT)
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(ARCHIVED_AGENTS))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":due_at", moment(due_at));
        let Err(error) = request.send().await else {
            return Ok(true);
        };
        record_that_failed_update(error).map(|_| false)
    }

    async fn due_agents(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchivedAgent>, StoreError> {
        let query = self
            .table
            .query()
            .index_name(DUE)
            .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
            .key_condition_expression("#shard = :shard AND #due_at <= :now")
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(ARCHIVED_AGENTS))
            .expression_attribute_values(":now", moment(now));
        let mut due = Vec::new();
        for entry in query.send().await.map_err(failure)?.items() {
            let fields = Fields::of_index(entry);
            let agent =
                keys::parse_tenant(fields.text(PK)?).zip(keys::parse_agent(fields.text(SK)?));
            let (tenant, id) = agent.ok_or_else(|| fields.corrupt("its key is not an agent's"))?;
            // The index may still list an agent that is removed.
            let Some(item) = self.table.read(keys::agent(&tenant, id)).await? else {
                continue;
            };
            let fields = Fields::of_index(&item);
            let Some(archived_at) = fields.optional(ARCHIVED_AT, Fields::moment)? else {
                continue;
            };
            let scanned_to = fields.optional(SCANNED_TO, Fields::text)?;
            due.push(ArchivedAgent {
                tenant,
                id,
                archived_at,
                scanned_to: scanned_to.map(str::to_owned),
            });
        }
        Ok(due)
    }

    /// One query. DynamoDB ends its response after 1 MB of the index: some thousand tasks. A place
    /// is the sort key of a task in the index, and the task itself is scanned again.
    async fn scan(&self, agent: &ArchivedAgent, last: Timestamp) -> Result<TaskScan, StoreError> {
        let oldest = agent.id.moment().unwrap_or(Timestamp::from_millis(0));
        let first = match &agent.scanned_to {
            Some(place) => {
                keys::parse_created(place).ok_or(StoreError::Cursor)?;
                place.clone()
            }
            None => keys::created_since(oldest.minus(keys::CLOCK_SKEW)),
        };
        let last = keys::created_since(last.plus(keys::CLOCK_SKEW)).max(first.clone());
        let answer = self
            .table
            .query()
            .index_name(TASKS)
            .key_condition_expression("#tenant = :tenant AND #created BETWEEN :first AND :last")
            .filter_expression("#agent = :agent")
            .projection_expression("#pk, #created")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#tenant", TENANT_ID)
            .expression_attribute_names("#created", CREATED)
            .expression_attribute_names("#agent", AGENT_ID)
            .expression_attribute_values(":tenant", text(agent.tenant.as_str()))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .expression_attribute_values(":agent", text(agent.id.to_string()))
            .send()
            .await
            .map_err(failure)?;
        if let Some(item) = answer.items().first() {
            let fields = Fields::of_index(item);
            let task = keys::parse_task_partition(fields.text(PK)?)
                .ok_or_else(|| fields.corrupt("its partition is not a task's"))?;
            let place = fields.text(CREATED)?.to_owned();
            return Ok(TaskScan::Found { task, place });
        }
        let Some(end) = answer.last_evaluated_key() else {
            return Ok(TaskScan::Clear);
        };
        let place = Fields::of_index(end).text(CREATED)?.to_owned();
        Ok(TaskScan::Unfinished { place })
    }

    async fn note_scan(&self, agent: &ArchivedAgent, due_at: Timestamp) -> Result<(), StoreError> {
        let scanned_to = agent.scanned_to.as_deref().unwrap_or_default();
        let request = self
            .table
            .update(keys::agent(&agent.tenant, agent.id))
            .update_expression("SET #scanned_to = :scanned_to, #due_at = :due_at")
            .condition_expression("attribute_exists(#archived_at)")
            .expression_attribute_names("#scanned_to", SCANNED_TO)
            .expression_attribute_names("#archived_at", ARCHIVED_AT)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":scanned_to", text(scanned_to))
            .expression_attribute_values(":due_at", moment(due_at));
        let Err(error) = request.send().await else {
            return Ok(());
        };
        record_that_failed_update(error).map(drop)
    }

    async fn remove(&self, agent: &ArchivedAgent) -> Result<(), StoreError> {
        let key = keys::agent(&agent.tenant, agent.id);
        let mut request = self.table.update(key.clone());
        let mut texts = Vec::new();
        for (number, name) in CLIENT_TEXTS.into_iter().enumerate() {
            texts.push(format!("#text{number}"));
            request = request.expression_attribute_names(format!("#text{number}"), name);
        }
        let request = request
            .update_expression(format!(
                "SET #removing = :removing REMOVE {}",
                texts.join(", ")
            ))
            .condition_expression("attribute_exists(#archived_at)")
            .expression_attribute_names("#removing", REMOVING)
            .expression_attribute_names("#archived_at", ARCHIVED_AT)
            .expression_attribute_values(":removing", AttributeValue::Bool(true));
        if let Err(error) = request.send().await {
            return record_that_failed_update(error)?
                .map_or(Ok(()), |_not_archived| Err(StoreError::Conflict));
        }
        let versions = self
            .table
            .query_prefix(keys::tenant(&agent.tenant), &keys::agent_versions(agent.id));
        let found: Vec<Item> = versions
            .projection_expression("#pk, #sk")
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(failure)?;
        self.table
            .delete_all(found.iter().map(table::key_of).collect::<Result<_, _>>()?)
            .await?;
        self.table.delete_if_has(key, REMOVING).await
    }
}
