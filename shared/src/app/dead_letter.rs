//! Handles messages from the dead-letter queue: fails the task of such a message, so that no task
//! disappears silently.

use std::sync::Arc;

use super::change::record_transition;
use super::span::record;
use crate::domain::Causes;
use crate::metric;
use crate::ports::{Clock, StoreError, TaskMessage, TaskStore};

/// How often a conflicting write is tried.
const MOST_TRIES: usize = 5;

/// The result for the task of a message from the dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// The task failed, as dead-lettered: no worker could claim it.
    Failed,
    /// Nothing changed: the task continues, with another message when it comes due, or has ended.
    LeftAlone,
    /// There is no such task, or the message is malformed.
    Unknown,
}

/// The ports that handling a dead-lettered message uses.
pub struct DeadLetterHandler {
    /// The store of tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl DeadLetterHandler {
    /// Fails the task of the message with this body, if its earlier messages were not processed
    /// either. The message was received `receives` times. A malformed message is logged with its
    /// size only. The ids of a valid message are recorded on the current span.
    pub async fn handle(&self, body: &str, receives: u32) -> Result<DeadLetterOutcome, StoreError> {
        let message = match TaskMessage::from_body(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(error = %Causes(&error), bytes = body.len(), receives, "malformed dead letter dropped");
                metric::POISON_DROPPED.add([], 1);
                return Ok(DeadLetterOutcome::Unknown);
            }
        };
        record("task_id", message.task.to_string());
        record("tenant_id", message.tenant.as_str());
        for _ in 0..MOST_TRIES {
            let Some(mut task) = self.tasks.task(&message.tenant, message.task).await? else {
                tracing::warn!("dead letter of an unknown task");
                return Ok(DeadLetterOutcome::Unknown);
            };
            record("agent_id", task.spec().agent.id.to_string());
            if !task.dead_letter(self.clock.now()) {
                let status = task.status().as_str();
                // The count is of all queues.
                if receives == 1 && task.fence() == 0 {
                    tracing::warn!(
                        status,
                        "message reached the dead-letter queue without a delivery from the task queue"
                    );
                } else {
                    tracing::info!(status, "dead letter ignored; the task continues");
                }
                return Ok(DeadLetterOutcome::LeftAlone);
            }
            match self.tasks.update(&task).await {
                Ok(()) => {
                    tracing::error!(receives, "task dead-lettered: no worker could claim it");
                    record_transition(&task);
                    return Ok(DeadLetterOutcome::Failed);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }
}
