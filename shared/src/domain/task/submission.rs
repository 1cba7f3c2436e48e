//! What a client decides about its task when it submits it.

use std::time::Duration;

use super::history::{Change, Event, History};
use super::parkings::Parkings;
use super::{FIRST_WAIT, Progress, Task, TaskInput, TaskSpec, TaskState, message_delay};
use crate::domain::agent::Agent;
use crate::domain::api_key::KeyId;
use crate::domain::id::TaskId;
use crate::domain::limits::Limits;
use crate::domain::metadata::Metadata;
use crate::domain::rules::CacheUse;
use crate::domain::setbacks::Setbacks;
use crate::domain::spend::Spend;
use crate::domain::time::Timestamp;
use crate::domain::trace::TraceHeader;
use crate::domain::wait::{Wait, WaitReason};

impl Task {
    /// Accepts a task for `agent`, within its limits.
    pub fn submit(
        id: TaskId,
        agent: &Agent,
        input: TaskInput,
        cache_use: CacheUse,
        now: Timestamp,
    ) -> Self {
        Self {
            spec: Box::new(TaskSpec {
                id,
                tenant: agent.tenant.clone(),
                agent: agent.version_ref(),
                input: Some(input),
                cache_use,
                created_at: now,
                trace: None,
                metadata: Metadata::default(),
                submitted_by: None,
                not_before: None,
            }),
            progress: Progress {
                revision: 1,
                fence: 0,
                attempts: 0,
                sends: 1,
                parkings: Parkings::default(),
                setbacks: Setbacks::default(),
                hops: 0,
                steps: 0,
                base: 0,
                conversation_bytes: Some(0),
                cancel_requested: false,
                limits: agent.config.limits,
                deadline: now.plus(agent.config.limits.timeout()),
                spend: Spend::default(),
                history: History::beginning(Change::new(now, Event::Submitted)),
                updated_at: now,
                state: TaskState::Queued {
                    due_at: now.plus(FIRST_WAIT),
                },
            },
        }
    }

    /// This new task with limits of its own.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.progress.limits = limits;
        self.progress.deadline = self.spec.created_at.plus(limits.timeout());
        self
    }

    /// This new task as a part of a trace.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceHeader>) -> Self {
        self.spec.trace = trace;
        self
    }

    /// This new task with what its client noted about it.
    #[must_use]
    pub fn noting(mut self, metadata: Metadata) -> Self {
        self.spec.metadata = metadata;
        self
    }

    /// This new task as one that this API key submitted.
    #[must_use]
    pub fn submitted_by(mut self, key: Option<KeyId>) -> Self {
        self.spec.submitted_by = key;
        self
    }

    /// This new task, which begins at this moment or later. Its deadline counts from then.
    #[must_use]
    pub fn not_before(mut self, until: Timestamp) -> Self {
        let now = self.spec.created_at;
        let reason = WaitReason::NotBefore;
        let parked = Event::Parked { reason, until };
        self.progress.history.push(Change::new(now, parked));
        self.spec.not_before = Some(until);
        self.progress.deadline = until.plus(self.progress.limits.timeout());
        self.progress.state = self.waiting(Wait { until, reason }, now);
        self
    }

    /// How long after its submission the new task begins.
    pub fn begins_after(&self) -> Duration {
        match &self.progress.state {
            TaskState::Waiting { wait, .. } => wait.until.since(self.spec.created_at),
            _ => Duration::ZERO,
        }
    }

    /// After which delay the message with which a worker begins the new task is delivered; `None`
    /// if the watchdog sends it, because the task begins later than a message can.
    pub fn first_message(&self) -> Option<Duration> {
        match &self.progress.state {
            TaskState::Waiting { wait, .. } => message_delay(*wait, self.spec.created_at),
            _ => Some(Duration::ZERO),
        }
    }
}
