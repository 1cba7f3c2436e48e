//! The records beside a task's own record: a large input, and blocks of its history.

use super::blob::{Blob, BlobHeader};
use super::items::{self, Fields, Item, number};
use super::{change_form, keys, task_item};
use crate::domain::{Change, Task, TaskInput};
use crate::ports::StoreError;

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
        let changes = items::list(changes.iter().map(change_form::change));
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
    Ok((first..)
        .zip(change_form::read_changes(&fields, CHANGES)?)
        .collect())
}
