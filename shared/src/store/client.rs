//! The SDK's configuration and the DynamoDB client.
//!
//! The behaviour version is pinned, so that a change of the SDK's defaults is a decision. Regions,
//! credentials and endpoints come from the environment in the SDK's own variables,
//! `AWS_ENDPOINT_URL` among them.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemInput;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_smithy_runtime_api::client::interceptors::context::Input;

use crate::telemetry::aws::AwsCalls;
use crate::tls;

/// What all AWS clients share, read from the environment. Built once, before the first client.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .load()
        .await
}

/// What all AWS clients share, in a function that has other HTTP clients too.
///
/// All these clients share the root certificates, which are read once. A function with only AWS
/// clients starts faster with [`sdk_config`].
pub async fn sdk_config_beside_others() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(tls::aws_client())
        .load()
        .await
}

/// The DynamoDB client of a function. Cheap to clone.
pub fn dynamodb(shared: &SdkConfig) -> Client {
    Client::from_conf(dynamodb_config(shared).build())
}

/// The DynamoDB client's configuration: 1 s to connect, 1 s an attempt, three attempts within 3 s
/// in all.
///
/// The waits between attempts begin at 50 ms rather than the SDK's 1 s, which would not fit into
/// the 3 s.
pub fn dynamodb_config(shared: &SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(3));
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(50));
    let builder = Builder::from(shared)
        .timeout_config(timeouts.build())
        .retry_config(retries);
    builder.interceptor(AwsCalls { resource: table })
}

/// The table that a call names, for the operations that the stores use.
fn table(input: &Input) -> Option<&str> {
    let get = || {
        input
            .downcast_ref::<GetItemInput>()
            .map(GetItemInput::table_name)
    };
    let put = || {
        input
            .downcast_ref::<PutItemInput>()
            .map(PutItemInput::table_name)
    };
    let update = || {
        input
            .downcast_ref::<UpdateItemInput>()
            .map(UpdateItemInput::table_name)
    };
    let delete = || {
        input
            .downcast_ref::<DeleteItemInput>()
            .map(DeleteItemInput::table_name)
    };
    let query = || {
        input
            .downcast_ref::<QueryInput>()
            .map(QueryInput::table_name)
    };
    get()
        .or_else(put)
        .or_else(update)
        .or_else(delete)
        .or_else(query)
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_sdk_dynamodb::config::{Credentials, Region};
    use axum::http::StatusCode;
    use axum::{Json, Router, routing::post};

    use super::*;
    use crate::ports::{StoreError, TaskStore};
    use crate::store::DynamoTaskStore;
    use crate::testing::samples;

    /// A DynamoDB that refuses every request in the same way, and the number of requests.
    async fn refusing(status: StatusCode, code: &'static str) -> (DynamoTaskStore, Arc<AtomicU32>) {
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&attempts);
        let respond = move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            (
                status,
                Json(
                    serde_json::json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}")}),
                ),
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async {
            axum::serve(listener, Router::new().route("/", post(respond))).await
        });
        let shared = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .endpoint_url(endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        (
            DynamoTaskStore::new(dynamodb(&shared.load().await), "state"),
            attempts,
        )
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_three_times_and_then_reported() {
        let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
        let (store, attempts) = refusing(StatusCode::BAD_REQUEST, "ThrottlingException").await;
        assert!(matches!(
            store.update(&task).await,
            Err(StoreError::Throttled(_))
        ));
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
        let (store, attempts) =
            refusing(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError").await;
        assert!(matches!(
            store.update(&task).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn what_will_not_pass_is_tried_once() {
        let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
        let (store, attempts) =
            refusing(StatusCode::BAD_REQUEST, "ResourceNotFoundException").await;
        assert!(matches!(
            store.update(&task).await,
            Err(StoreError::Refused(_))
        ));
        assert_eq!(attempts.load(Ordering::SeqCst), 1);
    }
}
