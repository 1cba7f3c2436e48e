//! Sends a task's message. That may fail: the watchdog resends a lost message.

use std::time::Duration;

use crate::domain::{Causes, Task};
use crate::metric;
use crate::ports::{Outgoing, QueueError, TaskQueue};

/// Sends the message with which a worker continues the task after `delay`. Logs a failure.
pub(super) async fn send(queue: &dyn TaskQueue, task: &Task, delay: Duration) {
    send_outgoing(queue, &Outgoing::of(task, delay)).await;
}

/// Sends the message. Logs a failure.
pub(super) async fn send_outgoing(queue: &dyn TaskQueue, outgoing: &Outgoing) {
    if let Err(error) = try_send(queue, outgoing).await {
        tracing::warn!(error = %Causes(&error), "message send failed; watchdog will resend");
    }
}

/// Sends the message. Counts a failure.
pub(super) async fn try_send(
    queue: &dyn TaskQueue,
    Outgoing {
        message,
        trace,
        delay,
    }: &Outgoing,
) -> Result<(), QueueError> {
    let sent = queue.send(message, trace.as_ref(), *delay).await;
    sent.inspect_err(|_| metric::SEND_FAILURES.add([], 1))
}
