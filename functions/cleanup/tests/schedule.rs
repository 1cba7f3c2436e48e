//! The schedule's event over the platform in memory.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic like the test itself")]

use std::sync::Arc;
use std::time::Duration;

use cleanup::SweepBrokeOff;
use lambda_runtime::{Context, LambdaEvent};
use shared::app::Sweeper;
use shared::ports::{Clock, TaskStore};
use shared::testing::{Faults, ManualClock, MemoryQueue, MemoryStore, When, samples};

const EVENT: &str = include_str!("../../../events/schedule-cleanup.json");

async fn sweep(store: MemoryStore, queue: &MemoryQueue) -> Result<(), SweepBrokeOff> {
    let clock = ManualClock::at(samples::after(60));
    let mut context = Context::default();
    context.deadline = clock.now().plus(Duration::from_mins(1)).as_millis();
    let sweeper = Sweeper { tasks: Arc::new(store), queue: Arc::new(queue.clone()), clock: Arc::new(clock) };
    cleanup::handle(&sweeper, LambdaEvent::new(serde_json::from_str(EVENT).unwrap(), context)).await
}

#[tokio::test]
async fn the_schedules_event_sweeps() {
    let (store, queue) = (MemoryStore::default(), MemoryQueue::default());
    let task = samples::task(&samples::agent(&samples::tenant("acme")), samples::START);
    TaskStore::create(&store, &task).await.unwrap();
    sweep(store, &queue).await.unwrap();
    let sent: Vec<_> = queue.sent().iter().map(|message| message.task).collect();
    assert_eq!(sent, [task.id()]);
}

#[tokio::test]
async fn a_failing_store_fails_the_invocation() {
    let faults = Faults::default();
    faults.die_at(1, When::Before);
    let swept = sweep(MemoryStore::default().with_faults(faults), &MemoryQueue::default()).await;
    assert!(matches!(swept, Err(SweepBrokeOff { .. })), "{swept:?}");
}
