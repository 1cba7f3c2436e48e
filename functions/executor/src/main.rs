//! Wires the executor to DynamoDB, SQS, Secrets Manager and the model providers, and runs it in
//! Lambda.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use executor::Executor;
use executor::config::Config;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::app::{KnownTenants, Room, Runner, TaskSlots, TenantGate};
use shared::config::Environment;
use shared::domain::{Causes, Timestamp};
use shared::llm::{self, Layers};
use shared::policy::CostCaps;
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, Secrets, TaskCaps};
use shared::queue::{SqsTaskQueue, sqs};
use shared::runtime;
use shared::secrets::{SecretsManager, secrets_manager};
use shared::store::client::{dynamodb, sdk_config_beside_others};
use shared::store::{
    DynamoAgentStore, DynamoAnswerCache, DynamoBudgets, DynamoCircuits, DynamoJournal,
    DynamoKeyStore, DynamoSlots, DynamoTaskStore, DynamoTenantStore, DynamoUsage,
};
use shared::telemetry::{self, Service};
use shared::tools::{BuiltinTools, Credentials};

fn main() -> Result<(), Error> {
    runtime::for_tasks()?.block_on(run())
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(Service::new("executor", env!("VERSION")), &environment);
    let config =
        Config::read(&environment).inspect_err(|error| error.log("executor", &environment))?;
    let executor = connect(config).await?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| {
        let executor = executor.clone();
        let left = Timestamp::from_millis(event.context.deadline).since(SystemClock.now());
        async move { telemetry::invocation(left, executor.handle(event)).await }
    }))
    .await
}

/// The executor over AWS and the model providers.
async fn connect(config: Config) -> Result<Executor, Error> {
    let clock = || Arc::new(SystemClock);
    let sdk = sdk_config_beside_others().await;
    let table = dynamodb(&sdk);
    let secrets: Arc<dyn Secrets> = Arc::new(SecretsManager::new(secrets_manager(&sdk), clock()));
    let queue = Arc::new(SqsTaskQueue::new(sqs(&sdk), config.task_queue_url));
    let tenants = Arc::new(KnownTenants::new(
        Arc::new(DynamoTenantStore::new(table.clone(), &config.state_table)),
        Arc::new(DynamoKeyStore::new(table.clone(), &config.state_table)),
        clock(),
    ));
    let own_caps: Arc<dyn TaskCaps> = Arc::<KnownTenants>::clone(&tenants);
    let layers = Layers {
        answers: Arc::new(DynamoAnswerCache::new(
            table.clone(),
            &config.ephemeral_table,
        )),
        circuits: Arc::new(DynamoCircuits::new(table.clone(), &config.ephemeral_table)),
        breaker: config.breaker,
        caps: CostCaps {
            budgets: Arc::new(DynamoBudgets::new(table.clone(), &config.state_table)),
            daily: config.daily_caps,
            own: Arc::clone(&own_caps),
        },
        clock: clock(),
    };
    let slots = DynamoSlots::new(table.clone(), &config.ephemeral_table);
    let runner = Runner {
        agents: Arc::new(TenantGate::new(
            Arc::new(DynamoAgentStore::new(table.clone(), &config.state_table)),
            tenants,
        )),
        tasks: Arc::new(DynamoTaskStore::new(table.clone(), &config.state_table)),
        usage: Arc::new(DynamoUsage::new(table.clone(), &config.state_table)),
        journal: Arc::new(DynamoJournal::new(table, &config.state_table)),
        queue: Arc::<SqsTaskQueue>::clone(&queue),
        model: llm::model(
            &llm::http_client().inspect_err(log_failure)?,
            config.upstreams.providers(&secrets),
            layers,
        ),
        tools: Arc::new(tools(secrets, config.tool_secret_prefix)?),
        clock: clock(),
        cache: config.cache,
        times: config.times,
        slots: Some(TaskSlots::new(
            Arc::new(slots),
            own_caps,
            config.tenant_max_running_tasks,
            config.max_running_tasks,
        )),
        room: Room::of_function(config.memory_mb),
    };
    Ok(Executor {
        runner: Arc::new(runner),
        queue,
    })
}

/// The platform's tools, with the credentials of all tenants.
fn tools(secrets: Arc<dyn Secrets>, prefix: Option<String>) -> Result<BuiltinTools, Error> {
    let credentials = Credentials::new(secrets, prefix);
    let tools = BuiltinTools::new(credentials, Arc::new(SystemClock)).inspect_err(log_failure)?;
    Ok(tools)
}

/// Logs what keeps the function from starting.
fn log_failure(error: &(impl std::error::Error + 'static)) {
    tracing::error!(error = %Causes(error), "HTTP client can't be built");
}
