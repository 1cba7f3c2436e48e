//! Wires the API to DynamoDB, SQS and Secrets Manager, and runs it in Lambda.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::config::Config;
use api::{Api, Auth, DeploymentKey, exact_paths, router};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use lambda_http::Error;
use shared::app::{
    Agents, JwtCheck, KeyPorts, PresentTenants, ProviderReports, Readiness, RequestRates, Tasks,
    UsageReports, Waits,
};
use shared::config::Environment;
use shared::domain::{TenantId, Timestamp};
use shared::jwt::{JwtSettings, OidcIssuer};
use shared::ports::clock::SystemClock;
use shared::ports::{Clock, Dependency, TenantStore};
use shared::queue::{SqsTaskQueue, sqs};
use shared::secrets::{SecretsManager, secrets_manager};
use shared::store::client::{dynamodb, sdk_config};
use shared::store::{
    DynamoAgentStore, DynamoCircuits, DynamoJournal, DynamoKeyStore, DynamoRequestCounts,
    DynamoSlots, DynamoTaskStore, DynamoTenantStore, DynamoUsage,
};
use shared::telemetry::{self, Service};

/// The commit that this was built from.
const VERSION: &str = env!("VERSION");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(Service::new("api", VERSION), &environment);
    let config = Config::read(&environment).inspect_err(|error| error.log("api", &environment))?;
    let router = router(connect(config).await).layer(from_fn(invocation));
    lambda_http::run(exact_paths(router)).await
}

/// The API over AWS.
async fn connect(config: Config) -> Api {
    let sdk = sdk_config().await;
    let table = dynamodb(&sdk);
    let store = Arc::new(DynamoTaskStore::new(table.clone(), &config.state_table));
    let queue = Arc::new(SqsTaskQueue::new(sqs(&sdk), config.task_queue_url));
    let agents = || Arc::new(DynamoAgentStore::new(table.clone(), &config.state_table));
    let clock = || Arc::new(SystemClock);
    let secrets = Arc::new(SecretsManager::new(secrets_manager(&sdk), clock()));
    let tasks = Tasks {
        agents: agents(),
        store: Arc::<DynamoTaskStore>::clone(&store),
        journal: Arc::new(DynamoJournal::new(table.clone(), &config.state_table)),
        queue: Arc::<SqsTaskQueue>::clone(&queue),
        providers: config.providers.clone(),
        clock: clock(),
    };
    let counts = DynamoRequestCounts::new(table.clone(), &config.ephemeral_table);
    let circuits = DynamoCircuits::new(table.clone(), &config.ephemeral_table);
    let usage = DynamoUsage::new(table.clone(), &config.state_table);
    let wait_slots = DynamoSlots::of_waits(table.clone(), &config.ephemeral_table);
    let tenant_store = Arc::new(DynamoTenantStore::new(table.clone(), &config.state_table));
    let ports = KeyPorts {
        keys: Arc::new(DynamoKeyStore::new(table.clone(), &config.state_table)),
        tenants: Arc::<DynamoTenantStore>::clone(&tenant_store),
        secrets: Arc::<SecretsManager>::clone(&secrets),
        pepper_secret: config.api_key_pepper_secret,
        home: TenantId::home(),
        clock: clock(),
    };
    let (keys, tenants, check) = ports.use_cases();
    let deployment_key = deployment_key(secrets, config.api_key_secret, config.api_key_grace);
    Api {
        agents: Agents {
            store: agents(),
            retention: agents(),
            providers: config.providers.clone(),
            clock: clock(),
        },
        waits: Waits::new(tasks.clone(), Arc::new(wait_slots), config.tenant_max_waits),
        tasks,
        readiness: Arc::new(readiness(store, queue, Arc::new(deployment_key.clone()))),
        keys,
        tenants,
        providers: ProviderReports::new(Arc::new(circuits), config.providers, clock()),
        usage: UsageReports::new(Arc::new(usage)),
        auth: Auth {
            deployment_key,
            keys: Arc::new(check),
            jwts: config.jwt.map(|settings| jwts(settings, tenant_store)),
            rates: RequestRates::new(Arc::new(counts), clock()),
        },
        version: VERSION,
        runbook_url: config.runbook_url,
        origins: config.origins,
    }
}

/// The deployment's own key, in this secret.
fn deployment_key(secrets: Arc<SecretsManager>, name: String, grace: Duration) -> DeploymentKey {
    DeploymentKey::new(secrets, name, grace, TenantId::home())
}

/// The check of JWTs.
fn jwts(settings: JwtSettings, tenants: Arc<dyn TenantStore>) -> Arc<JwtCheck> {
    let clock = || Arc::new(SystemClock);
    let tenants = PresentTenants::new(tenants, TenantId::home());
    let issuer = OidcIssuer::new(settings, clock());
    Arc::new(JwtCheck::new(Arc::new(issuer), tenants, clock()))
}

/// Whether what each request needs is there.
fn readiness(
    store: Arc<DynamoTaskStore>,
    queue: Arc<SqsTaskQueue>,
    key: Arc<DeploymentKey>,
) -> Readiness {
    let dependencies: Vec<(_, Arc<dyn Dependency>)> = vec![
        ("the state table", store),
        ("the task queue", queue),
        ("the API key's secret", key),
    ];
    Readiness::new(dependencies, Arc::new(SystemClock))
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
