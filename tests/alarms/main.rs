//! Each alarm of the template is fired once by its fault, over the metrics that the code wrote as
//! the fault went on, and none by a healthy day. Where AWS itself writes the metric, it gets what
//! AWS documents of that fault (Lambda developer guide, "Types of metrics for Lambda functions";
//! SQS developer guide, "Available `CloudWatch` metrics"; `DynamoDB` developer guide, "Metrics and
//! dimensions"; API Gateway developer guide, "Monitor HTTP API metrics").

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

mod cloudwatch;
mod faults;
mod functions;
mod stack;

use std::collections::BTreeSet;

use faults::FAULTS;
use shared::testing::When;
use stack::{Stack, alarms};

/// What is wrong is returned: a panic would be logged without its words, as in a function.
#[tokio::test(start_paused = true)]
async fn each_alarm_is_fired_by_its_fault_and_none_by_a_healthy_day() -> Result<(), Vec<String>> {
    let (mut covered, mut wrong) = (BTreeSet::new(), Vec::new());
    for (names, fault) in FAULTS {
        let (always, _) = fault().await.fired();
        for name in *names {
            covered.insert((*name).to_owned());
            if !always.contains(*name) {
                wrong.push(format!("{name} is not fired by its fault, only {always:?}"));
            }
        }
    }
    let unlike: BTreeSet<String> = &covered ^ &alarms();
    wrong.extend(
        unlike
            .into_iter()
            .map(|name| format!("{name} has no fault, or is no alarm")),
    );
    for (day, stack) in [
        ("healthy day", faults::healthy_day().await),
        ("night with single failures", near_misses().await),
    ] {
        let (_, fired) = stack.fired();
        wrong.extend(
            fired
                .into_iter()
                .map(|name| format!("{name} is fired by a {day}")),
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// One failure in the night wakes nobody.
async fn near_misses() -> Stack {
    let stack = Stack::new().await;
    for _ in 0..99 {
        stack.try_key("wrong").await;
    }
    faults::lose_a_task(&stack).await;
    stack.state.fail_next(When::Before);
    stack.submit().await;
    for _ in 0..30 {
        stack.pass(60);
        stack.sweep().await;
    }
    stack
}
