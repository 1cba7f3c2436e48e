//! Sending a task's message, which may fail: the watchdog sends what got lost.

use std::time::Duration;

use crate::domain::{Causes, Task};
use crate::metric;
use crate::ports::{QueueError, TaskMessage, TaskQueue};

/// Sends the message that has a worker take up the task after `delay`, or tells of the failure.
pub(super) async fn send(queue: &dyn TaskQueue, task: &Task, delay: Duration) {
    if let Err(error) = try_send(queue, task, delay).await {
        tracing::warn!(error = %Causes(&error), "message send failed; watchdog will resend");
    }
}

/// Sends the message that has a worker take up the task after `delay`.
pub(super) async fn try_send(
    queue: &dyn TaskQueue,
    task: &Task,
    delay: Duration,
) -> Result<(), QueueError> {
    let message = TaskMessage {
        tenant: task.spec().tenant.clone(),
        task: task.id(),
        alone: task.is_suspect(),
    };
    let sent = queue
        .send(&message, task.spec().trace.as_ref(), delay)
        .await;
    sent.inspect_err(|_| metric::SEND_FAILURES.add([], 1))
}
