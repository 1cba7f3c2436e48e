//! The SDK's configuration and the DynamoDB client.
//!
//! The behaviour version is pinned, so that a change of the SDK's defaults is a decision. Regions, credentials and
//! endpoints come from the environment in the SDK's own variables, `AWS_ENDPOINT_URL` among them.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;

/// What all AWS clients share, read from the environment. Built once, before the first client.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12()).load().await
}

/// The DynamoDB client of a function. Cheap to clone.
pub fn dynamodb(shared: &SdkConfig) -> Client {
    Client::from_conf(dynamodb_config(shared).build())
}

/// The DynamoDB client's configuration: 1 s to connect, 1 s an attempt, three attempts within 3 s in all.
///
/// The waits between attempts begin at 50 ms rather than the SDK's 1 s, which would not fit into the 3 s.
pub fn dynamodb_config(shared: &SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(3));
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50));
    Builder::from(shared).timeout_config(timeouts.build()).retry_config(retries)
}
