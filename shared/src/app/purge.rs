//! Deleting tasks that ended so long ago that nobody needs them any more. Safe to run twice and at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tracing::Instrument;

use crate::domain::{Causes, Timestamp};
use crate::ports::{Clock, Purged, Retention, StoreError};

const PAGE: u32 = 100;
const AT_ONCE: usize = 10;

/// What one round of deletions did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgeSummary {
    /// Tasks that were deleted.
    pub deleted: u32,
    /// Tasks that someone else had deleted or opened again by then.
    pub moved_on: u32,
    /// Tasks that could not be deleted; each has its own log line and is found again.
    pub failed: u32,
    /// Whether tasks may be left for the next round.
    pub unfinished: bool,
}

/// Deletes old tasks.
pub struct Purger {
    /// What deletes them.
    pub retention: Arc<dyn Retention>,
    /// How long tasks are kept after their end; `None` keeps them for ever.
    pub keep_for: Option<Duration>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Purger {
    /// Deletes what is due, until nothing is left, nothing moves, or `until` has come.
    pub async fn purge(&self, until: Timestamp) -> Result<PurgeSummary, StoreError> {
        let mut summary = PurgeSummary::default();
        let Some(keep_for) = self.keep_for else { return Ok(summary) };
        let moment = self.clock.now().minus(keep_for);
        loop {
            let old = self.retention.ended_before(moment, PAGE).await?;
            let is_last = old.len() < PAGE as usize;
            let deletions = old.into_iter().map(|id| {
                let deletion = async move {
                    let purged = self.retention.purge(id, moment).await;
                    purged.inspect_err(|error| tracing::error!(error = %Causes(error), "old task can't be deleted"))
                };
                deletion.instrument(tracing::info_span!("task", task_id = %id))
            });
            // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
            let deletions: Vec<_> = deletions.collect();
            let outcomes: Vec<_> = stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
            let before = summary.deleted;
            for outcome in outcomes {
                match outcome {
                    Ok(Purged::Gone) => summary.deleted += 1,
                    Ok(Purged::Kept) => summary.moved_on += 1,
                    Err(_) => summary.failed += 1,
                }
            }
            if is_last {
                return Ok(summary);
            }
            if summary.deleted == before || self.clock.now() >= until {
                summary.unfinished = true;
                return Ok(summary);
            }
        }
    }
}
