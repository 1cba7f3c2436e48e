//! Tasks on DynamoDB: one record each, changed by conditional writes only.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::CancellationReason;

use super::blob::Blob;
use super::error::{reasons_of_transaction, record_that_failed_put, record_that_failed_update};
use super::items::{Fields, Item, number, text};
use super::table::{Table, attributes};
use super::task_item::{self, MUTABLE, REVISION};
use super::{detail_items, keys, step_item, task_content};
use crate::domain::{Lease, Step, Task, TaskId, TenantId, Timestamp};
use crate::ports::{
    Claimed, Created, Deletion, Dependency, NoAnswer, Page, PageRequest, StoreError, TaskDetails,
    TaskFilter, TaskStore, TaskSummary,
};

/// The most bytes of its content in a step's record, if several steps are written together: a
/// transaction has at most 4 MB.
const IN_HEAD_TOGETHER: usize = 32 * 1_024;

/// Tasks in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoTaskStore {
    pub(super) table: Table,
}

impl DynamoTaskStore {
    /// Stores tasks in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// The task in a record; `None` if it is deleted.
    pub(super) async fn restored(&self, item: &Item) -> Result<Option<Task>, StoreError> {
        if task_item::is_deleting(item) {
            return Ok(None);
        }
        let partition = Fields::of_index(item).text(keys::PK)?;
        let content = task_content::read(&self.table, partition, task_item::head(item)?).await?;
        task_item::read(item, content).map(Some)
    }

    /// The task in a record; `None` if it is another tenant's, or is deleted.
    pub(super) async fn restored_of(
        &self,
        tenant: &TenantId,
        item: &Item,
    ) -> Result<Option<Task>, StoreError> {
        if task_item::is_of(tenant, item)? {
            self.restored(item).await
        } else {
            Ok(None)
        }
    }

    /// Whether the record is as the task's last transition left it. Fields that never change are
    /// not compared, because the input may be in a record of its own.
    async fn is_stored(&self, task: &Task, stored: &Item) -> Result<bool, StoreError> {
        Ok(self
            .restored(stored)
            .await?
            .is_some_and(|stored| stored.progress() == task.progress()))
    }

    /// Writes a new task, and its input if that has a record of its own: both or none. Returns the
    /// record with this id, if there is one already.
    async fn put_new(&self, task: &Task) -> Result<Option<Item>, StoreError> {
        let item = task_item::write(task, self.packed(task).await?.as_ref());
        let stored = match detail_items::input(task)? {
            None => match self.table.put_new(item).send().await {
                Ok(_) => return Ok(None),
                Err(error) => record_that_failed_put(error)?,
            },
            Some(input) => {
                let puts = [
                    self.table.transact_put_new(item)?,
                    self.table.transact_put(input)?,
                ];
                match self
                    .table
                    .client
                    .transact_write_items()
                    .set_transact_items(Some(puts.into()))
                    .send()
                    .await
                {
                    Ok(_) => return Ok(None),
                    Err(error) => reasons_of_transaction(error)?
                        .into_iter()
                        .next()
                        .and_then(|reason| reason.item),
                }
            }
        };
        stored.map(Some).ok_or(StoreError::Conflict)
    }

    /// Packs the large part of the task's state and writes its chunks. The caller writes the task's
    /// record after them.
    async fn packed(&self, task: &Task) -> Result<Option<Blob>, StoreError> {
        let content = task_item::pack(task)?;
        if let Some(content) = &content {
            task_content::write(&self.table, task.id(), content).await?;
        }
        Ok(content)
    }

