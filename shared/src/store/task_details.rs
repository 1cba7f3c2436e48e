//! What is stored beside a task's own record, in its partition: a large input, and the blocks that
//! have left its history.
//!
//! Each is written in one transaction with the task's record, so that it is there if and only if
//! the record says so; it never changes, and it goes when the task is purged.

use std::ops::Range;

use async_trait::async_trait;

use super::detail_items::{read_block, read_input};
use super::error::failure;
use super::keys;
use super::task_store::DynamoTaskStore;
use crate::domain::task::HISTORY_BLOCK;
use crate::domain::{Change, TaskId, TaskInput};
use crate::ports::{StoreError, TaskDetails};

#[async_trait]
impl TaskDetails for DynamoTaskStore {
    async fn input(&self, id: TaskId) -> Result<Option<TaskInput>, StoreError> {
        let item = self.table.read(keys::task_input(id)).await?;
        item.as_ref().map(read_input).transpose()
    }

    async fn earlier_history(
        &self,
        id: TaskId,
        numbers: Range<u32>,
        limit: u32,
    ) -> Result<Vec<(u32, Change)>, StoreError> {
        let (mut found, wanted) = (Vec::new(), limit as usize);
        let Some(last) = numbers
            .end
            .checked_sub(1)
            .filter(|last| *last >= numbers.start)
        else {
            return Ok(found);
        };
        // The block that has the first number begins less than a block before it.
        let earliest = (numbers.start + 1).saturating_sub(HISTORY_BLOCK);
        let (first, last) = keys::history_blocks(earliest, last);
        let page = i32::try_from(limit / HISTORY_BLOCK + 2).unwrap_or(i32::MAX);
        let query = self
            .table
            .query_range(keys::task_partition(id), first, last);
        let mut blocks = query.into_paginator().page_size(page).items().send();
        while found.len() < wanted
            && let Some(item) = blocks.try_next().await.map_err(failure)?
        {
            found.extend(
                read_block(&item)?
                    .into_iter()
                    .filter(|(number, _)| numbers.contains(number)),
            );
        }
        found.truncate(wanted);
        Ok(found)
    }
}
