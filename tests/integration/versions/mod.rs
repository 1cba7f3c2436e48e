//! Records that an earlier version wrote are read, claimed and changed; those of a later one are
//! left alone.

mod later;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;
use serde_json::Value;
use shared::app::{
    AppError, DeadLetterHandler, RetryFrom, Room, RunError, RunOutcome, Runner, Sweeper, Tasks,
    WorkTimes,
};
use shared::domain::task::MAX_HISTORY;
use shared::domain::{
    CacheRules, Event, Lease, LimitChanges, ReopenFrom, StepPlace, Task, TaskId, TaskStatus,
    TenantId, Timestamp, ToolRunner,
};
use shared::ports::{
    AgentStore, Claimed, Created, Deletion, Horizon, Journal, PageRequest, Purged, Retention,
    StepsRequest, StoreError, TaskDetails, TaskMessage, TaskStore,
};
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoRetention, DynamoTaskStore};
use shared::testing::samples::{self, START, after, lease_until};
use shared::testing::{ManualClock, MemoryQueue, ScriptedModel, ScriptedTools};
use tests::LocalAws;

const AGENT: &str = include_str!("../../../shared/src/store/golden/agent.json");
const QUEUED: &str = include_str!("../../../shared/src/store/golden/task_queued.json");
const RUNNING: &str = include_str!("../../../shared/src/store/golden/task_running.json");
const FAILED: &str = include_str!("../../../shared/src/store/golden/task_failed.json");
const HUNDRED: &str = include_str!("../../../shared/src/store/golden/task_hundred_changes.json");
const APART: &str = include_str!("../../../shared/src/store/golden/task_apart_3.json");
const INPUT: &str = include_str!("../../../shared/src/store/golden/task_input.json");
const BLOCK: &str = include_str!("../../../shared/src/store/golden/history_block.json");
const STEP: &str = include_str!("../../../shared/src/store/golden/step.json");

/// A table with records in DynamoDB's JSON.
struct OldRecords {
    aws: LocalAws,
    table: String,
    tasks: DynamoTaskStore,
    retention: DynamoRetention,
    tenant: TenantId,
    id: TaskId,
}

impl OldRecords {
    async fn with(records: &[&str]) -> Self {
        let aws = LocalAws::from_env().await;
        let table = aws.create_state_table().await;
        for record in records {
            aws.put_record(&table, &serde_json::from_str(record).unwrap())
                .await;
        }
        let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
        let id = "tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10".parse().unwrap();
        let retention = DynamoRetention::new(aws.dynamodb(), table.as_str(), table.as_str());
        Self {
            aws,
            table,
            tasks,
            retention,
            tenant: samples::tenant("acme"),
            id,
        }
    }

    async fn record(&self) -> HashMap<String, AttributeValue> {
        let request = self
            .aws
            .dynamodb()
            .get_item()
            .table_name(&self.table)
            .consistent_read(true);
        request
            .set_key(Some(key(self.id)))
            .send()
            .await
            .unwrap()
            .item
            .unwrap()
    }

    /// Makes the tasks' records of this version, as a newer version would write them.
    async fn rewrite(&self, tasks: &[Task], version: &str) {
        for some in tasks.chunks(50) {
            join_all(some.iter().map(async |task| {
                let update = self
                    .aws
                    .dynamodb()
                    .update_item()
                    .table_name(&self.table)
                    .set_key(Some(key(task.id())));
                let update = update.update_expression("SET v = :v");
                update
                    .expression_attribute_values(":v", AttributeValue::N(version.to_owned()))
                    .send()
                    .await
                    .unwrap();
            }))
            .await;
        }
    }

    /// The tasks' records.
    async fn records(&self, tasks: &[Task]) -> Vec<HashMap<String, AttributeValue>> {
        let mut records = Vec::new();
        for some in tasks.chunks(50) {
            let read = some.iter().map(async |task| {
                let request = self
                    .aws
                    .dynamodb()
                    .get_item()
                    .table_name(&self.table)
                    .consistent_read(true);
                request
                    .set_key(Some(key(task.id())))
                    .send()
                    .await
                    .unwrap()
                    .item
                    .unwrap()
            });
            records.extend(join_all(read).await);
        }
        records
    }

    async fn claim(&self, lease: Lease, now: Timestamp) -> Result<Claimed, StoreError> {
        self.tasks.claim(&self.tenant, self.id, lease, now).await
    }
}

/// Where the task's record is.
fn key(id: TaskId) -> HashMap<String, AttributeValue> {
    let key = [("pk", format!("TASK#{id}")), ("sk", "META".to_owned())];
    key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)))
        .into()
}

/// Tasks that ended before this moment are deleted, and nobody works for them any more.
const fn before(moment: Timestamp) -> Horizon {
    Horizon {
        ended_before: Some(moment),
        quiet_before: moment,
    }
}

