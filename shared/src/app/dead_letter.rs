//! What becomes of messages that the queue gave up on: the task behind one is told, so that nothing
//! disappears silently.

use std::sync::Arc;

use super::change::record_transition;
use super::span::record;
use crate::domain::Causes;
use crate::metric;
use crate::ports::{Clock, StoreError, TaskMessage, TaskStore};

/// How often a task is tried that others change at the same time.
const MOST_TRIES: usize = 5;

/// What became of the task behind a message that the queue gave up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// It failed, as dead-lettered: no worker could ever take it.
    Failed,
    /// It lives, and the watchdog sends another message when it comes due; or it has ended.
    LeftAlone,
    /// There is no such task, or the message was never one of ours.
    Unknown,
}

/// The ports that it takes to look after undelivered messages.
pub struct DeadLetterHandler {
    /// Where tasks are kept.
    pub tasks: Arc<dyn TaskStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl DeadLetterHandler {
    /// Fails the task of the message with this body, which was delivered `receives` times in vain,
    /// if its messages before came to nothing either. A malformed message is logged with its size
    /// only. The ids of a valid one are recorded on the current span.
    pub async fn bury(&self, body: &str, receives: u32) -> Result<DeadLetterOutcome, StoreError> {
        let message = match TaskMessage::from_body(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(error = %Causes(&error), bytes = body.len(), receives, "malformed dead letter dropped");
                metric::POISON_DROPPED.add([], 1);
                return Ok(DeadLetterOutcome::Unknown);
            }
        };
        record("task_id", message.task);
        record("tenant_id", &message.tenant);
        for _ in 0..MOST_TRIES {
            let Some(mut task) = self.tasks.task(&message.tenant, message.task).await? else {
                tracing::warn!("dead letter of an unknown task");
                return Ok(DeadLetterOutcome::Unknown);
            };
            record("agent_id", task.spec().agent.id);
            if !task.dead_letter(self.clock.now()) {
                tracing::info!(
                    status = task.status().as_str(),
                    "dead letter ignored; the task continues"
                );
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
