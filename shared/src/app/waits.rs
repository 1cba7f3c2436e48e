//! Waits for a task on behalf of a client that holds its request open.
//!
//! Each wait occupies an API function, and so takes concurrency that executors may need. So each
//! tenant has a maximum of waits at once. Slots in a table count them for all functions, because
//! each function serves one request at a time. A wait ends at once if the task is parked for
//! longer, or if the wait can't be counted. The response then says when the client may wait again.
//! The task is read often at first, then less often.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{AppError, Tasks};
use crate::domain::{Causes, Task, TaskId, TaskState, TenantId, Timestamp, whole_millis};
use crate::metric;
use crate::ports::{LimitOwner, Slot, Slots, Taken};

/// The time between two reads of a task: the first one, and the longest.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// How long after a refused wait the client may wait again.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// How long after its wait a slot expires, if a killed function could not give it back.
const SLOT_OUTLIVES: Duration = Duration::from_secs(5);

/// From how late on a due task must have been missed: the watchdog runs each minute.
const MISSED_AFTER: Duration = Duration::from_mins(3);

/// The task at the end of a wait.
#[derive(Debug)]
pub struct Found {
    /// The task.
    pub task: Task,
    /// How long the client should pause before it waits again. Set only if the wait ended early and
    /// the task can still change by itself.
    pub retry_after: Option<Duration>,
}

impl Found {
    const fn in_time(task: Task) -> Self {
        Self {
            task,
            retry_after: None,
        }
    }

    const fn too_soon(task: Task, retry_after: Duration) -> Self {
        Self {
            task,
            retry_after: Some(retry_after),
        }
    }
}

/// The waits of clients for their tasks. Each tenant has at most `most` at once.
#[derive(Clone)]
pub struct Waits {
    tasks: Tasks,
    slots: Arc<dyn Slots>,
    most: Option<NonZeroU32>,
}

impl Waits {
    /// Waits for `tasks`. `slots` counts the waits of each tenant. Without `most` there is no
    /// maximum, and waits are not counted.
    pub fn new(tasks: Tasks, slots: Arc<dyn Slots>, most: Option<NonZeroU32>) -> Self {
        Self { tasks, slots, most }
    }

    /// Returns the task, with its input, when it has ended, needs its client, or `wait` is over,
    /// whichever comes first. Returns it at once if it is parked for longer than the wait, or the
    /// tenant has its maximum of waits.
    pub async fn find_task(
        &self,
        tenant: &TenantId,
        id: TaskId,
        wait: Duration,
    ) -> Result<Found, AppError> {
        let Found { task, retry_after } = self.wait_for(tenant, id, wait).await?;
        warn_if_missed(&task, self.tasks.clock.now());
        Ok(Found {
            task: self.tasks.with_input(task).await?,
            retry_after,
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
        let slot = self.slot(wait);
        let owner = LimitOwner::Tenant(tenant.clone());
        if !self.take(&owner, &slot, most).await {
            metric::WAITS_REFUSED.add([], 1);
            return Ok(Found::too_soon(task, REFUSED_FOR));
        }
        let found = self.follow(task, end).await;
        if let Err(error) = self.slots.give_back(&owner, &slot).await {
            tracing::debug!(error = %Causes(&error), "wait's slot could not be released; it expires");
        }
        found
    }

    /// Reads the task until it has settled, is parked beyond `end`, or `end` has come.
    async fn follow(&self, mut task: Task, end: Instant) -> Result<Found, AppError> {
        let (tenant, id) = (task.spec().tenant.clone(), task.id());
        let mut delay = FIRST_DELAY;
        loop {
            // A parked task is read seldom, and soon again when its own wait is over.
            let parked = self.parked_for(&task);
            let next = parked.map_or(delay, |left| LONGEST_DELAY.min(left + FIRST_DELAY));
            sleep_until(end.min(Instant::now() + next)).await;
            task = self.tasks.find_task(&tenant, id).await?;
            if is_settled(&task) || Instant::now() >= end {
                return Ok(Found::in_time(task));
            }
            if let Some(left) = self.parked_beyond(&task, end) {
                return Ok(Found::too_soon(task, left));
            }
            delay = if parked.is_some() {
                FIRST_DELAY
            } else {
                LONGEST_DELAY.min(delay.mul_f32(1.5))
            };
        }
    }

    /// For how long the task stays parked; `None` if it is not parked.
    fn parked_for(&self, task: &Task) -> Option<Duration> {
        let TaskState::Waiting { wait, .. } = task.state() else {
            return None;
        };
        Some(wait.until.since(self.tasks.clock.now()))
    }

    /// For how long the task stays parked, if that is beyond `end`.
    fn parked_beyond(&self, task: &Task, end: Instant) -> Option<Duration> {
        self.parked_for(task)
            .filter(|left| *left > end.saturating_duration_since(Instant::now()))
    }

    /// The slot of a new wait. Its id is a new one, not the task's: several clients may wait for
    /// one task.
    fn slot(&self, wait: Duration) -> Slot {
        let now = self.tasks.clock.now();
        Slot {
            task: TaskId::new(now),
            fence: 0,
            until: now.plus(wait).plus(SLOT_OUTLIVES),
        }
    }

    /// Takes the slot. Returns `false` if the tenant has its maximum, or the store fails.
    async fn take(&self, owner: &LimitOwner, slot: &Slot, most: NonZeroU32) -> bool {
        match self
            .slots
            .take(owner, slot, most.get(), self.tasks.clock.now())
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

/// Whether only its client can change the task from now on.
fn is_settled(task: &Task) -> bool {
    task.status().is_terminal() || task.status().awaits_client()
}

/// Warns if the watchdog should have handled the task long ago. It finds tasks by an index, which a
/// damaged record is not in.
fn warn_if_missed(task: &Task, now: Timestamp) {
    let Some(due_at) = task.due_at() else { return };
    let overdue = now.since(due_at);
    if overdue > MISSED_AFTER {
        tracing::warn!(
            status = task.status().as_str(),
            overdue_ms = whole_millis(overdue),
            "task is overdue and was not handled"
        );
    }
}
