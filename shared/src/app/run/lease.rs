//! Keeping a task while something takes its time: the lease is renewed, and the client's wish to
//! cancel is heard.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::SKEW;
use super::leave::End;
use super::work::Work;
use crate::domain::task::LeaseLost;
use crate::domain::{Causes, Spent, Task, TaskId, TaskState, TenantId};
use crate::ports::{StoreError, TaskStore};

/// How often it is looked at what others did to the task: a client's wish to cancel takes about so
/// long to be heard.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the spans of looks go: to a trace that is not recorded. There are so many that they would
/// fill a long task's, of which X-Ray keeps only so much.
const UNRECORDED: &str =
    "Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=0";

/// How often a write is tried that meets another's change of the task; each time somebody else
/// succeeded.
pub(super) const MOST_CONFLICTS: usize = 5;

/// What came of a request about the task while a step was under way.
pub(super) enum Attention {
    /// The task as it is in the store.
    Looked(Result<Option<Box<Task>>, StoreError>),
    /// Whether the lease lasts as long as this task says.
    Renewed(Box<Task>, Result<(), StoreError>),
}

impl Work<'_> {
    /// Does `work`, unless the task is canceled or lost meanwhile; then `work` is dropped where it
    /// stands.
    pub(super) async fn attended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            end = self.watch() => Err(end),
        }
    }

    /// Looks after the task until its work has to end. A request that a step's end interrupts is
    /// continued in the next step: steps may be shorter than a request to the store, and then no
    /// wish to cancel would be heard.
    async fn watch(&mut self) -> End {
        loop {
            if self.attention.is_empty() {
                sleep_until(self.next_look).await;
                self.next_look = Instant::now() + LOOK_EVERY;
                self.attend();
            }
            let done = match self.attention.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                // Only the runtime's end cancels it.
                Some(Err(_)) | None => continue,
            };
            match self.take(done) {
                Ok(()) if self.task.progress().cancel_requested => return End::Canceled,
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Begins to renew the lease, or to look at the task if that is not due.
    fn attend(&mut self) {
        if !self.is_to_be_renewed() {
            return self.begin_look();
        }
        let Ok(renewed) = self.renewed() else {
            return self.begin_look();
        };
        let tasks = Arc::clone(&self.runner.tasks);
        let renewing = async move {
            let outcome = tasks.update(&renewed).await;
            Attention::Renewed(Box::new(renewed), outcome)
        };
        self.attention.spawn(renewing.in_current_span());
    }

    fn begin_look(&mut self) {
        let tasks = Arc::clone(&self.runner.tasks);
        let (tenant, id) = (self.task.spec().tenant.clone(), self.task.id());
        let looking = async move {
            let kept = read(tasks.as_ref(), &tenant, id).await;
            Attention::Looked(kept.map(|kept| kept.map(Box::new)))
        };
        self.attention.spawn(looking.in_current_span());
    }

    fn take(&mut self, attention: Attention) -> Result<(), End> {
        match attention {
            Attention::Looked(Ok(kept)) => self.catch_up(kept.as_deref()),
            // The work may have changed the task since.
            Attention::Renewed(renewed, Ok(())) => self.catch_up(Some(&renewed)),
            // Somebody changed the task: another try would meet the same conflict.
            Attention::Renewed(_, Err(StoreError::Conflict)) => {
                self.begin_look();
                Ok(())
            }
            Attention::Looked(Err(error)) | Attention::Renewed(_, Err(error)) => self.endure(error),
        }
    }

    /// Whether someone else may have the task by a clock that runs ahead of this one.
    pub(super) fn lease_has_ended(&self) -> bool {
        let TaskState::Running(held) = self.task.state() else {
            return true;
        };
        self.runner.clock.now().plus(SKEW) >= held.expires_at
    }

    fn is_to_be_renewed(&self) -> bool {
        let (now, lease) = (self.runner.clock.now(), self.runner.times.lease);
        let TaskState::Running(held) = self.task.state() else {
            return false;
        };
        let reachable = self.runner.lease_end(now, self.until);
        held.expires_at < reachable && held.expires_at.since(now) < lease.mul_f64(2.0 / 3.0)
    }

    /// The task with a longer lease, which is not stored yet.
    fn renewed(&self) -> Result<Task, LeaseLost> {
        let now = self.runner.clock.now();
        let mut renewed = self.task.clone();
        renewed.renew(renewed.fence(), self.runner.lease_end(now, self.until), now)?;
        Ok(renewed)
    }

    /// Prolongs the lease. If the store fails, the lease holds for what is left of it.
    pub(super) async fn renew(&mut self) -> Result<(), End> {
        self.attention.abort_all();
        for _ in 0..MOST_CONFLICTS {
            let renewed = self.renewed().map_err(|LeaseLost| End::LeaseLost)?;
            match self.runner.tasks.update(&renewed).await {
                Ok(()) => {
                    self.task = renewed;
                    return Ok(());
                }
                Err(StoreError::Conflict) => self.look().await?,
                Err(error) => return self.endure(error),
            }
        }
        Ok(())
    }

    /// Takes over what others did to the task.
    pub(super) async fn look(&mut self) -> Result<(), End> {
        match read(
            self.runner.tasks.as_ref(),
            &self.task.spec().tenant,
            self.task.id(),
        )
        .await
        {
            Ok(kept) => self.catch_up(kept.as_ref()),
            Err(error) => self.endure(error),
        }
    }

    fn catch_up(&mut self, kept: Option<&Task>) -> Result<(), End> {
        match kept {
            Some(kept) if self.task.catch_up(kept) => Ok(()),
            Some(_) | None => Err(End::LeaseLost),
        }
    }

    /// A store that fails is borne as long as the lease lasts.
    fn endure(&self, error: StoreError) -> Result<(), End> {
        if self.lease_has_ended() {
            return Err(End::GivenBack(error, Spent::Attempt));
        }
        tracing::debug!(error = %Causes(&error), "the task's lease could not be looked after");
        Ok(())
    }
}

async fn read(
    tasks: &dyn TaskStore,
    tenant: &TenantId,
    id: TaskId,
) -> Result<Option<Task>, StoreError> {
    let trace = tracing::info_span!("look", xray_parent = UNRECORDED);
    tasks.task(tenant, id).instrument(trace).await
}
