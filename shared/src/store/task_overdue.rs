//! Finds the tasks that are due in the index, which is spread over shards.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, stream};

use super::error::failure;
use super::items::{Fields, Item};
use super::keys::{self, DUE_AT, PK};
use super::task_store::DynamoTaskStore;
use crate::domain::{Task, TaskId, Timestamp};
use crate::ports::StoreError;

/// How many tasks are read at once.
const READS_AT_ONCE: usize = 16;

/// The progress of reading one shard of the index.
pub(super) struct Shard {
    name: String,
    /// Where the next page begins.
    after: Option<Item>,
    /// Whether there is no further page.
    is_read: bool,
}

impl Shard {
    pub(super) const fn new(name: String) -> Self {
        Self {
            name,
            after: None,
            is_read: false,
        }
    }
}

impl DynamoTaskStore {
    /// The tasks that are due by the index, except ended ones. The index lags behind the tasks: a
    /// task may no longer be due, so the caller checks each task itself.
    pub(super) async fn overdue_tasks(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        let mut shards: Vec<Shard> = keys::due_shards().map(Shard::new).collect();
        let (mut tasks, mut readable) = (Vec::new(), 0);
        // Unreadable records stay at the front of their shards. There may be more of them than
        // `limit`, so the loop reads on until it has enough readable tasks.
        while shards.iter().any(|shard| !shard.is_read) {
            let due = self
                .in_shards(&mut shards, "#due_at <= :moment", now, limit)
                .await?;
            let mut reads = stream::iter(due)
                .map(|(_, id)| self.due_task(id))
                .buffered(READS_AT_ONCE);
            while let Some(read) = reads.next().await {
                let Some(task) = read.transpose() else {
                    continue;
                };
                readable += u32::from(task.is_ok());
                tasks.push(task);
                if readable >= limit {
                    return Ok(tasks);
                }
            }
        }
        Ok(tasks)
    }

    /// The next entries of these shards whose moment meets the condition, ordered by it.
    pub(super) async fn in_shards(
        &self,
        shards: &mut [Shard],
        condition: &str,
        moment: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, TaskId)>, StoreError> {
        let unread = shards.iter_mut().filter(|shard| !shard.is_read);
        let queries = unread.map(|shard| self.in_shard(shard, condition, moment, limit));
        let mut found: Vec<(Timestamp, TaskId)> =
            try_join_all(queries).await?.into_iter().flatten().collect();
        found.sort_unstable();
        Ok(found)
    }

    async fn in_shard(
        &self,
        shard: &mut Shard,
        condition: &str,
        moment: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, TaskId)>, StoreError> {
        let query = self
            .table
            .query_due(&shard.name, condition, moment, limit)
            .set_exclusive_start_key(shard.after.take());
        let answer = query.send().await.map_err(failure)?;
        // Skip an entry that is no task's. No code writes one, but it must not hide the others.
        let entry = |item| {
            let fields = Fields::of_index(item);
            let id = item.get(PK).map(AttributeValue::as_s)?.ok()?;
            Some((fields.moment(DUE_AT).ok()?, keys::parse_task_partition(id)?))
        };
        let found = answer.items().iter().filter_map(entry).collect();
        shard.after = answer.last_evaluated_key;
        shard.is_read = shard.after.is_none();
        Ok(found)
    }

    /// The task as it is now, unless it has ended.
    async fn due_task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let Some(item) = self.table.read(keys::task(id)).await? else {
            return Ok(None);
        };
        Ok(self
            .restored(&item)
            .await?
            .filter(|task| !task.status().is_terminal()))
    }
}
