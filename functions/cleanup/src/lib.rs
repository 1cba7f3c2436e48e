//! The watchdog's triggers. Each minute a schedule starts a sweep over the overdue tasks, and the
//! dead-letter queue delivers the messages that no worker could process.
//!
//! The use cases are in `shared::app`. This function calls them within the invocation's time and
//! logs a summary of each.

pub mod config;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde::Deserialize;
use serde_json::Value;
use shared::app::{
    AgentPurgeSummary, AgentPurger, DeadLetterHandler, PurgeSummary, Purger, SweepSummary, Sweeper,
    TenantWalkSummary, TenantWalker, UsageCheckSummary, UsageChecker,
};
use shared::domain::{Causes, Timestamp, TraceHeader, whole_millis};
use shared::metric;
use shared::ports::StoreError;
use tracing::{Instrument, field};

/// The time at the end of an invocation in which no new page begins, so that the last page can
/// finish.
const RESERVE: Duration = Duration::from_secs(10);

/// Recovers overdue tasks, handles dead letters and deletes old records.
pub struct Cleanup {
    /// Does what is due for overdue tasks.
    pub sweeper: Sweeper,
    /// Deletes tasks that their clients deleted or that ended long ago.
    pub purger: Purger,
    /// Removes agents that their clients archived.
    pub agents: AgentPurger,
    /// Checks the usage of tenants.
    pub usage: UsageChecker,
    /// Walks through the tasks of tenants that the operator deleted or suspended.
    pub tenants: TenantWalker,
    /// Handles the messages in the dead-letter queue.
    pub undelivered: DeadLetterHandler,
    /// The URL of the task queue, whose messages this function must not receive.
    pub task_queue_url: String,
}

/// Why an invocation failed. The code that returns it has logged it.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The store failed.
    #[error("a store error aborted the sweep")]
    SweepBrokeOff(#[from] StoreError),
    /// The event has `Records`, but is not a batch of messages in Lambda's form.
    #[error("the event is not a batch of messages")]
    NoBatch,
}

