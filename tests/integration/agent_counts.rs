//! The number of a tenant's agents where an earlier version left none, or a wrong one.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use shared::domain::{AgentHead, TenantId};
use shared::ports::{Addition, AgentRetention, AgentStore};
use shared::store::DynamoAgentStore;
use shared::testing::samples::{self, START, after};
use tests::LocalAws;

const MOST: u32 = 5;

struct Table {
    aws: LocalAws,
    name: String,
}

impl Table {
    fn store(&self) -> DynamoAgentStore {
        DynamoAgentStore::new(self.aws.dynamodb(), self.name.as_str())
    }

    /// Makes the update in the record of the tenant's counts, as an earlier version left it.
    async fn leave(&self, tenant: &TenantId, update: &str) {
        let text = |value: String| AttributeValue::S(value);
        let request = self
            .aws
            .dynamodb()
            .update_item()
            .table_name(&self.name)
            .key("pk", text(format!("TENANT#{tenant}")))
            .key("sk", text("COUNTS".to_owned()))
            .update_expression(update);
        request.send().await.unwrap();
    }
}

/// Agents that were created before there was a number, one of them archived.
async fn uncounted(table: &Table) -> (TenantId, AgentHead) {
    let (store, tenant) = (table.store(), samples::fresh_tenant());
    let agents: Vec<_> = (0..4).map(|_| samples::agent(&tenant)).collect();
    for agent in &agents {
        store.create(agent).await.unwrap();
    }
    store
        .archive(&tenant, agents[0].id, START, START)
        .await
        .unwrap();
    table
        .leave(&tenant, "REMOVE agents, agents_counted_at")
        .await;
    (tenant, AgentHead::of(agents[1].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_without_a_number_are_counted_when_it_is_needed_first() {
    let aws = LocalAws::from_env().await;
    let name = aws.create_state_table().await;
    let table = Arc::new(Table { aws, name });
    let (tenant, _) = uncounted(&table).await;
    assert_eq!(table.store().count(&tenant, START).await.unwrap(), 3);

    let (tenant, agent) = uncounted(&table).await;
    let store = table.store();
    let archived = store.archive(&tenant, agent.newest.id, START, START);
    assert!(archived.await.unwrap());
    assert_eq!(table.store().count(&tenant, START).await.unwrap(), 2);

    let (tenant, _) = uncounted(&table).await;
    let mut additions = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (table, agent) = (Arc::clone(&table), samples::agent(&tenant));
        additions.spawn(async move {
            let agent = AgentHead::of(agent);
            table.store().add(&agent, MOST).await.unwrap()
        });
    }
    let additions = additions.join_all().await;
    let added = additions
        .iter()
        .filter(|addition| **addition == Addition::Added);
    assert_eq!(added.count(), 2, "{additions:?}");
    assert_eq!(table.store().count(&tenant, START).await.unwrap(), MOST);
    table.aws.delete_table(&table.name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_refuses_an_agent_is_counted_again_after_a_day() {
    let aws = LocalAws::from_env().await;
    let name = aws.create_state_table().await;
    let table = Table { aws, name };
    let (store, tenant) = (table.store(), samples::fresh_tenant());
    store.create(&samples::agent(&tenant)).await.unwrap();
    // An earlier version archives agents without the number.
    table.leave(&tenant, "SET agents = agents + agents").await;
    let add = async |late: Duration| {
        let mut agent = samples::agent(&tenant);
        agent.created_at = START.plus(late);
        store.add(&AgentHead::of(agent), 2).await.unwrap()
    };
    let almost = Duration::from_hours(24) - Duration::from_millis(1);
    assert_eq!(add(almost).await, Addition::Full(2));
    assert_eq!(add(Duration::from_hours(24)).await, Addition::Added);
    assert_eq!(store.count(&tenant, after(0)).await.unwrap(), 2);
    assert_eq!(add(Duration::from_hours(47)).await, Addition::Full(2));
    table.aws.delete_table(&table.name).await;
}
