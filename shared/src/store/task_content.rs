//! What may be large in the records of a task, its steps' and its own: a [`Blob`] whose head is the
//! record, and whose chunks, if it needs any, lie in the task's partition.
//!
//! The chunks are written before the record, and named by their content: the record's conditional
//! write stays the one that decides, and what its losers wrote is never read. It lies there until
//! the task is purged.

use super::blob::{Blob, BlobHeader};
use super::keys;
use super::table::Table;
use crate::domain::TaskId;
use crate::ports::StoreError;

/// Writes the chunks. The record comes after them.
pub(super) async fn write(table: &Table, task: TaskId, blob: &Blob) -> Result<(), StoreError> {
    let partition = keys::task_partition(task);
    blob.write_chunks(
        table,
        |number| keys::task_chunk(&partition, blob.digest(), number),
        &Vec::new(),
    )
    .await
}

/// The content, if the record has one: asks the table only for one that is in chunks.
pub(super) async fn read(
    table: &Table,
    partition: &str,
    head: Option<BlobHeader<'_>>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(head) = head else { return Ok(None) };
    head.value(table, partition.to_owned(), &keys::chunks(head.digest()))
        .await
        .map(Some)
}
