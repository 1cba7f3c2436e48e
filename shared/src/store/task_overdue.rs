//! Finding the tasks that are due, on the sparse index that is spread over shards.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use futures::{StreamExt, stream};

use super::error::failure;
use super::items::{Fields, moment, text};
use super::keys::{self, DUE, DUE_AT, DUE_SHARD, PK};
use super::task_item;
use super::task_store::DynamoTaskStore;
use crate::domain::{Task, TaskId, Timestamp};
use crate::ports::StoreError;

/// How many tasks are read at once.
const READS_AT_ONCE: usize = 16;

impl DynamoTaskStore {
    /// The index lags behind the tasks: what is read here may not be due any more, and is no less for it. Its reader asks
    /// the task itself.
    pub(super) async fn overdue_tasks(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Result<Task, StoreError>>, StoreError> {
        let shards = keys::due_shards().map(|shard| self.due_in_shard(shard, now, limit));
        let mut due: Vec<(Timestamp, TaskId)> = try_join_all(shards).await?.into_iter().flatten().collect();
        due.sort_unstable();
        let mut reads = stream::iter(due).map(|(_, id)| self.due_task(id)).buffered(READS_AT_ONCE);
        let (mut tasks, mut readable) = (Vec::new(), 0);
        while readable < limit
            && let Some(read) = reads.next().await
        {
            let Some(task) = read.transpose() else { continue };
            readable += u32::from(task.is_ok());
            tasks.push(task);
        }
        Ok(tasks)
    }

    /// The shard's first entries, each the moment and the task.
    async fn due_in_shard(
        &self,
        shard: String,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Timestamp, TaskId)>, StoreError> {
        let query = self.table.query().index_name(DUE).limit(i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
        let query = query
            .key_condition_expression("#shard = :shard AND #due_at <= :now")
            .expression_attribute_names("#shard", DUE_SHARD)
            .expression_attribute_names("#due_at", DUE_AT)
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":now", moment(now));
        let answer = query.send().await.map_err(failure)?;
        // An entry that isn't a task's would be one that nobody wrote; it must not hide the others.
        let entry = |item| {
            let fields = Fields::of_index(item);
            let id = item.get(PK).map(AttributeValue::as_s)?.ok()?;
            Some((fields.moment(DUE_AT).ok()?, keys::parse_task_partition(id)?))
        };
        Ok(answer.items().iter().filter_map(entry).collect())
    }

    /// The task as it is now.
    async fn due_task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.table.read(keys::task(id)).await?.as_ref().map(task_item::read).transpose()
    }
}
