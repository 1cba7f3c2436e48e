//! Journals on DynamoDB: a task's steps lie in the task's partition, in the order of their numbers.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;

use super::error::{failure, kept_instead_of_put};
use super::table::Table;
use super::{keys, step_item};
use crate::domain::{Step, TaskId};
use crate::ports::{Journal, StoreError};

/// Journals in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoJournal {
    table: Table,
}

impl DynamoJournal {
    /// Keeps journals in the table of this name.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }
}

#[async_trait]
impl Journal for DynamoJournal {
    async fn append(&self, step: &Step) -> Result<(), StoreError> {
        let Err(error) = self.table.put_new(step_item::write(step)).send().await else { return Ok(()) };
        match kept_instead_of_put(error)? {
            Some(kept) if step_item::read(&kept)? == *step => Ok(()),
            Some(_) | None => Err(StoreError::Conflict),
        }
    }

    async fn steps(&self, task: TaskId) -> Result<Vec<Step>, StoreError> {
        let mut items =
            self.table.query_prefix(keys::task_partition(task), keys::STEP_PREFIX).into_paginator().items().send();
        let mut steps = Vec::new();
        while let Some(item) = items.next().await {
            steps.push(step_item::read(&item.map_err(failure)?)?);
        }
        Ok(steps)
    }
}
