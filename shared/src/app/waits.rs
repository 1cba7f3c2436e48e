//! Waiting for a task on behalf of a client that holds its request open.
//!
//! Each wait holds an API function, which takes concurrency that executors may need. So a tenant
//! waits only so many times at once, counted in one place for all functions, because each of them
//! serves one request at a time. A wait that can bring nothing, for a task that is parked for
//! longer, ends at once. So does one that can't be counted. The response says when to ask again.
//! The store is read soon at first, then ever more seldom.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{AppError, Tasks};
use crate::domain::{Causes, Task, TaskId, TaskState, TenantId};
use crate::metric;
use crate::ports::{Slot, Slots, Taken};

/// The pauses between two reads of a task: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When a client whose wait was refused may ask again.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// How long a place outlives its wait, for a function that was killed in it.
const PLACE_OUTLIVES: Duration = Duration::from_secs(5);

/// A task as a client that waited for it finds it.
#[derive(Debug)]
pub struct Found {
    /// The task.
    pub task: Task,
    /// When to ask again; only if the wait ended before its time although the task has not ended.
    pub ask_again_after: Option<Duration>,
}

impl Found {
    const fn in_time(task: Task) -> Self {
        Self {
            task,
            ask_again_after: None,
        }
    }

    const fn too_soon(task: Task, ask_again_after: Duration) -> Self {
        Self {
            task,
            ask_again_after: Some(ask_again_after),
        }
    }
}

/// The waits of clients for their tasks. Each tenant has so many at once.
#[derive(Clone)]
pub struct Waits {
    tasks: Tasks,
    slots: Arc<dyn Slots>,
    most: Option<NonZeroU32>,
}

impl Waits {
    /// Waits for these tasks, at most `most` of a tenant at once, counted in `slots`; any number
    /// without `most`.
    pub fn new(tasks: Tasks, slots: Arc<dyn Slots>, most: Option<NonZeroU32>) -> Self {
        Self { tasks, slots, most }
    }

    /// The task, with its input, as it is once it has ended, waits for its client, or `wait` is
    /// over, whichever comes first; and at once if it is parked beyond the wait, or the tenant
    /// waits as often as it may.
    pub async fn find_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        wait: Duration,
    ) -> Result<Found, AppError> {
        let Found {
            task,
            ask_again_after,
        } = self.wait_for(tenant, id, wait).await?;
        Ok(Found {
            task: self.tasks.with_input(task).await?,
            ask_again_after,
        })
    }

    async fn wait_for(
        &self,
        tenant: &TenantId,
        id: TaskId,
        wait: Duration,
    ) -> Result<Found, AppError> {
        let task = self.tasks.find_task(tenant, id).await?;
        let end = Instant::now() + wait;
        if wait.is_zero() || is_settled(&task) {
            return Ok(Found::in_time(task));
        }
        if let Some(left) = self.parked_beyond(&task, end) {
            return Ok(Found::too_soon(task, left));
        }
        let Some(most) = self.most else {
            return self.follow(task, end).await;
        };
        let place = self.place(wait);
        if !self.take(tenant, &place, most).await {
            metric::WAITS_REFUSED.add([], 1);
            return Ok(Found::too_soon(task, REFUSED_FOR));
        }
        let found = self.follow(task, end).await;
        // One that can't be given back is free at its end.
        if let Err(error) = self.slots.give_back(tenant, &place).await {
            tracing::debug!(error = %Causes(&error), "wait's slot could not be released; it expires");
        }
        found
    }

    /// Reads the task until it has settled, is parked beyond `end`, or `end` has come.
    async fn follow(&self, mut task: Task, end: Instant) -> Result<Found, AppError> {
        let (tenant, id) = (task.spec().tenant.clone(), task.id());
        let mut pause = FIRST_PAUSE;
        loop {
            // A parked task is left alone for longer, and read soon once its wait is over.
            let parked = self.parked_for(&task);
            let next = parked.map_or(pause, |left| LONGEST_PAUSE.min(left + FIRST_PAUSE));
            sleep_until(end.min(Instant::now() + next)).await;
            task = self.tasks.find_task(&tenant, id).await?;
            if is_settled(&task) || Instant::now() >= end {
                return Ok(Found::in_time(task));
            }
            if let Some(left) = self.parked_beyond(&task, end) {
                return Ok(Found::too_soon(task, left));
            }
            pause = if parked.is_some() {
                FIRST_PAUSE
            } else {
                LONGEST_PAUSE.min(pause.mul_f32(1.5))
            };
        }
    }

    /// How long the task stays parked, if it is.
    fn parked_for(&self, task: &Task) -> Option<Duration> {
        let TaskState::Waiting { wait, .. } = task.state() else {
            return None;
        };
        Some(wait.until.since(self.tasks.clock.now()))
    }

    fn parked_beyond(&self, task: &Task, end: Instant) -> Option<Duration> {
        self.parked_for(task)
            .filter(|left| *left > end.saturating_duration_since(Instant::now()))
    }

    /// A place for a new wait. It has an id like a task's, because several clients may wait for one
    /// task.
    fn place(&self, wait: Duration) -> Slot {
        let now = self.tasks.clock.now();
        Slot {
            task: TaskId::new(now),
            fence: 0,
            until: now.plus(wait).plus(PLACE_OUTLIVES),
        }
    }

    async fn take(&self, tenant: &TenantId, place: &Slot, most: NonZeroU32) -> bool {
        match self
            .slots
            .take(tenant, place, most.get(), self.tasks.clock.now())
            .await
        {
            Ok(Taken::Granted) => true,
            Ok(Taken::Full) => {
                tracing::info!(
                    most = most.get(),
                    "wait refused: the tenant has its maximum of waits"
                );
                false
            }
            Err(error) => {
                metric::EPHEMERAL_FAILURES.add([], 1);
                tracing::warn!(error = %Causes(&error), "wait counter unavailable; answering at once");
                false
            }
        }
    }
}

/// Whether nothing changes the task any more but its client.
fn is_settled(task: &Task) -> bool {
    task.status().is_terminal() || task.status().awaits_client()
}
