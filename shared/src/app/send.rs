//! Sends a task's message. That may fail: the watchdog resends a lost message.

use std::time::Duration;

use crate::domain::{Causes, Task};
use crate::metric;
use crate::ports::{QueueError, TaskMessage, TaskQueue};

/// Sends the message with which a worker continues the task after `delay`. Logs a failure.
pub(super) async fn send(queue: &dyn TaskQueue, task: &Task, delay: Duration) {
    if let Err(error) = try_send(queue, task, delay).await {
        tracing::warn!(error = %Causes(&error), "message send failed; watchdog will resend");
    }
}

/// Sends the message with which a worker continues the task after `delay`.
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
