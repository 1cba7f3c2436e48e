//! The rules of [`TaskQueue`], and the other end of a queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Broken, Check, Outcome, holds, same};
use crate::ports::{Backlog, Outgoing, TaskMessage, TaskQueue};
use crate::testing::{Delivery, MemoryQueue, samples};

/// The end of a queue at which messages come out; in production that is the platform's, not ours.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// The next message, or `None` if none comes within a second or so. The message stays hidden
    /// from then on.
    async fn receive(&self) -> Result<Option<Delivery>, Broken>;
}

#[async_trait]
impl Inbox for MemoryQueue {
    async fn receive(&self) -> Result<Option<Delivery>, Broken> {
        Ok(Self::receive(self))
    }
}

type Queue = (Arc<dyn TaskQueue>, Arc<dyn Inbox>);

pub(super) const CHECKS: &[Check<Queue>] = &[
    ("waiting and received messages are counted apart", |q| {
        Box::pin(backlog(q))
    }),
    ("what is sent is received as it was", |q| {
        Box::pin(round_trip(q))
    }),
    (
        "a batch is received whole, and a delayed message later",
        |q| Box::pin(batch(q)),
    ),
    ("a message carries its task's trace", |q| Box::pin(trace(q))),
    ("a message is in its tenant's group", |q| Box::pin(group(q))),
    ("a message postponed by nothing comes back at once", |q| {
        Box::pin(postponed_by_nothing(q))
    }),
    (
        "a postponed message stays away, even beyond the longest delay",
        |q| Box::pin(postponed(q)),
    ),
    (
        "a delayed message is not there before its time, even beyond the longest delay",
        |q| Box::pin(delayed(q)),
    ),
    ("a made-up receipt is refused", |q| {
        Box::pin(made_up_receipt(q))
    }),
];

/// Before the other checks, whose messages would come back meanwhile.
async fn backlog((queue, inbox): Queue) -> Outcome {
    same(&queue.backlog().await?, &Backlog::default())?;
    queue
        .send(&samples::message(), None, Duration::ZERO)
        .await?;
    same(
        &queue.backlog().await?,
        &Backlog {
            waiting: 1,
            in_flight: 0,
        },
    )?;
    expect(&*inbox).await?;
    same(
        &queue.backlog().await?,
        &Backlog {
            waiting: 0,
            in_flight: 1,
        },
    )
}

async fn round_trip((queue, inbox): Queue) -> Outcome {
    let mut sent = [samples::message(), samples::message()].map(|message| message.to_body());
    for body in &sent {
        queue
            .send(&TaskMessage::from_body(body)?, None, Duration::ZERO)
            .await?;
    }
    let mut received = [expect(&*inbox).await?.body, expect(&*inbox).await?.body];
    sent.sort();
    received.sort();
    same(&received, &sent)
}

async fn batch((queue, inbox): Queue) -> Outcome {
    let outgoing = |place: u64| Outgoing {
        message: samples::message(),
        trace: None,
        delay: Duration::from_mins(if place == 3 { 10 } else { 0 }),
    };
    let messages: Vec<Outgoing> = (0..23).map(outgoing).collect();
    let sent = queue.send_all(&messages).await;
    same(&sent.iter().filter(|outcome| outcome.is_ok()).count(), &23)?;
    let mut received = Vec::new();
    for _ in 0..22 {
        received.push(expect(&*inbox).await?.body);
    }
    same(&inbox.receive().await?, &None)?;
    let mut expected: Vec<String> = messages
        .iter()
        .filter(|outgoing| outgoing.delay.is_zero())
        .map(|outgoing| outgoing.message.to_body())
        .collect();
    received.sort();
    expected.sort();
    same(&received, &expected)?;
    same(&queue.send_all(&[]).await.len(), &0)
}

async fn trace((queue, inbox): Queue) -> Outcome {
    let trace =
        Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1".parse()?);
    queue
        .send(&samples::message(), trace.as_ref(), Duration::ZERO)
        .await?;
    same(&expect(&*inbox).await?.trace, &trace)
}

async fn group((queue, inbox): Queue) -> Outcome {
    for _ in 0..2 {
        let message = samples::message();
        queue.send(&message, None, Duration::ZERO).await?;
        same(
            &expect(&*inbox).await?.group,
            &Some(message.tenant.to_string()),
        )?;
    }
    Ok(())
}

async fn postponed_by_nothing((queue, inbox): Queue) -> Outcome {
    queue
        .send(&samples::message(), None, Duration::ZERO)
        .await?;
    let first = expect(&*inbox).await?;
    queue.postpone(&first.receipt, Duration::ZERO).await?;
    same(&expect(&*inbox).await?.body, &first.body)
}

async fn postponed((queue, inbox): Queue) -> Outcome {
    for delay in [Duration::from_mins(10), Duration::MAX] {
        queue
            .send(&samples::message(), None, Duration::ZERO)
            .await?;
        queue
            .postpone(&expect(&*inbox).await?.receipt, delay)
            .await?;
    }
    same(&inbox.receive().await?, &None)
}

async fn delayed((queue, inbox): Queue) -> Outcome {
    for delay in [Duration::from_mins(10), Duration::MAX] {
        queue.send(&samples::message(), None, delay).await?;
    }
    same(&inbox.receive().await?, &None)
}

async fn made_up_receipt((queue, _): Queue) -> Outcome {
    let refused = queue.postpone("made up", Duration::from_secs(1)).await;
    holds(refused.is_err(), || format!("{refused:?}"))
}

async fn expect(inbox: &dyn Inbox) -> Result<Delivery, Broken> {
    for _ in 0..5 {
        if let Some(delivery) = inbox.receive().await? {
            return Ok(delivery);
        }
    }
    Err("no message came".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_of_the_task_queue() {
        let queue = Arc::new(MemoryQueue::default());
        crate::testing::contract::task_queue(Arc::<MemoryQueue>::clone(&queue), queue).await;
    }
}
