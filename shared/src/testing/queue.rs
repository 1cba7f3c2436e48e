//! The task queue in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::faults::{Call, Faults};
use super::lock;
use crate::domain::TraceHeader;
use crate::ports::{Backlog, Dependency, NoAnswer, QueueError, TaskMessage, TaskQueue};

/// A message as a worker receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What [`TaskQueue::postpone`] wants to know; a new one with each delivery.
    pub receipt: String,
    /// The body, as [`TaskMessage::from_body`] reads it.
    pub body: String,
    /// The context in which the task's trace continues.
    pub trace: Option<TraceHeader>,
    /// The tenant whose backlog it is part of, so that it delays no other tenant's messages.
    pub group: Option<String>,
}

/// A queue in memory that remembers what was sent and postponed. Clones share the content.
///
/// It keeps no time: a message sent with no delay or postponed by none is there at once, any other
/// only after [`MemoryQueue::elapse`].
#[derive(Debug, Clone, Default)]
pub struct MemoryQueue {
    content: Arc<Mutex<Content>>,
    faults: Faults,
}

/// A message, and the context in which its task's trace continues.
type Sent = (TaskMessage, Option<TraceHeader>);

#[derive(Debug, Default)]
struct Content {
    waiting: VecDeque<Sent>,
    in_flight: BTreeMap<String, Sent>,
    delayed: Vec<Sent>,
    sent: Vec<Sent>,
    delays: Vec<Duration>,
    postponed: Vec<(String, Duration)>,
    deliveries: u64,
}

impl MemoryQueue {
    /// The same queue, failing by `faults`.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults,
            ..self.clone()
        }
    }

    /// Every message sent so far, received or not.
    pub fn sent(&self) -> Vec<TaskMessage> {
        lock(&self.content)
            .sent
            .iter()
            .map(|(message, _)| message.clone())
            .collect()
    }

    /// The trace of every message sent so far.
    pub fn traces(&self) -> Vec<Option<TraceHeader>> {
        lock(&self.content)
            .sent
            .iter()
            .map(|(_, trace)| trace.clone())
            .collect()
    }

    /// The delay of every message sent so far.
    pub fn delays(&self) -> Vec<Duration> {
        lock(&self.content).delays.clone()
    }

    /// Every order to postpone so far: receipt and delay.
    pub fn postponed(&self) -> Vec<(String, Duration)> {
        lock(&self.content).postponed.clone()
    }

    /// The next message, if one waits.
    pub fn receive(&self) -> Option<Delivery> {
        let mut content = lock(&self.content);
        let sent = content.waiting.pop_front()?;
        content.deliveries += 1;
        let receipt = format!("receipt-{}", content.deliveries);
        let (body, trace, group) = (
            sent.0.to_body(),
            sent.1.clone(),
            Some(sent.0.tenant.to_string()),
        );
        let delivery = Delivery {
            receipt,
            body,
            trace,
            group,
        };
        content.in_flight.insert(delivery.receipt.clone(), sent);
        Some(delivery)
    }

    /// Takes a received message out of the queue for good.
    pub fn acknowledge(&self, receipt: &str) {
        lock(&self.content).in_flight.remove(receipt);
    }

    /// Every delay is over, and so is the time for which received messages stay hidden.
    pub fn elapse(&self) {
        let content = &mut *lock(&self.content);
        content.waiting.extend(content.delayed.drain(..));
        content
            .waiting
            .extend(std::mem::take(&mut content.in_flight).into_values());
    }

    fn run<T>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut Content) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        self.faults.around(
            call,
            |fault| QueueError(Box::new(fault)),
            || effect(&mut lock(&self.content)),
        )
    }
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn send(
        &self,
        message: &TaskMessage,
        trace: Option<&TraceHeader>,
        delay: Duration,
    ) -> Result<(), QueueError> {
        self.run(Call::Send, |content| {
            let sent = (message.clone(), trace.cloned());
            content.sent.push(sent.clone());
            content.delays.push(delay);
            if delay.is_zero() {
                content.waiting.push_back(sent);
            } else {
                content.delayed.push(sent);
            }
            Ok(())
        })
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        self.run(Call::Other, |content| {
            let message = content.in_flight.remove(receipt);
            let message = message
                .ok_or_else(|| QueueError(format!("receipt {receipt} is not in flight").into()))?;
            content.postponed.push((receipt.to_owned(), delay));
            if delay.is_zero() {
                content.waiting.push_back(message);
            } else {
                content.delayed.push(message);
            }
            Ok(())
        })
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        self.run(Call::Other, |content| {
            let (waiting, in_flight) =
                (content.waiting.len() as u64, content.in_flight.len() as u64);
            Ok(Backlog { waiting, in_flight })
        })
    }
}

#[async_trait]
impl Dependency for MemoryQueue {
    async fn answer(&self) -> Result<(), NoAnswer> {
        self.run(Call::Other, |_| Ok(()))
            .map_err(|error| NoAnswer::Silent(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    #[tokio::test]
    async fn what_is_not_acknowledged_comes_back() {
        let queue = MemoryQueue::default();
        let message = samples::message();
        queue.send(&message, None, Duration::ZERO).await.unwrap();
        let first = queue.receive().unwrap();
        assert_eq!(queue.receive(), None);
        queue.elapse();
        let second = queue.receive().unwrap();
        assert_ne!(first.receipt, second.receipt);
        queue.acknowledge(&second.receipt);
        queue.elapse();
        assert_eq!(queue.receive(), None);
        assert_eq!(queue.sent(), [message]);
    }
}
