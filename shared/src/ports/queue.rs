//! The task queue.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{Task, TaskId, TenantId, TraceHeader};

/// The version of the message that this code writes, and the newest that it reads.
const VERSION: u64 = 1;

/// Says that a task waits for a worker. It holds ids only: the task itself is in the store, so a
/// message that comes twice, late or out of order can do no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskMessage {
    /// The tenant that owns the task.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskId,
    /// Whether a function must work on no other task at the same time, because [the task may kill
    /// its workers](crate::domain::Task::is_suspect).
    pub alone: bool,
}

/// The message as it is written: `{"version":1,"tenant_id":"…","task_id":"tsk_…"}`, with
/// `"alone":true` if it is set. An earlier version of the platform ignores `alone`, and works on
/// other tasks at the same time.
#[derive(Serialize, Deserialize)]
struct Wire {
    version: u64,
    tenant_id: String,
    task_id: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
}

/// A message's body can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is not one of ours and never will be, for this reason, which repeats nothing of it: it
    /// may be anything.
    #[error("the body is not a task message: {0}")]
    Malformed(&'static str),
    /// A newer deployment wrote it; a newer worker can read it.
    #[error("the body has version {0}, newer than {VERSION}")]
    Newer(u64),
}

impl TaskMessage {
    /// The body to send.
    pub fn to_body(&self) -> String {
        let (tenant_id, task_id) = (self.tenant.to_string(), self.task.to_string());
        serde_json::json!(Wire {
            version: VERSION,
            tenant_id,
            task_id,
            alone: self.alone
        })
        .to_string()
    }

    /// Reads a received body. Fields that this version doesn't know are ignored.
    pub fn from_body(body: &str) -> Result<Self, MessageError> {
        use MessageError::Malformed;
        // Every message version is a JSON object with a `version` field.
        let fields: Map<String, Value> =
            serde_json::from_str(body).map_err(|_| Malformed("it is not a JSON object"))?;
        match fields.get("version").and_then(Value::as_u64) {
            Some(version) if version > VERSION => return Err(MessageError::Newer(version)),
            Some(VERSION) => {}
            Some(_) | None => return Err(Malformed("its version is unknown")),
        }
        let wire: Wire = serde_json::from_value(Value::Object(fields))
            .map_err(|_| Malformed("it lacks an id"))?;
        let tenant = wire
            .tenant_id
            .parse()
            .map_err(|_| Malformed("its tenant_id is invalid"))?;
        let task = wire
            .task_id
            .parse()
            .map_err(|_| Malformed("its task_id is invalid"))?;
        Ok(Self {
            tenant,
            task,
            alone: wire.alone,
        })
    }
}

/// The queue did not take an order.
#[derive(Debug, thiserror::Error)]
#[error("the task queue is unavailable")]
pub struct QueueError(#[source] pub Box<dyn Error + Send + Sync>);

/// About how many messages are in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that wait to be received.
    pub waiting: u64,
    /// Messages that were received, and are neither deleted nor visible again.
    pub in_flight: u64,
}

impl Backlog {
    /// Whether messages wait and nobody receives any.
    pub const fn is_unattended(self) -> bool {
        self.waiting > 0 && self.in_flight == 0
    }
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: TaskMessage,
    /// Its task's trace.
    pub trace: Option<TraceHeader>,
    /// After which time it is received; at most 15 minutes.
    pub delay: Duration,
}

impl Outgoing {
    /// The message with which a worker continues the task after `delay`.
    pub fn of(task: &Task, delay: Duration) -> Self {
        Self {
            message: TaskMessage {
                tenant: task.spec().tenant.clone(),
                task: task.id(),
                alone: task.is_suspect(),
            },
            trace: task.spec().trace.clone(),
            delay,
        }
    }

    /// The message with which a worker begins the new task; `None` if the watchdog sends it.
    pub fn first_of(task: &Task) -> Option<Self> {
        task.first_message().map(|delay| Self::of(task, delay))
    }
}

/// Carries messages to the workers, at least once each, in any order.
#[async_trait]
pub trait TaskQueue: Send + Sync {
    /// Sends `message`; it is received soon after `delay`, which is at most 15 minutes. With it
    /// carries its task's `trace`.
    async fn send(
        &self,
        message: &TaskMessage,
        trace: Option<&TraceHeader>,
        delay: Duration,
    ) -> Result<(), QueueError>;

    /// Sends messages as [`send`](Self::send) does, in as few calls as possible. The outcomes are in
    /// the order of the messages.
    async fn send_all(&self, messages: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        let mut outcomes = Vec::new();
        for Outgoing {
            message,
            trace,
            delay,
        } in messages
        {
            outcomes.push(self.send(message, trace.as_ref(), *delay).await);
        }
        outcomes
    }

    /// Lets the received message with this `receipt` come back after `delay` (at most 12 hours from
    /// its receipt).
    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError>;

    /// About how many messages are in the queue.
    async fn backlog(&self) -> Result<Backlog, QueueError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str =
        r#"{"version":1,"tenant_id":"acme","task_id":"tsk_01981b5e-9c2f-7c3a-8d51-0c8e1f6f2a10"}"#;

    #[test]
    fn a_message_survives_the_wire() {
        let message = TaskMessage::from_body(BODY).unwrap();
        assert_eq!(message.to_body(), BODY);
        let alone = TaskMessage {
            alone: true,
            ..message
        };
        assert_eq!(TaskMessage::from_body(&alone.to_body()).unwrap(), alone);
    }

    #[test]
    fn a_newer_message_is_distinguished_from_a_malformed_one() {
        for (newer, version) in [
            (r#"{"version":2,"unknown":true}"#, 2),
            (r#"{"version":99999999999}"#, 99_999_999_999),
        ] {
            assert!(
                matches!(TaskMessage::from_body(newer), Err(MessageError::Newer(found)) if found == version)
            );
        }
        let malformed = [
            "",
            "{}",
            "null",
            "[1]",
            "[2]",
            r#"{"version":0}"#,
            "hello",
            r#"{"version":"1"}"#,
            r#"{"version":1}"#,
            r#"{"version":-1}"#,
        ];
        for body in malformed {
            assert!(
                matches!(
                    TaskMessage::from_body(body),
                    Err(MessageError::Malformed(_))
                ),
                "{body}"
            );
        }
        let foreign_ids = BODY.replace("tsk_", "agt_");
        assert!(matches!(
            TaskMessage::from_body(&foreign_ids),
            Err(MessageError::Malformed(_))
        ));
    }
}
