//! Archives an agent, and removes it in steps: empty its newest record, delete its versions, and
//! delete the record last. An inline agent has one record, which is deleted unless it was used since.
//!
//! The mark of an archived agent puts its record into the index of what is due, where the watchdog
//! finds it. An inline agent is there from the beginning.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::agent_item::{ARCHIVED_AT, CLIENT_TEXTS, CREATED_AT, REMOVING, SCANNED_TO, USED_AT};
use super::agent_store::DynamoAgentStore;
use super::error::{failure, record_that_failed_update};
use super::items::{Fields, Item, moment, text};
use super::keys::{
    self, ARCHIVED_AGENTS, CREATED, DUE_AT, DUE_SHARD, INLINE_AGENTS, Key, PK, SK, TASKS, TENANT_ID,
};
use super::table;
use super::task_item::AGENT_ID;
use crate::domain::{AgentId, AgentVersion, TenantId, Timestamp};
use crate::ports::{AgentRetention, ArchivedAgent, StoreError, TaskScan};

/// How many tasks the first query of a scan reads at most.
const FEW_TASKS: i32 = 100;

#[async_trait]
impl AgentRetention for DynamoAgentStore {
    async fn archive(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
        due_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mark = self
            .table
            .update(keys::agent(tenant, agent))
            .update_expression(
                "SET #archived_at = if_not_exists(#archived_at, :now), #shard = :shard, \
                 #due_at = if_not_exists(#due_at, :due_at)",
            )
            .expression_attribute_names("#archived_at", ARCHIVED_AT)
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(ARCHIVED_AGENTS))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":due_at", moment(due_at));
        self.archive_counted(tenant, mark, now).await
    }

    async fn due_agents(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchivedAgent>, StoreError> {
        let mut due = self.due_in(ARCHIVED_AGENTS, now, limit).await?;
        let left = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
        if left > 0 {
            due.extend(self.due_in(INLINE_AGENTS, now, left).await?);
        }
        Ok(due)
    }

    /// Two queries at most. The first is small: the task that made the scan stop before is at its
    /// place. DynamoDB ends the response of the other one after 1 MB of the index: some thousand
    /// tasks. A place is the sort key of a task in the index, and the task itself is scanned again.
    async fn scan(&self, agent: &ArchivedAgent, last: Timestamp) -> Result<TaskScan, StoreError> {
        let query = self.query_tasks(agent, last)?;
        let few = query.clone().limit(FEW_TASKS).send();
        let few = few.await.map_err(failure)?;
        if let Some(found) = found(few.items())? {
            return Ok(found);
        }
        let Some(end) = few.last_evaluated_key else {
            return Ok(TaskScan::Clear);
        };
        let many = query.set_exclusive_start_key(Some(end)).send();
        let many = many.await.map_err(failure)?;
        if let Some(found) = found(many.items())? {
            return Ok(found);
        }
        let Some(end) = many.last_evaluated_key() else {
            return Ok(TaskScan::Clear);
        };
        let place = Fields::of_index(end).text(CREATED)?.to_owned();
        Ok(TaskScan::Unfinished { place })
    }

    async fn note_scan(&self, agent: &ArchivedAgent, due_at: Timestamp) -> Result<(), StoreError> {
        let scanned_to = agent.scanned_to.as_deref().unwrap_or_default();
        let request = self
            .table
            .update(key_of(agent))
            .update_expression("SET #scanned_to = :scanned_to, #due_at = :due_at")
            .condition_expression("#archived_at = :archived_at")
            .expression_attribute_names("#scanned_to", SCANNED_TO)
            .expression_attribute_names("#archived_at", mark_of(agent.id))
            .expression_attribute_values(":archived_at", moment(agent.archived_at))
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":scanned_to", text(scanned_to))
            .expression_attribute_values(":due_at", moment(due_at));
        let Err(error) = request.send().await else {
            return Ok(());
        };
        record_that_failed_update(error).map(drop)
    }

    async fn remove(&self, agent: &ArchivedAgent) -> Result<(), StoreError> {
        if agent.id.is_inline() {
            return self.remove_inline(agent).await;
        }
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

impl DynamoAgentStore {
    /// The agents of this shard that are due.
    async fn due_in(
        &self,
        shard: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchivedAgent>, StoreError> {
        let query = self
            .table
            .query_due(shard, "#due_at <= :moment", now, limit);
        let mut due = Vec::new();
        for entry in query.send().await.map_err(failure)?.items() {
            let fields = Fields::of_index(entry);
            let sk = fields.text(SK)?;
            let id = keys::parse_agent(sk).or_else(|| keys::parse_agent_of_version(sk));
            let agent = keys::parse_tenant(fields.text(PK)?).zip(id);
            let (tenant, id) = agent.ok_or_else(|| fields.corrupt("its key is not an agent's"))?;
            // The index may still list an agent that is removed, or was used since.
            let Some(item) = self.table.read(record_of(&tenant, id)).await? else {
                continue;
            };
            let fields = Fields::of_index(&item);
            let archived_at = fields.optional(mark_of(id), Fields::moment)?;
            let due_at = fields.optional(DUE_AT, Fields::moment)?;
            let is_due = due_at.is_some_and(|due_at| due_at <= now);
            let Some(archived_at) = archived_at.filter(|_| is_due) else {
                continue;
            };
            let created_at = match id.moment() {
                Some(moment) => moment,
                None => fields.moment(CREATED_AT)?,
            };
            // It is empty if a scan was noted that had scanned nothing.
            let scanned_to = fields.optional(SCANNED_TO, Fields::text)?;
            let scanned_to = scanned_to.filter(|place| !place.is_empty());
            due.push(ArchivedAgent {
                tenant,
                id,
                created_at,
                archived_at,
                scanned_to: scanned_to.map(str::to_owned),
            });
        }
        Ok(due)
    }

    /// The tenant's tasks that may name the agent, from where the scan is to `last`.
    fn query_tasks(
        &self,
        agent: &ArchivedAgent,
        last: Timestamp,
    ) -> Result<QueryFluentBuilder, StoreError> {
        let first = match &agent.scanned_to {
            Some(place) => {
                keys::parse_created(place).ok_or(StoreError::Cursor)?;
                place.clone()
            }
            None => keys::created_since(agent.created_at.minus(keys::CLOCK_SKEW)),
        };
        let last = keys::created_since(last.plus(keys::CLOCK_SKEW)).max(first.clone());
        Ok(self
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
            .expression_attribute_values(":agent", text(agent.id.to_string())))
    }

    async fn remove_inline(&self, agent: &ArchivedAgent) -> Result<(), StoreError> {
        let request = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(table::attributes(key_of(agent))))
            .condition_expression("attribute_not_exists(pk) OR #used_at = :used_at")
            .expression_attribute_names("#used_at", USED_AT)
            .expression_attribute_values(":used_at", moment(agent.archived_at));
        let Err(error) = request.send().await else {
            return Ok(());
        };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(_)) => Err(StoreError::Conflict),
            Some(_) | None => Err(failure(error)),
        }
    }
}

/// The first of the tasks that a query found.
fn found(tasks: &[Item]) -> Result<Option<TaskScan>, StoreError> {
    let Some(item) = tasks.first() else {
        return Ok(None);
    };
    let fields = Fields::of_index(item);
    let task = keys::parse_task_partition(fields.text(PK)?)
        .ok_or_else(|| fields.corrupt("its partition is not a task's"))?;
    let place = fields.text(CREATED)?.to_owned();
    Ok(Some(TaskScan::Found { task, place }))
}

/// The record that says that the agent is to be removed.
fn record_of(tenant: &TenantId, id: AgentId) -> Key {
    if id.is_inline() {
        keys::agent_version(tenant, AgentVersion::inline(id))
    } else {
        keys::agent(tenant, id)
    }
}

fn key_of(agent: &ArchivedAgent) -> Key {
    record_of(&agent.tenant, agent.id)
}

/// The attribute with [`ArchivedAgent::archived_at`].
fn mark_of(id: AgentId) -> &'static str {
    if id.is_inline() { USED_AT } else { ARCHIVED_AT }
}
