//! What is asked of DynamoDB and SQS for each thing that is done. More calls are more latency and a
//! higher bill.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared::app::{NewTask, Room, RunOutcome, Runner, Tasks, WorkTimes};
use shared::domain::{
    AgentId, BuiltinTool, CacheRules, Provider, TaskStatus, ToolCall, ToolRunner,
};
use shared::ports::{
    AgentStore, Claimed, Horizon, Journal, PageRequest, Retention, TaskDetails, TaskFilter,
    TaskMessage, TaskStore,
};
use shared::queue::SqsTaskQueue;
use shared::store::{
    DynamoAgentStore, DynamoJournal, DynamoRetention, DynamoTaskStore, DynamoUsage,
};
use shared::testing::samples::{self, after, lease_until};
use shared::testing::{ManualClock, Reply, ScriptedModel, ScriptedTools};
use tests::{CallCounter, LocalAws};

/// The units of a new task's places in the indexes: one each. `by_tenant` goes with the next release.
const PLACES: f64 = 3.0;

/// The units of the row of usage that a worker adds to when it leaves a task.
const USAGE: f64 = 1.0;
/// The most units of the places when the task changes: one in each list of its tenant's tasks, and
/// two if its due moment moves.
const MOVES: f64 = 2.0 + 2.0;

#[track_caller]
pub(crate) fn check_calls<const N: usize>(calls: &CallCounter, expected: [(&str, u32); N]) {
    let expected: BTreeMap<String, u32> = expected
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
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
    let page = PageRequest {
        limit: 20,
        after: None,
    };
    let agent = samples::agent(&samples::fresh_tenant());
    let tenant = &agent.tenant;
    // The first creation counts the tenant's agents.
    agents.create(&samples::agent(tenant)).await.unwrap();
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
    tasks
        .claim(tenant, task.id(), lease_until(after(60)), after(1))
        .await
        .unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    tasks
        .claim(tenant, task.id(), lease_until(after(60)), after(2))
        .await
        .unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    journal
        .append(&samples::step(task.id(), 1, "Paris"))
        .await
        .unwrap();
    check_calls(calls, [("PutItem", 1)]);
    task = tasks.task(tenant, task.id()).await.unwrap().unwrap();
    check_calls(calls, [("GetItem", 1)]);
    let overdue = tasks.overdue(after(60), 100).await.unwrap();
    assert_eq!(overdue.len(), 1);
    check_calls(calls, [("GetItem", 1), ("Query", 8)]);
    task.complete(1, samples::output("Paris"), after(3))
        .unwrap();
    tasks.update(&task).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    tasks
        .list(tenant, &TaskFilter::default(), &page)
        .await
        .unwrap();
    check_calls(calls, [("Query", 1)]);

    aws.delete_table(&table).await;
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn a_large_value_costs_a_write_for_each_piece_and_one_more_read() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let calls = aws.calls();
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    let journal = DynamoJournal::new(aws.dynamodb(), table.as_str());
    let retention = DynamoRetention::new(aws.dynamodb(), table.as_str(), table.as_str());
    let agent = samples::agent(&samples::fresh_tenant());
    let mut task = samples::task(&agent, after(0));
    let text = samples::noise(1_024 * 1_024, 1);
    tasks.create(&task).await.unwrap();
    calls.reset();

    for step in 1..=10 {
        journal
            .append(&samples::step(task.id(), step, "Paris"))
            .await
            .unwrap();
    }
    check_calls(calls, [("PutItem", 10)]);
    journal
        .append(&samples::step(task.id(), 11, &"easy ".repeat(400_000)))
        .await
        .unwrap();
    check_calls(calls, [("PutItem", 1)]);
    journal.steps(task.id()).await.unwrap();
    check_calls(calls, [("Query", 1)]);
    journal
        .append(&samples::tool_step(
            task.id(),
            12,
            ToolRunner::Platform,
            &text,
        ))
        .await
        .unwrap();
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

    let horizon = Horizon {
        ended_before: Some(after(4)),
        quiet_before: after(4),
    };
    retention.due(horizon, 100).await.unwrap();
    check_calls(calls, [("Query", 9)]);
    tasks.delete(&agent.tenant, task.id()).await.unwrap();
    check_calls(calls, [("UpdateItem", 1)]);
    retention.purge(task.id(), horizon).await.unwrap();
    check_calls(
        calls,
        [
            ("UpdateItem", 1),
            ("Query", 2),
            ("GetItem", 2),
            ("BatchWriteItem", 2),
            ("DeleteItem", 1),
        ],
    );

    aws.delete_table(&table).await;
}

