//! Deletes an agent in steps: mark its newest record, empty that record, delete the agent's
//! versions, and delete the record last.
//!
//! The mark puts the record into the index of what is due, where the watchdog finds it. A marked
//! record still has its content, so that the agent can be restored if a task names it after all.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;

use super::agent_item::{CLIENT_TEXTS, CREATED_AT, DELETED_AT, REMOVING, SEARCHED_TO};
use super::agent_store::DynamoAgentStore;
use super::error::{failure, record_that_failed_update};
use super::items::{Fields, Item, moment, text};
use super::keys::{
    self, BY_TENANT, CREATED, DELETED_AGENTS, DUE, DUE_AT, DUE_SHARD, PK, SK, TENANT_ID,
};
use super::table;
use super::task_item::AGENT_ID;
use super::task_list::start_key;
use crate::domain::{AgentId, TenantId, Timestamp};
use crate::ports::{AgentRetention, DeletedAgent, StoreError, TaskSearch};

#[async_trait]
impl AgentRetention for DynamoAgentStore {
    async fn mark(
        &self,
        tenant: &TenantId,
        agent: AgentId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let request = self
            .table
            .update(keys::agent(tenant, agent))
            .update_expression("SET #deleted_at = if_not_exists(#deleted_at, :now), #shard = :shard, #due_at = :now")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#deleted_at", DELETED_AT)
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(DELETED_AGENTS))
            .expression_attribute_values(":now", moment(now));
        let Err(error) = request.send().await else {
            return Ok(true);
        };
        record_that_failed_update(error).map(|_| false)
    }

    /// One query. DynamoDB ends its response after 1 MB of the index: some thousand tasks.
    async fn find_task(&self, agent: &DeletedAgent) -> Result<TaskSearch, StoreError> {
        let DeletedAgent {
            tenant,
            id,
            created_at,
            searched_to,
        } = agent;
        let after = searched_to
            .as_deref()
            .map(|cursor| keys::parse_task_cursor(cursor).ok_or(StoreError::Cursor));
        let start = after
            .transpose()?
            .map(|(at, task)| start_key(tenant, at, task));
        let answer = self
            .table
            .query()
            .index_name(BY_TENANT)
            .scan_index_forward(false)
            .key_condition_expression("#tenant = :tenant AND #created >= :since")
            .filter_expression("#agent = :agent")
            .projection_expression("#pk")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#tenant", TENANT_ID)
            .expression_attribute_names("#created", CREATED)
            .expression_attribute_names("#agent", AGENT_ID)
            .expression_attribute_values(":tenant", text(tenant.as_str()))
            .expression_attribute_values(
                ":since",
                text(keys::created_since(created_at.minus(keys::CLOCK_SKEW))),
            )
            .expression_attribute_values(":agent", text(id.to_string()))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(failure)?;
        if let Some(item) = answer.items().first() {
            let fields = Fields::of_index(item);
            let task = keys::parse_task_partition(fields.text(PK)?);
            return task
                .map(TaskSearch::Found)
                .ok_or_else(|| fields.corrupt("its partition is not a task's"));
        }
        let Some(end) = answer.last_evaluated_key() else {
            return Ok(TaskSearch::None);
        };
        let fields = Fields::of_index(end);
        let (at, task) = keys::parse_created(fields.text(CREATED)?)
            .ok_or_else(|| fields.corrupt("its place in the list can't be read"))?;
        Ok(TaskSearch::NoneSoFar(keys::task_cursor(at, task)))
    }

    async fn marked_before(
        &self,
        moment: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeletedAgent>, StoreError> {
        let query = self
            .table
            .query()
            .index_name(DUE)
            .limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX))
            .key_condition_expression("#shard = :shard AND #due_at < :moment")
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(DELETED_AGENTS))
            .expression_attribute_values(":moment", super::items::moment(moment));
        let mut marked = Vec::new();
        for entry in query.send().await.map_err(failure)?.items() {
            let fields = Fields::of_index(entry);
            let agent =
                keys::parse_tenant(fields.text(PK)?).zip(keys::parse_agent(fields.text(SK)?));
            let (tenant, id) = agent.ok_or_else(|| fields.corrupt("its key is not an agent's"))?;
            // The index may still list an agent that is deleted or restored.
            let Some(item) = self.table.read(keys::agent(&tenant, id)).await? else {
                continue;
            };
            let fields = Fields::of_index(&item);
            if fields.has(DELETED_AT) {
                let created_at = fields.moment(CREATED_AT)?;
                let searched_to = fields
                    .optional(SEARCHED_TO, Fields::text)?
                    .map(str::to_owned);
                marked.push(DeletedAgent {
                    tenant,
                    id,
                    created_at,
                    searched_to,
                });
            }
        }
        Ok(marked)
    }

    async fn note_search(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
        let request = self
            .table
            .update(keys::agent(&agent.tenant, agent.id))
            .update_expression("SET #searched_to = :searched_to")
            .condition_expression("attribute_exists(#deleted_at)")
            .expression_attribute_names("#searched_to", SEARCHED_TO)
            .expression_attribute_names("#deleted_at", DELETED_AT)
            .expression_attribute_values(
                ":searched_to",
                text(agent.searched_to.as_deref().unwrap_or_default()),
            );
        let Err(error) = request.send().await else {
            return Ok(());
        };
        record_that_failed_update(error).map(drop)
    }

    async fn restore(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
        let request = self
            .table
            .update(keys::agent(&agent.tenant, agent.id))
            .update_expression("REMOVE #deleted_at, #searched_to, #shard, #due_at")
            .condition_expression(
                "attribute_exists(#deleted_at) AND attribute_not_exists(#removing)",
            )
            .expression_attribute_names("#deleted_at", DELETED_AT)
            .expression_attribute_names("#searched_to", SEARCHED_TO)
            .expression_attribute_names("#removing", REMOVING)
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT);
        let Err(error) = request.send().await else {
            return Ok(());
        };
        // The SDK repeats a request whose response was lost. The first request may have restored
        // the agent.
        match record_that_failed_update(error)? {
            Some(stored) if !stored.contains_key(DELETED_AT) => Ok(()),
            Some(_) | None => Err(StoreError::Conflict),
        }
    }

    async fn remove(&self, agent: &DeletedAgent) -> Result<(), StoreError> {
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
            .condition_expression("attribute_exists(#deleted_at)")
            .expression_attribute_names("#removing", REMOVING)
            .expression_attribute_names("#deleted_at", DELETED_AT)
            .expression_attribute_values(":removing", AttributeValue::Bool(true));
        if let Err(error) = request.send().await {
            return record_that_failed_update(error)?
                .map_or(Ok(()), |_restored| Err(StoreError::Conflict));
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
