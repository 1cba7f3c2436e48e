//! What the stores ask of DynamoDB for each thing that they do. More calls are more latency and a higher bill.

use std::collections::BTreeMap;

use shared::ports::{AgentStore, Journal, PageRequest, TaskFilter, TaskStore};
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoTaskStore};
use shared::testing::samples::{self, after, lease_until};
use tests::{CallCounter, LocalAws};

#[track_caller]
fn check_calls<const N: usize>(calls: &CallCounter, expected: [(&str, u32); N]) {
    let expected: BTreeMap<String, u32> = expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(calls.counts(), expected);
    calls.reset();
}

#[tokio::test]
async fn each_store_operation_is_as_few_calls_as_possible() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let calls = aws.calls();
    let agents = DynamoAgentStore::new(aws.dynamodb(), table.as_str());
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    let journal = DynamoJournal::new(aws.dynamodb(), table.as_str());
    let page = PageRequest { limit: 20, after: None };
    let agent = samples::agent(&samples::fresh_tenant());
    let tenant = &agent.tenant;
    calls.reset();

    agents.create(&agent).await.unwrap();
    check_calls(calls, [("TransactWriteItems", 1)]);
    agents.version(tenant, agent.version_ref()).await.unwrap();
    check_calls(calls, [("GetItem", 1)]);
    agents.list(tenant, &page).await.unwrap();
    check_calls(calls, [("Query", 1)]);

    let mut task = samples::task(&agent, after(0));
    tasks.create(&task).await.unwrap();
    check_calls(calls, [("PutItem", 1)]);
    tasks.create(&task).await.unwrap();
    check_calls(calls, [("PutItem", 1)]);
    tasks.claim(tenant, task.id(), lease_until(after(60)), after(1)).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    tasks.claim(tenant, task.id(), lease_until(after(60)), after(2)).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    journal.append(&samples::step(task.id(), 1, "Paris")).await.unwrap();
    check_calls(calls, [("PutItem", 1)]);
    task = tasks.task(tenant, task.id()).await.unwrap().unwrap();
    check_calls(calls, [("GetItem", 1)]);
    let overdue = tasks.overdue(after(60), 100).await.unwrap();
    assert_eq!(overdue.len(), 1);
    check_calls(calls, [("GetItem", 1), ("Query", 8)]);
    task.complete(1, samples::output("Paris"), after(3)).unwrap();
    tasks.update(&task).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    tasks.list(tenant, &TaskFilter::default(), &page).await.unwrap();
    check_calls(calls, [("Query", 1)]);

    aws.delete_table(&table).await;
}
