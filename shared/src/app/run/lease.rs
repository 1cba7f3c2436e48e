//! Keeping a task while something takes its time: the lease is renewed, and the client's wish to cancel is heard.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::SKEW;
use super::leave::End;
use super::work::Work;
use crate::domain::{Causes, Spent, TaskState};
use crate::ports::StoreError;

/// How often it is looked at what others did to the task: a client's wish to cancel takes about so long to be heard.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the spans of looks go: to a trace that is not recorded. There are so many that they would fill a long task's, of which
/// X-Ray keeps only so much.
const UNRECORDED: &str = "Root=1-00000001-000000000000000000000001;Parent=0000000000000001;Sampled=0";

/// How often a write is tried that meets another's change of the task; each time somebody else succeeded.
pub(super) const MOST_CONFLICTS: usize = 5;

impl Work<'_> {
    /// Does `work`, unless the task is canceled or lost meanwhile; then `work` is dropped where it stands.
    pub(super) async fn attended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            end = self.watch() => Err(end),
        }
    }

    /// Looks after the task until it is no longer to be worked on.
    async fn watch(&mut self) -> End {
        loop {
            sleep_until(self.next_look).await;
            self.next_look = Instant::now() + LOOK_EVERY;
            let looked = if self.is_to_be_renewed() { self.renew().await } else { self.look().await };
            match looked {
                Ok(()) if self.task.progress().cancel_requested => return End::Canceled,
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    /// Whether someone else may have the task by a clock that runs ahead of this one.
    pub(super) fn lease_has_ended(&self) -> bool {
        let TaskState::Running(held) = self.task.state() else { return true };
        self.runner.clock.now().plus(SKEW) >= held.expires_at
    }

    fn is_to_be_renewed(&self) -> bool {
        let (now, lease) = (self.runner.clock.now(), self.runner.times.lease);
        let TaskState::Running(held) = self.task.state() else { return false };
        let reachable = self.runner.lease_end(now, self.until);
        held.expires_at < reachable && held.expires_at.since(now) < lease.mul_f64(2.0 / 3.0)
    }

    /// Prolongs the lease. If the store fails, the lease holds for what is left of it.
    pub(super) async fn renew(&mut self) -> Result<(), End> {
        for _ in 0..MOST_CONFLICTS {
            let now = self.runner.clock.now();
            let mut renewed = self.task.clone();
            if renewed.renew(renewed.fence(), self.runner.lease_end(now, self.until), now).is_err() {
                return Err(End::LeaseLost);
            }
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
        let trace = tracing::info_span!(target: "trace", "look", xray_parent = UNRECORDED);
        match self.runner.tasks.task(&self.task.spec().tenant, self.task.id()).instrument(trace).await {
            Ok(Some(kept)) if self.task.catch_up(&kept) => Ok(()),
            Ok(Some(_) | None) => Err(End::LeaseLost),
            Err(error) => self.endure(error),
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
