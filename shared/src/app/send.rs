//! Sending a task's message, which may fail: the watchdog sends what got lost.

use std::time::Duration;

use crate::domain::{Causes, Task};
use crate::ports::{TaskMessage, TaskQueue};

/// Sends the message that has a worker take up the task after `delay`.
pub(super) async fn send(queue: &dyn TaskQueue, task: &Task, delay: Duration) {
    let message = TaskMessage { tenant: task.spec().tenant.clone(), task: task.id() };
    if let Err(error) = queue.send(&message, task.spec().trace.as_ref(), delay).await {
        tracing::warn!(error = %Causes(&error), "the task's message is left to cleanup");
    }
}
