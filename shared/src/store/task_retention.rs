//! Deletes a task that has ended: marks and empties its record, deletes its other records, and
//! deletes its record last.
//!
//! The mark is the write that decides: a marked task is neither read nor reopened. A marked record
//! stays in the index, where the next purge finds it after a crash. In the shard of ended tasks,
//! the records that clients marked come first. An emptied record is in the shard of emptied tasks,
//! by the moment of the task's end. It stays until no worker can still write for the task, so that
//! late writes are deleted too.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use futures::future::{try_join, try_join_all};

use super::answers::DynamoAnswerCache;
use super::error::{failure, record_that_failed_update};
use super::items::{Fields, V, moment, name, number, text};
use super::keys::{self, CREATED, DUE_AT, DUE_SHARD, META, TENANT_ID};
use super::step_item::{self, ANSWER_KEY};
use super::table;
use super::task_item::{
    self, DELETING, ENDED_AT, INPUT, METADATA, MUTABLE, STATUS, SUBMITTED_BY, UPDATED_AT, VERSION,
};
use super::task_overdue::Shard;
use super::task_store::DynamoTaskStore;
use crate::domain::{AnswerKey, Causes, TaskId, TaskStatus, TenantId, Timestamp};
use crate::ports::{Deletion, Horizon, Purged, Retention, StoreError};

/// The attributes of [`MUTABLE`] that a marked record still has: the next mark and the index need
/// them.
const STAYING: [&str; 4] = [STATUS, UPDATED_AT, DUE_SHARD, DUE_AT];

/// The moment in the index of a record that a client marked: before the end of every task.
const FIRST: Timestamp = Timestamp::from_millis(0);

/// How many cached answers are deleted at once.
const FORGOTTEN_AT_ONCE: usize = 8;

/// Deletes tasks from one DynamoDB table, and the cached answers that they used from another.
#[derive(Debug, Clone)]
pub struct DynamoRetention {
    tasks: DynamoTaskStore,
    answers: DynamoAnswerCache,
}

impl DynamoRetention {
    /// Deletes from the tables of tasks and of cached answers with these names.
    pub fn new(client: Client, tasks: impl Into<String>, answers: impl Into<String>) -> Self {
        let answers = DynamoAnswerCache::new(client.clone(), answers);
        Self {
            tasks: DynamoTaskStore::new(client, tasks),
            answers,
        }
    }
}

#[async_trait]
impl Retention for DynamoRetention {
    async fn due(&self, horizon: Horizon, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let mut ended: Vec<Shard> = keys::ended_shards().map(Shard::new).collect();
        let mut emptied = [Shard::new(keys::EMPTIED_SHARD.to_owned())];
        let ended_before = ended_before(horizon);
        let (emptied, ended) = try_join(
            self.tasks.in_shards(
                &mut emptied,
                "#due_at < :moment",
                horizon.quiet_before,
                limit,
            ),
            self.tasks
                .in_shards(&mut ended, "#due_at < :moment", ended_before, limit),
        )
        .await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(emptied
            .into_iter()
            .chain(ended)
            .take(most)
            .map(|(_, id)| id)
            .collect())
    }

    async fn purge(&self, id: TaskId, horizon: Horizon) -> Result<Purged, StoreError> {
        let mark = self
            .tasks
            .mark(
                id,
                keys::EMPTIED_SHARD,
                &format!("if_not_exists(#{ENDED_AT}, #{UPDATED_AT})"),
            )
            .condition_expression(format!(
                "{} AND #{UPDATED_AT} < :ended_before",
                condition_of_mark()
            ))
            .expression_attribute_values(":ended_before", moment(ended_before(horizon)))
            .return_values(ReturnValue::AllNew);
        let marked = match mark.send().await {
            Ok(marked) => marked.attributes.unwrap_or_default(),
            Err(error) => {
                let stored = record_that_failed_update(error)?;
                return Ok(if stored.is_some() {
                    Purged::Unchanged
                } else {
                    Purged::Gone
                });
            }
        };
        self.delete_belongings(id).await?;
        if Fields::of_index(&marked).moment(ENDED_AT)? >= horizon.quiet_before {
            return Ok(Purged::Emptied);
        }
        // If the record is not marked, another purge has deleted the task meanwhile, and a new task
        // may have its id.
        self.tasks
            .table
            .delete_if_has(keys::task(id), DELETING)
            .await?;
        Ok(Purged::Gone)
    }
}

/// Tasks that ended before this moment are deleted. Without a horizon, these are only the tasks
/// that are marked: their records have [`FIRST`].
fn ended_before(horizon: Horizon) -> Timestamp {
    horizon
        .ended_before
        .unwrap_or_else(|| FIRST.plus(Duration::from_millis(1)))
}

