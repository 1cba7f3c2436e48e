//! The large contents of a task's record and of its steps' records. A content is a [`Blob`]: its
//! head is in the record, and its chunks, if it needs any, are in the task's partition.
//!
//! A writer writes the chunks first, under keys with the content's digest, and then the record. If
//! its conditional write of the record fails, its chunks are never read. The purge deletes them.

use super::blob::{Blob, BlobHeader};
use super::keys;
use super::table::Table;
use crate::domain::TaskId;
use crate::ports::StoreError;

/// Writes the chunks. The caller writes the record after them.
pub(super) async fn write(table: &Table, task: TaskId, blob: &Blob) -> Result<(), StoreError> {
    let partition = keys::task_partition(task);
    blob.write_chunks(
        table,
        |number| keys::task_chunk(&partition, blob.digest(), number),
        &Vec::new(),
    )
    .await
}

/// The content, if the record has one. Reads the table only if the content is in chunks.
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
