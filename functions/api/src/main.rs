//! Wires the API to DynamoDB, SQS and Secrets Manager, and runs it in Lambda.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::config::Config;
use api::{Api, ApiKeys, router};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use lambda_http::Error;
use shared::app::{Agents, Readiness, Tasks, Waits};
use shared::config::{ConfigError, Environment};
use shared::domain::Timestamp;
use shared::ports::Clock;
use shared::ports::clock::SystemClock;
use shared::queue::{SqsTaskQueue, sqs};
use shared::secrets::{SecretsManager, secrets_manager};
use shared::store::client::{dynamodb, sdk_config};
use shared::store::{DynamoAgentStore, DynamoJournal, DynamoSlots, DynamoTaskStore};
use shared::telemetry::{self, Service};

/// The tenant that the deployment's one API key belongs to.
const TENANT: &str = "default";

/// The commit that this was built from.
const VERSION: &str = env!("VERSION");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(Service::new("api", VERSION), &environment);
    let config = Config::read(&environment).inspect_err(ConfigError::log)?;
    let sdk = sdk_config().await;
    let table = dynamodb(&sdk);
    let store = Arc::new(DynamoTaskStore::new(table.clone(), &config.state_table));
    let queue = Arc::new(SqsTaskQueue::new(sqs(&sdk), config.task_queue_url));
    let agents = || Arc::new(DynamoAgentStore::new(table.clone(), &config.state_table));
    let secrets = Arc::new(SecretsManager::new(
        secrets_manager(&sdk),
        Arc::new(SystemClock),
    ));
    let tasks = Tasks {
        agents: agents(),
        store: Arc::<DynamoTaskStore>::clone(&store),
        journal: Arc::new(DynamoJournal::new(table.clone(), &config.state_table)),
        queue: Arc::<SqsTaskQueue>::clone(&queue),
        clock: Arc::new(SystemClock),
    };
    let wait_slots = DynamoSlots::of_waits(table.clone(), &config.ephemeral_table);
    let keys = ApiKeys::new(
        secrets,
        config.api_key_secret,
        config.api_key_grace,
        TENANT.parse()?,
    );
    let api = Api {
        agents: Agents {
            store: agents(),
            retention: agents(),
            providers: config.providers,
            clock: Arc::new(SystemClock),
        },
        waits: Waits::new(tasks.clone(), Arc::new(wait_slots), config.tenant_max_waits),
        tasks,
        readiness: Arc::new(Readiness::new(
            vec![
                ("the state table", store),
                ("the task queue", queue),
                ("the API key's secret", Arc::new(keys.clone())),
            ],
            Arc::new(SystemClock),
        )),
        keys,
        version: VERSION,
        runbook_url: config.runbook_url,
    };
    lambda_http::run(router(api).layer(from_fn(invocation))).await
}

/// Handles one request as one invocation for the telemetry, which must know when Lambda kills it.
async fn invocation(request: Request, next: Next) -> Result<Response, Infallible> {
    let context = request.extensions().get::<lambda_http::Context>();
    let left =
        context.map(|context| Timestamp::from_millis(context.deadline).since(SystemClock.now()));
    telemetry::invocation(left.unwrap_or(Duration::MAX), async {
        Ok(next.run(request).await)
    })
    .await
}
