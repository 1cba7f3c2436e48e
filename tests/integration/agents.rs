//! What is asked of DynamoDB when an agent is changed, and when a task chooses one of its versions.

use std::sync::Arc;

use shared::app::{AgentDraft, Agents, AppError, NewTask, Tasks, VersionChoice};
use shared::domain::{AgentHead, Provider, Switch, Unlisted};
use shared::ports::AgentStore;
use shared::queue::SqsTaskQueue;
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoTaskStore};
use shared::testing::ManualClock;
use shared::testing::samples::{self, after};
use tests::LocalAws;

use crate::cost::{check_calls, new_task};

/// A change reads the agent and writes it; a new version is written with it. A submission reads the
/// agent, and one version more if it chooses another than the newest. One with an inline agent reads it,
/// and writes it if it is new.
#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, from its beginning to its end"
)]
async fn a_change_of_an_agent_costs_a_read_and_a_write() {
    let aws = LocalAws::from_env().await;
    let (table, queue_url) = (aws.create_state_table().await, aws.create_queue().await);
    let calls = aws.calls();
    let store = || Arc::new(DynamoAgentStore::new(aws.dynamodb(), table.as_str()));
    let clock = || Arc::new(ManualClock::at(after(0)));
    let agents = Agents {
        store: store(),
        retention: store(),
        providers: Provider::ALL.to_vec(),
        clock: clock(),
    };
    let tasks = Tasks {
        agents: store(),
        store: Arc::new(DynamoTaskStore::new(aws.dynamodb(), table.as_str())),
        journal: Arc::new(DynamoJournal::new(aws.dynamodb(), table.as_str())),
        queue: Arc::new(SqsTaskQueue::new(aws.sqs(), queue_url.as_str())),
        providers: Provider::ALL.to_vec(),
        clock: clock(),
    };
    let agent = samples::agent(&samples::fresh_tenant());
    let (tenant, id) = (&agent.tenant, agent.id);
    store().create(&agent).await.unwrap();
    calls.reset();

    let renamed = |_: &AgentHead| {
        Ok::<_, AppError>(AgentDraft {
            config: samples::agent_config("writer", ""),
            unlisted: vec![Unlisted::Refused],
            switch: Switch::Enabled,
        })
    };
    agents.patch_agent(tenant, id, renamed).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("TransactWriteItems", 1)]);
    agents.patch_agent(tenant, id, renamed).await.unwrap();
    check_calls(calls, [("GetItem", 1)]);
    let prod = "prod".parse().unwrap();
    agents.set_alias(tenant, id, (&prod, 1)).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("PutItem", 1)]);
    let by_alias = NewTask {
        version: VersionChoice::Alias(prod),
        ..new_task(id, "k1")
    };
    let task = tasks.submit_task(tenant, by_alias).await.unwrap();
    assert_eq!(task.spec().agent.version, 1);
    check_calls(calls, [("GetItem", 2), ("PutItem", 1), ("SendMessage", 1)]);
    agents.archive_agent(tenant, id).await.unwrap();
    check_calls(calls, [("TransactWriteItems", 1)]);
    store().create(&samples::agent(tenant)).await.unwrap();
    check_calls(calls, [("TransactWriteItems", 1)]);

    let definition = AgentDraft {
        config: samples::agent_config("inline", ""),
        unlisted: vec![Unlisted::Refused],
        switch: Switch::Enabled,
    };
    let inline = || NewTask::inline(tenant, definition.clone(), samples::input("hello"));
    tasks.submit_task(tenant, inline()).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("PutItem", 2), ("SendMessage", 1)]);
    tasks.submit_task(tenant, inline()).await.unwrap();
    check_calls(calls, [("GetItem", 1), ("PutItem", 1), ("SendMessage", 1)]);
    let by_id = new_task(inline().agent, "k2");
    tasks.submit_task(tenant, by_id).await.unwrap();
    check_calls(calls, [("GetItem", 2), ("PutItem", 1), ("SendMessage", 1)]);

    aws.delete_table(&table).await;
    aws.delete_queue(&queue_url).await;
}
