//! What workers do to tasks. But for the claim, each needs the lease that the claim gave.

use std::collections::BTreeMap;

use super::history::{Change, Event};
use super::parkings::Parkings;
use super::{
    ClaimRefused, Lease, LeaseLost, MAX_ATTEMPTS, MAX_HOPS, Overdue, Spent, Task, TaskState,
};
use crate::domain::call::FailedAttempt;
use crate::domain::limits::{BudgetScope, LimitKind};
use crate::domain::outcome::{Failure, Output};
use crate::domain::setbacks::Setbacks;
use crate::domain::spend::Spend;
use crate::domain::step::StepSummary;
use crate::domain::time::Timestamp;
use crate::domain::transcript::PendingCall;
use crate::domain::wait::Wait;

impl Task {
    /// Gives the task to a worker under a new fence.
    pub fn claim(&mut self, lease: Lease, now: Timestamp) -> Result<(), ClaimRefused> {
        match &self.progress.state {
            TaskState::Completed(_)
            | TaskState::Failed(_)
            | TaskState::Canceled
            | TaskState::TimedOut => {
                return Err(ClaimRefused::Finished(self.status()));
            }
            TaskState::InputRequired { .. } | TaskState::Paused { .. } => {
                return Err(ClaimRefused::AwaitsClient(self.status()));
            }
            // Even past the deadline: its worker may be about to end the task in time.
            TaskState::Running(held) if now < held.expires_at => {
                return Err(ClaimRefused::Leased {
                    until: held.expires_at,
                });
            }
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::Waiting { .. }
                if now >= self.progress.deadline =>
            {
                return Err(ClaimRefused::Overdue);
            }
            TaskState::Waiting { wait, .. } if now < wait.until => {
                return Err(ClaimRefused::Waiting { until: wait.until });
            }
            TaskState::Running(_)
                if self.progress.cancel_requested || self.progress.attempts >= MAX_ATTEMPTS =>
            {
                return Err(ClaimRefused::Overdue);
            }
            TaskState::Queued { .. } | TaskState::Running(_) | TaskState::Waiting { .. } => {}
        }
        self.progress.fence += 1;
        self.progress.attempts += 1;
        self.progress.sends = 0;
        self.progress.state = TaskState::Running(lease);
        self.progress.revision += 1;
        self.progress.updated_at = now;
        self.progress.history.push_claim(Change::new(
            now,
            Event::Claimed {
                worker: lease.worker,
            },
        ));
        Ok(())
    }

    /// Adds to what the task's model calls came to. It becomes durable with the transition that
    /// follows.
    pub fn add_spend(&mut self, spend: Spend) {
        self.progress.spend = self.progress.spend.plus(spend);
    }

    /// Takes note of what a failed model call met, and whose cap on cost refused it. It becomes
    /// durable with the transition that follows.
    pub fn note_setbacks(&mut self, attempts: &[FailedAttempt], cap: Option<BudgetScope>) {
        self.progress.setbacks.note(attempts, cap);
    }

    /// Takes note of all the steps that are recorded, and of what those came to that were not known
    /// yet. A worker under which the journal grows is worth its attempt: the attempts before it
    /// count no more, nor do the waits. It becomes durable with the transition that follows.
    /// Returns whether there was news.
    pub fn note_steps(&mut self, recorded: impl IntoIterator<Item = StepSummary>) -> bool {
        let (base, known) = (self.progress.base, self.progress.steps);
        let (mut news, mut bytes) = (BTreeMap::<u32, Spend>::new(), 0_u64);
        for step in recorded
            .into_iter()
            .filter(|step| step.base == base && step.number > base)
        {
            bytes = bytes.saturating_add(step.bytes);
            if step.number > known {
                news.insert(step.number, step.spend);
            }
        }
        self.progress.conversation_bytes = Some(bytes);
        let mut last = known;
        while news.contains_key(&(last + 1)) {
            last += 1;
        }
        if last == known {
            return false;
        }
        self.add_spend(news.into_values().fold(Spend::default(), Spend::plus));
        self.progress.steps = last;
        self.progress.attempts = 1;
        self.progress.parkings = Parkings::default();
        self.progress.setbacks = Setbacks::default();
        true
    }

    /// Prolongs the lease, for the worker that holds the lease numbered `fence`.
    pub fn renew(
        &mut self,
        fence: u64,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), LeaseLost> {
        let lease = self.must_hold(fence)?;
        self.progress.state = TaskState::Running(Lease {
            expires_at,
            ..lease
        });
        self.turn(now);
        Ok(())
    }

    /// Takes over the lease, and the changes that others may make while a worker holds it, from the
    /// task as it is stored or was a moment ago: `false` if this worker's lease is no longer the
    /// task's.
    pub fn catch_up(&mut self, stored: &Self) -> bool {
        let same = self.progress.fence == stored.progress.fence
            && matches!(stored.progress.state, TaskState::Running(_));
        if same && stored.progress.revision >= self.progress.revision {
            self.progress.state.clone_from(&stored.progress.state);
            self.progress.revision = stored.progress.revision;
            self.progress.cancel_requested = stored.progress.cancel_requested;
            self.progress.history.clone_from(&stored.progress.history);
        }
        same
    }

