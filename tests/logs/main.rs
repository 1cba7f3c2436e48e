//! What all functions of all deployments have logged and traced while the other suites ran. `make
//! integration` runs this suite when they have ended, so that nothing still writes. Without them
//! there is too little to check, and this suite fails.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::testing::log_schema::check_log_line;

use tests::Platform;
use tests::platform::{tell, unique};
use tests::telemetry::{is_ours, listed_metrics};

/// Far fewer than the other suites log, and far more than this one does.
const LEAST_LINES: usize = 1_000;

const CANARIES: [&str; 2] = ["canary prompt", "canary answer"];

#[tokio::test]
async fn all_lines_keep_to_the_schema_and_contain_no_content() {
    let platform = Platform::deployed().await;
    let task = platform
        .submit(&platform.claude().await, &unique("[ok] canary prompt"))
        .await;
    assert_eq!(platform.ended(&task).await["output"], "canary answer");
    platform.logged("executor", "task ended", &task).await;
    platform.invoke_cleanup().await;
    let has_counted = async || !platform.log_lines("cleanup", "ColdStarts").await.is_empty();
    platform.until(has_counted, "the watchdog counts").await;

    let secrets = || CANARIES.into_iter().chain([platform.api_key()]);
    let listed: BTreeMap<_, _> = listed_metrics()
        .into_iter()
        .map(|metric| (metric.name.to_owned(), metric.services))
        .collect();
    let (mut lines, mut counting) = (0, BTreeSet::new());
    for (group, log) in platform.all_logs().await {
        for secret in secrets() {
            assert!(!log.contains(secret), "{group} tells {secret}");
        }
        for line in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            if line["_aws"].is_object() {
                let service = line["service"].as_str().unwrap();
                counting.insert(service.to_owned());
                for metric in metrics_of(&line) {
                    assert!(
                        listed[&metric].contains(&service),
                        "docs/metrics.txt lists no {metric} of {service}"
                    );
                }
            } else if is_ours(&line) {
                check_log_line(&line).unwrap();
                lines += 1;
            }
        }
    }
    assert_eq!(
        counting,
        ["api", "cleanup", "executor"].map(str::to_owned).into()
    );
    assert!(
        lines >= LEAST_LINES,
        "only {lines} lines are logged: `make integration` runs the suites that log more"
    );

    let traces = platform.traces();
    for secret in secrets() {
        assert!(!traces.contains(secret), "a trace tells {secret}");
    }
    assert!(traces.lines().all(|span| span.len() < 65_536));
    tell(&format!(
        "{lines} lines and {} spans keep to what is promised of them",
        traces.lines().count()
    ));
}

/// The names of the metrics in a document.
fn metrics_of(document: &Value) -> Vec<String> {
    let declared = document["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        .as_array()
        .unwrap();
    declared
        .iter()
        .map(|metric| metric["Name"].as_str().unwrap().to_owned())
        .collect()
}
