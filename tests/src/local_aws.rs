//! The local AWS, and tables and queues on it that live as long as one test.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use shared::domain::WorkerId;
use shared::ports::{Clock, clock::SystemClock};

use crate::services::Services;
use crate::{CallCounter, UnreliableAws};

const TEMPLATE: &str = include_str!("../../template.yaml");

/// How long a call of a test's client may take.
///
/// The functions allow a second. That is not under test here, and a busy machine stands still for
/// longer: the client would send a write twice that the local AWS takes twice.
const TIME: Duration = Duration::from_mins(1);

/// The local AWS that `make test` starts.
#[derive(Debug, Clone)]
pub struct LocalAws {
    shared: SdkConfig,
    calls: CallCounter,
}

impl LocalAws {
    /// The one at `LOCAL_AWS_URL`, such as `http://127.0.0.1:4566`.
    #[expect(clippy::disallowed_methods, reason = "a test has no config.rs")]
    pub async fn from_env() -> Self {
        let url = std::env::var("LOCAL_AWS_URL").expect(
            "LOCAL_AWS_URL is not set: `make test` starts a local AWS and runs these tests on it",
        );
        let shared = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .endpoint_url(url)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "local"));
        Self {
            shared: shared.load().await,
            calls: CallCounter::default(),
        }
    }

    /// The same AWS by a way on which calls can be made to fail, with a count of its own.
    pub fn unreliable(&self) -> (Self, UnreliableAws) {
        let way = UnreliableAws::start(self.url());
        let shared = self.shared.to_builder().endpoint_url(way.url()).build();
        (
            Self {
                shared,
                calls: CallCounter::default(),
            },
            way,
        )
    }

    fn url(&self) -> &str {
        self.shared
            .endpoint_url()
            .expect("the local AWS has an address")
    }

    /// The calls of all clients from here.
    pub fn calls(&self) -> &CallCounter {
        &self.calls
    }

    /// A DynamoDB client as the functions have it, but with a minute for a call.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = shared::store::client::dynamodb_config(&self.shared)
            .interceptor(self.calls.clone())
            .timeout_config(timeouts());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// An SQS client as the functions have it, but with a minute for a call.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = shared::queue::sqs_config(&self.shared)
            .interceptor(self.calls.clone())
            .timeout_config(timeouts());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Creates a table with the keys and indexes of the template's `StateTable`, and returns its
    /// name.
    pub async fn create_state_table(&self) -> String {
        let name = unique_name();
        let services = Services::at(self.url());
        let target = "DynamoDB_20120810.CreateTable";
        services
            .call("dynamodb", target, &state_table_request(&name))
            .await;
        let ready = self
            .dynamodb()
            .wait_until_table_exists()
            .table_name(&name)
            .wait(Duration::from_secs(30))
            .await;
        ready.expect("the table becomes ready");
        name
    }

    /// Writes a record that is in DynamoDB's JSON.
    pub async fn put_record(&self, table: &str, record: &Value) {
        let services = Services::at(self.url());
        let body = json!({ "TableName": table, "Item": record });
        assert_eq!(
            services
                .call("dynamodb", "DynamoDB_20120810.PutItem", &body)
                .await,
            json!({})
        );
    }

    /// Creates a secret.
    pub async fn create_secret(&self, name: &str, value: &str) {
        let services = Services::at(self.url());
        let body = json!({ "Name": name, "SecretString": value });
        let created = services
            .call("secretsmanager", "secretsmanager.CreateSecret", &body)
            .await;
        assert_eq!(created.get("Name"), Some(&json!(name)), "{created}");
    }

    /// Deletes a table.
    pub async fn delete_table(&self, name: &str) {
        self.dynamodb()
            .delete_table()
            .table_name(name)
            .send()
            .await
            .expect("the table can be deleted");
    }

    /// Creates a standard queue and returns its URL.
    pub async fn create_queue(&self) -> String {
        let created = self
            .sqs()
            .create_queue()
            .queue_name(unique_name())
            .send()
            .await;
        created
            .expect("the queue can be created")
            .queue_url
            .expect("a queue has a URL")
    }

    /// Deletes the queue at the URL.
    pub async fn delete_queue(&self, url: &str) {
        self.sqs()
            .delete_queue()
            .queue_url(url)
            .send()
            .await
            .expect("the queue can be deleted");
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(TIME)
        .operation_attempt_timeout(TIME)
        .operation_timeout(TIME)
        .build()
}

fn unique_name() -> String {
    format!("test-{}", WorkerId::new(SystemClock.now()))
}

/// A `CreateTable` request with the properties of the template's `StateTable` that decide how
/// records are found. `CloudFormation` and `DynamoDB` give them the same names and forms.
fn state_table_request(name: &str) -> Value {
    let template = Yaml::load_from_str(TEMPLATE).expect("the template is YAML");
    let document = template.first().expect("the template is a document");
    let properties = &document["Resources"]["StateTable"]["Properties"];
    let keys = [
        "BillingMode",
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
    ];
    let properties = keys.map(|key| (key.to_owned(), to_json(&properties[key])));
    let name = ("TableName".to_owned(), name.into());
    properties.into_iter().chain([name]).collect()
}

fn to_json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Mapping(fields) => fields
            .iter()
            .map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), to_json(value)))
            .collect(),
        Yaml::Sequence(entries) => entries.iter().map(to_json).collect(),
        text => text.as_str().expect("a table's keys are texts").into(),
    }
}
