//! What a sweep counts. A program of its own, because there is one recorder in a process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic like the test itself"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cleanup::Cleanup;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use shared::app::{AgentPurger, DeadLetterHandler, Purger, Sweeper, TenantWalker, UsageChecker};
use shared::config::Environment;
use shared::domain::TenantId;
use shared::ports::{Clock, TaskStore};
use shared::telemetry::{Service, start, write_metrics};
use shared::testing::{
    Call, Faults, ManualClock, MemoryQueue, MemoryStore, MemoryTenantRetention, MemoryTenants,
    MemoryUsage, When, samples,
};

#[tokio::test]
async fn an_overdue_task_that_cannot_be_changed_is_counted() {
    start(
        Service::new("cleanup", "v1"),
        &Environment::of([("ENVIRONMENT", "test"), ("AWS_LAMBDA_LOG_LEVEL", "ERROR")]),
    );
    let (store, faults) = (MemoryStore::default(), Faults::default());
    for _ in 0..2 {
        let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
        TaskStore::create(&store, &task).await.unwrap();
    }
    faults.fail_at_nth(Call::Update, 1, When::Before);
    let clock = Arc::new(ManualClock::at(samples::after(60)));
    let mut context = Context::default();
    context.deadline = clock.now().plus(Duration::from_mins(1)).as_millis();
    let cleanup = cleanup(Arc::new(store.with_faults(faults)), clock);
    cleanup
        .handle(LambdaEvent::new(Value::Null, context))
        .await
        .unwrap();

    let mut written = Vec::new();
    write_metrics(&mut written).unwrap();
    let counted: Value = serde_json::from_slice(&written).unwrap();
    let counts =
        ["OverdueTasks", "MessagesResent", "SweepFailures"].map(|name| counted[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(1)], "{counted}");
}

/// The watchdog over this store.
fn cleanup(tasks: Arc<MemoryStore>, clock: Arc<ManualClock>) -> Cleanup {
    let sweeper = Sweeper {
        tasks: Arc::<MemoryStore>::clone(&tasks),
        journal: Arc::<MemoryStore>::clone(&tasks),
        queue: Arc::new(MemoryQueue::default()),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let purger = Purger {
        retention: Arc::<MemoryStore>::clone(&tasks),
        keep_for: None,
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let agents = AgentPurger {
        retention: Arc::<MemoryStore>::clone(&tasks),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    let usage = UsageChecker {
        usage: Arc::new(MemoryUsage::default()),
        tasks: Arc::<MemoryStore>::clone(&tasks),
        tenants: Arc::new(MemoryTenants::default()),
        home: TenantId::home(),
        clock: Arc::<ManualClock>::clone(&clock),
        ended: Mutex::default(),
    };
    let tenants = TenantWalker {
        tenants: Arc::new(MemoryTenantRetention::default()),
        tasks: Arc::<MemoryStore>::clone(&tasks),
        journal: Arc::<MemoryStore>::clone(&tasks),
        retention: Arc::<MemoryStore>::clone(&tasks),
        clock: Arc::<ManualClock>::clone(&clock),
    };
    Cleanup {
        sweeper,
        purger,
        agents,
        usage,
        tenants,
        undelivered: DeadLetterHandler { tasks, clock },
        task_queue_url: String::new(),
    }
}