#[tokio::test]
async fn a_task_of_the_first_version_is_claimed_and_ended() {
    for (record, now) in [(QUEUED, after(1)), (RUNNING, after(60))] {
        let old = OldRecords::with(&[record]).await;
        let mut expected = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
        let lease = lease_until(after(120));
        expected.claim(lease, now).unwrap();
        assert_eq!(
            old.claim(lease, now).await.unwrap(),
            Claimed::Granted(Box::new(expected.clone()))
        );
        assert_eq!(
            old.tasks.task(&old.tenant, old.id).await.unwrap(),
            Some(expected.clone())
        );
        expected
            .complete(expected.fence(), samples::output("Paris"), after(70))
            .unwrap();
        old.tasks.update(&expected).await.unwrap();
        assert_eq!(
            old.tasks.task(&old.tenant, old.id).await.unwrap(),
            Some(expected)
        );
        old.aws.delete_table(&old.table).await;
    }
}

#[tokio::test]
async fn a_history_of_a_hundred_changes_loses_none_of_them() {
    let old = OldRecords::with(&[HUNDRED]).await;
    let mut task = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
    let before: Vec<_> = task
        .progress()
        .history
        .numbered()
        .map(|(number, change)| (number, change.clone()))
        .collect();
    assert_eq!(before.len(), 100);
    task.cancel(after(400)).unwrap();
    old.tasks.update(&task).await.unwrap();
    let task = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
    let history = &task.progress().history;
    assert!(history.recent().len() <= MAX_HISTORY, "{history:?}");
    let mut told = old
        .tasks
        .earlier_history(old.id, 0..history.first(), 1_000)
        .await
        .unwrap();
    told.extend(
        history
            .numbered()
            .map(|(number, change)| (number, change.clone())),
    );
    assert_eq!(
        told.pop().map(|(_, change)| change.event),
        Some(Event::Canceled)
    );
    assert_eq!(told, before);
    old.aws.delete_table(&old.table).await;
}

#[tokio::test]
async fn task_with_separate_input_and_history_lives_and_is_purged() {
    let old = OldRecords::with(&[APART, INPUT, BLOCK]).await;
    let expected = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
    assert_eq!(expected.progress().history.first(), 15);
    let (lease, now) = (lease_until(after(500)), after(400));
    let Claimed::Granted(claimed) = old.claim(lease, now).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(
        old.record().await["v"],
        AttributeValue::N("3".to_owned()),
        "an earlier version still refuses it"
    );
    let mut ended = *claimed;
    ended
        .complete(ended.fence(), samples::output("Paris"), after(401))
        .unwrap();
    old.tasks.update(&ended).await.unwrap();
    assert_eq!(old.record().await["v"], AttributeValue::N("3".to_owned()));
    let whole = old.tasks.with_input(ended).await.unwrap().unwrap();
    assert_eq!(whole.spec().input.as_ref().unwrap().as_str().len(), 8_193);
    assert_eq!(
        old.tasks
            .earlier_history(old.id, 0..15, 100)
            .await
            .unwrap()
            .len(),
        15
    );
    assert_eq!(
        old.retention
            .purge(old.id, before(after(90_000)))
            .await
            .unwrap(),
        Purged::Gone
    );
    assert_eq!(old.tasks.input(old.id).await.unwrap(), None);
    assert_eq!(
        old.tasks.earlier_history(old.id, 0..15, 100).await.unwrap(),
        []
    );
    old.aws.delete_table(&old.table).await;
}

#[tokio::test]
async fn ended_task_of_version_1_is_reopened_clean_or_purged() {
    let old = OldRecords::with(&[FAILED, STEP]).await;
    let mut task = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
    assert_eq!(task.status(), TaskStatus::Failed);
    task.reopen(ReopenFrom::Checkpoint, task.limits(), after(700))
        .unwrap();
    old.tasks.update(&task).await.unwrap();
    assert_eq!(
        old.tasks.task(&old.tenant, old.id).await.unwrap(),
        Some(task.clone())
    );
    let record = old.record().await;
    for stale in ["failure_code", "failure_message", "failed_attempts"] {
        assert!(!record.contains_key(stale), "{stale}");
    }
    assert_eq!(
        old.retention
            .purge(old.id, before(after(90_000)))
            .await
            .unwrap(),
        Purged::Unchanged
    );
    old.aws.delete_table(&old.table).await;

    let old = OldRecords::with(&[FAILED, STEP]).await;
    assert_eq!(
        old.retention
            .purge(old.id, before(after(90_000)))
            .await
            .unwrap(),
        Purged::Gone
    );
    assert_eq!(old.tasks.task(&old.tenant, old.id).await.unwrap(), None);
    old.aws.delete_table(&old.table).await;
}

