//! The queue's worker: one invocation takes a batch of messages and runs their tasks side by side.
//!
//! Waiting for models is shared, so ten tasks cost the billed time of one. Each message is
//! independent: only a message that is malformed, fails or panics comes back, and a message with
//! much to read or to compress delays no other. A task that may have ended its last workers runs
//! after the other tasks of its batch. The response follows the rules of `ReportBatchItemFailures`
//! (Lambda developer guide, "Handling errors for an SQS event source").

pub mod config;
mod verdict;

use std::iter;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt;
use futures::future::join_all;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use shared::app::Runner;
use shared::domain::{Causes, Timestamp, TraceHeader};
use shared::ports::{MessageError, TaskMessage, TaskQueue};
use shared::runtime::in_own_task;
use tracing::field;
use tracing::{Instrument, Span};

use verdict::Verdict;

/// Works on batches.
#[derive(Clone)]
pub struct Executor {
    /// Runs one task.
    pub runner: Arc<Runner>,
    /// The queue that the batches come from.
    pub queue: Arc<dyn TaskQueue>,
}

/// A batch that can't be answered for message by message: all of it must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A message has no id, so its failure could not be reported; an empty id would fail or lose
    /// the whole batch.
    #[error("a message of the batch has no messageId")]
    MissingMessageId,
}

impl From<BatchError> for Diagnostic {
    fn from(error: BatchError) -> Self {
        let BatchError::MissingMessageId = error;
        Self {
            error_type: "MissingMessageId".to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl Executor {
    /// Handles one invocation.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
    ) -> Result<SqsBatchResponse, BatchError> {
        let Context {
            request_id,
            xray_trace_id,
            deadline,
            ..
        } = event.context;
        let trace: Option<TraceHeader> = xray_trace_id.and_then(|header| header.parse().ok());
        let xray_trace_id = trace.as_ref().map(TraceHeader::trace_id);
        let span = tracing::info_span!("invoke", function_request_id = request_id, xray_trace_id);
        let invocation = Arc::new(Invocation {
            until: Timestamp::from_millis(deadline),
            request_id,
            trace,
        });
        self.handle_batch(event.payload, &invocation)
            .instrument(span)
            .await
    }

    /// Works on every message of the batch.
    async fn handle_batch(
        &self,
        batch: SqsEvent,
        invocation: &Arc<Invocation>,
    ) -> Result<SqsBatchResponse, BatchError> {
        let messages = batch
            .records
            .into_iter()
            .map(Received::try_from)
            .collect::<Result<Vec<_>, _>>();
        let messages = messages.inspect_err(|error| tracing::error!(%error, "batch refused"))?;
        let (alone, together): (Vec<Received>, Vec<Received>) = messages
            .into_iter()
            .partition(|received| received.message.as_ref().is_ok_and(|message| message.alone));
        let mut response = SqsBatchResponse::default();
        for group in iter::once(together).chain(alone.into_iter().map(|received| vec![received])) {
            for (id, verdict) in join_all(
                group
                    .into_iter()
                    .map(|received| self.judge_apart(received, invocation)),
            )
            .await
            {
                if verdict != Verdict::Done {
                    response.add_failure(&id);
                }
            }
        }
        Ok(response)
    }

    /// Processes one message in a task of the runtime, so that the other messages progress while
    /// this one computes.
    async fn judge_apart(
        &self,
        message: Received,
        invocation: &Arc<Invocation>,
    ) -> (String, Verdict) {
        let (executor, invocation) = (self.clone(), Arc::clone(invocation));
        let work = async move {
            let verdict = executor.judge(&message, &invocation).await;
            (message.id, verdict)
        };
        in_own_task(work.in_current_span()).await
    }

    /// Works on one message and sees to it that it comes back when it should.
    async fn judge(&self, message: &Received, invocation: &Invocation) -> Verdict {
        let until = invocation.until;
        let span = span(message, invocation, self.runner.clock.now());
        async {
            let caught = AssertUnwindSafe(self.work(message, until)).catch_unwind().await;
            let verdict = caught.unwrap_or_else(|_panic| verdict::of_panic(until, self.runner.clock.now()));
            if let Verdict::ComeBack { after } = verdict
                && let Err(error) = self.queue.postpone(&message.receipt, after).await
            {
                tracing::warn!(error = %Causes(&error), "message delay not set; it returns after its visibility timeout");
            }
            verdict
        }
        .instrument(span)
        .await
    }

    async fn work(&self, received: &Received, until: Timestamp) -> Verdict {
        let message = match &received.message {
            Ok(message) => message,
            Err(error) => return verdict::of_bad_message(error, received.receives),
        };
        if message.alone {
            tracing::warn!("task runs alone: its last workers died");
        }
        let ran = self.runner.run(message, until).await;
        verdict::of_run(ran, received.receives, self.runner.clock.now())
    }
}

/// What an invocation is for all of its messages.
struct Invocation {
    /// When it is killed.
    until: Timestamp,
    request_id: String,
    /// Its own trace. The work on a task belongs to the task's.
    trace: Option<TraceHeader>,
}

/// The span of the work on a message.
fn span(message: &Received, invocation: &Invocation, now: Timestamp) -> Span {
    // After a month, a task's trace takes no more spans.
    let (trace, linked) = match TraceHeader::open_or_over(message.trace.as_ref(), now) {
        (Some(tasks), _) => (Some(tasks), invocation.trace.as_ref()),
        (None, over) => (invocation.trace.as_ref(), over),
    };
    let task = message.message.as_ref().ok();
    tracing::info_span!(
        "tasks process",
        xray_parent = trace.map(TraceHeader::as_str),
        xray_trace_id = trace.map(TraceHeader::trace_id),
        linked_trace_id = linked.map(TraceHeader::trace_id),
        function_request_id = invocation.request_id,
        message_id = message.id,
        receives = message.receives,
        task_id = task.map(|message| field::display(message.task)),
        tenant_id = task.map(|message| message.tenant.as_str()),
        agent_id = field::Empty,
        hop = field::Empty,
    )
}

/// The parts of a queue message that matter.
struct Received {
    id: String,
    receipt: String,
    message: Result<TaskMessage, MessageError>,
    /// How often the queue has delivered it, this time included.
    receives: u32,
    /// The context in which the task's trace continues.
    trace: Option<TraceHeader>,
}

impl TryFrom<SqsMessage> for Received {
    type Error = BatchError;

    fn try_from(message: SqsMessage) -> Result<Self, BatchError> {
        let id = message
            .message_id
            .filter(|id| !id.is_empty())
            .ok_or(BatchError::MissingMessageId)?;
        let receives = message
            .attributes
            .get("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok());
        Ok(Self {
            id,
            receipt: message.receipt_handle.unwrap_or_default(),
            message: TaskMessage::from_body(&message.body.unwrap_or_default()),
            receives: receives.unwrap_or(1),
            trace: message
                .attributes
                .get("AWSTraceHeader")
                .and_then(|header| header.parse().ok()),
        })
    }
}
