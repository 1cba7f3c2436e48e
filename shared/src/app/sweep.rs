//! The watchdog: finds every task that no message or worker will handle, and does what is due.
//!
//! Two sweeps may run at the same time: each change is one conditional write, and only the sweep
//! whose write succeeds sends a message. If a message can't be sent, the task comes due again.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tracing::field::{self, debug};
use tracing::{Instrument, Span};

use super::change::record_transition;
use super::lost::note_lost_steps;
use super::send::try_send;
use crate::domain::{Causes, Overdue, Task, TaskStatus, Timestamp, TraceHeader};
use crate::ports::{Backlog, Clock, Journal, Outgoing, StoreError, TaskQueue, TaskStore};

/// How many overdue tasks a sweep reads at once.
const PAGE: u32 = 100;
/// How many overdue tasks a sweep handles at once.
const AT_ONCE: usize = 10;

/// How many pages in a row may have nothing to settle. The index lags behind the tasks: it may list
/// tasks that are settled already.
const IDLE_PAGES: u32 = 5;
/// How long a sweep waits for the index after such a page.
const INDEX_LAG: Duration = Duration::from_millis(200);

/// What one sweep did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepSummary {
    /// Tasks whose message was sent again because no worker had claimed them.
    pub resent: u32,
    /// Queued tasks that no worker claims. Either the queue has messages that no function receives,
    /// or it is empty although the task's message was sent again: then functions receive messages,
    /// but do not claim the tasks.
    pub unclaimed: u32,
    /// Tasks whose messages wait in the queue behind many others: no further message was sent.
    pub left_in_backlog: u32,
    /// Tasks that were queued again because their worker was lost.
    pub requeued: u32,
    /// Parked tasks that were queued because their wait was over.
    pub awakened: u32,
    /// Tasks that were ended because their deadline had passed.
    pub timed_out: u32,
    /// Tasks that were failed because their attempts were used up.
    pub given_up: u32,
    /// Tasks that were canceled because their client requested it and their worker was lost.
    pub canceled: u32,
    /// Tasks that were failed because their client did not respond in time.
    pub expired: u32,
    /// Tasks that a worker, a client or another sweep changed first.
    pub moved_on: u32,
    /// Tasks whose handling failed; each has its own log line, and comes due again.
    pub failed: u32,
    /// Whether overdue tasks may be left for the next sweep.
    pub unfinished: bool,
    /// Tasks that were found overdue.
    pub overdue: u32,
    /// How long the most overdue task was overdue.
    pub oldest_overdue: Duration,
}

/// The ports that a sweep uses.
pub struct Sweeper {
    /// The store of tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// The store of steps.
    pub journal: Arc<dyn Journal>,
    /// The workers' queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The result for one overdue task.
enum Settled {
    Done(Overdue),
    MovedOn,
    Failed,
}

impl Sweeper {
    /// Does what is due for every overdue task, until no task is overdue or the time is `until`.
    pub async fn sweep(&self, until: Timestamp) -> Result<SweepSummary, StoreError> {
        let mut swept = SweepSummary::default();
        let (mut idle_pages, mut unreadable) = (0, HashSet::new());
        let backlog = OnceCell::new();
        loop {
            let overdue = self.tasks.overdue(self.clock.now(), PAGE).await?;
            let full_page = overdue.iter().flatten().count() >= PAGE as usize;
            // A task that can't be read is in each page. It counts once.
            let is_new = |task: &Result<Task, StoreError>| match task {
                Err(StoreError::Corrupt { key, .. }) => unreadable.insert(key.clone()),
                Ok(_) | Err(_) => true,
            };
            let overdue: Vec<_> = overdue.into_iter().filter(is_new).collect();
            let now = self.clock.now();
            swept.found(&overdue, now);
            let unclaimed = self.count_unclaimed(&overdue, &backlog, now).await;
            swept.unclaimed = swept.unclaimed.saturating_add(unclaimed);
            let settled: Vec<Settled> = stream::iter(overdue)
                .map(|task| self.settle(task, &backlog, now))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let progress = settled
                .iter()
                .any(|result| matches!(result, Settled::Done(_)));
            idle_pages = if progress { 0 } else { idle_pages + 1 };
            for result in &settled {
                swept.count(result);
            }
            if !full_page {
                return Ok(swept);
            }
            if idle_pages > IDLE_PAGES || self.clock.now() >= until {
                swept.unfinished = true;
                return Ok(swept);
            }
            if !progress {
                sleep(INDEX_LAG).await;
            }
        }
    }

    /// How many of the overdue tasks count as [`unclaimed`](SweepSummary::unclaimed).
    async fn count_unclaimed(
        &self,
        overdue: &[Result<Task, StoreError>],
        backlog: &OnceCell<Backlog>,
        now: Timestamp,
    ) -> u32 {
        let queued: Vec<&Task> = overdue
            .iter()
            .flatten()
            .filter(|task| task.status() == TaskStatus::Queued)
            .collect();
        if queued.is_empty() {
            return 0;
        }
        let backlog = self.backlog(backlog).await;
        let unclaimed = if backlog.is_unattended() {
            queued.len()
        } else if backlog == Backlog::default() {
            let sent_again = queued.iter().filter(|task| task.was_sent_again(now));
            sent_again.count()
        } else {
            0
        };
        u32::try_from(unclaimed).unwrap_or(u32::MAX)
    }

