//! Deleting everything that a deleted tenant has, and canceling the tasks of a suspended one if the
//! operator wants that.
//!
//! A walk makes passes through all tasks of the tenant. Requests and workers that knew the tenant
//! before may still write, so the walk ends with a pass that began half an hour after the last one
//! found something, and that finds nothing. Only then the tenant's other records are deleted, and
//! its tombstone is the last write. Each round does a bounded part, and stores how far it came.
//! Safe to run twice and at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tracing::Instrument;

use super::agent_purge::LONGEST_SUBMISSION;
use super::change::record_transition;
use super::lost::note_steps;
use super::purge::LONGEST_WORK;
use crate::domain::{Causes, TaskId, TenantId, TenantStatus, Timestamp};
use crate::metric;
use crate::ports::{
    Clock, Deletion, Horizon, Journal, Pass, Purged, Remains, Retention, StoreError, TaskStore,
    TenantRetention, WalkedFor, WalkedTenant,
};

/// After which time no request and no worker is left that knew the tenant before: longer than each
/// of both may last.
const QUIET: Duration = Duration::from_mins(30);

const _: () = assert!(QUIET.as_secs() > LONGEST_SUBMISSION.as_secs());
const _: () = assert!(QUIET.as_secs() > LONGEST_WORK.as_secs());

/// How many tenants a round deals with.
const PAGE: u32 = 100;

/// How many parts of a tenant's tasks one round walks through; the next round goes on.
const PARTS_OF_ROUND: u32 = 20;

const AT_ONCE: usize = 10;

/// What one round did, for its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantWalkSummary {
    /// Tenants that are deleted: only their tombstones are left.
    pub tenants: u32,
    /// Tasks that were deleted.
    pub deleted: u32,
    /// Tasks that were canceled, and not deleted.
    pub canceled: u32,
    /// Tasks, and tenants, that could not be read or changed; each has its own log line and is found
    /// again.
    pub failed: u32,
    /// Whether something is left that the next round can do at once.
    pub unfinished: bool,
}

/// Walks through the tasks of tenants.
pub struct TenantWalker {
    /// The part of the store of tenants that deletes them.
    pub tenants: Arc<dyn TenantRetention>,
    /// The store of tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// The store of steps.
    pub journal: Arc<dyn Journal>,
    /// What deletes the tasks' records.
    pub retention: Arc<dyn Retention>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What a walk did to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Nothing was to be done.
    Nothing,
    Canceled,
    Deleted,
    /// A worker or a client has it: the next pass finds it again.
    Left,
}

impl TenantWalker {
    /// Walks through the tasks of all tenants whose walk is due, until `until` has come.
    pub async fn walk(&self, until: Timestamp) -> Result<TenantWalkSummary, StoreError> {
        let mut summary = TenantWalkSummary::default();
        let due = self.tenants.due_tenants(self.clock.now(), PAGE).await?;
        summary.unfinished = due.len() >= PAGE as usize;
        for walked in due {
            if self.clock.now() >= until {
                summary.unfinished = true;
                break;
            }
            let log = tracing::info_span!("tenant", tenant_id = walked.tenant.id.as_str());
            let round = self.round(walked, until, &mut summary);
            match round.instrument(log.clone()).await {
                // The operator changed the tenant, or another round was faster.
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => {
                    log.in_scope(
                        || tracing::error!(error = %Causes(&error), "walk through the tenant's tasks aborted: store error"),
                    );
                    summary.failed += 1;
                }
            }
        }
        Ok(summary)
    }

    /// A part of the present pass, and what follows if it is the last part.
    async fn round(
        &self,
        mut walked: WalkedTenant,
        until: Timestamp,
        summary: &mut TenantWalkSummary,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let (began_at, mut place) = match walked.pass.take() {
            Some(Pass { began_at, place }) => (began_at, Some(place)),
            None => (now, None),
        };
        let mut parts = 0;
        loop {
            place = self.part(&mut walked, place, summary).await?;
            parts += 1;
            if place.is_none() || parts >= PARTS_OF_ROUND || self.clock.now() >= until {
                break;
            }
        }
        if let Some(place) = place {
            walked.pass = Some(Pass { began_at, place });
            summary.unfinished = true;
            return self.tenants.note_walk(&walked, self.clock.now()).await;
        }
        let quiet_since = walked.tenant.quiet_since.unwrap_or(now);
        if began_at >= quiet_since.plus(QUIET) {
            return self.finish(walked, summary).await;
        }
        // A pass that found something is followed by another one at once: a worker that had to end
        // its task has done so.
        let due_at = if quiet_since >= began_at {
            self.clock.now()
        } else {
            quiet_since.plus(QUIET)
        };
        self.tenants.note_walk(&walked, due_at).await
    }

