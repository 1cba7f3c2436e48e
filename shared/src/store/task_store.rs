//! Tasks on DynamoDB: one record each, changed by conditional writes only.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;

use super::error::{kept_instead_of_put, kept_instead_of_update};
use super::items::{number, text};
use super::keys;
use super::table::Table;
use super::task_item::{self, MUTABLE, REVISION};
use crate::domain::{Lease, Task, TaskId, TenantId, Timestamp};
use crate::ports::{Claimed, Created, Page, PageRequest, StoreError, TaskFilter, TaskStore, TaskSummary};

/// Tasks in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoTaskStore {
    pub(super) table: Table,
}

impl DynamoTaskStore {
    /// Keeps tasks in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }

    /// Writes all that a transition can change, if the task still has the revision before.
    fn transition(&self, task: &Task) -> UpdateItemFluentBuilder {
        let written = task_item::progress(task);
        let stale = MUTABLE.into_iter().filter(|name| written.iter().all(|(present, _)| present != name));
        let mut request = self.table.update(keys::task(task.id()));
        let mut removed = Vec::new();
        for name in stale {
            removed.push(format!("#{name}"));
            request = request.expression_attribute_names(format!("#{name}"), name);
        }
        let mut set = Vec::new();
        for (name, value) in written.iter().cloned() {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        request
            .update_expression(format!("SET {} REMOVE {}", set.join(", "), removed.join(", ")))
            .condition_expression(format!("#{REVISION} = :before AND #tenant = :tenant"))
            .expression_attribute_names("#tenant", keys::TENANT_ID)
            .expression_attribute_values(":tenant", text(task.spec().tenant.as_str()))
            .expression_attribute_values(":before", number(task.progress().revision.saturating_sub(1)))
    }
}

#[async_trait]
impl TaskStore for DynamoTaskStore {
    async fn create(&self, task: &Task) -> Result<Created, StoreError> {
        let Err(error) = self.table.put_new(task_item::write(task)).send().await else { return Ok(Created::New) };
        let kept = kept_instead_of_put(error)?.as_ref().map(task_item::read).transpose()?;
        match kept {
            Some(kept) if kept == *task => Ok(Created::New),
            Some(kept) if kept.spec().tenant == task.spec().tenant => Ok(Created::Existing(Box::new(kept))),
            Some(_) | None => Err(StoreError::Conflict),
        }
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, StoreError> {
        let Some(item) = self.table.read(keys::task(id)).await? else { return Ok(None) };
        task_item::read_of(tenant, &item)
    }

    async fn list(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        self.list_tasks(tenant, filter, page).await
    }

    async fn claim(&self, tenant: &TenantId, id: TaskId, lease: Lease, now: Timestamp) -> Result<Claimed, StoreError> {
        self.claim_task(tenant, id, lease, now).await
    }

    async fn update(&self, task: &Task) -> Result<(), StoreError> {
        let Err(error) = self.transition(task).send().await else { return Ok(()) };
        let kept = kept_instead_of_update(error)?.as_ref().map(task_item::read).transpose()?;
        if kept.as_ref() == Some(task) { Ok(()) } else { Err(StoreError::Conflict) }
    }

    async fn overdue(&self, now: Timestamp, limit: u32) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        self.overdue_tasks(now, limit).await
    }
}
