//! The task queue on SQS: a standard queue whose messages the workers get through an event source
//! mapping.
//!
//! The event source mapping receives messages, and deletes those whose processing succeeded. So
//! only sending and postponing are here.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use futures::future::join_all;
use tracing::{Instrument, Span};

use crate::domain::{Causes, TraceHeader};
use crate::ports::{Backlog, Dependency, NoAnswer, Outgoing, QueueError, TaskMessage, TaskQueue};
use crate::telemetry::traces;

/// The longest visibility timeout that SQS knows.
const LONGEST_VISIBILITY: Duration = Duration::from_hours(12);

/// The longest delay of a message that SQS knows.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// The SQS client of a function. Cheap to clone.
pub fn sqs(shared: &SdkConfig) -> Client {
    Client::from_conf(sqs_config(shared).build())
}

/// The SQS client's configuration: 1 s to connect, 2 s an attempt, three attempts within 6 s in
/// all.
pub fn sqs_config(shared: &SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(6));
    let retries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(100));
    Builder::from(shared)
        .timeout_config(timeouts.build())
        .retry_config(retries)
}

/// The most messages that SQS takes in one call.
const MOST_IN_BATCH: usize = 10;

/// A task queue on SQS.
#[derive(Debug, Clone)]
pub struct SqsTaskQueue {
    client: Client,
    url: String,
}

impl SqsTaskQueue {
    /// The queue at this URL.
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self {
            client,
            url: url.into(),
        }
    }
}

impl SqsTaskQueue {
    /// Sends up to [`MOST_IN_BATCH`] messages with one call. SQS may take some and refuse others.
    async fn send_batch(&self, batch: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        let span = tracing::info_span!("SQS.SendMessageBatch");
        let entries = batch
            .iter()
            .enumerate()
            .map(|(place, outgoing)| entry(place, outgoing, &span));
        let entries: Result<Vec<_>, _> = entries.collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return all_failed(batch, &error.to_string()),
        };
        let request = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries));
        match request.send().instrument(span).await {
            Ok(response) => {
                let outcome = |place: usize| match refused(&response, place) {
                    None => Ok(()),
                    Some(reason) => Err(QueueError(reason.into())),
                };
                (0..batch.len()).map(outcome).collect()
            }
            Err(error) => all_failed(batch, &Causes(&error).to_string()),
        }
    }
}

/// The message as an entry of a batch, with its place as its id.
fn entry(
    place: usize,
    outgoing: &Outgoing,
    span: &Span,
) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let Outgoing {
        message,
        trace,
        delay,
    } = outgoing;
    let header = trace
        .as_ref()
        .and_then(|trace| trace_attribute(trace, span));
    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
    SendMessageBatchRequestEntry::builder()
        .id(place.to_string())
        .message_body(message.to_body())
        .delay_seconds(whole_seconds((*delay).min(LONGEST_DELAY)))
        .message_group_id(message.tenant.as_str())
        .set_message_system_attributes(header.map(|header| [(name, header)].into()))
        .build()
}

/// Why SQS did not take the message at this place of the batch, if it did not.
fn refused(response: &SendMessageBatchOutput, place: usize) -> Option<String> {
    let id = place.to_string();
    if response.successful().iter().any(|sent| sent.id() == id) {
        return None;
    }
    let failed = response.failed().iter().find(|failed| failed.id() == id);
    Some(failed.map_or_else(
        || "SQS does not mention the message".to_owned(),
        |failed| {
            format!(
                "{}: {}",
                failed.code(),
                failed.message().unwrap_or_default()
            )
        },
    ))
}

fn all_failed(batch: &[Outgoing], reason: &str) -> Vec<Result<(), QueueError>> {
    let failure = |_| Err(QueueError(reason.to_owned().into()));
    batch.iter().map(failure).collect()
}

#[async_trait]
impl TaskQueue for SqsTaskQueue {
    async fn send(
        &self,
        message: &TaskMessage,
        trace: Option<&TraceHeader>,
        delay: Duration,
    ) -> Result<(), QueueError> {
        let request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(message.to_body());
        let request = request.delay_seconds(whole_seconds(delay.min(LONGEST_DELAY)));
        // On a standard queue, a group orders nothing: it keeps a tenant with a backlog from
        // delaying the others (SQS developer guide, "Amazon SQS fair queues").
        let request = request.message_group_id(message.tenant.as_str());
        let span = tracing::info_span!("SQS.SendMessage");
        let header = trace.and_then(|trace| trace_attribute(trace, &span));
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        let request =
            request.set_message_system_attributes(header.map(|header| [(name, header)].into()));
        request
            .send()
            .instrument(span)
            .await
            .map(drop)
            .map_err(|error| QueueError(Box::new(error)))
    }

    async fn send_all(&self, messages: &[Outgoing]) -> Vec<Result<(), QueueError>> {
        let batches = messages.chunks(MOST_IN_BATCH);
        let sent = join_all(batches.map(|batch| self.send_batch(batch))).await;
        sent.into_iter().flatten().collect()
    }

    async fn postpone(&self, receipt: &str, delay: Duration) -> Result<(), QueueError> {
        let request = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt);
        let request = request.visibility_timeout(whole_seconds(delay.min(LONGEST_VISIBILITY)));
        let span = tracing::info_span!("SQS.ChangeMessageVisibility");
        request
            .send()
            .instrument(span)
            .await
            .map(drop)
            .map_err(|error| QueueError(Box::new(error)))
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        let [waiting, in_flight] = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let request = request
            .attribute_names(waiting.clone())
            .attribute_names(in_flight.clone());
        let span = tracing::info_span!("SQS.GetQueueAttributes");
        let response = request
            .send()
            .instrument(span)
            .await
            .map_err(|error| QueueError(Box::new(error)))?;
        let count = |name| {
            response
                .attributes()
                .and_then(|attributes| attributes.get(&name)?.parse().ok())
        };
        let backlog = count(waiting)
            .zip(count(in_flight))
            .map(|(waiting, in_flight)| Backlog { waiting, in_flight });
        backlog.ok_or_else(|| QueueError("the queue did not say how many messages it has".into()))
    }
}

#[async_trait]
impl Dependency for SqsTaskQueue {
    async fn answer(&self) -> Result<(), NoAnswer> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answered = request
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await;
        answered.map(drop).map_err(|error| {
            let status = error
                .raw_response()
                .map_or(0, |response| response.status().as_u16());
            match error.code() {
                Some("RequestThrottled" | "ThrottlingException") => {
                    NoAnswer::Throttled(Box::new(error))
                }
                Some(_) if (400..500).contains(&status) => NoAnswer::Refused(Box::new(error)),
                Some(_) | None => NoAnswer::Silent(Box::new(error)),
            }
        })
    }
}

/// Where the task's trace continues: after the sending span if it belongs to that trace, else where
/// the task says.
fn trace_attribute(trace: &TraceHeader, sending: &Span) -> Option<MessageSystemAttributeValue> {
    let here = traces::header_of(sending).and_then(|header| header.parse::<TraceHeader>().ok());
    let header = here
        .as_ref()
        .filter(|here| here.trace_id() == trace.trace_id())
        .unwrap_or(trace);
    MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(header.as_str())
        .build()
        .ok()
}

/// The duration in whole seconds, rather too long than too short.
fn whole_seconds(delay: Duration) -> i32 {
    let seconds = delay
        .as_secs()
        .saturating_add(u64::from(delay.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
