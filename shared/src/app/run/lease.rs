//! A task under its worker's lease: the worker renews the lease while it works, and notices a
//! cancel that the client requests.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::exit::Exit;
use super::ledger::Ledger;
use super::runner::{RESERVE, Runner, SKEW};
use crate::domain::task::LeaseLost;
use crate::domain::{
    Causes, Deadline, Spent, Task, TaskId, TaskState, TenantId, Timestamp, Wait, WaitReason,
};
use crate::ports::{StoreError, TaskStore};

/// How often a worker reads its task while a step is under way. A cancel is noticed within about
/// that time.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A trace that is not recorded, for the spans of these reads. X-Ray limits the size of a trace,
/// and so many spans would fill the trace of a long task.
const UNRECORDED: &str =
    "Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=0";

/// How many times a conflicting write is tried. Each conflict means that another writer succeeded.
pub(super) const MAX_CONFLICTS: usize = 5;

/// The result of a request about the task while a step was under way.
enum Polled {
    /// The task as it is in the store.
    Read(Result<Option<Box<Task>>, StoreError>),
    /// Whether the lease lasts as long as this task says.
    Renewed(Box<Task>, Result<(), StoreError>),
    /// The lease lasts as long as this task says, and the task must wait for this reason.
    Stopped(Box<Task>, WaitReason),
}

/// A task that one worker holds under one lease.
pub(super) struct HeldTask<'a> {
    pub(super) runner: &'a Runner,
    pub(super) task: Task,
    /// What this worker spent on the task.
    pub(super) ledger: Ledger,
    /// When the invocation is killed.
    pub(super) until: Timestamp,
    /// When the task is next read.
    next_poll: Instant,
    /// The read of the task, or the renewal of its lease, that is under way.
    poll: JoinSet<Polled>,
    /// Why the task must wait, if that was so when the lease was last renewed.
    stopped: Option<WaitReason>,
}

impl<'a> HeldTask<'a> {
    /// A task that was just claimed, in an invocation that is killed at `until`.
    pub(super) fn new(runner: &'a Runner, task: Task, until: Timestamp) -> Self {
        Self {
            runner,
            ledger: Ledger::of(&task),
            task,
            until,
            next_poll: Instant::now() + POLL_INTERVAL,
            poll: JoinSet::new(),
            stopped: None,
        }
    }

    /// Ends the work if the agent is disabled or the tenant suspended. A step that is under way is not
    /// dropped: what it did would be done again.
    pub(super) fn stop_if_held(&self) -> Result<(), Exit> {
        match self.stopped {
            Some(reason) => Err(self.back_off(reason).1),
            None => Ok(()),
        }
    }