/// The targets: one write and one send to accept a task, three writes and one read to run one of a
/// single step, one read to show it. The agent's newest version, one read more when a task is
/// accepted, is not cached: it must not be stale.
#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
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
        providers: Provider::ALL.to_vec(),
        clock: clock(),
    };
    let model = Arc::new(ScriptedModel::default());
    let runner = Runner {
        usage: Arc::new(DynamoUsage::new(aws.dynamodb(), table.as_str())),
        agents: agents(),
        tasks: store(),
        journal: journal(),
        model: Arc::<ScriptedModel>::clone(&model),
        tools: Arc::new(ScriptedTools::default()),
        clock: clock(),
        queue,
        cache: CacheRules::Off,
        times: WorkTimes {
            step_reserve: Duration::ZERO,
            ..WorkTimes::default()
        },
        slots: None,
        room: Room::default(),
    };
    let mut agent = samples::agent(&samples::fresh_tenant());
    agent.config.tools = vec![BuiltinTool::Calculator.into()];
    let tenant = &agent.tenant;
    agents().create(&agent).await.unwrap();
    calls.reset();

    let task = tasks
        .submit_task(tenant, new_task(agent.id, "k1"))
        .await
        .unwrap();
    check_cost(
        calls,
        (1.0 + PLACES, 1.0),
        [("GetItem", 1), ("PutItem", 1), ("SendMessage", 1)],
    );
    let message = TaskMessage {
        tenant: tenant.clone(),
        task: task.id(),
        alone: false,
    };
    assert_eq!(
        runner.run(&message, after(60)).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    check_cost(
        calls,
        (2.0 * (2.0 + MOVES) + 1.0 + USAGE, 1.0),
        [("GetItem", 1), ("PutItem", 1), ("UpdateItem", 3)],
    );
    assert_eq!(
        runner.run(&message, after(60)).await.unwrap(),
        RunOutcome::EndedBefore(TaskStatus::Completed)
    );
    check_calls(calls, [("UpdateItem", 1)]);
    tasks.find_task(tenant, task.id()).await.unwrap();
    check_calls(calls, [("GetItem", 1)]);

    // Three steps more: one write each, and nothing else.
    let calculate = samples::tool_call("a", "calculator", r#"{"expression":"1+1"}"#);
    let twice = [
        calculate.clone(),
        ToolCall {
            id: "b".to_owned(),
            ..calculate
        },
    ];
    model.then(Reply::Answer(samples::answer_calling(twice)));
    let task = tasks
        .submit_task(tenant, new_task(agent.id, "k2"))
        .await
        .unwrap();
    calls.reset();
    let message = TaskMessage {
        tenant: tenant.clone(),
        task: task.id(),
        alone: false,
    };
    assert_eq!(
        runner.run(&message, after(60)).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    check_calls(calls, [("GetItem", 1), ("PutItem", 4), ("UpdateItem", 3)]);

    // An input in a record of its own costs one read more in every case.
    let large = NewTask {
        input: samples::input(&samples::noise(128 * 1_024, 1)),
        ..new_task(agent.id, "k3")
    };
    let task = tasks.submit_task(tenant, large).await.unwrap();
    let of_both = 2.0 * (97.0 + 1.0) + PLACES;
    check_cost(
        calls,
        (of_both, 1.0),
        [
            ("GetItem", 1),
            ("TransactWriteItems", 1),
            ("SendMessage", 1),
        ],
    );
    model.then(Reply::Answer(samples::answer("Paris")));
    let message = TaskMessage {
        tenant: tenant.clone(),
        task: task.id(),
        alone: false,
    };
    assert_eq!(
        runner.run(&message, after(60)).await.unwrap(),
        RunOutcome::Ended(TaskStatus::Completed)
    );
    check_cost(
        calls,
        (2.0 * (2.0 + MOVES) + 1.0 + USAGE, 26.0),
        [("GetItem", 2), ("PutItem", 1), ("UpdateItem", 3)],
    );

    aws.delete_table(&table).await;
    aws.delete_queue(&queue_url).await;
}

/// Checks the calls as [`check_calls`] does, and that no more units are billed than these: written
/// and read.
#[track_caller]
fn check_cost<const N: usize>(
    calls: &CallCounter,
    (written, read): (f64, f64),
    expected: [(&str, u32); N],
) {
    let units = calls.units();
    assert!(
        units.written > 0.0 || written == 0.0,
        "the writes are not counted: {units:?}"
    );
    assert!(
        units.written <= written && units.read <= read,
        "{units:?}, not {written} and {read}"
    );
    check_calls(calls, expected);
}

/// One unit or two are the record's, and the others those of its places in the indexes.
#[tokio::test]
async fn a_change_of_a_task_costs_the_same_whatever_its_input() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let calls = aws.calls();
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    let journal = DynamoJournal::new(aws.dynamodb(), table.as_str());
    let agent = samples::agent(&samples::fresh_tenant());
    let put: (&str, f64) = ("PutItem", 1.0 + PLACES);
    // A transaction is billed twice for what it writes: 97 units for the input, which compresses a
    // little, and 1 for the task.
    let together: (&str, f64) = ("TransactWriteItems", 2.0 * (97.0 + 1.0) + PLACES);
    for (bytes, (create, units), of_input) in [(20, put, 0.0), (128 * 1_024, together, 25.0)] {
        let mut task = samples::task_with_input(&agent, &samples::noise(bytes, 1), after(0));
        calls.reset();
        tasks.create(&task).await.unwrap();
        check_cost(calls, (units, 0.0), [(create, 1)]);
        let lease = lease_until(after(60));
        tasks
            .claim(&agent.tenant, task.id(), lease, after(1))
            .await
            .unwrap();
        check_cost(calls, (1.0 + MOVES, 0.0), [("UpdateItem", 1)]);
        journal
            .append(&samples::step(task.id(), 1, "Paris"))
            .await
            .unwrap();
        check_cost(calls, (1.0, 0.0), [("PutItem", 1)]);
        task.claim(lease, after(1)).unwrap();
        task.renew(1, after(90), after(20)).unwrap();
        tasks.update(&task).await.unwrap();
        check_cost(calls, (2.0 + MOVES, 0.0), [("UpdateItem", 1)]);
        // As a worker looks every second whether its task is to be canceled, and a client that
        // waits whether it has ended.
        tasks.task(&agent.tenant, task.id()).await.unwrap();
        check_cost(calls, (0.0, 1.0), [("GetItem", 1)]);
        tasks.overdue(after(90), 100).await.unwrap();
        check_cost(calls, (0.0, 1.0 + 8.0), [("GetItem", 1), ("Query", 8)]);
        task.complete(1, samples::output("Paris"), after(30))
            .unwrap();
        tasks.update(&task).await.unwrap();
        check_cost(calls, (2.0 + MOVES, 0.0), [("UpdateItem", 1)]);
        let shown = tasks.task(&agent.tenant, task.id()).await.unwrap().unwrap();
        tasks.with_input(shown).await.unwrap();
        let gets = if bytes > 8 * 1_024 { 2 } else { 1 };
        check_cost(calls, (0.0, 1.0 + of_input), [("GetItem", gets)]);
    }
    aws.delete_table(&table).await;
}

/// A record with a full history has less than 4 KiB. Every fifteenth change moves a block, which a
/// transaction bills twice.
#[tokio::test]
async fn a_change_of_a_task_costs_the_same_however_long_its_history() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let calls = aws.calls();
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    let agent = samples::agent(&samples::fresh_tenant());
    let mut task = samples::task(&agent, after(0));
    tasks.create(&task).await.unwrap();
    let mut moves = 0;
    for round in 0..150 {
        calls.reset();
        let lease = lease_until(after(round + 60));
        let claimed = tasks
            .claim(&agent.tenant, task.id(), lease, after(round))
            .await
            .unwrap();
        let Claimed::Granted(granted) = claimed else {
            panic!("{claimed:?}")
        };
        task = *granted;
        check_cost(calls, (4.0 + MOVES, 0.0), [("UpdateItem", 1)]);
        task.hand_over(task.fence(), after(round)).unwrap();
        let blocks = task.progress().history.leaving().count();
        tasks.update(&task).await.unwrap();
        if blocks == 0 {
            check_cost(calls, (4.0 + MOVES, 0.0), [("UpdateItem", 1)]);
        } else {
            check_cost(
                calls,
                (2.0 * (4.0 + MOVES) + 3.0, 0.0),
                [("TransactWriteItems", 1)],
            );
            moves += 1;
        }
        tasks.task(&agent.tenant, task.id()).await.unwrap();
        check_cost(calls, (0.0, 1.0), [("GetItem", 1)]);
    }
    // 301 changes, up to 25 of them in the record.
    assert_eq!(moves, 19);
    let all = tasks
        .earlier_history(task.id(), 0..u32::MAX, 100)
        .await
        .unwrap();
    assert_eq!(all.len(), 100);
    check_cost(calls, (0.0, 8.0), [("Query", 1)]);
    aws.delete_table(&table).await;
}

pub(crate) fn new_task(agent: AgentId, key: &str) -> NewTask {
    NewTask {
        idempotency_key: Some(key.parse().unwrap()),
        ..NewTask::of(agent, samples::input("hello"))
    }
}
