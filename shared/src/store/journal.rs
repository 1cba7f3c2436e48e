//! Journals on DynamoDB: a task's steps are in the task's partition, ordered by number and then by
//! run.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use futures::{StreamExt, TryStreamExt, stream};

use super::error::{failure, record_that_failed_put};
use super::items::Item;
use super::table::Table;
use super::{keys, step_item, task_content};
use crate::domain::{Step, StepPlace, StepSummary, TaskId};
use crate::ports::{Journal, StepsPage, StepsRequest, StoreError};

/// How many steps are read from their chunks at once.
const READS_AT_ONCE: usize = 4;

/// The most records that one query asks for. A response has at most 1 MB, so more would be useless.
const MOST_RECORDS: u32 = 1_000;

/// Journals in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoJournal {
    table: Table,
}

impl DynamoJournal {
    /// Stores journals in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// The step in a record of the task.
    async fn read(&self, task: TaskId, item: Item) -> Result<Step, StoreError> {
        let content = task_content::read(
            &self.table,
            &keys::task_partition(task),
            step_item::head(&item)?,
        )
        .await?;
        step_item::read(&item, content.as_deref())
    }
}

#[async_trait]
impl Journal for DynamoJournal {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        let blob = step_item::pack(step, step_item::IN_HEAD)?;
        task_content::write(&self.table, step.task, &blob).await?;
        let Err(error) = self
            .table
            .put_new(step_item::write(step, &blob))
            .send()
            .await
        else {
            return Ok(());
        };
        let stored = record_that_failed_put(error)?.ok_or(StoreError::Conflict)?;
        if self.read(step.task, stored).await? == *step {
            Ok(())
        } else {
            Err(StoreError::Conflict)
        }
    }

    async fn step(&self, task: TaskId, place: StepPlace) -> Result<Option<Step>, StoreError> {
        let Some(item) = self
            .table
            .read(keys::step(task, place.base, place.number))
            .await?
        else {
            return Ok(None);
        };
        self.read(task, item).await.map(Some)
    }

    async fn page(&self, task: TaskId, wanted: &StepsRequest) -> Result<StepsPage, StoreError> {
        let (first, last) = keys::steps_after(wanted.after);
        let query = self
            .table
            .query_range(keys::task_partition(task), first, last);
        // One record more than wanted shows whether this is the last page.
        let records =
            i32::try_from(wanted.limit.saturating_add(1).min(MOST_RECORDS)).unwrap_or(i32::MAX);
        let mut found = query.into_paginator().page_size(records).items().send();
        let (mut items, mut bytes, mut last, mut next) = (Vec::new(), 0_u64, wanted.after, None);
        while let Some(item) = found.try_next().await.map_err(failure)? {
            let head = step_item::read_summary(&item)?;
            bytes = bytes.saturating_add(head.bytes);
            if items.len() >= wanted.limit as usize
                || (bytes > wanted.max_bytes && !items.is_empty())
            {
                next = Some(last);
                break;
            }
            last = head.place();
            items.push(item);
        }
        let steps = stream::iter(items.into_iter().map(|item| self.read(task, item)));
        Ok(StepsPage {
            steps: steps.buffered(READS_AT_ONCE).try_collect().await?,
            next,
        })
    }

    async fn step_summaries(&self, task: TaskId) -> Result<Vec<StepSummary>, StoreError> {
        let mut query = self
            .table
            .query_prefix(keys::task_partition(task), keys::STEP_PREFIX);
        let mut wanted = Vec::new();
        for (number, name) in step_item::OF_HEAD.into_iter().enumerate() {
            wanted.push(format!("#head{number}"));
            query = query.expression_attribute_names(format!("#head{number}"), name);
        }
        let found = query
            .projection_expression(wanted.join(", "))
            .into_paginator()
            .items()
            .send();
        let items: Vec<Item> = found.try_collect().await.map_err(failure)?;
        items.iter().map(step_item::read_summary).collect()
    }
}
