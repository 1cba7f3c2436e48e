//! Deleting tasks that their clients deleted, or that ended so long ago that nobody needs them any
//! more. Safe to run twice and at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tracing::Instrument;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Horizon, Purged, Retention, StoreError};

const PAGE: u32 = 100;
const AT_ONCE: usize = 10;

/// How long after its end a worker may still write for a task: an invocation of AWS Lambda lasts 15
/// minutes at most, and clocks differ.
pub(super) const LONGEST_WORK: Duration = Duration::from_mins(20);

/// What one round of deletions did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgeSummary {
    /// Tasks that were deleted with everything that belonged to them.
    pub deleted: u32,
    /// Tasks that ended lately: their content was deleted, and a later round deletes the empty
    /// record.
    pub emptied: u32,
    /// Tasks that someone else had opened again by then.
    pub moved_on: u32,
    /// Tasks that could not be deleted; each has its own log line and is found again.
    pub failed: u32,
    /// Whether tasks may be left for the next round.
    pub unfinished: bool,
}

/// Deletes tasks for good.
pub struct Purger {
    /// What deletes them.
    pub retention: Arc<dyn Retention>,
    /// How long tasks are kept after their end; `None` keeps them until their clients delete them.
    pub keep_for: Option<Duration>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Purger {
    /// Deletes what is due, until nothing is left, nothing moves, or `until` has come.
    pub async fn purge(&self, until: Timestamp) -> Result<PurgeSummary, StoreError> {
        let mut summary = PurgeSummary::default();
        let now = self.clock.now();
        let ended_before = self.keep_for.map(|keep_for| now.minus(keep_for));
        let horizon = Horizon {
            ended_before,
            quiet_before: now.minus(LONGEST_WORK),
        };
        loop {
            let due = self.retention.due(horizon, PAGE).await?;
            let is_last = due.len() < PAGE as usize;
            let deletions = due.into_iter().map(|id| {
                let deletion = async move {
                    let purged = self.retention.purge(id, horizon).await;
                    purged.inspect_err(
                        |error| tracing::error!(error = %Causes(error), "task can't be deleted"),
                    )
                };
                deletion.instrument(tracing::info_span!("task", task_id = %id))
            });
            // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
            let deletions: Vec<_> = deletions.collect();
            let outcomes: Vec<_> = stream::iter(deletions)
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let before = summary;
            for outcome in outcomes {
                match outcome {
                    Ok(Purged::Gone) => summary.deleted += 1,
                    Ok(Purged::Emptied) => summary.emptied += 1,
                    Ok(Purged::Unchanged) => summary.moved_on += 1,
                    Err(_) => summary.failed += 1,
                }
            }
            if is_last {
                return Ok(summary);
            }
            let is_stuck = (summary.deleted, summary.emptied) == (before.deleted, before.emptied);
            if is_stuck || self.clock.now() >= until {
                summary.unfinished = true;
                return Ok(summary);
            }
        }
    }
}
