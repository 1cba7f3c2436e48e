//! What is asked of DynamoDB and SQS for each thing that is done. More calls are more latency and a higher bill.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::app::{NewTask, Ran, Room, Runner, Tasks, WorkTimes};
use shared::domain::{
    AgentId, BuiltinTool, CacheRules, CacheUse, LimitChanges, TaskInput, TaskStatus, ToolCall, ToolRunner,
};
use shared::ports::{AgentStore, Journal, PageRequest, Retention, TaskFilter, TaskMessage, TaskStore};
use shared::queue::SqsTaskQueue;
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoTaskStore};
use shared::testing::samples::{self, after, lease_until};
use shared::testing::{ManualClock, Reply, ScriptedModel, ScriptedTools};
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

#[tokio::test]
async fn a_large_value_costs_a_write_for_each_piece_and_one_more_read() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let calls = aws.calls();
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    let journal = DynamoJournal::new(aws.dynamodb(), table.as_str());
    let agent = samples::agent(&samples::fresh_tenant());
    let mut task = samples::task(&agent, after(0));
    let text = samples::noise(1_024 * 1_024, 1);
    tasks.create(&task).await.unwrap();
    calls.reset();

    for step in 1..=10 {
        journal.append(&samples::step(task.id(), step, "Paris")).await.unwrap();
    }
    check_calls(calls, [("PutItem", 10)]);
    journal.append(&samples::step(task.id(), 11, &"easy ".repeat(400_000))).await.unwrap();
    check_calls(calls, [("PutItem", 1)]);
    journal.steps(task.id()).await.unwrap();
    check_calls(calls, [("Query", 1)]);
    journal.append(&samples::tool_step(task.id(), 12, ToolRunner::Platform, &text)).await.unwrap();
    check_calls(calls, [("PutItem", 1 + 3)]);
    journal.steps(task.id()).await.unwrap();
    check_calls(calls, [("Query", 1 + 1)]);

    task.claim(lease_until(after(60)), after(1)).unwrap();
    tasks.update(&task).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    task.complete(1, samples::output(&text), after(3)).unwrap();
    tasks.update(&task).await.unwrap();
    check_calls(calls, [("UpdateItem", 1), ("PutItem", 3)]);
    tasks.task(&agent.tenant, task.id()).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("Query", 1)]);

    tasks.ended_before(after(4), 100).await.unwrap();
    check_calls(calls, [("Query", 8)]);
    tasks.purge(task.id(), after(4)).await.unwrap();
    check_calls(calls, [("UpdateItem", 1), ("Query", 2), ("BatchWriteItem", 2), ("DeleteItem", 1)]);

    aws.delete_table(&table).await;
}

/// The targets: one write and one send to accept a task, three writes and one read to run one of a single step, one read
/// to show it. The agent's newest version, one read more when a task is accepted, is not cached: it must not be stale.
#[tokio::test]
async fn a_task_of_one_step_costs_what_the_design_allows() {
    let aws = LocalAws::from_env().await;
    let (table, queue_url) = (aws.create_state_table().await, aws.create_queue().await);
    let calls = aws.calls();
    let agents = || Arc::new(DynamoAgentStore::new(aws.dynamodb(), table.as_str()));
    let store = || Arc::new(DynamoTaskStore::new(aws.dynamodb(), table.as_str()));
    let queue = Arc::new(SqsTaskQueue::new(aws.sqs(), queue_url.as_str()));
    let clock = || Arc::new(ManualClock::at(after(0)));
    let journal = || Arc::new(DynamoJournal::new(aws.dynamodb(), table.as_str()));
    let tasks = Tasks {
        agents: agents(),
        store: store(),
        journal: journal(),
        queue: Arc::<SqsTaskQueue>::clone(&queue),
        clock: clock(),
    };
    let model = Arc::new(ScriptedModel::default());
    let runner = Runner {
        agents: agents(),
        tasks: store(),
        journal: journal(),
        model: Arc::<ScriptedModel>::clone(&model),
        tools: Arc::new(ScriptedTools::default()),
        clock: clock(),
        queue,
        cache: CacheRules::Off,
        times: WorkTimes { step_reserve: Duration::ZERO, ..WorkTimes::default() },
        slots: None,
        room: Room::default(),
    };
    let mut agent = samples::agent(&samples::fresh_tenant());
    agent.config.builtin_tools = vec![BuiltinTool::Calculator];
    let tenant = &agent.tenant;
    agents().create(&agent).await.unwrap();
    calls.reset();

    let task = tasks.submit_task(tenant, new_task(agent.id, "k1")).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("PutItem", 1), ("SendMessage", 1)]);
    let message = TaskMessage { tenant: tenant.clone(), task: task.id(), alone: false };
    assert_eq!(runner.run(&message, after(60)).await.unwrap(), Ran::Ended(TaskStatus::Completed));
    check_calls(calls, [("GetItem", 1), ("PutItem", 1), ("UpdateItem", 2)]);
    assert_eq!(runner.run(&message, after(60)).await.unwrap(), Ran::EndedBefore(TaskStatus::Completed));
    check_calls(calls, [("UpdateItem", 1)]);
    tasks.find_task(tenant, task.id()).await.unwrap();
    check_calls(calls, [("GetItem", 1)]);

    // Three steps more: one write each, and nothing else.
    let calculate = samples::tool_call("a", "calculator", r#"{"expression":"1+1"}"#);
    let twice = [calculate.clone(), ToolCall { id: "b".to_owned(), ..calculate }];
    model.then(Reply::Answer(samples::answer_calling(twice)));
    let task = tasks.submit_task(tenant, new_task(agent.id, "k2")).await.unwrap();
    calls.reset();
    let message = TaskMessage { tenant: tenant.clone(), task: task.id(), alone: false };
    assert_eq!(runner.run(&message, after(60)).await.unwrap(), Ran::Ended(TaskStatus::Completed));
    check_calls(calls, [("GetItem", 1), ("PutItem", 4), ("UpdateItem", 2)]);

    aws.delete_table(&table).await;
    aws.delete_queue(&queue_url).await;
}

fn new_task(agent: AgentId, key: &str) -> NewTask {
    NewTask {
        agent,
        input: TaskInput::new("hello".to_owned()).unwrap(),
        cache_use: CacheUse::default(),
        limits: LimitChanges::default(),
        idempotency_key: Some(key.parse().unwrap()),
        trace: None,
    }
}