    /// Deals with one part of the tenant's tasks, and returns the place of the next part.
    async fn part(
        &self,
        walked: &mut WalkedTenant,
        place: Option<String>,
        summary: &mut TenantWalkSummary,
    ) -> Result<Option<String>, StoreError> {
        let tenant = &walked.tenant;
        let wanted = if tenant.status.is_gone() {
            WalkedFor::Deletion
        } else {
            WalkedFor::Cancellation
        };
        let part = self
            .tenants
            .tasks_of(&tenant.id, wanted, place.as_deref())
            .await?;
        let settled = part.tasks.into_iter().map(|id| {
            let settled = async move {
                let settled = match wanted {
                    WalkedFor::Deletion => self.delete(&tenant.id, id).await,
                    WalkedFor::Cancellation => self.cancel(&tenant.id, id).await,
                };
                settled.inspect_err(|error| {
                    tracing::error!(error = %Causes(error), "task of the tenant can't be ended or deleted");
                })
            };
            settled.instrument(tracing::info_span!("task", task_id = %id))
        });
        // Gathered first: a stream of borrowing futures is not `Send` for every lifetime.
        let settled: Vec<_> = settled.collect();
        let settled: Vec<_> = stream::iter(settled)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for outcome in &settled {
            match outcome {
                Ok(Settled::Deleted) => summary.deleted += 1,
                Ok(Settled::Canceled) => summary.canceled += 1,
                Ok(Settled::Nothing | Settled::Left) => {}
                Err(_) => summary.failed += 1,
            }
        }
        if settled
            .iter()
            .any(|outcome| !matches!(outcome, Ok(Settled::Nothing)))
        {
            walked.tenant.quiet_since = Some(self.clock.now());
        }
        Ok(part.next)
    }

    /// Deletes a task with everything that belongs to it. If it has not ended, it is canceled first.
    async fn delete(&self, tenant: &TenantId, id: TaskId) -> Result<Settled, StoreError> {
        let mut deletion = self.tasks.delete(tenant, id).await?;
        if let Deletion::NotEnded(_) = deletion {
            self.cancel(tenant, id).await?;
            deletion = self.tasks.delete(tenant, id).await?;
        }
        match deletion {
            Deletion::Begun => {}
            Deletion::NotEnded(_) => return Ok(Settled::Left),
            Deletion::Unknown => return Ok(Settled::Nothing),
        }
        let horizon = Horizon {
            ended_before: None,
            quiet_before: self.clock.now().minus(LONGEST_WORK),
        };
        if self.retention.purge(id, horizon).await? == Purged::Gone {
            metric::TASKS_PURGED.add([], 1);
        }
        Ok(Settled::Deleted)
    }

    /// Cancels a task: at once, or by its worker if it has one.
    async fn cancel(&self, tenant: &TenantId, id: TaskId) -> Result<Settled, StoreError> {
        let Some(mut task) = self.tasks.task(tenant, id).await? else {
            return Ok(Settled::Nothing);
        };
        note_steps(self.journal.as_ref(), &mut task).await?;
        match task.cancel(self.clock.now()) {
            Err(_ended) => return Ok(Settled::Nothing),
            Ok(None) if task.status().is_terminal() => return Ok(Settled::Nothing),
            // Its worker was told before.
            Ok(None) => return Ok(Settled::Left),
            Ok(Some(_)) => {}
        }
        match self.tasks.update(&task).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Ok(Settled::Left),
            Err(error) => return Err(error),
        }
        record_transition(&task);
        Ok(if task.status().is_terminal() {
            Settled::Canceled
        } else {
            Settled::Left
        })
    }

    /// Nothing is left of the tenant's tasks that has to be done.
    async fn finish(
        &self,
        walked: WalkedTenant,
        summary: &mut TenantWalkSummary,
    ) -> Result<(), StoreError> {
        let WalkedTenant { tenant, .. } = &walked;
        if tenant.status != TenantStatus::Deleting {
            self.tenants.end_walk(tenant).await?;
            tracing::info!("all tasks of the tenant have ended");
            return Ok(());
        }
        if self.tenants.remove_records(&tenant.id).await? == Remains::Some {
            summary.unfinished = true;
            return self.tenants.note_walk(&walked, self.clock.now()).await;
        }
        self.tenants.bury(&walked.tenant.deleted()).await?;
        tracing::info!("tenant deleted");
        metric::TENANTS_DELETED.add([], 1);
        summary.tenants += 1;
        Ok(())
    }
}