    /// Parks the task, for the worker that holds the lease numbered `fence`: it may be had again
    /// when the wait is over. A parked attempt counts only if it `spent` something.
    pub fn park(
        &mut self,
        fence: u64,
        wait: Wait,
        spent: Spent,
        now: Timestamp,
    ) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        if self.progress.cancel_requested {
            self.cancel_now(now);
            return Ok(());
        }
        match spent {
            Spent::Nothing => self.progress.attempts = self.progress.attempts.saturating_sub(1),
            Spent::Attempt if self.progress.attempts >= MAX_ATTEMPTS => {
                self.end_attempt(now);
                return Ok(());
            }
            Spent::Attempt => {}
        }
        self.progress.parkings.count(wait.reason);
        let state = self.waiting(wait, now);
        let parked = Event::Parked {
            reason: wait.reason,
            until: wait.until,
        };
        self.enter(state, parked, now);
        Ok(())
    }

    /// Hands the task over to the next invocation, for the worker that holds the lease numbered
    /// `fence` and is out of time after some steps. The caller sends a message for the task, unless
    /// that was the last allowed hop.
    pub fn hand_over(&mut self, fence: u64, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        if self.progress.cancel_requested {
            self.cancel_now(now);
        } else if self.progress.hops >= MAX_HOPS {
            self.end_failed(Failure::hops_exhausted(MAX_HOPS), now);
        } else {
            self.progress.hops += 1;
            self.progress.attempts = 0;
            self.progress.sends = 0;
            self.queue(
                Event::HandedOver {
                    hop: self.progress.hops,
                },
                now,
            );
        }
        Ok(())
    }

    /// Has the client answer these calls, for the worker that holds the lease numbered `fence`.
    pub fn require_input(
        &mut self,
        fence: u64,
        calls: Vec<PendingCall>,
        now: Timestamp,
    ) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        if self.progress.cancel_requested {
            self.cancel_now(now);
            return Ok(());
        }
        let expires_at = now.plus(self.progress.limits.input_timeout());
        self.await_client(
            TaskState::InputRequired {
                calls,
                since: now,
                expires_at,
            },
            Event::InputRequired,
            now,
        );
        Ok(())
    }

    /// Stops the task at a limit until it is resumed, for the worker that holds the lease numbered
    /// `fence`.
    pub fn pause(&mut self, fence: u64, limit: LimitKind, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        if self.progress.cancel_requested {
            self.cancel_now(now);
            return Ok(());
        }
        let expires_at = now.plus(self.progress.limits.input_timeout());
        self.await_client(
            TaskState::Paused {
                limit,
                since: now,
                expires_at,
            },
            Event::Paused { limit },
            now,
        );
        Ok(())
    }

    /// Ends the task with an answer, for the worker that holds the lease numbered `fence`.
    pub fn complete(
        &mut self,
        fence: u64,
        output: Output,
        now: Timestamp,
    ) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        self.enter(TaskState::Completed(output), Event::Completed, now);
        Ok(())
    }

    /// Ends the task without an answer, for the worker that holds the lease numbered `fence`.
    pub fn fail(&mut self, fence: u64, failure: Failure, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        self.end_failed(failure, now);
        Ok(())
    }

    /// Cancels the task as its client wished, for the worker that holds the lease numbered `fence`.
    pub fn end_canceled(&mut self, fence: u64, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        self.cancel_now(now);
        Ok(())
    }

    /// Returns the task to the queue before it has ended, for the worker that holds the lease
    /// numbered `fence`: the next worker that receives a message for it may claim it at once. An
    /// attempt that cost something counts, and after the last one the task is dead-lettered.
    pub fn release(&mut self, fence: u64, spent: Spent, now: Timestamp) -> Result<(), LeaseLost> {
        self.must_hold(fence)?;
        if self.progress.cancel_requested {
            self.cancel_now(now);
            return Ok(());
        }
        match spent {
            Spent::Nothing => {
                self.progress.attempts = self.progress.attempts.saturating_sub(1);
                self.queue(Event::Requeued, now);
            }
            Spent::Attempt => {
                self.end_attempt(now);
            }
        }
        Ok(())
    }

    /// Ends a failed attempt.
    pub(super) fn end_attempt(&mut self, now: Timestamp) -> Overdue {
        if self.progress.attempts < MAX_ATTEMPTS {
            self.queue(Event::Requeued, now);
            return Overdue::Requeued;
        }
        self.end_failed(
            Failure::attempts_exhausted(MAX_ATTEMPTS, self.progress.steps, &self.progress.setbacks),
            now,
        );
        Overdue::GivenUp
    }

    /// A task that awaits its client begins with no attempts counted when it continues.
    fn await_client(&mut self, state: TaskState, event: Event, now: Timestamp) {
        self.progress.attempts = 0;
        self.progress.sends = 0;
        self.enter(state, event, now);
    }

    fn must_hold(&self, fence: u64) -> Result<Lease, LeaseLost> {
        match self.progress.state {
            TaskState::Running(lease) if self.progress.fence == fence => Ok(lease),
            _ => Err(LeaseLost),
        }
    }
}
