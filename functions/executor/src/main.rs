//! Wires the executor to DynamoDB, SQS, Secrets Manager and the model providers, and runs it in Lambda.

use std::sync::Arc;

use executor::Executor;
use executor::config::{Config, Upstream};
use lambda_runtime::{Error, service_fn};
use shared::app::Runner;
use shared::config::Environment;
use shared::llm::{self, Access, ApiKey, Providers};
use shared::ports::Secrets;
use shared::ports::clock::SystemClock;
use shared::queue::{SqsTaskQueue, sqs};
use shared::secrets::{SecretsManager, secrets_manager};
use shared::store::client::{dynamodb, sdk_config};
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoTaskStore};
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start("executor", &environment);
    let config = Config::read(&environment)?;
    let sdk = sdk_config().await;
    let table = dynamodb(&sdk);
    let secrets: Arc<dyn Secrets> = Arc::new(SecretsManager::new(secrets_manager(&sdk), Arc::new(SystemClock)));
    let access = |upstream| access(upstream, &secrets);
    let providers = Providers { anthropic: access(config.anthropic), openai: access(config.openai) };
    let runner = Runner {
        agents: Arc::new(DynamoAgentStore::new(table.clone(), &config.state_table)),
        tasks: Arc::new(DynamoTaskStore::new(table.clone(), &config.state_table)),
        journal: Arc::new(DynamoJournal::new(table, &config.state_table)),
        model: llm::model(&llm::http_client()?, providers),
        clock: Arc::new(SystemClock),
        model_timeout: config.model_timeout,
    };
    let queue = Arc::new(SqsTaskQueue::new(sqs(&sdk), config.task_queue_url));
    let executor = Executor { runner: Arc::new(runner), queue };
    lambda_runtime::run(service_fn(move |event| {
        let executor = executor.clone();
        async move { executor.handle(event).await }
    }))
    .await
}

fn access(upstream: Upstream, store: &Arc<dyn Secrets>) -> Access {
    let key = upstream.key_secret.map_or(ApiKey::Absent, |name| ApiKey::Secret { store: Arc::clone(store), name });
    Access { base_url: upstream.base_url, key }
}