    /// Whether the task's deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        self.runner.clock.now() >= self.task.deadline()
    }

    /// Whether the task must finish soon: no more tools are called then.
    pub(super) fn wraps_up(&self) -> bool {
        self.runner.clock.now() >= self.task.soft_deadline()
    }

    /// Whether the invocation has too little time for another step.
    pub(super) fn is_short_of_time(&self) -> bool {
        self.until.since(self.runner.clock.now()) < self.runner.times.step_reserve + RESERVE
    }

    /// Whether the invocation has no time for any step.
    pub(super) fn has_no_time(&self) -> bool {
        self.step_deadline().left(self.runner.clock.now()).is_zero()
    }

    /// When a step must have ended, so that there is time to record it.
    pub(super) fn step_deadline(&self) -> Deadline {
        Deadline::at(self.until)
            .less(RESERVE)
            .or_earlier(Deadline::at(self.task.deadline()))
    }

    /// A backoff, and the exit that parks the task for it. The task waits for memory, for a slot, for
    /// its agent or its tenant, or for an invocation with more time.
    pub(super) fn back_off(&self, reason: WaitReason) -> (Duration, Exit) {
        let now = self.runner.clock.now();
        let backoff = match reason {
            WaitReason::TenantSuspended => self.task.suspension_backoff(now),
            _ => self.task.slot_backoff(now),
        };
        let until = now.plus(backoff);
        let exit = Exit::Parked(Wait { until, reason }, Spent::Nothing, None);
        (backoff, exit)
    }

    /// Does `work`. If the task is canceled or another worker takes it, `work` is dropped.
    pub(super) async fn while_holding_lease<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Exit> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            end = self.watch() => Err(end),
        }
    }

    /// Renews the lease and reads the task until the work has to end. A request that is still open
    /// when a step ends continues during the next step. Otherwise, steps that are shorter than a
    /// request would never notice a cancel.
    async fn watch(&mut self) -> Exit {
        loop {
            if self.poll.is_empty() {
                sleep_until(self.next_poll).await;
                self.next_poll = Instant::now() + POLL_INTERVAL;
                self.begin_poll();
            }
            let done = match self.poll.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                // Only the end of the runtime cancels a request.
                Some(Err(_)) | None => continue,
            };
            match self.take(done) {
                Ok(()) if self.task.progress().cancel_requested => return Exit::Canceled,
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Begins to renew the lease if that is due. Otherwise begins to read the task.
    fn begin_poll(&mut self) {
        if !self.is_to_be_renewed() {
            return self.begin_refresh();
        }
        let Ok(renewed) = self.renewed() else {
            return self.begin_refresh();
        };
        let tasks = Arc::clone(&self.runner.tasks);
        let agents = Arc::clone(&self.runner.agents);
        let renewing = async move {
            if let Err(error) = tasks.update(&renewed).await {
                return Polled::Renewed(Box::new(renewed), Err(error));
            }
            let spec = renewed.spec();
            let trace = tracing::info_span!("poll agent", xray_parent = UNRECORDED);
            let found = agents.of_task(&spec.tenant, spec.agent);
            match found.instrument(trace).await {
                Ok(Some(found)) if let Some(reason) = found.wait() => {
                    Polled::Stopped(Box::new(renewed), reason)
                }
                // If the agent can't be read now, the next renewal reads it.
                Ok(_) | Err(_) => Polled::Renewed(Box::new(renewed), Ok(())),
            }
        };
        self.poll.spawn(renewing.in_current_span());
    }

    fn begin_refresh(&mut self) {
        let tasks = Arc::clone(&self.runner.tasks);
        let (tenant, id) = (self.task.spec().tenant.clone(), self.task.id());
        let reading = async move {
            let stored = read(tasks.as_ref(), &tenant, id).await;
            Polled::Read(stored.map(|stored| stored.map(Box::new)))
        };
        self.poll.spawn(reading.in_current_span());
    }

    /// Takes over the result of a poll.
    fn take(&mut self, poll: Polled) -> Result<(), Exit> {
        match poll {
            Polled::Read(Ok(stored)) => self.catch_up(stored.as_deref()),
            // Catch up, do not replace the task: the work may have changed it since.
            Polled::Renewed(renewed, Ok(())) => self.catch_up(Some(&renewed)),
            Polled::Stopped(renewed, reason) => {
                self.stopped = Some(reason);
                self.catch_up(Some(&renewed))
            }
            // Another writer changed the task: another try would meet the same conflict.
            Polled::Renewed(_, Err(StoreError::Conflict)) => {
                self.begin_refresh();
                Ok(())
            }
            Polled::Read(Err(error)) | Polled::Renewed(_, Err(error)) => self.tolerate(error),
        }
    }

    /// Whether another worker, whose clock is ahead of this one, may have claimed the task.
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

    /// Extends the lease. If the store fails, the lease still holds until its end.
    pub(super) async fn renew(&mut self) -> Result<(), Exit> {
        self.poll.abort_all();
        for _ in 0..MAX_CONFLICTS {
            let renewed = self.renewed().map_err(|LeaseLost| Exit::LeaseLost)?;
            match self.runner.tasks.update(&renewed).await {
                Ok(()) => {
                    self.task = renewed;
                    return Ok(());
                }
                Err(StoreError::Conflict) => self.refresh().await?,
                Err(error) => return self.tolerate(error),
            }
        }
        Ok(())
    }

    /// Reads the task and takes over what other writers changed.
    pub(super) async fn refresh(&mut self) -> Result<(), Exit> {
        match read(
            self.runner.tasks.as_ref(),
            &self.task.spec().tenant,
            self.task.id(),
        )
        .await
        {
            Ok(stored) => self.catch_up(stored.as_ref()),
            Err(error) => self.tolerate(error),
        }
    }

    fn catch_up(&mut self, stored: Option<&Task>) -> Result<(), Exit> {
        match stored {
            Some(stored) if self.task.catch_up(stored) => Ok(()),
            Some(_) | None => Err(Exit::LeaseLost),
        }
    }

    /// Store errors are tolerated until the lease ends.
    fn tolerate(&self, error: StoreError) -> Result<(), Exit> {
        if self.lease_has_ended() {
            return Err(Exit::GivenBack(error, Spent::Attempt));
        }
        tracing::debug!(error = %Causes(&error), "lease renewal or read failed");
        Ok(())
    }
}

async fn read(
    tasks: &dyn TaskStore,
    tenant: &TenantId,
    id: TaskId,
) -> Result<Option<Task>, StoreError> {
    let trace = tracing::info_span!("poll task", xray_parent = UNRECORDED);
    tasks.task(tenant, id).instrument(trace).await
}