    /// Writes all attributes that a transition can change, if the stored revision is the one before
    /// it.
    fn transition(&self, task: &Task, content: Option<&Blob>) -> UpdateItemFluentBuilder {
        let written = task_item::progress(task, content);
        let stale: Vec<&str> = MUTABLE
            .into_iter()
            .filter(|name| written.iter().all(|(present, _)| present != name))
            .collect();
        let mut request = self.table.update(keys::task(task.id()));
        let mut removed = Vec::new();
        for name in stale {
            removed.push(format!("#{name}"));
            request = request.expression_attribute_names(format!("#{name}"), name);
        }
        let mut set = Vec::new();
        for (name, value) in written {
            set.push(format!("#{name} = :{name}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        request
            .update_expression(format!(
                "SET {} REMOVE {}",
                set.join(", "),
                removed.join(", ")
            ))
            .condition_expression(format!("#{REVISION} = :before AND #tenant = :tenant"))
            .expression_attribute_names("#tenant", keys::TENANT_ID)
            .expression_attribute_values(":tenant", text(task.spec().tenant.as_str()))
            .expression_attribute_values(
                ":before",
                number(task.progress().revision.saturating_sub(1)),
            )
    }
}

#[async_trait]
impl TaskStore for DynamoTaskStore {
    async fn create(&self, task: &Task) -> Result<Created, StoreError> {
        let Some(stored) = self.put_new(task).await? else {
            return Ok(Created::New);
        };
        if !task_item::is_of(&task.spec().tenant, &stored)? {
            return Err(StoreError::Conflict);
        }
        let Some(stored) = self.restored(&stored).await? else {
            return Ok(Created::Deleted);
        };
        let Some(stored) = self.with_input(stored).await? else {
            return Ok(Created::Deleted);
        };
        Ok(if stored == *task {
            Created::New
        } else {
            Created::Existing(Box::new(stored))
        })
    }

    async fn task(&self, tenant: &TenantId, id: TaskId) -> Result<Option<Task>, StoreError> {
        let Some(item) = self.table.read(keys::task(id)).await? else {
            return Ok(None);
        };
        self.restored_of(tenant, &item).await
    }

    async fn list(
        &self,
        tenant: &TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskSummary>, StoreError> {
        self.list_tasks(tenant, filter, page).await
    }

    async fn claim(
        &self,
        tenant: &TenantId,
        id: TaskId,
        lease: Lease,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.claim_task(tenant, id, lease, now).await
    }

    async fn update(&self, task: &Task) -> Result<(), StoreError> {
        if task.progress().history.leaving().next().is_some() {
            return self.update_with(task, &[]).await;
        }
        let content = self.packed(task).await?;
        let Err(error) = self.transition(task, content.as_ref()).send().await else {
            return Ok(());
        };
        let stored = record_that_failed_update(error)?.ok_or(StoreError::Conflict)?;
        if self.is_stored(task, &stored).await? {
            Ok(())
        } else {
            Err(StoreError::Conflict)
        }
    }

    async fn update_with(&self, task: &Task, steps: &[Step]) -> Result<(), StoreError> {
        let content = self.packed(task).await?;
        let transition = self
            .table
            .transact_update(&self.transition(task, content.as_ref()))?;
        let mut request = self
            .table
            .client
            .transact_write_items()
            .transact_items(transition);
        let mut items = Vec::new();
        for step in steps {
            let blob = step_item::pack(step, IN_HEAD_TOGETHER)?;
            task_content::write(&self.table, task.id(), &blob).await?;
            let item = step_item::write(step, &blob);
            request = request.transact_items(self.table.transact_put_new(item.clone())?);
            items.push(item);
        }
        for block in detail_items::history_blocks(task) {
            request = request.transact_items(self.table.transact_put(block)?);
        }
        let Err(error) = request.send().await else {
            return Ok(());
        };
        let reasons = reasons_of_transaction(error)?;
        let mut existing = reasons.iter().map(CancellationReason::item);
        let Some(stored_task) = existing.next().flatten() else {
            return Err(StoreError::Conflict);
        };
        let stored = self.is_stored(task, stored_task).await?
            && existing.take(items.len()).eq(items.iter().map(Some));
        if stored {
            Ok(())
        } else {
            Err(StoreError::Conflict)
        }
    }

    async fn delete(&self, tenant: &TenantId, id: TaskId) -> Result<Deletion, StoreError> {
        self.delete_task(tenant, id).await
    }

    async fn overdue(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        self.overdue_tasks(now, limit).await
    }
}

#[async_trait]
impl Dependency for DynamoTaskStore {
    /// Tries a write that never takes effect. A table that can be read may still refuse writes,
    /// because of their rate or a missing permission.
    async fn answer(&self) -> Result<(), NoAnswer> {
        let put = self.table.client.put_item().table_name(&self.table.name);
        let put = put
            .set_item(Some(attributes(keys::nobody())))
            .condition_expression("attribute_exists(pk)");
        let Err(error) = put.send().await else {
            return Ok(());
        };
        Ok(record_that_failed_put(error).map(drop)?)
    }
}
