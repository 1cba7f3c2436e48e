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
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use serde_json::{Value, json};
use shared::domain::WorkerId;
use shared::ports::{Clock, clock::SystemClock};

use crate::services::Services;
use crate::{CallCounter, UnreliableAws};

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

    /// A DynamoDB client as the functions have it.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config =
            shared::store::client::dynamodb_config(&self.shared).interceptor(self.calls.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// An SQS client as the functions have it.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = shared::queue::sqs_config(&self.shared).interceptor(self.calls.clone());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    /// Creates a state table with the keys and indexes of `template.yaml`, and names it.
    pub async fn create_state_table(&self) -> String {
        let name = unique_name();
        let dynamodb = self.dynamodb();
        let by_tenant = Projection::builder()
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(
                [
                    "status",
                    "agent_id",
                    "agent_version",
                    "created_at",
                    "updated_at",
                    "attempts",
                    "failure_code",
                ]
                .map(str::to_owned)
                .into(),
            ));
        let due = Projection::builder().projection_type(ProjectionType::KeysOnly);
        let request = dynamodb
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attribute_definitions()))
            .set_key_schema(Some(key_schema("pk", "sk")))
            .global_secondary_indexes(index(
                "by_tenant",
                key_schema("tenant_id", "created"),
                by_tenant.build(),
            ))
            .global_secondary_indexes(index("due", key_schema("due_shard", "due_at"), due.build()));
        request.send().await.expect("the table can be created");
        let ready = dynamodb
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

fn unique_name() -> String {
    format!("test-{}", WorkerId::new(SystemClock.now()))
}

fn attribute_definitions() -> Vec<AttributeDefinition> {
    let texts = ["pk", "sk", "tenant_id", "created", "due_shard"]
        .map(|name| (name, ScalarAttributeType::S));
    let definition = |(name, kind)| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(kind)
            .build()
            .expect("a whole definition")
    };
    texts
        .into_iter()
        .chain([("due_at", ScalarAttributeType::N)])
        .map(definition)
        .collect()
}

fn key_schema(partition: &str, sort: &str) -> Vec<KeySchemaElement> {
    let element = |(name, kind)| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("a whole element")
    };
    [(partition, KeyType::Hash), (sort, KeyType::Range)]
        .map(element)
        .into()
}

fn index(name: &str, keys: Vec<KeySchemaElement>, projection: Projection) -> GlobalSecondaryIndex {
    let index = GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(keys))
        .projection(projection);
    index.build().expect("a whole index")
}