    /// The numbers of messages in the queue, read once a sweep. If the read fails, they are zero.
    async fn backlog(&self, backlog: &OnceCell<Backlog>) -> Backlog {
        let read = async || match self.queue.backlog().await {
            Ok(backlog) => backlog,
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "the queue's backlog can't be read");
                Backlog::default()
            }
        };
        *backlog.get_or_init(read).await
    }

    async fn settle(
        &self,
        task: Result<Task, StoreError>,
        backlog: &OnceCell<Backlog>,
        now: Timestamp,
    ) -> Settled {
        match task {
            Ok(task) => {
                // The span joins the task's own trace, or the sweep's if the task's trace is over.
                let (trace, linked) = TraceHeader::open_or_over(task.spec().trace.as_ref(), now);
                let span = settling(&task, trace, linked);
                self.settle_task(task, backlog).instrument(span).await
            }
            Err(error) => failed(&error, "overdue task can't be read"),
        }
    }

    async fn settle_task(&self, mut task: Task, backlog: &OnceCell<Backlog>) -> Settled {
        if let Err(error) =
            note_lost_steps(self.journal.as_ref(), &mut task, self.clock.now()).await
        {
            return failed(&error, "overdue task's journal can't be read");
        }
        let now = self.clock.now();
        let settled = if task.was_sent_again(now) && self.backlog(backlog).await.waiting > 0 {
            Some(task.leave_in_backlog(now))
        } else {
            task.settle_overdue(now)
        };
        let Some(overdue) = settled else {
            return Settled::MovedOn;
        };
        match self.tasks.update(&task).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Settled::MovedOn,
            Err(error) => return failed(&error, "overdue task can't be changed"),
        }
        if overdue != Overdue::LeftInBacklog {
            record_transition(&task);
        }
        record_settled(overdue);
        let sent = if overdue.wants_message() {
            try_send(self.queue.as_ref(), &Outgoing::of(&task, Duration::ZERO)).await
        } else {
            Ok(())
        };
        let (status, attempts) = (task.status().as_str(), task.attempts());
        if let Err(error) = &sent {
            // The task counts as settled: its change is stored, and it comes due again.
            tracing::error!(settled = ?overdue, status, attempts, error = %Causes(error), "overdue task's message can't be sent");
            return Settled::Done(overdue);
        }
        match overdue {
            // Normal for a wait that is longer than SQS can delay a message.
            Overdue::Awakened => tracing::info!(status, attempts, "parked task is due"),
            // The sweep's summary counts them.
            Overdue::LeftInBacklog => {
                tracing::debug!(status, attempts, "task waits in the queue's backlog");
            }
            Overdue::Resent
            | Overdue::Requeued
            | Overdue::TimedOut
            | Overdue::GivenUp
            | Overdue::Canceled
            | Overdue::Expired => {
                tracing::warn!(settled = ?overdue, status, attempts, "task was overdue");
            }
        }
        Settled::Done(overdue)
    }
}

/// The span in which an overdue task is settled. It joins `trace`, or else the current trace.
pub(super) fn settling(
    task: &Task,
    trace: Option<&TraceHeader>,
    linked: Option<&TraceHeader>,
) -> Span {
    let spec = task.spec();
    tracing::info_span!(
        "settle overdue",
        xray_parent = trace.map(TraceHeader::as_str),
        xray_trace_id = trace.map(TraceHeader::trace_id),
        linked_trace_id = linked.map(TraceHeader::trace_id),
        task_id = %task.id(),
        tenant_id = spec.tenant.as_str(),
        agent_id = %spec.agent.id,
        settled = field::Empty,
    )
}

/// Records what was done on the current span, which must come from [`settling`].
pub(super) fn record_settled(overdue: Overdue) {
    Span::current().record("settled", debug(overdue));
}

fn failed(error: &(dyn Error + 'static), what: &'static str) -> Settled {
    tracing::error!(error = %Causes(error), "{what}");
    Settled::Failed
}

impl SweepSummary {
    /// Counts the overdue tasks, and records for how long the most overdue one was.
    fn found(&mut self, overdue: &[Result<Task, StoreError>], now: Timestamp) {
        self.overdue = self
            .overdue
            .saturating_add(u32::try_from(overdue.len()).unwrap_or(u32::MAX));
        let since = overdue
            .iter()
            .flatten()
            .filter_map(Task::due_at)
            .map(|due_at| now.since(due_at));
        self.oldest_overdue = since.fold(self.oldest_overdue, Duration::max);
    }

    fn count(&mut self, settled: &Settled) {
        let counter = match settled {
            Settled::Done(Overdue::Resent) => &mut self.resent,
            Settled::Done(Overdue::LeftInBacklog) => &mut self.left_in_backlog,
            Settled::Done(Overdue::Requeued) => &mut self.requeued,
            Settled::Done(Overdue::Awakened) => &mut self.awakened,
            Settled::Done(Overdue::TimedOut) => &mut self.timed_out,
            Settled::Done(Overdue::GivenUp) => &mut self.given_up,
            Settled::Done(Overdue::Canceled) => &mut self.canceled,
            Settled::Done(Overdue::Expired) => &mut self.expired,
            Settled::MovedOn => &mut self.moved_on,
            Settled::Failed => &mut self.failed,
        };
        *counter += 1;
    }
}