impl From<CleanupError> for Diagnostic {
    fn from(error: CleanupError) -> Self {
        let error_type = match error {
            CleanupError::SweepBrokeOff(_) => "SweepBrokeOff",
            CleanupError::NoBatch => "NoBatch",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl Cleanup {
    /// Handles one invocation: a batch of the dead-letter queue, or else the schedule. The content
    /// of the schedule's event is ignored. A sweep fails if the store does, so that the function's
    /// error metric shows it; the next minute tries again.
    pub async fn handle(
        &self,
        event: LambdaEvent<Value>,
    ) -> Result<SqsBatchResponse, CleanupError> {
        let Context {
            request_id,
            xray_trace_id,
            deadline,
            ..
        } = event.context;
        let trace: Option<TraceHeader> = xray_trace_id.and_then(|header| header.parse().ok());
        let is_batch = event.payload.get("Records").is_some();
        let span = tracing::info_span!(
            "cleanup",
            otel.name = if is_batch {
                "undelivered messages"
            } else {
                "sweep"
            },
            xray_parent = trace.as_ref().map(TraceHeader::as_str),
            xray_trace_id = trace.as_ref().map(TraceHeader::trace_id),
            function_request_id = request_id,
        );
        let work = async {
            if is_batch {
                let batch = SqsEvent::deserialize(event.payload).map_err(|error| {
                    tracing::error!(error = %Causes(&error), "batch refused");
                    CleanupError::NoBatch
                })?;
                return Ok(self.handle_undelivered(batch.records).await);
            }
            let until = Timestamp::from_millis(deadline.saturating_sub(whole_millis(RESERVE)));
            self.sweep(until).await?;
            self.purge(until).await?;
            self.purge_agents(until).await?;
            self.check_usage(until).await?;
            self.walk_tenants(until).await?;
            Ok(SqsBatchResponse::default())
        };
        work.instrument(span).await
    }

    async fn sweep(&self, until: Timestamp) -> Result<(), StoreError> {
        let started = self.sweeper.clock.now();
        let swept = self.sweeper.sweep(until).await.inspect_err(|error| {
            tracing::error!(error = %Causes(error), "sweep aborted: store error");
        })?;
        tracing::info!(
            resent = swept.resent,
            left_in_backlog = swept.left_in_backlog,
            unclaimed = swept.unclaimed,
            requeued = swept.requeued,
            awakened = swept.awakened,
            timed_out = swept.timed_out,
            given_up = swept.given_up,
            canceled = swept.canceled,
            expired = swept.expired,
            moved_on = swept.moved_on,
            failed = swept.failed,
            unfinished = swept.unfinished,
            overdue = swept.overdue,
            oldest_overdue_ms = whole_millis(swept.oldest_overdue),
            duration_ms = whole_millis(self.sweeper.clock.now().since(started)),
            "sweep finished"
        );
        count(&swept);
        Ok(())
    }

    /// Deletes the tasks whose deletion is due, in the time that the sweep left.
    async fn purge(&self, until: Timestamp) -> Result<(), StoreError> {
        let purged = self.purger.purge(until).await.inspect_err(|error| {
            tracing::error!(error = %Causes(error), "task deletion aborted: store error");
        })?;
        if purged != PurgeSummary::default() {
            let PurgeSummary {
                deleted,
                emptied,
                moved_on,
                failed,
                unfinished,
            } = purged;
            tracing::info!(
                deleted,
                emptied,
                moved_on,
                failed,
                unfinished,
                "ended tasks deleted"
            );
            metric::TASKS_PURGED.add([], deleted.into());
        }
        Ok(())
    }

    /// Removes the archived and inline agents that no task names, in the time that is left after that.
    async fn purge_agents(&self, until: Timestamp) -> Result<(), StoreError> {
        let purged = self.agents.purge(until).await.inspect_err(|error| {
            tracing::error!(error = %Causes(error), "removal of agents aborted: store error");
        })?;
        if purged != AgentPurgeSummary::default() {
            let AgentPurgeSummary {
                deleted,
                named,
                failed,
                unfinished,
            } = purged;
            tracing::info!(
                deleted,
                named,
                failed,
                unfinished,
                "archived and inline agents checked"
            );
        }
        Ok(())
    }

    /// Adds to the tenants' usage what lost workers spent, once a day, in the time that is left after
    /// that.
    async fn check_usage(&self, until: Timestamp) -> Result<(), StoreError> {
        let checked = self.usage.check(until).await.inspect_err(|error| {
            tracing::error!(error = %Causes(error), "check of usage aborted: store error");
        })?;
        if checked != UsageCheckSummary::default() {
            let UsageCheckSummary {
                tenants,
                corrected,
                failed,
                unfinished,
            } = checked;
            tracing::info!(tenants, corrected, failed, unfinished, "usage checked");
        }
        Ok(())
    }

    /// Deletes what deleted tenants have, and cancels the tasks of suspended ones.
    async fn walk_tenants(&self, until: Timestamp) -> Result<(), StoreError> {
        let walked = self.tenants.walk(until).await.inspect_err(|error| {
            tracing::error!(error = %Causes(error), "walk through the tasks of tenants aborted: store error");
        })?;
        if walked != TenantWalkSummary::default() {
            let TenantWalkSummary {
                tenants,
                deleted,
                canceled,
                failed,
                unfinished,
            } = walked;
            tracing::info!(
                tenants,
                deleted,
                canceled,
                failed,
                unfinished,
                "tasks of tenants walked through"
            );
            metric::SWEEP_FAILURES.add([], failed.into());
        }
        Ok(())
    }

    /// Handles each message on its own. A message whose task could not be changed is reported as
    /// failed, so SQS delivers it again.
    async fn handle_undelivered(&self, messages: Vec<SqsMessage>) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for message in messages {
            let SqsMessage {
                message_id,
                body,
                attributes,
                event_source_arn,
                ..
            } = message;
            let (id, body) = (message_id.unwrap_or_default(), body.unwrap_or_default());
            let receives = attributes
                .get("ApproximateReceiveCount")
                .and_then(|count| count.parse().ok())
                .unwrap_or(1);
            let trace: Option<TraceHeader> = attributes
                .get("AWSTraceHeader")
                .and_then(|header| header.parse().ok());
            let (trace, linked) =
                TraceHeader::open_or_over(trace.as_ref(), self.sweeper.clock.now());
            let span = tracing::info_span!(
                "undelivered message",
                xray_parent = trace.map(TraceHeader::as_str),
                xray_trace_id = trace.map(TraceHeader::trace_id),
                linked_trace_id = linked.map(TraceHeader::trace_id),
                message_id = id,
                receives,
                task_id = field::Empty,
                tenant_id = field::Empty,
                agent_id = field::Empty,
            );
            if is_of_queue(event_source_arn.as_deref(), &self.task_queue_url) {
                span.in_scope(|| tracing::warn!("dead letter came from the task queue"));
            }
            let handling = self
                .undelivered
                .handle(&body, receives)
                .instrument(span.clone());
            if let Err(error) = handling.await {
                metric::STORE_FAILURES.add([], 1);
                span.in_scope(|| tracing::error!(error = %Causes(&error), "undelivered message not handled; SQS will redeliver it"));
                response.add_failure(id);
            }
        }
        response
    }
}

/// Whether an event source is the queue with this URL. Both end in the queue's name.
fn is_of_queue(arn: Option<&str>, url: &str) -> bool {
    let name = arn.and_then(|arn| arn.rsplit(':').next());
    name.is_some_and(|name| url.rsplit('/').next() == Some(name))
}

/// Adds a sweep's counts to the metrics.
fn count(swept: &SweepSummary) {
    metric::OVERDUE_TASKS.add([], swept.overdue.into());
    metric::OLDEST_OVERDUE.note([], swept.oldest_overdue);
    metric::TASKS_UNCLAIMED.add([], swept.unclaimed.into());
    metric::MESSAGES_RESENT.add([], swept.resent.into());
    metric::TASKS_REQUEUED.add([], swept.requeued.into());
    metric::TASKS_AWAKENED.add([], swept.awakened.into());
    metric::TASKS_GIVEN_UP.add([], swept.given_up.into());
    metric::TASKS_EXPIRED.add([], swept.expired.into());
    metric::SWEEP_FAILURES.add([], swept.failed.into());
    metric::SWEEPS_UNFINISHED.add([], swept.unfinished.into());
}
