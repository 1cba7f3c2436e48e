//! Wires the watchdog to DynamoDB and SQS, and runs it in Lambda.

use std::sync::{Arc, Mutex};

use cleanup::Cleanup;
use cleanup::config::Config;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::app::{AgentPurger, DeadLetterHandler, Purger, Sweeper, TenantWalker, UsageChecker};
use shared::config::Environment;
use shared::domain::{TenantId, Timestamp};
use shared::ports::Clock;
use shared::ports::clock::SystemClock;
use shared::queue::{SqsTaskQueue, sqs};
use shared::store::client::{dynamodb, sdk_config};
use shared::store::{
    DynamoAgentStore, DynamoJournal, DynamoRetention, DynamoTaskStore, DynamoTenantStore,
    DynamoUsage,
};
use shared::telemetry::{self, Service};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(Service::new("cleanup", env!("VERSION")), &environment);
    let config =
        Config::read(&environment).inspect_err(|error| error.log("cleanup", &environment))?;
    let cleanup = connect(config).await;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| {
        let left = Timestamp::from_millis(event.context.deadline).since(SystemClock.now());
        telemetry::invocation(left, cleanup.handle(event))
    }))
    .await
}

/// The watchdog over AWS.
async fn connect(config: Config) -> Cleanup {
    let sdk = sdk_config().await;
    let tasks = Arc::new(DynamoTaskStore::new(dynamodb(&sdk), &config.state_table));
    let agents = DynamoAgentStore::new(dynamodb(&sdk), &config.state_table);
    let usage = UsageChecker {
        usage: Arc::new(DynamoUsage::new(dynamodb(&sdk), &config.state_table)),
        tasks: Arc::<DynamoTaskStore>::clone(&tasks),
        tenants: Arc::new(DynamoTenantStore::new(dynamodb(&sdk), &config.state_table)),
        home: TenantId::home(),
        clock: Arc::new(SystemClock),
        ended: Mutex::default(),
    };
    let tenants = DynamoTenantStore::new(dynamodb(&sdk), &config.state_table);
    let retention = Arc::new(DynamoRetention::new(
        dynamodb(&sdk),
        &config.state_table,
        config.ephemeral_table,
    ));
    let journal = Arc::new(DynamoJournal::new(dynamodb(&sdk), config.state_table));
    let sweeper = Sweeper {
        tasks: Arc::<DynamoTaskStore>::clone(&tasks),
        journal: Arc::<DynamoJournal>::clone(&journal),
        queue: Arc::new(SqsTaskQueue::new(sqs(&sdk), config.task_queue_url.clone())),
        clock: Arc::new(SystemClock),
    };
    let purger = Purger {
        retention: Arc::<DynamoRetention>::clone(&retention),
        keep_for: config.task_retention,
        clock: Arc::new(SystemClock),
    };
    let agents = AgentPurger {
        retention: Arc::new(agents),
        clock: Arc::new(SystemClock),
    };
    let walker = TenantWalker {
        tenants: Arc::new(tenants),
        tasks: Arc::<DynamoTaskStore>::clone(&tasks),
        journal,
        retention,
        clock: Arc::new(SystemClock),
    };
    Cleanup {
        sweeper,
        purger,
        agents,
        usage,
        tenants: walker,
        undelivered: DeadLetterHandler {
            tasks,
            clock: Arc::new(SystemClock),
        },
        task_queue_url: config.task_queue_url,
    }
}
