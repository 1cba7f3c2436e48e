//! What is kept beside a task's own record, in its partition: a large input, and the blocks that
//! have left its history.
//!
//! Each is written in one transaction with the task's record, so that it is there if and only if
//! the record says so; it never changes, and it goes when the task is purged.

use std::ops::Range;

use async_trait::async_trait;

use super::blob::{Blob, BlobHeader};
use super::error::failure;
use super::items::{self, Fields, Item, number};
use super::task_store::DynamoTaskStore;
use super::{keys, task_item};
use crate::domain::task::HISTORY_BLOCK;
use crate::domain::{Change, Task, TaskId, TaskInput};
use crate::ports::{StoreError, TaskDetails};

const FIRST: &str = "first";
const CHANGES: &str = "changes";

/// The record of the task's input, if the task's own record doesn't have it.
pub(super) fn input(task: &Task) -> Result<Option<Item>, StoreError> {
    let Some(input) = task
        .spec()
        .input
        .as_ref()
        .filter(|input| task_item::is_apart(input.as_str()))
    else {
        return Ok(None);
    };
    let blob = Blob::pack(input.as_str().as_bytes().to_vec(), usize::MAX)?;
    Ok(Some(items::item(keys::task_input(task.id()), blob.head())))
}

/// The records of the blocks that the task's last transition took out of its history.
pub(super) fn history_blocks(task: &Task) -> impl Iterator<Item = Item> {
    task.progress().history.leaving().map(|(first, changes)| {
        let changes = items::list(changes.iter().map(task_item::change));
        items::item(
            keys::history_block(task.id(), first),
            vec![(FIRST, number(first)), (CHANGES, changes)],
        )
    })
}

/// The input in its record.
pub(super) fn read_input(item: &Item) -> Result<TaskInput, StoreError> {
    let fields = Fields::of(item)?;
    let text = String::from_utf8(BlobHeader::read(fields)?.value_in_head()?);
    let text = text.map_err(|_| fields.corrupt("its value is not a text"))?;
    fields.valid(TaskInput::new(text))
}

/// The changes in a block's record, each with its number.
pub(super) fn read_block(item: &Item) -> Result<Vec<(u32, Change)>, StoreError> {
    let fields = Fields::of(item)?;
    let first: u32 = fields.number(FIRST)?;
    Ok((first..).zip(fields.json_list(CHANGES)?).collect())
}

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