#[tokio::test]
async fn a_journal_has_steps_of_both_versions() {
    let old = OldRecords::with(&[STEP]).await;
    let journal = DynamoJournal::new(old.aws.dynamodb(), old.table.as_str());
    let first = samples::step(old.id, 1, "Paris");
    let second = samples::tool_step(
        old.id,
        2,
        ToolRunner::Platform,
        &samples::noise(512 * 1_024, 1),
    );
    journal.append(&first).await.unwrap();
    journal.append(&second).await.unwrap();
    assert_eq!(journal.steps(old.id).await.unwrap(), [first, second]);
    old.aws.delete_table(&old.table).await;
}

/// A purge of an earlier version that died after its first write, or in the middle.
#[tokio::test]
async fn a_task_that_is_half_purged_is_nobodys_and_is_found_and_purged_again() {
    let old = OldRecords::with(&[]).await;
    let agent = samples::agent(&old.tenant);
    let mut task = samples::task(&agent, after(0));
    old.tasks.create(&task).await.unwrap();
    let created = task.clone();
    task.cancel(after(1)).unwrap();
    old.tasks.update(&task).await.unwrap();
    let old = OldRecords {
        id: task.id(),
        ..old
    };
    let key = ["pk", "sk"].map(|name| (name.to_owned(), AttributeValue::S(String::new())));
    let mut key: HashMap<String, AttributeValue> = key.into();
    let record = old.record().await;
    for (name, value) in &mut key {
        *value = record[name].clone();
    }
    let mark = old
        .aws
        .dynamodb()
        .update_item()
        .table_name(&old.table)
        .set_key(Some(key));
    mark.update_expression("SET deleting = :yes REMOVE revision, history, #input, created")
        .expression_attribute_names("#input", "input")
        .expression_attribute_values(":yes", AttributeValue::Bool(true))
        .send()
        .await
        .unwrap();

    let tasks = Arc::new(old.tasks.clone());
    assert_eq!(tasks.task(&old.tenant, task.id()).await.unwrap(), None);
    assert_eq!(
        old.claim(lease_until(after(60)), after(2)).await.unwrap(),
        Claimed::Unknown
    );
    task.reopen(ReopenFrom::Checkpoint, task.limits(), after(2))
        .unwrap();
    let reopened = tasks.update(&task).await;
    assert!(
        matches!(reopened, Err(StoreError::Conflict)),
        "{reopened:?}"
    );
    assert_eq!(tasks.create(&created).await.unwrap(), Created::Deleted);
    assert_eq!(
        tasks.delete(&old.tenant, task.id()).await.unwrap(),
        Deletion::Begun
    );
    assert_eq!(
        old.retention.due(before(after(60)), 10).await.unwrap(),
        [task.id()]
    );
    assert_eq!(
        old.retention
            .purge(task.id(), before(after(60)))
            .await
            .unwrap(),
        Purged::Gone
    );
    assert_eq!(old.retention.due(before(after(60)), 10).await.unwrap(), []);
    old.aws.delete_table(&old.table).await;
}

/// Somebody removed the attributes of the index of due tasks. The next change writes them again:
/// a cancel and a retry, or a claim.
#[tokio::test]
async fn a_record_that_lost_its_place_in_the_index_gets_it_back() {
    let mut lost: Value = serde_json::from_str(QUEUED).unwrap();
    let attributes = lost.as_object_mut().unwrap();
    assert!(attributes.remove("due_shard").is_some() && attributes.remove("due_at").is_some());
    let lost = lost.to_string();
    let shard = async |old: &OldRecords| {
        let record = old.record().await;
        assert!(
            record["due_at"].is_s() || record["due_at"].is_n(),
            "{record:?}"
        );
        record["due_shard"].as_s().unwrap().clone()
    };

    let old = OldRecords::with(&[&lost]).await;
    assert!(old.tasks.overdue(after(9_999), 9).await.unwrap().is_empty());
    let mut task = old.tasks.task(&old.tenant, old.id).await.unwrap().unwrap();
    task.cancel(after(60)).unwrap();
    old.tasks.update(&task).await.unwrap();
    assert!(shard(&old).await.starts_with("done#"));
    task.reopen(ReopenFrom::Checkpoint, task.limits(), after(61))
        .unwrap();
    old.tasks.update(&task).await.unwrap();
    assert!(shard(&old).await.starts_with("due#"));
    assert_eq!(old.tasks.overdue(after(9_999), 9).await.unwrap().len(), 1);
    old.aws.delete_table(&old.table).await;

    let old = OldRecords::with(&[&lost]).await;
    let claimed = old.claim(lease_until(after(60)), after(1)).await.unwrap();
    assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
    assert!(shard(&old).await.starts_with("due#"));
    old.aws.delete_table(&old.table).await;
}
