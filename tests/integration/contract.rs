//! The real adapters keep the same rules as the fakes that everything else is tested on.

use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use shared::queue::SqsTaskQueue;
use shared::store::{
    DynamoAgentStore, DynamoAnswerCache, DynamoBudgets, DynamoCircuits, DynamoJournal,
    DynamoKeyStore, DynamoRequestCounts, DynamoRetention, DynamoSlots, DynamoTaskStore,
    DynamoTenantStore, DynamoUsage,
};
use shared::testing::Delivery;
use shared::testing::contract::{self, AgentPorts, Inbox, RetentionPorts, TenantPorts};
use tests::LocalAws;
use tokio::task::JoinHandle;

/// Waits for the suite, cleans up after it, and then reports its result.
async fn finish(suite: JoinHandle<()>, clean_up: impl Future<Output = ()>) {
    let outcome = suite.await;
    clean_up.await;
    if let Err(broken) = outcome {
        resume_unwind(broken.into_panic());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_agent_store() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let store = DynamoAgentStore::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::agent_store(Arc::new(store))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_key_store() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let store = DynamoKeyStore::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::key_store(Arc::new(store))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_request_counts() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let counts = DynamoRequestCounts::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::request_counts(Arc::new(counts))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_tenant_store() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let store = DynamoTenantStore::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::tenant_store(Arc::new(store))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_usage() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let store = DynamoUsage::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::usage(Arc::new(store))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_task_store() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let store = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::task_store(Arc::new(store))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_journal() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let journal = DynamoJournal::new(aws.dynamodb(), table.as_str());
    let tasks = DynamoTaskStore::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::journal(Arc::new(journal), Arc::new(tasks))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_retention() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let ports = RetentionPorts {
        tasks: Arc::new(DynamoTaskStore::new(aws.dynamodb(), table.as_str())),
        journal: Arc::new(DynamoJournal::new(aws.dynamodb(), table.as_str())),
        budgets: Arc::new(DynamoBudgets::new(aws.dynamodb(), table.as_str())),
        answers: Arc::new(DynamoAnswerCache::new(aws.dynamodb(), table.as_str())),
        retention: Arc::new(DynamoRetention::new(
            aws.dynamodb(),
            table.as_str(),
            table.as_str(),
        )),
    };
    finish(
        tokio::spawn(contract::retention(ports)),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_archived_agents() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let agents = Arc::new(DynamoAgentStore::new(aws.dynamodb(), table.as_str()));
    let tasks = Arc::new(DynamoTaskStore::new(aws.dynamodb(), table.as_str()));
    let ports = AgentPorts {
        agents: Arc::<DynamoAgentStore>::clone(&agents),
        tasks,
        retention: agents,
    };
    finish(
        tokio::spawn(contract::agent_retention(ports)),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_deleted_tenants() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let tenants = Arc::new(DynamoTenantStore::new(aws.dynamodb(), table.as_str()));
    let ports = TenantPorts {
        tenants: Arc::<DynamoTenantStore>::clone(&tenants),
        keys: Arc::new(DynamoKeyStore::new(aws.dynamodb(), table.as_str())),
        agents: Arc::new(DynamoAgentStore::new(aws.dynamodb(), table.as_str())),
        tasks: Arc::new(DynamoTaskStore::new(aws.dynamodb(), table.as_str())),
        retention: tenants,
    };
    finish(
        tokio::spawn(contract::tenant_retention(ports)),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_circuits() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let circuits = DynamoCircuits::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::circuits(Arc::new(circuits))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_budgets() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let budgets = DynamoBudgets::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::budgets(Arc::new(budgets))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_slots() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let slots = DynamoSlots::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::slots(Arc::new(slots))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_keeps_the_contract_of_the_answer_cache() {
    let aws = LocalAws::from_env().await;
    let table = aws.create_state_table().await;
    let answers = DynamoAnswerCache::new(aws.dynamodb(), table.as_str());
    finish(
        tokio::spawn(contract::answers(Arc::new(answers))),
        aws.delete_table(&table),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_keeps_the_contract_of_the_task_queue() {
    let aws = LocalAws::from_env().await;
    let url = aws.create_queue().await;
    let queue = SqsTaskQueue::new(aws.sqs(), url.as_str());
    let inbox = SqsInbox {
        client: aws.sqs(),
        url: url.clone(),
    };
    finish(
        tokio::spawn(contract::task_queue(Arc::new(queue), Arc::new(inbox))),
        aws.delete_queue(&url),
    )
    .await;
}

struct SqsInbox {
    client: aws_sdk_sqs::Client,
    url: String,
}

#[async_trait]
impl Inbox for SqsInbox {
    async fn receive(&self) -> Result<Option<Delivery>, Box<dyn std::error::Error + Send + Sync>> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(1)
            .wait_time_seconds(1);
        let request =
            request.message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader);
        let request =
            request.message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
        let Some(message) = request.send().await?.messages.unwrap_or_default().pop() else {
            return Ok(None);
        };
        let mut attributes = message.attributes.unwrap_or_default();
        let group = attributes.remove(&MessageSystemAttributeName::MessageGroupId);
        let trace = attributes
            .get(&MessageSystemAttributeName::AwsTraceHeader)
            .map(|header| header.parse())
            .transpose()?;
        let receipt = message
            .receipt_handle
            .ok_or("a message without a receipt")?;
        Ok(Some(Delivery {
            receipt,
            body: message.body.ok_or("a message without a body")?,
            trace,
            group,
        }))
    }
}