impl DynamoRetention {
    /// Deletes the task's partition except its own record. Cached answers are deleted before the
    /// steps that name them, and steps before their chunks.
    async fn delete_belongings(&self, id: TaskId) -> Result<(), StoreError> {
        let query = self
            .tasks
            .table
            .query_keys(keys::task_partition(id))
            .projection_expression("#pk, #sk, #answer_key")
            .expression_attribute_names("#answer_key", ANSWER_KEY)
            .scan_index_forward(false);
        let mut start = None;
        loop {
            let page = query
                .clone()
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(failure)?;
            let (mut belongings, mut answers) = (Vec::new(), Vec::new());
            for item in page.items() {
                belongings.extend(Some(table::key_of(item)?).filter(|key| key.sk != META));
                answers.extend(answer_of(&Fields::of_index(item)));
            }
            if !belongings.is_empty() {
                // Another purge may have deleted the task meanwhile, and a new task may have its
                // id. The records that were read belong to the old task only if its record is still
                // marked.
                if !self.tasks.is_marked(id).await? {
                    return Ok(());
                }
                for some in answers.chunks(FORGOTTEN_AT_ONCE) {
                    try_join_all(some.iter().map(|key| self.answers.forget(key))).await?;
                }
                self.tasks.table.delete_all(belongings).await?;
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }
}

/// The key of the cached answer that a record names. A key that can't be read does not stop the
/// deletion.
fn answer_of(fields: &Fields<'_>) -> Option<AnswerKey> {
    step_item::answer_key(fields).unwrap_or_else(|error| {
        tracing::warn!(error = %Causes(&error), "cached answer not deleted; it stays until it expires");
        None
    })
}

/// When the record may be marked: it is of a form that this version reads, and its task has ended.
fn condition_of_mark() -> String {
    let ended = TaskStatus::ALL
        .into_iter()
        .filter(|status| status.is_terminal());
    let ended: Vec<String> = ended
        .map(|status| format!(":{}", status.as_str()))
        .collect();
    format!("#{V} <= :{V} AND #{STATUS} IN ({})", ended.join(", "))
}

impl DynamoTaskStore {
    /// Marks and empties the record of the tenant's task, if it has ended.
    pub(super) async fn delete_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
    ) -> Result<Deletion, StoreError> {
        let mark = self
            .mark(id, &keys::ended_shard(id), ":first")
            .condition_expression(format!(
                "{} AND #{TENANT_ID} = :tenant AND attribute_not_exists(#{DELETING})",
                condition_of_mark()
            ))
            .expression_attribute_names(format!("#{TENANT_ID}"), TENANT_ID)
            .expression_attribute_values(":tenant", text(tenant.as_str()));
        let Err(error) = mark.send().await else {
            return Ok(Deletion::Begun);
        };
        let Some(stored) = record_that_failed_update(error)? else {
            return Ok(Deletion::Unknown);
        };
        if !task_item::is_of(tenant, &stored)? {
            return Ok(Deletion::Unknown);
        }
        if task_item::is_deleting(&stored) {
            return Ok(Deletion::Begun);
        }
        match Fields::of_index(&stored).name::<TaskStatus>(STATUS)? {
            status if status.is_terminal() => Err(StoreError::Conflict),
            status => Ok(Deletion::NotEnded(status)),
        }
    }

    /// A mark, still without its condition. It stores the moment of the task's end, and removes the
    /// record from lists of tasks, which need [`CREATED`].
    fn mark(&self, id: TaskId, due_shard: &str, due_at: &str) -> UpdateItemFluentBuilder {
        let set = [
            format!("#{V} = :{V}"),
            format!("#{DELETING} = :deleting"),
            format!("#{DUE_SHARD} = :due_shard"),
            format!("#{DUE_AT} = {due_at}"),
            format!("#{ENDED_AT} = if_not_exists(#{ENDED_AT}, #{UPDATED_AT})"),
            format!("#{UPDATED_AT} = :first"),
        ];
        let mut request = self.table.update(keys::task(id));
        let mut removed = Vec::new();
        for emptied in emptied() {
            removed.push(format!("#{emptied}"));
            request = request.expression_attribute_names(format!("#{emptied}"), emptied);
        }
        for used in [V, DELETING, ENDED_AT].into_iter().chain(STAYING) {
            request = request.expression_attribute_names(format!("#{used}"), used);
        }
        for status in TaskStatus::ALL
            .into_iter()
            .filter(|status| status.is_terminal())
        {
            request =
                request.expression_attribute_values(format!(":{}", status.as_str()), name(&status));
        }
        request
            .update_expression(format!(
                "SET {} REMOVE {}",
                set.join(", "),
                removed.join(", ")
            ))
            .expression_attribute_values(format!(":{V}"), number(VERSION))
            .expression_attribute_values(":deleting", AttributeValue::Bool(true))
            .expression_attribute_values(":due_shard", text(due_shard))
            .expression_attribute_values(":first", moment(FIRST))
    }

    async fn is_marked(&self, id: TaskId) -> Result<bool, StoreError> {
        Ok(self
            .table
            .read(keys::task(id))
            .await?
            .is_some_and(|item| task_item::is_deleting(&item)))
    }
}

/// The attributes that the mark removes from the record.
fn emptied() -> impl Iterator<Item = &'static str> {
    MUTABLE
        .into_iter()
        .filter(|name| !STAYING.contains(name))
        .chain([CREATED, INPUT, METADATA, SUBMITTED_BY])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::Metadata;
    use crate::testing::samples::{self, START, after, lease_until};

    /// A new attribute of the record is either here, because it holds nothing of the task's
    /// content, or emptied.
    #[test]
    fn a_mark_leaves_nothing_of_what_a_client_or_a_model_said() {
        let pairs = [("order".to_owned(), "17".to_owned())];
        let mut task = samples::task(&samples::agent(&samples::tenant("acme")), START)
            .noting(Metadata::new(pairs.into()).unwrap())
            .submitted_by(Some("key_aaaaaaaaaaaa".parse().unwrap()));
        task.claim(lease_until(after(60)), after(1)).unwrap();
        task.complete(1, samples::output("Paris"), after(2))
            .unwrap();
        let record = task_item::write(&task, task_item::pack(&task).unwrap().as_ref());
        let emptied: BTreeSet<&str> = emptied().collect();
        let mut left: Vec<&str> = record
            .keys()
            .map(String::as_str)
            .filter(|name| !emptied.contains(name))
            .collect();
        left.sort_unstable();
        let expected = [
            "agent_id",
            "agent_version",
            "cache_mode",
            "created_at",
            "due_at",
            "due_shard",
            "pk",
            "sk",
            "status",
            "tenant_id",
            "updated_at",
            "v",
        ];
        assert_eq!(left, expected);
    }
}
